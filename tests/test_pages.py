"""The Python of docs/evaluation.md and docs/gymnasium.md runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from mlflow import MlflowClient

from racing.runs.directory import open_run
from racing.tracking.mlflow_sink import Delivery
from racing.tracking.store import embedded_uri
from tests.conftest import REPOSITORY
from tests.tracking.test_sender import small_policy


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "docs" / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_logged_policy_loads_with_mlflow_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the run left it, under the name that it was promoted to."""
    monkeypatch.chdir(tmp_path)
    outputs = tmp_path / "outputs"
    with open_run(outputs, "demo", {"seed": 0}, [], {}) as run:
        run.journal.model(small_policy(run.paths.policy_onnx, (("observation", [10]),)), "policy")
        run.finish({"finish_rate": 1.0})
    delivery = Delivery(run, embedded_uri(outputs), "racing")
    while delivery.deliver():
        pass
    client = MlflowClient(embedded_uri(outputs), embedded_uri(outputs))
    experiment = client.get_experiment_by_name("racing").experiment_id
    (model,) = client.search_logged_models([experiment])
    client.create_registered_model("kart")
    client.create_model_version("kart", model.artifact_location, run.mlflow["run_id"], model_id=model.model_id)
    client.set_registered_model_alias("kart", "champion", "1")
    (block,) = (text for text in blocks("evaluation.md") if "mlflow" in text)
    done: dict[str, Any] = {}
    exec(block, done)
    assert done["actions"].shape == (3, 10)
    assert [value.name for value in done["graph"].input] == ["observation"]


def test_the_environments_are_used_as_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but learning in processes and writing videos, see tests/envs/test_other_programs.py."""
    single, many, learning, video = blocks("gymnasium.md")
    done: dict[str, Any] = {"__name__": "page"}
    exec(single, done)
    assert done["observation"].shape == done["env"].observation_space.shape
    exec(many, done)
    assert done["observations"].shape[0] == 64
    exec(learning, done)
    assert gymnasium.make("racing:racing/Sensors-v0", track="oval").reset(seed=0)[0].dtype == np.float32
    recorded = []
    monkeypatch.setattr(gymnasium.wrappers, "RecordVideo", lambda env, *given, **more: recorded.append(env) or env)
    exec(video, done)
    done["env"].reset(seed=0)
    assert recorded[0].render().shape == (480, 480, 3)
    assert done["env"].metadata["render_fps"] == round(1 / done["env"].unwrapped.task.world.step_dt)
