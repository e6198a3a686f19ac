"""A whole training by frames: what it films, exports and records is that of the policy that it reports."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import onnxruntime
import pytest

from racing.cli import main
from racing.runs.directory import RunDirectory, all_runs
from tests.support.mlflow_server import Copy

pytestmark = pytest.mark.slow
ARGUMENTS = [
    *("env=vision", "env.width=40", "env.height=40", "env.line=centre", "env.grayscale=true", "env.frame_stack=2"),
    *("algo=ppo_cnn", "algo.cnn=small", "algo.precision=bfloat16", "debug=fast", "algo.n_envs=64", "track=oval"),
    *("eval.video=true", "eval.every_steps=2048", "eval.start_fraction=0.4", "eval.episodes=3"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    outputs = tmp_path_factory.mktemp("vision") / "outputs"
    assert main(["train", *ARGUMENTS, f"paths.outputs={outputs}"]) == 0
    return all_runs(outputs)[0]


@pytest.fixture(scope="module")
def copy(run: RunDirectory) -> Copy:
    return Copy(run)


def test_the_lap_is_filmed_where_the_policy_became_best_and_at_the_end(run: RunDirectory, copy: Copy, tmp_path: Path):
    assert copy.files("evaluations") == {"evaluations/000002048", "evaluations/000004096"}
    assert copy.files("evaluations/000002048") == {"evaluations/000002048/lap.mp4"}
    assert "evaluations/000004096/lap.mp4" in copy.files("evaluations/000004096")
    for step in ("000002048", "000004096"):
        path = copy.client.download_artifacts(copy.run_id, f"evaluations/{step}/lap.mp4", str(tmp_path))
        with av.open(path) as container:
            assert sum(1 for _ in container.decode(video=0)) > 30
    assert run.summary["lap_video"] == str(run.path / "evaluations" / "000004096" / "lap.mp4")


def test_mlflow_serves_the_policy_that_sees(run: RunDirectory, copy: Copy):
    import mlflow

    (model,) = copy.models()
    mlflow.set_tracking_uri(run.mlflow["uri"])
    random = np.random.default_rng(0)
    seen = {
        "vision": random.integers(0, 256, (5, 40, 40, 2), np.uint8),
        "telemetry": random.uniform(-1, 1, (5, 9)).astype(np.float32),
    }
    predicted = mlflow.pyfunc.load_model(f"models:/{model.model_id}").predict(seen)["action"]
    session = onnxruntime.InferenceSession(run.path / "export" / "policy.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(predicted, session.run(["action"], seen)[0], atol=1e-6)


def test_what_is_reported_is_what_the_exported_file_drives(run: RunDirectory, capsys: pytest.CaptureFixture[str]):
    """Learning was in bfloat16, the file and the report are not."""
    capsys.readouterr()
    outputs = f"paths.outputs={run.path.parents[1]}"
    assert main(["evaluate", "run=latest", "episodes=3", "laps=1", "telemetry=false", "format=json", outputs]) == 0
    summary = json.loads(capsys.readouterr().out)["summary"]
    assert summary["reward"] == pytest.approx(run.summary["reward"], abs=1e-4)
    assert summary["mean_speed"] == pytest.approx(run.summary["mean_speed"], abs=1e-4)
