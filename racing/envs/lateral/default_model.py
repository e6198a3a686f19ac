"""The dynamics that come with racing: a small ONNX model with the inputs and outputs of comma's tinyphysics.onnx.

Fitted to the closed loop of tinyphysics (ARX on 64 routes): dead time of a step, 10 to 90 % in three more, 5 %
overshoot. A stand-in: linear but for a cubic of the steering, without memory beyond five rows, Gaussian. Costs on it
are not those of the challenge's leaderboard.

    mu_t   = y1 + 0.276 (y1 - y2) + 0.53 (K(v) s(ud) + roll - y1)
    ud     = 0.117 u[t-1] + 0.149 u[t-2] + 0.282 u[t-3] + 0.452 u[t-4]
    K(v)   = 1.75 v^2 / (v^2 + 9)
    s(u)   = u + 0.06 u^3
    logits = -(bin - mu)^2 / (2 * 0.042^2 / 0.8)

y1, y2: the last two lateral accelerations, decoded from their tokens. u: steering commands. v: speed [m/s]. roll:
lateral acceleration by the road's roll. 0.042 m/s^2 is the noise's standard deviation after the challenge's
temperature of 0.8.

Only products, sums and quotients of single elements: a row's bits do not depend on the batch that it is in.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from racing.envs.lateral.rules import BINS, CONTEXT, TEMPERATURE, VOCABULARY

INERTIA, RESPONSE = 0.276, 0.53
DELAYS = (0.117, 0.149, 0.282, 0.452)  # weights of u[t-1] .. u[t-4]
GAIN, GAIN_SPEED = 1.75, 3.0  # [m/s^2] per steering command; [m/s] at which half of it is there
LEAST_GAIN = 0.3  # [m/s^2] below which a steering command would be out of all proportion
CUBIC = 0.06
NOISE = 0.042  # [m/s^2]
OPSET, IR_VERSION = 14, 7
MEAN = "mu"  # (b, 20, 1) name of the tensor after which positions no longer mix


def gain(speed: Any) -> Any:
    """K(v): lateral acceleration [m/s^2] per steering command at speeds [m/s], in the steady state."""
    return GAIN * speed**2 / (speed**2 + GAIN_SPEED**2)


def feed_forward(lataccel: Any, roll: Any, speed: Any) -> Any:
    """Steering commands that hold lateral accelerations [m/s^2] in the steady state, but for the cubic."""
    return (lataccel - roll) / np.maximum(gain(speed), LEAST_GAIN)


@cache
def default_model() -> bytes:
    """The model as the content of an ONNX file."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    constants: dict[str, Any] = {}

    def const(name: str, value: Any, kind: Any = np.float32) -> str:
        constants[name] = numpy_helper.from_array(np.asarray(value, kind), name)
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def column(index: int, name: str) -> str:  # (b, 20) of states
        return node("Gather", ["states", const(f"column_{name}", index, np.int64)], name, axis=2)

    def scaled(tensor: str, factor: float, name: str) -> str:
        return node("Mul", [tensor, const(f"{name}_factor", factor)], name)

    def before(tensor: str, steps: int, name: str) -> str:  # so many positions earlier; the first ones see position 0
        earlier = np.maximum(np.arange(CONTEXT) - steps, 0)
        return node("Gather", [tensor, const(f"{name}_positions", earlier, np.int64)], name, axis=1)

    steer, roll, speed = column(0, "steer"), column(1, "roll"), column(2, "speed")
    now = node("Gather", [const("bins", BINS), "tokens"], "y1")
    change = scaled(node("Sub", [now, before(now, 1, "y2")], "change"), INERTIA, "inertia")
    felt = ""
    for steps, weight in enumerate(DELAYS, start=1):
        part = scaled(before(steer, steps, f"steer_{steps}"), weight, f"felt_{steps}")
        felt = node("Add", [felt, part], f"felt_to_{steps}") if felt else part
    cube = scaled(node("Mul", [node("Mul", [felt, felt], "square"), felt], "cube"), CUBIC, "cubic")
    shaped = node("Add", [felt, cube], "shaped")
    energy = node("Mul", [speed, speed], "energy")
    share = node("Div", [energy, node("Add", [energy, const("gain_energy", GAIN_SPEED**2)], "reach")], "share")
    asked = node("Add", [node("Mul", [scaled(share, GAIN, "gain"), shaped], "turned"), roll], "asked")
    pull = scaled(node("Sub", [asked, now], "missing"), RESPONSE, "pull")
    flat = node("Add", [node("Add", [now, change], "coasting"), pull], "mu_flat")
    mean = node("Unsqueeze", [flat, const("last_axis", [2], np.int64)], MEAN)
    off = node("Sub", ["bins", mean], "off")
    squared = node("Mul", [off, off], "off_squared")
    node("Mul", [squared, const("sharpness", -TEMPERATURE / (2 * NOISE**2))], "output")

    def info(name: str, kind: int, shape: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        nodes,
        "racing_lateral",
        [info("states", TensorProto.FLOAT, ["b", CONTEXT, 4]), info("tokens", TensorProto.INT64, ["b", CONTEXT])],
        [info("output", TensorProto.FLOAT, ["b", CONTEXT, VOCABULARY])],
        list(constants.values()),
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="racing")
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
