"""`racing train` from end to end: what it prints, leaves behind and records, and what it does when it is stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from racing.cli import main
from racing.config import compose, plain
from racing.evaluation.laps import MILESTONES
from racing.policies.loading import load_policy
from racing.runs.directory import RunDirectory, all_runs
from racing.runs.identity import config_hash, flatten
from racing.runs.journal import as_text, read_journal
from tests.support.fork_client import real_processes
from tests.support.mlflow_server import PATIENCE, Copy

pytestmark = pytest.mark.slow

ARGUMENTS = ["debug=fast", "seed=3", "algo.total_timesteps=8192"]  # two updates
UNHURRIED = ["tracking.close_timeout=600"]  # on a busy machine MLflow alone takes a minute to import
FILES = {"config.yaml", "overrides.yaml", "provenance.json", "summary.json", "journal.jsonl", "mlflow.json"}
FILES |= {"result.png"}
PICTURES = {"laps.csv", "telemetry.parquet", "telemetry.csv", "lap.png", "lap_channels.png", "replay.html"}


def command(outputs: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "racing", "train", *arguments, *UNHURRIED, f"paths.outputs={outputs}"]


def newest(outputs: Path) -> RunDirectory:
    return all_runs(outputs)[0]


def recorded(run: RunDirectory, kind: str) -> list[dict]:
    return [line.record for line in read_journal(run.path / "journal.jsonl") if line.record["kind"] == kind]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("train") / "outputs"


@pytest.fixture(scope="module")
def trained(outputs: Path) -> subprocess.CompletedProcess[str]:
    """One run by its command line, in a folder that is not the checkout."""
    outputs.parent.mkdir(exist_ok=True)
    with real_processes():
        return subprocess.run(command(outputs, *ARGUMENTS), capture_output=True, text=True, cwd=outputs.parent)


@pytest.fixture(scope="module")
def run(trained: subprocess.CompletedProcess[str], outputs: Path) -> RunDirectory:
    assert trained.returncode == 0, trained.stderr
    return newest(outputs)


@pytest.fixture(scope="module")
def copy(run: RunDirectory) -> Copy:
    return Copy(run)


def test_it_ends_well_and_prints_where_everything_is(run: RunDirectory, trained, outputs: Path):
    assert "Traceback" not in trained.stderr
    for text in (run.name, "finish rate", "unseen starts", "steps/s", "kart with saturated tyres", "racing ui"):
        assert text in trained.stdout
    places = dict(re.findall(r"^(run|picture|onnx) +(\S.*)$", trained.stdout, re.MULTILINE))
    assert places.keys() == {"run", "picture", "onnx"}
    assert all(Path(place).exists() for place in places.values())
    assert f"mlflow   run {run.mlflow['run_id']}" in trained.stdout
    left = {path.name for path in outputs.parent.iterdir()}
    assert left == {"outputs"}  # nothing beside it, such as mlruns or hydra's folders
    assert {path.name for path in outputs.iterdir()} <= {"runs", "mlflow.db", "mlflow.lock", "mlartifacts"}


def test_the_run_directory_is_complete(run: RunDirectory):
    assert run.status == "FINISHED"
    assert {path.name for path in run.path.iterdir()} >= FILES
    assert {path.name for path in (run.path / "export").iterdir()} == {"policy.zip", "policy.onnx"}
    evaluated = run.path / "evaluations" / "000008192"
    assert {path.name for path in evaluated.iterdir()} == PICTURES
    assert (run.path / "result.png").read_bytes() == (evaluated / "lap.png").read_bytes()
    assert all(path.stat().st_size > 10_000 for path in evaluated.glob("*.png"))  # something is drawn on them
    assert not list(run.path.rglob("*.tmp*"))
    assert run.config["algo"]["total_timesteps"] == 8192
    assert yaml.safe_load((run.path / "overrides.yaml").read_text())[:3] == ARGUMENTS
    summary = run.summary
    assert summary["steps"] == 8192
    assert summary["episodes"] == 4
    assert summary["steps_per_s"] > 0
    for key in ("finish_rate", "lap_time_s", "lap_ratio", "tyre_model", "learning_s", "best_step", *MILESTONES):
        assert key in summary
    provenance = json.loads((run.path / "provenance.json").read_text())
    assert provenance["tracks"]["circuit"]["sha256"]
    assert provenance["packages"]["torch"]


def test_mlflow_has_the_whole_configuration_as_parameters(run: RunDirectory, copy: Copy):
    assert copy.status == "FINISHED"
    assert copy.params == {name: as_text(value) for name, value in flatten(run.config).items()}
    assert copy.params["algo.gamma"] == str(run.config["algo"]["gamma"])
    assert copy.params["env.reward.progress"] == str(run.config["env"]["reward"]["progress"])
    assert copy.params["vehicle.mass"] == "165.0"


def test_mlflow_has_the_metrics_over_steps(run: RunDirectory, copy: Copy):
    for name in ("train/policy_loss", "train/value_loss", "train/std", "time/fps"):
        assert [step for step, _ in copy.points(name)] == [4096, 8192], name
    for name in ("eval/finish_rate", "eval/off_track_m", "eval/reward_terms/progress", "export/max_difference"):
        assert [step for step, _ in copy.points(name)] == [8192], name
    assert [step for step, _ in copy.points("validation/finish_rate")] == [8192]
    assert copy.run.data.metrics["export/max_difference"] <= 1e-5
    assert copy.run.data.metrics["eval/finish_rate"] == run.summary["finish_rate"]
    written = Counter()
    for line in recorded(run, "metrics"):
        written.update((name, line["step"]) for name in line["values"])
    assert set(written.values()) == {1}
    assert sum(copy.points(name).total() for name in copy.run.data.metrics) == written.total()


def test_mlflow_has_the_tags_that_a_run_is_found_by(run: RunDirectory, copy: Copy):
    provenance = json.loads((run.path / "provenance.json").read_text())
    assert copy.tags["racing.config_hash"] == config_hash(run.config)
    assert copy.tags["racing.config_hash"].startswith(run.name.rpartition("-")[2])
    assert copy.tags["racing.track_sha256"] == provenance["tracks"]["circuit"]["sha256"]
    assert copy.tags["racing.tracks"] == "circuit"
    assert copy.tags["racing.vehicle"] == "kart"
    assert copy.tags["racing.tyre_model"] == "saturated"
    assert copy.tags["racing.algorithm"] == "BatchPPO"
    assert copy.tags.get("mlflow.source.git.commit") == provenance["commit"]
    assert copy.run.info.run_name == run.name


def test_mlflow_has_the_files(copy: Copy):
    assert copy.files() >= {"config.yaml", "overrides.yaml", "provenance.json", "summary.json", "export", "evaluations"}
    assert "result.png" in copy.files()
    assert copy.files("export") == {"export/policy.onnx", "export/policy.zip"}
    folder = "evaluations/000008192"
    assert copy.files(folder) == {f"{folder}/{name}" for name in PICTURES}
    assert yaml.safe_load(copy.text("config.yaml"))["seed"] == 3


def test_the_logged_model_predicts_what_the_policy_does(run: RunDirectory, copy: Copy):
    import mlflow
    from stable_baselines3 import PPO

    (model,) = copy.models()
    assert model.name == "policy"
    assert model.status == "READY"
    mlflow.set_tracking_uri(run.mlflow["uri"])
    loaded = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
    policy = PPO.load(run.path / "export" / "policy.zip", device="cpu")
    size = policy.observation_space.shape[0]
    observation = np.random.default_rng(0).uniform(-1, 1, (64, size)).astype(np.float32)
    predicted = loaded.predict(observation)
    action = next(iter(predicted.values())) if isinstance(predicted, dict) else np.asarray(predicted)
    np.testing.assert_allclose(action, policy.predict(observation, deterministic=True)[0], atol=1e-5)


def test_the_run_can_be_judged_and_exported_again(run: RunDirectory, outputs: Path, capsys):
    starts = ["episodes=4", "laps=1", "seed=3"]
    capsys.readouterr()
    assert main(["evaluate", "run=latest", *starts, "format=json", f"paths.outputs={outputs}"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["policy"] == run.name
    # The same starts, and the policy that was kept: the same result as at the end of the training.
    assert told["summary"]["reward"] == pytest.approx(run.summary["reward"], abs=1e-3)
    assert main(["export", f"run={run.name}", f"out={outputs.parent / 'again.onnx'}", f"paths.outputs={outputs}"]) == 0
    assert (outputs.parent / "again.onnx").stat().st_size > 1000
    (outputs.parent / "again.onnx").unlink()


def test_the_same_command_again_only_prints_the_summary(run: RunDirectory, trained, outputs: Path, capsys):
    journal = (run.path / "journal.jsonl").read_bytes()
    capsys.readouterr()
    assert main(["train", *ARGUMENTS, f"paths.outputs={outputs}"]) == 0
    said = capsys.readouterr().out
    assert "already finished" in said
    assert "fresh=true" in said
    assert said.splitlines()[:5] == trained.stdout.splitlines()[:5]
    assert (run.path / "journal.jsonl").read_bytes() == journal
    assert len(all_runs(outputs)) == 1


def test_fresh_trains_anew_with_the_same_result(run: RunDirectory, outputs: Path):
    before = run.mlflow["run_id"]
    policy = (run.path / "export" / "policy.onnx").read_bytes()
    metrics = without_clock(run)
    assert main(["train", *ARGUMENTS, "fresh=true", f"paths.outputs={outputs}"]) == 0
    aside = RunDirectory(run.path.with_name(run.path.name + ".1"))
    assert aside.mlflow["run_id"] == before
    assert (aside.path / "export" / "policy.onnx").read_bytes() == policy
    assert run.mlflow["run_id"] != before
    assert Copy(run).status == Copy(aside).status == "FINISHED"
    assert without_clock(run) == metrics
    assert (run.path / "export" / "policy.onnx").read_bytes() == policy


def without_clock(run: RunDirectory) -> list:
    lines = [(line["step"], line["values"]) for line in recorded(run, "metrics")]
    return [(step, {name: value for name, value in values.items() if "time/" not in name}) for step, values in lines]


def test_a_failing_run_is_recorded_as_failed_at_once(outputs: Path):
    """A folder lies where the exported file must go."""
    arguments = ["debug=fast", "name=doomed"]
    path = outputs / "runs" / f"doomed-{config_hash(plain(compose('train', arguments)))[:8]}"
    (path / "export" / "policy.onnx").mkdir(parents=True)
    done = subprocess.run(command(outputs, *arguments), capture_output=True, text=True, cwd=outputs.parent)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "policy.onnx" in done.stderr
    failed = RunDirectory(path)
    assert failed.status == "FAILED"
    assert failed.summary == {}
    copy = Copy(failed)
    assert copy.status == "FAILED"
    assert "policy.onnx" in copy.text("error.txt")
    assert "Traceback" in copy.text("error.txt")
    # Once the cause is gone, the same command completes the run.
    (path / "export" / "policy.onnx").rmdir()
    assert main(["train", *arguments, f"paths.outputs={outputs}"]) == 0
    assert (Copy(failed).status, Copy(failed).run_id) == ("FINISHED", copy.run_id)


def test_a_killed_run_is_completed_by_the_same_command_without_doubled_points(outputs: Path):
    arguments = ["debug=fast", "name=killed", "algo.total_timesteps=65536", "eval.every_steps=0", "eval.episodes=2"]
    process = subprocess.Popen(
        command(outputs, *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    path = outputs / "runs" / f"killed-{config_hash(plain(compose('train', arguments)))[:8]}"
    run = RunDirectory(path)
    deadline = time.monotonic() + PATIENCE
    while not run.exists or len(recorded(run, "metrics")) < 6:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)  # the sender, too: it is in the same group
    process.wait()
    assert run.status == "KILLED"
    steps = {line["step"] for line in recorded(run, "metrics")}
    assert max(steps) < 65536
    assert main(["train", *arguments, f"paths.outputs={outputs}"]) == 0
    assert run.status == "FINISHED"
    written = Counter((line["step"], name) for line in recorded(run, "metrics") for name in line["values"])
    assert set(written.values()) == {1}
    assert {step for step, name in written if name == "train/policy_loss"} == set(range(4096, 65537, 4096))
    copy = Copy(run)
    assert copy.status == "FINISHED"
    for name in copy.run.data.metrics:
        points = [step for step, _ in copy.points(name).elements()]
        assert len(points) == len(set(points)), name
    assert len(copy.points("train/policy_loss")) == 16
    assert len(recorded(run, "start")) == 2


def test_a_sweep_trains_each_value(tmp_path: Path):
    arguments = ["debug=fast", "-m", "seed=1,2", "eval.episodes=2", "tracking=none", f"paths.outputs={tmp_path}"]
    assert main(["train", *arguments]) == 0
    runs = sorted(all_runs(tmp_path), key=lambda run: run.config["seed"])
    assert [run.config["seed"] for run in runs] == [1, 2]
    assert [run.status for run in runs] == ["FINISHED", "FINISHED"]
    assert runs[0].mlflow == {}
    policies = [(run.path / "export" / "policy.onnx").read_bytes() for run in runs]
    assert policies[0] != policies[1]


def test_evolution_of_weights_and_of_given_ones(tmp_path: Path):
    """Trained, evaluated and exported; a second run begins at the mean of the first."""
    arguments = ["debug=fast", "algo=cmaes", "env=mlp", "track=oval", "tracking=none", f"paths.outputs={tmp_path}"]
    assert main(["train", *arguments, "algo.total_timesteps=60000", "eval.every_steps=20000"]) == 0
    run = newest(tmp_path)
    assert run.name.startswith("mlp-oval-cmaes-")
    assert run.status == "FINISHED"
    assert run.summary["steps"] >= 60_000
    names = {name for line in recorded(run, "metrics") for name in line["values"]}
    told = ("fitness_mean", "fitness_best", "fitness_of_mean", "sigma", "horizon", "survivors", "generation")
    assert {f"train/{name}" for name in told} | {"validation/finish_rate", "export/max_difference"} <= names
    assert main(["evaluate", f"run={run.path}", "episodes=2", "laps=1", f"paths.outputs={tmp_path}"]) == 0
    given = [f"init_from={run.path}", "algo.fitness=lap_time", "algo.init_sigma=1e-9", "algo.total_timesteps=128"]
    assert main(["train", *arguments, *given]) == 0
    after = load_policy(str(newest(tmp_path).path), tmp_path).predict
    before = load_policy(str(run.path), tmp_path).predict
    observation = np.random.default_rng(0).uniform(-1, 1, (50, 10)).astype(np.float32)
    np.testing.assert_allclose(after(observation), before(observation), atol=1e-5)
    assert np.abs(after(observation)).max() > 0.1


def test_sac_and_another_vehicle_on_another_track(tmp_path: Path):
    arguments = ["debug=fast", "algo=sac", "algo.learning_starts=2000", "env=mlp", "track=mini", "vehicle=f1tenth"]
    assert main(["train", *arguments, "tracking=none", f"paths.outputs={tmp_path}"]) == 0
    run = newest(tmp_path)
    assert run.name.startswith("mlp-mini-sac-")
    assert run.status == "FINISHED"
    assert run.summary["vehicle"] == "f1tenth"
    names = {name for line in recorded(run, "metrics") for name in line["values"]}
    assert {"train/actor_loss", "train/critic_loss", "train/ent_coef"} <= names
    (tags,) = [line["values"] for line in recorded(run, "tags") if "racing.algorithm" in line["values"]]
    assert tags["racing.algorithm"] == "BatchSAC"
