"""What a container would lack is said before a job begins: runs of this machine, packages, a whole configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from racing.cli import main
from racing.errors import InputError
from racing.runs.directory import RunDirectory, all_runs
from racing.runs.provenance import version
from racing_launchers.backend import launcher_config, make_backend
from racing_launchers.modal import needs, service
from racing_launchers.remote.needs import extra_packages
from tests.launchers.modal_box import Box

SMALL = [
    "debug=fast",
    "env=mlp",
    "algo.n_steps=16",
    "algo.total_timesteps=2048",
    "eval.every_steps=0",
    "eval.episodes=2",
]
TRAIN = ["train", *SMALL, "launcher=modal", "launcher.gpu=null", "seed=7"]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a run that lies on this machine only."""
    folder = tmp_path_factory.mktemp("outputs")
    assert main(["train", *SMALL, "tracking=none", "name=first", f"paths.outputs={folder}"]) == 0
    return folder


@pytest.fixture
def run(outputs: Path) -> RunDirectory:
    return next(run for run in all_runs(outputs) if run.name.startswith("first-"))


def refused(arguments: list[str], outputs: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    before = sorted(outputs.rglob("*"))
    assert main([*arguments, f"paths.outputs={outputs}"]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("racing ")]
    assert len(said) == 1
    assert sorted(outputs.rglob("*")) == before
    return said[0]


@pytest.mark.slow
def test_a_run_of_this_machine_is_refused_until_it_is_on_the_volume(
    box: Box, outputs: Path, run: RunDirectory, capsys: pytest.CaptureFixture[str]
):
    bring = f"bring it there: racing runs push {run.name} --to modal://racing-runs paths.outputs={outputs}"
    whole = [
        f"phases={{a: ['seed=1', 'init_from={run.name}']}}",
        f"init_from={run.name}@policy",
        f"init_from={run.name}",
    ]
    for begin in whole:
        line = refused([*TRAIN, "tracking=none", begin], outputs, capsys)
        assert "lies on this machine only, a container does not see it" in line
        assert bring in line
    line = refused([*TRAIN, "tracking=none", f"init_from={run.path}"], outputs, capsys)
    assert f"write init_from={run.name}" in line
    line = refused([*TRAIN, "tracking=none", f"init_from={run.paths.policy_zip}"], outputs, capsys)
    assert "name a run that is on modal://racing-runs" in line
    assert bring in refused(["evaluate", f"run={run.name}", "launcher=modal"], outputs, capsys)
    assert "run=latest: no run is on modal://racing-runs" in refused(["evaluate", "launcher=modal"], outputs, capsys)
    assert "is asked of MLflow" in refused(["export", f"run={'a' * 32}", "launcher=modal"], outputs, capsys)
    assert "neither here nor on" in refused(["evaluate", "run=nosuch", "launcher=modal"], outputs, capsys)
    table = ["evaluate", "driver=optimal", "track=[oval,maps/nosuch.csv]", "launcher=modal"]
    line = refused([*table, "launcher.tracks_volume=null"], outputs, capsys)
    assert "track 'maps/nosuch.csv' does not travel with the code" in line
    assert box.started() == []
    assert box.requests("VolumeGetOrCreate") == [] or not box.volumes.all


@pytest.mark.slow
def test_a_run_that_is_there_may_be_named(outputs: Path, run: RunDirectory, monkeypatch: pytest.MonkeyPatch):
    resources = make_backend(launcher_config("modal", [])).resources  # type: ignore[attr-defined]

    class There:
        def files(self, folder: str) -> list[object]:
            found = [f"runs/{run.name}/export/policy.zip", f"runs/{run.name}/checkpoints/000002048/COMPLETE"]
            return [type("File", (), {"path": path}) for path in found if path.startswith(folder)]

    def check(init_from: str, commands: tuple[list[str], ...] = ()) -> None:
        config = {"paths": {"outputs": str(outputs)}, "init_from": init_from, "algo": {}}
        needs.check_needs([config] if init_from else [], commands, resources, There)  # type: ignore[arg-type]

    check(run.name)
    check(f"{run.name}@2048#0123456789ab")
    check("", (["evaluate", f"run={run.name}"], ["export"], ["evaluate", f"run=/runs/runs/{run.name}"]))
    needs.check_needs([], [["evaluate", "driver=optimal", "track=oval"]], resources, lambda: None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="lies on this machine only"):
        check(f"{run.name}@4096")
    with pytest.raises(InputError, match="tuning.storage=a.journal is a file"):
        needs.check_needs([{"tuning": {"storage": "a.journal"}}], (), resources, There)  # type: ignore[arg-type]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    check("models:/kart@champion")
    check("another-run-00000000")
    with pytest.raises(InputError, match="lies on this machine only"):
        needs.check_needs([{"paths": {"outputs": str(outputs)}, "init_from": run.name}], (), resources, lambda: None)


@pytest.mark.skipif(version("tensorboard") is None, reason="pip install tensorboard")
def test_packages_that_a_setting_needs_are_in_the_image():
    assert extra_packages([{"tracking": {"tensorboard": False}}, {}]) == []
    found = extra_packages([{"tracking": {"tensorboard": True}}])
    assert f"tensorboard=={version('tensorboard')}" in found
    backend = make_backend(launcher_config("modal", ["packages=[einops]"]))
    backend._with_packages([{"tracking": {"tensorboard": True}}])  # type: ignore[attr-defined]
    backend._with_packages([{"tracking": {"tensorboard": True}}])  # type: ignore[attr-defined]
    assert backend.resources.packages == ["einops", *found]  # type: ignore[attr-defined]


def test_the_plan_says_why_it_may_cost_more_than_once(box: Box):
    backend = make_backend(launcher_config("modal", []))
    (why,) = [line for line in backend.plan(1) if line.startswith("why")]
    assert "11 x: a job whose time is over, or whose container is lost, resumes in another" in why
    assert "launcher.max_restarts=0" in why
    backend.resources = replace(backend.resources, max_restarts=0)  # type: ignore[attr-defined]
    assert not [line for line in backend.plan(1) if line.startswith("why")]


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ({"algo.learning_rate": 1e308}, "algo.learning_rate must be a number in"),
        ({"algo.learning_rate": -0.0}, "algo.learning_rate must be a number in"),
        ({"seed": 1000.0}, "seed must be a whole number in .*; write 1000"),
        ({"seed": -0.0}, "seed must be a whole number"),
        ({"seed": 10**400}, "seed must be a whole number"),
        ({"algo.gamma": float("nan")}, "algo.gamma must be a number"),
        ({"algo.batch_size": 1000}, "algo.batch_size must divide"),
        ({"eval.laps": 0}, "eval.laps must be a whole number"),
        ({"env.frame_stack": 3}, "env.frame_stack"),
        (
            {"algo.n_envs": 1 << 20, "algo.total_timesteps": 1 << 40},
            "algo.n_envs is too large: about .* GiB would be needed",
        ),
    ],
    ids=str,
)
def test_a_request_is_checked_whole_before_it_costs_anything(
    overrides: dict[str, float], complaint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    about = {"app": "a", "volume": "v", "runs": str(tmp_path), "gpus": [], "commit_every": 1, "tracked": False}
    about |= {"memory": 8192, "cpu": 4.0}
    monkeypatch.setattr(service, "library", lambda: pytest.fail("Modal was asked"))
    with pytest.raises(InputError, match=complaint):
        service.Service(about).train({"overrides": overrides})
    assert not list(tmp_path.iterdir())


def test_a_right_request_passes():
    assert service.checked_run(["debug=fast", "seed=5"], 8192)["seed"] == 5
