"""Routes and dynamics that can be computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="session")
def transformer() -> Callable[..., bytes]:
    """transformer(heads=4): a model whose tensors are named as those of tinyphysics' last block; random weights."""

    def make(heads: int = 4) -> bytes:
        rng = np.random.default_rng(0)
        nodes, weights = [], []

        def const(name: str, value: np.ndarray | list) -> str:
            weights.append(numpy_helper.from_array(np.asarray(value), name))
            return name

        def weight(name: str, *shape: int) -> str:
            return const(name, rng.normal(0, 0.2, shape).astype(np.float32))

        def node(kind: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
            nodes.append(helper.make_node(kind, inputs, list(outputs), **attributes))
            return outputs[0]

        at, width = "/h.3/attn/", 128 // heads
        split = [f"{at}Split_output_{k}" for k in range(3)]
        told = node("Gather", [weight("words", 1024, 128), "tokens"], "told")
        before = node("Add", [told, node("MatMul", ["states", weight("seen", 4, 128)], "felt")], "/h.2/Add_1_output_0")
        node("Split", [node("MatMul", [before, weight("qkv", 128, 384)], "all")], *split, axis=2)
        shape = const("shape", np.array([0, 20, heads, width], np.int64))
        query, key, value = (
            node("Transpose", [node("Reshape", [split[part], shape], f"{at}Reshape{name}_output_0")], way, perm=order)
            for part, name, way, order in (
                (0, "_1", "q", (0, 2, 1, 3)),
                (1, "", "k", (0, 2, 3, 1)),
                (2, "_2", "v", (0, 2, 1, 3)),
            )
        )
        seen = node("Mul", [node("MatMul", [query, key], "qk"), const("scale", np.float32(0.17))], "scaled")
        later = const("later", np.triu(np.ones((1, 1, 20, 20), np.int64), 1))
        mask = node("Cast", [later], f"{at}Cast_2_output_0", to=TensorProto.BOOL)
        kept = node("Where", [mask, const("never", np.float32(-np.inf)), seen], f"{at}Where_output_0")
        mixed = node("MatMul", [node("Softmax", [kept], "shares", axis=-1), value], "mixed")
        turned = node("Transpose", [mixed], "turned", perm=(0, 2, 1, 3))
        joined = node("Reshape", [turned, const("flat", np.array([0, 20, 128], np.int64))], f"{at}Reshape_3_output_0")
        moved = node("MatMul", [joined, weight("project", 128, 128)], f"{at}c_proj/MatMul_output_0")
        after = node("Add", [before, moved], "/h.3/Add_output_0")
        node("MatMul", [after, weight("head", 128, 1024)], "output")
        inputs = [
            helper.make_tensor_value_info("states", TensorProto.FLOAT, ["b", 20, 4]),
            helper.make_tensor_value_info("tokens", TensorProto.INT64, ["b", 20]),
        ]
        outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["b", 20, 1024])]
        graph = helper.make_graph(nodes, "transformer", inputs, outputs, weights)
        opset = helper.make_opsetid("", 14)
        return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=7).SerializeToString())

    return make
