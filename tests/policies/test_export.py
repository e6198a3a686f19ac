"""The ONNX file acts as the torch policy does, or there is no file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from racing.cli import main
from racing.envs.sensors import SensorsTask
from racing.envs.vision import TELEMETRY, VisionTask
from racing.errors import InputError
from racing.onnx_files import onnx_session
from racing.policies import export
from racing.policies.export import ExportFailed, describe, export_policy, record_observations
from racing.policies.loading import onnx_policy
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from tests.support.drivers import group, linear_driver, make_run, random_model, seeing_model

pytestmark = pytest.mark.slow


def recorded(count: int = 1000, size: int = 10) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, size)).astype(np.float32)


@pytest.mark.parametrize("kind", ["ppo", "sac", "cmaes"])
def test_onnx_acts_as_torch_for_any_batch(kind: str, tmp_path: Path):
    model, path = random_model(kind), tmp_path / "export" / "policy.onnx"
    parity = export_policy(model, path, metadata={"run_id": "abc"}, observations=recorded(1500))
    assert (parity.path, parity.observations, parity.size) == (path, 1500, path.stat().st_size)
    assert 0 <= parity.max_difference <= 1e-5
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (source,), (target,) = session.get_inputs(), session.get_outputs()
    assert (source.name, source.shape, source.type) == ("observation", ["batch", 10], "tensor(float)")
    assert (target.name, target.shape) == ("action", ["batch", 2])
    fresh = 3 * np.random.default_rng(1).normal(size=(257, 10)).astype(np.float32)
    expected = model.predict(fresh, deterministic=True)[0]
    for rows in (1, 257):
        np.testing.assert_allclose(session.run(None, {"observation": fresh[:rows]})[0], expected[:rows], atol=1e-5)
    assert (np.abs(expected) == 1).any()  # the limits are reached, and kept
    assert np.abs(expected).max() == 1
    assert session.get_modelmeta().custom_metadata_map == {"run_id": "abc"}
    assert [file.name for file in path.parent.iterdir()] == ["policy.onnx"]


def seen(model, count: int = 1000, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shape = model.observation_space["vision"].shape
    frames = random.integers(0, 256, (count, *shape), np.uint8)
    return {"telemetry": random.uniform(-2, 2, (count, 9)).astype(np.float32), "vision": frames}


@pytest.mark.parametrize(
    ("algo", "channels", "env"),
    [("ppo_cnn", 4, {"grayscale": True, "frame_stack": 4}), ("ppo_cnn", 6, {"frame_stack": 2}), ("sac", 3, {})],
)
def test_frames_go_in_as_they_come(algo: str, channels: int, env: dict, wavy: Track, kart: Vehicle, tmp_path: Path):
    model, path = seeing_model(wavy, kart, algo, **env), tmp_path / "policy.onnx"
    parity = export_policy(model, path, metadata={}, observations=seen(model))
    assert 0 <= parity.max_difference <= 1e-5
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [(part.name, part.shape, part.type) for part in session.get_inputs()] == [
        ("vision", ["batch", 40, 40, channels], "tensor(uint8)"),
        ("telemetry", ["batch", 9], "tensor(float)"),
    ]
    assert session.get_outputs()[0].shape == ["batch", 2]
    fresh = seen(model, 37, seed=1)
    expected = model.predict(fresh, deterministic=True)[0]
    for rows in (1, 37):
        inputs = {name: array[:rows] for name, array in fresh.items()}
        np.testing.assert_allclose(session.run(None, inputs)[0], expected[:rows], atol=1e-5)
    assert np.abs(expected).max() > 0.9
    turned = {**fresh, "vision": fresh["vision"][..., ::-1].copy()}  # channels, or the order of the stack
    assert np.abs(session.run(None, turned)[0] - expected).max() > 1e-3


def test_the_file_is_exact_where_learning_was_not(wavy: Track, kart: Vehicle, tmp_path: Path):
    model = seeing_model(wavy, kart, precision="bfloat16")
    rough = model.predict(seen(model), deterministic=True)[0]
    assert export_policy(model, tmp_path / "policy.onnx", metadata={}, observations=seen(model)).max_difference <= 1e-5
    np.testing.assert_array_equal(model.predict(seen(model), deterministic=True)[0], rough)  # it learns on as it did
    export.use_float32(model.policy)
    exact = model.predict(seen(model), deterministic=True)[0]
    assert 1e-5 < np.abs(exact - rough).max() < 0.3
    act = onnx_policy(onnx_session(tmp_path / "policy.onnx"))
    np.testing.assert_allclose(act(seen(model)), exact, atol=1e-5)


def test_the_file_says_how_its_frames_were_taken(wavy: Track, kart: Vehicle):
    task = VisionTask([wavy], kart, races=1, width=48, height=40, grayscale=True, frame_stack=3, camera={"pitch": 30.0})
    told = {name: json.loads(text) for name, text in describe(task, {}).items() if text.startswith(("[", "{"))}
    assert told["observation_names"] == list(told["telemetry_units"]) == list(TELEMETRY)
    assert told["camera"]["pitch_deg"] == pytest.approx(30)
    assert told["camera"]["above_m"] == pytest.approx(3.4 * kart.width)
    frames = told["frames"]
    assert (frames["width"], frames["height"], frames["stack"], frames["order"]) == (48, 40, 3, "oldest to newest")
    assert set(told["units"]) == {"vision", "telemetry", "action"}


def test_the_model_goes_on_training_as_it_was(tmp_path: Path):
    model = random_model("ppo")
    model.policy.set_training_mode(True)
    before = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
    export_policy(model, tmp_path / "policy.onnx", metadata={}, observations=recorded())
    assert all((before[name] == tensor).all() for name, tensor in model.policy.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.policy.parameters())


@pytest.mark.parametrize("error", [1e-3, np.nan])
def test_a_difference_leaves_the_file_that_was_there(error: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model, path = random_model("ppo"), tmp_path / "policy.onnx"
    path.write_text("the last good one")
    original = export._traceable

    def spoil(module: torch.nn.Module, error: float) -> torch.nn.Module:
        with torch.no_grad():
            module.rest[1].bias += error
        return module

    monkeypatch.setattr(export, "_traceable", lambda *arguments: spoil(original(*arguments), error))
    with pytest.raises(ExportFailed, match="differ by"):
        export_policy(model, path, metadata={}, observations=recorded())
    assert path.read_text() == "the last good one"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_exported_is_refused(kart: Vehicle, tmp_path: Path):
    path = tmp_path / "policy.onnx"
    with pytest.raises(ValueError, match="parity needs >= 1000 recorded observations, got 999"):
        export_policy(random_model("ppo"), path, metadata={}, observations=recorded(999))
    with pytest.raises(InputError, match=r"opset must be in 13\.\.20, got 21"):
        export_policy(random_model("ppo"), path, metadata={}, observations=recorded(), opset=21)
    with pytest.raises(ValueError, match="asks the algorithm for its greedy policy, got PPO"):
        export_policy(linear_driver(kart, 15.0, preview=1), path, metadata={}, observations=recorded(size=12))
    model = random_model("ppo")
    model.action_space.high[:] = 2
    with pytest.raises(ValueError, match=r"actions in \[-1, 1\]"):
        export_policy(model, path, metadata={}, observations=recorded())
    assert list(tmp_path.iterdir()) == []


def test_recorded_observations_are_those_of_a_drive(wavy: Track, kart: Vehicle):
    def driver(observation: np.ndarray) -> np.ndarray:
        return np.stack([observation[:, 8], 0.3 - observation[:, 7]], axis=1)

    task = SensorsTask([wavy], kart, races=16)
    rows = record_observations(driver, task, 1000)
    assert rows.shape == (16 * 63, 10)
    other = SensorsTask([wavy], kart, races=16)
    np.testing.assert_array_equal(rows[:16], other.reset()[0])
    np.testing.assert_array_equal(rows[16:32], other.step_batch(driver(rows[:16])).observation)
    np.testing.assert_array_equal(record_observations(driver, task, 1000), rows)


def test_the_file_says_what_it_needs(wavy: Track, kart: Vehicle):
    task = SensorsTask([wavy], kart, races=1, preview=2)
    told = describe(task, {"env": group("env/mlp")}, "run-7")
    assert (told["run_id"], json.loads(told["tracks"])) == ("run-7", ["wavy"])
    assert json.loads(told["vehicle"])["mass"] == kart.mass
    assert json.loads(told["env"])["_target_"] == "racing.envs.sensors.SensorsTask"
    previews = ["preview_bearing_1", "preview_bearing_2", "preview_speed_1", "preview_speed_2"]
    assert json.loads(told["observation_names"])[-6:] == ["heading_error", "yaw_rate", *previews]
    assert json.loads(told["action_names"]) == ["steering", "throttle"]
    assert float(told["step_s"]) == pytest.approx(0.1)


def test_the_verb_exports_a_run(kart: Vehicle, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = make_run(tmp_path, linear_driver(kart, 15.0))
    arguments = ["export", f"run={run.name}", f"paths.outputs={tmp_path}"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert str(run.path / "export" / "policy.onnx") in printed
    assert "agrees with torch to" in printed
    assert main([*arguments, "opset=15", f"out={tmp_path / 'old.onnx'}"]) == 0
    assert "opset 15" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(tmp_path / "old.onnx", providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["tracks"]) == ["oval"]


def test_the_verb_fails_if_the_two_differ(
    kart: Vehicle, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    run = make_run(tmp_path, linear_driver(kart, 15.0))
    monkeypatch.setattr("racing.policies.export.PARITY_TOLERANCE", -1.0)
    assert main(["export", f"run={run.path}"]) == 1
    assert "onnxruntime and torch differ" in capsys.readouterr().err
    assert not (run.path / "export" / "policy.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["opset=x"], "opset must be a whole number, got 'x'"),
        (["run=policy.onnx"], "it is exported already"),
        (["run=nothing"], "must be a run directory"),
        (["ops=3"], "unknown key 'ops'; did you mean opset?"),
        (["+ops=3"], "must be key=value with a key of `racing export --help`"),
        (["paths=3"], "paths.outputs must be a folder"),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert main(["export", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
