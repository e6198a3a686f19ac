"""Routes and dynamics that can be computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from racing.envs.lateral.routes.routes import Routes
from racing.envs.lateral.rules import CONTROL_START, ROWS

HEADER = "t,vEgo,aEgo,roll,targetLateralAcceleration,steerCommand"


def make_routes(*targets: np.ndarray | float, speed: float = 20.0) -> Routes:
    """Level routes at one speed with these targets, whose logs do not steer."""
    plans = np.zeros((len(targets), ROWS, 4))
    plans[..., 2] = speed
    for plan, target in zip(plans, targets, strict=True):
        plan[:, 0] = target
    names = tuple(f"made/{k}.csv" for k in range(len(targets)))
    return Routes(names=names, plans=plans, steer=np.zeros((len(targets), CONTROL_START)), source="made")


def write_route(path: Path, rows: int = 600, header: str = HEADER, **cells: dict[int, str]) -> Path:
    """A file as the challenge has them: v 20 m/s, roll 0.1 rad, target k / 1000, steering 0.5 to the left for 100 rows.

    cells: column -> {row: text} in place of these.
    """
    lines = [header]
    for k in range(rows):
        row = {"t": k / 10, "vEgo": 20.0, "aEgo": 0.25, "roll": 0.1, "targetLateralAcceleration": k / 1000}
        row["steerCommand"] = 0.5 if k < CONTROL_START else ""
        row |= {name: texts[k] for name, texts in cells.items() if k in texts}
        lines.append(",".join(str(row.get(name, "")) for name in header.split(",")))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five routes of the challenge."""
    made = tmp_path / "data"
    made.mkdir()
    for k in range(5):
        write_route(made / f"{k:05d}.csv")
    return made


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """make_model(names=..., rows=20): an ONNX file whose logits are the sum of a row's states, at all tokens."""

    def make(
        states: str = "states",
        rows: int = 20,
        vocabulary: int = 1024,
        kind: int = TensorProto.INT64,
        factor: float = 1.0,
    ) -> Path:
        one = numpy_helper.from_array(np.full((1, 1, vocabulary), factor, np.float32), "factor")
        axis = numpy_helper.from_array(np.array([2], np.int64), "axis")
        nodes = [
            helper.make_node("ReduceSum", [states, "axis"], ["sum"], keepdims=1),
            helper.make_node("Mul", ["sum", "factor"], ["output"]),
        ]
        graph = helper.make_graph(
            nodes,
            "sums",
            [
                helper.make_tensor_value_info(states, TensorProto.FLOAT, ["b", rows, 4]),
                helper.make_tensor_value_info("tokens", kind, ["b", rows]),
            ],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["b", rows, vocabulary])],
            [one, axis],
        )
        path = tmp_path / "sums.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=7), path)
        return path

    return make
