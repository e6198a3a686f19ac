"""A file from elsewhere never has code run: what would is refused in one line, what need not is read without it."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
import onnx
import pytest
import torch
from stable_baselines3 import PPO, SAC

from racing.cli import main
from racing.errors import InputError
from racing.onnx_files import onnx_session
from racing.policies.loading import load_model
from racing.policies.pickled_data import Made, Name, read_pickle
from tests.conftest import REPOSITORY
from tests.support.drivers import random_model

OURS = REPOSITORY / "tests/data/ppo_without_tag.zip"


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.path}",))


def pickled(value: Any) -> dict[str, str]:
    """An entry of `data`."""
    return {":type:": "x", ":serialized:": base64.b64encode(cloudpickle.dumps(value)).decode()}


def changed(target: Path, entries: dict[str, Any] | None = None, members: dict[str, bytes] | None = None) -> Path:
    """A policy.zip whose `data` and files are changed; None takes an entry away."""
    with zipfile.ZipFile(OURS) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = (members or {}).get(name, old.read(name))
            if name == "data":
                content = json.dumps(json.loads(content) | (entries or {})).encode()
            new.writestr(name, content)
    return target


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def evil(name: str, mark: Path) -> dict[str, Any]:
    """Arguments of `changed`: a pickle that makes `mark`, in the place called `name`."""
    if name.endswith(".pth"):
        return {"members": {name: saved({"log_std": Touch(mark)})}}
    return {"entries": {name: pickled({"activation_fn": Touch(mark)} if name == "policy_kwargs" else Touch(mark))}}


NOT_NEEDED = ("lr_schedule", "clip_range", "rollout_buffer_class", "_last_obs", "ep_info_buffer", "anything")
NEEDED = ("observation_space", "action_space", "policy_class", "policy_kwargs", "policy.pth")


@pytest.mark.parametrize("place", [*NOT_NEEDED, "policy.optimizer.pth", "pytorch_variables.pth"])
def test_what_is_not_needed_is_not_looked_at(place: str, tmp_path: Path):
    mark = tmp_path / "executed"
    model = load_model(changed(tmp_path / "policy.zip", **evil(place, mark)))
    assert not mark.exists()
    assert model.predict(np.zeros(10, np.float32))[0].shape == (2,)


@pytest.mark.parametrize("place", NEEDED)
def test_what_would_run_code_is_refused(place: str, tmp_path: Path):
    mark = tmp_path / "executed"
    path = changed(tmp_path / "policy.zip", **evil(place, mark))
    with pytest.raises(InputError, match=r"trust=true does, for a file of your own|holds more than tensors"):
        load_model(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "run={}"],
        ["export", "run={}"],
        ["train", "debug=fast", "init_from={}"],
        ["train", "debug=fast", "env=vision", "algo=ppo_cnn", "algo.teacher={}"],
    ],
    ids=lambda command: command[-1].partition("=")[0],
)
def test_every_command_refuses_it_in_one_line(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    path = changed(tmp_path / "policy.zip", **evil("observation_space", tmp_path / "executed"))
    assert main([argument.format(path) for argument in command]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "trust=true" in error
    assert [file.name for file in tmp_path.iterdir()] == ["policy.zip"]


def test_trust_loads_it_as_stable_baselines3_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    mark = tmp_path / "executed"
    path = changed(tmp_path / "policy.zip", **evil("clip_range", mark))
    load_model(path, trust=True)
    assert mark.exists()


@pytest.mark.parametrize(
    ("entries", "members", "says"),
    [
        ({"policy_kwargs": {"net_arch": [1_000_000_000, 1_000_000_000]}}, {}, "larger than its weights"),
        ({"policy_kwargs": {"net_arch": {"pi": [4] * 100_000, "vf": []}}}, {}, "has the shape|larger than its weights"),
        ({"policy_kwargs": {"net_arch": [8], "colour": 1}}, {}, "colour"),
        ({"policy_kwargs": []}, {}, "policy_kwargs"),
        ({"policy_kwargs": {"features_extractor_class": "os.system"}}, {}, "features_extractor_class"),
        ({"policy_class": "racing.algos.ppo.BatchPPO"}, {}, "policy_class"),
        ({"policy_class": "torch.nn.Linear"}, {}, "policy_class"),
        ({"num_timesteps": "many"}, {}, "num_timesteps"),
        ({"observation_space": None}, {}, "space"),
        ({"observation_space": {":serialized:": "gASV"}}, {}, "pickle"),
        ({"observation_space": pickled(gymnasium.spaces.Discrete(3))}, {}, "space"),
        ({"observation_space": pickled(gymnasium.spaces.Box(-1, 1, (11,)))}, {}, "has the shape"),
        ({}, {"policy.pth": b"nothing"}, "zip"),
        ({}, {"policy.pth": saved([1, 2])}, "must be a policy"),
        ({}, {"policy.pth": saved({"log_std": torch.zeros(1).expand(1 << 40)})}, "no plain tensor"),
        ({}, {"data": b"[" * 100_000}, "must be a policy"),
    ],
)
def test_other_files_are_refused(entries: dict[str, Any], members: dict[str, bytes], says: str, tmp_path: Path):
    path = changed(tmp_path / "policy.zip", entries, members) if "data" not in members else tmp_path / "deep.zip"
    if not path.exists():
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data", members["data"])
            archive.writestr("policy.pth", b"")
    with pytest.raises(InputError, match=says):
        load_model(path)


@pytest.mark.parametrize("member", ["data", "policy.pth"])
def test_a_file_that_unpacks_to_any_size_is_refused(member: str, tmp_path: Path):
    """300 MB in 300 kB."""
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("data", "policy.pth"):
            with archive.open(name, "w") as file:
                for _ in range(300 if name == member else 0):
                    file.write(bytes(1 << 20))
                file.write(b"{}")
    with pytest.raises(InputError, match=r"no weights are so|at most"):
        load_model(tmp_path / "bomb.zip")


def test_a_pickle_is_read_as_data(tmp_path: Path):
    """Every protocol, nothing looked up."""
    box = gymnasium.spaces.Box(-1, 1, (3,))
    for protocol in range(2, 6):
        found = read_pickle(pickle.dumps({"a": [1, 2.5, (None, True)], "b": box, "c": os.system}, protocol)).texts()
        assert found["a"] == [1, 2.5, (None, True)]
        assert isinstance(found["b"], Made)
        assert found["b"].maker == Name("gymnasium.spaces.box.Box") or protocol < 2
        assert found["c"] == Name("posix.system")
    mark = tmp_path / "executed"
    for protocol in range(6):
        read_pickle(pickle.dumps(Touch(mark), protocol))
    assert not mark.exists()
    for damaged in (b"", b"\x80\x04", b"garbage", pickle.dumps([1])[:-3], b"\x80\x04R.", b"(((."):
        with pytest.raises(ValueError, match="a pickle in it"):
            read_pickle(damaged)


class Stock(gymnasium.Env):
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, space: gymnasium.Space[Any]) -> None:
        self.observation_space = space


SPACES: dict[str, gymnasium.Space[Any]] = {
    "MlpPolicy": gymnasium.spaces.Box(np.array([-1.0, -2, -np.inf]), np.array([1.0, 2, np.inf]), dtype=np.float64),
    "CnnPolicy": gymnasium.spaces.Box(0, 255, (36, 36, 3), np.uint8),
    "MultiInputPolicy": gymnasium.spaces.Dict(
        {"b": gymnasium.spaces.Box(-1, 1, (3,)), "a": gymnasium.spaces.Box(0, 9, (2, 2))}
    ),
}


@pytest.mark.parametrize("algorithm", [PPO, SAC])
@pytest.mark.parametrize("policy", SPACES)
def test_files_of_stable_baselines3_are_read(algorithm: Any, policy: str, tmp_path: Path):
    kwargs = {"net_arch": [16, 8], "activation_fn": torch.nn.GELU, "optimizer_class": torch.optim.RMSprop}
    small: dict[str, Any] = {"n_steps": 2, "batch_size": 2} if algorithm is PPO else {"buffer_size": 2}
    model = algorithm(policy, Stock(SPACES[policy]), policy_kwargs=kwargs, device="cpu", **small)
    model.save(tmp_path / "policy.zip")
    loaded = load_model(tmp_path / "policy.zip")
    assert loaded.observation_space == model.observation_space
    observation = model.observation_space.sample()
    expected = model.predict(observation, deterministic=True)[0]
    np.testing.assert_array_equal(loaded.predict(observation, deterministic=True)[0], expected)


WITHOUT_RACING = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("racing", "racing_launchers"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Block())
import numpy as np, stable_baselines3
for kind, path in (("PPO", sys.argv[1]), ("SAC", sys.argv[2])):
    model = getattr(stable_baselines3, kind).load(path, device="cpu")
    print(*model.predict(np.full((1, 10), 0.01, np.float32), deterministic=True)[0][0])
assert not [name for name in sys.modules if name.startswith("racing")]
"""


