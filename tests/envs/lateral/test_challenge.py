"""The exported controller drives the challenge's simulator as the policy drives racing's."""

from __future__ import annotations

import importlib.util
import json
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from racing.envs.lateral.challenge import write_controller
from racing.envs.lateral.default_model import default_model
from racing.envs.lateral.observation import NAMES
from racing.envs.lateral.routes.routes import challenge_noise, find_routes, load_routes, read_route
from racing.envs.lateral.rules import BINS, costs, encode
from racing.envs.lateral.task import LateralTask
from racing.envs.task import Part
from racing.evaluation.scores.evaluator import drive
from racing.onnx_files import onnx_session, session_of
from racing.policies.loading import onnx_policy
from tests.envs.lateral.conftest import write_route

State = namedtuple("State", ["roll_lataccel", "v_ego", "a_ego"])  # as the challenge has them
FuturePlan = namedtuple("FuturePlan", ["lataccel", "roll_lataccel", "v_ego", "a_ego"])


def write_policy(path: Path, env: dict[str, Any]) -> None:
    """A linear policy: towards the plan two rows ahead and the feed-forward, damped."""
    weights = np.zeros((len(NAMES), 1), np.float32)
    for name, weight in {
        "target_ahead_2": 0.5,
        "feed_forward_ahead_3": 0.4,
        "lataccel_change": -0.1,
        "steer_3_ago": 0.1,
    }.items():
        weights[NAMES.index(name)] = weight
    nodes = [
        helper.make_node("MatMul", ["observation", "weights"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["action"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", len(NAMES)])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"env": json.dumps(env)})
    onnx.save(model, path)


def challenge_costs(controller: Any, path: Path, rows: int = 600) -> dict[str, float]:
    """What the challenge's simulator does with a controller, row by row, as its tinyphysics.py is written."""
    plan, steer = read_route(path)
    session, noise = session_of(default_model(), "default"), challenge_noise(str(path))
    plan = np.concatenate([plan, np.repeat(plan[-1:], rows - len(plan), axis=0)])
    states = plan[:, 1:].tolist()
    lataccel, actions = plan[:20, 0].tolist(), steer[:20].tolist()
    for t in range(20, 500):
        ahead = plan[t + 1 : t + 50]
        future = FuturePlan(*(ahead[:, k].tolist() for k in range(4)))
        action = controller.update(plan[t, 0], lataccel[-1], State(*states[t]), future_plan=future)
        actions.append(float(np.clip(steer[t] if t < 100 else action, -2, 2)))
        if t < 100:
            lataccel.append(plan[t, 0])
            continue
        inputs = np.column_stack([actions[-20:], states[t - 19 : t + 1]])[None].astype(np.float32)
        logits = session.run(None, {"states": inputs, "tokens": encode(np.array(lataccel[-20:]))[None]})[0][0, -1] / 0.8
        powers = np.exp(logits - logits.max())
        chances = (powers / powers.sum()).astype(float).cumsum()
        token = np.searchsorted(chances / chances[-1], noise[t - 100], side="right")
        lataccel.append(float(np.clip(BINS[token], lataccel[-1] - 0.5, lataccel[-1] + 0.5)))
    found = costs(plan[None, 100:500, 0], np.array(lataccel)[None, 100:500])
    return {name: float(values[0]) for name, values in found.items()}


@pytest.mark.parametrize(
    "env", [{"action": "delta"}, {"action": "absolute"}, {"action": "residual", "action_scale": 0.3}]
)
def test_it_costs_there_what_it_costs_here(tmp_path: Path, env: dict[str, Any]):
    folder, controllers = tmp_path / "data", tmp_path / "controllers"
    folder.mkdir()
    controllers.mkdir()
    wave = np.sin(np.arange(600) / 15)
    for k in range(3):
        targets = {row: str(wave[row] * (k + 1) / 3) for row in range(600)}
        write_route(folder / f"{k}.csv", targetLateralAcceleration=targets)
    write_policy(controllers / "policy.onnx", {"action_scale": None, **env})
    (path,) = write_controller(controllers / "policy.onnx")
    spec = importlib.util.spec_from_file_location("controllers.racing", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    theirs = challenge_costs(module.Controller(), folder / "2.csv")
    task = LateralTask(races=1, routes=str(folder), holdout_routes=1, part=Part.TEST, **env)
    (episode,), _ = drive(onnx_policy(onnx_session(controllers / "policy.onnx")), task)
    assert episode["route"] == str(folder / "2.csv")
    assert {name: episode[name] for name in theirs} == pytest.approx(theirs, rel=1e-6)
    assert load_routes(find_routes(folder), "x").names[2] == episode["route"]


def test_it_stands_alone():
    """It is copied into other people's folders: numpy and onnxruntime are all that it may import."""
    text = (Path(__file__).parents[3] / "racing/envs/lateral/challenge_controller.py").read_text()
    imports = [line.split()[1] for line in text.splitlines() if line.startswith(("import ", "from "))]
    assert set(imports) == {"json", "pathlib", "typing", "numpy", "onnxruntime"}