@pytest.mark.slow
def test_plain_stable_baselines3_loads_what_we_save(tmp_path: Path):
    """For a policy that is Stable-Baselines3's own, racing need not be installed."""
    models = {kind: random_model(kind) for kind in ("ppo", "sac")}
    for kind, model in models.items():
        model.save(tmp_path / f"{kind}.zip")
    command = [sys.executable, "-c", WITHOUT_RACING, *(str(tmp_path / f"{kind}.zip") for kind in models)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    observation = np.full((1, 10), 0.01, np.float32)
    expected = [model.predict(observation, deterministic=True)[0][0] for model in models.values()]
    found = [[float(number) for number in line.split()] for line in done.stdout.splitlines()]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def linear(path: Path, change: Callable[[Any], None]) -> Path:
    """An ONNX model of one layer."""
    weights = onnx.numpy_helper.from_array(np.zeros((4, 2), np.float32), "w")
    inputs = [onnx.helper.make_tensor_value_info("observation", 1, ["N", 4])]
    outputs = [onnx.helper.make_tensor_value_info("action", 1, ["N", 2])]
    node = onnx.helper.make_node("MatMul", ["observation", "w"], ["action"])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", inputs, outputs, [weights]),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
    )
    model.ir_version = 8
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_in_other_files_are_refused(tmp_path: Path):
    def outside(model: Any) -> None:
        (tensor,) = model.graph.initializer
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "secret"

    (tmp_path / "secret").write_bytes(bytes(32))
    onnx_session(linear(tmp_path / "good.onnx", lambda model: None))
    with pytest.raises(InputError, match="must hold its weights itself, it names other files for them"):
        onnx_session(linear(tmp_path / "bad.onnx", outside))


def test_a_pipe_is_no_policy(tmp_path: Path):
    for name in ("policy.onnx", "policy.zip"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(InputError, match="it is a pipe, not a file"):
            (onnx_session if name.endswith("onnx") else load_model)(tmp_path / name)
