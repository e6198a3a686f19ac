"""What of a model the last row of its output does not need is cut away: the same bits in less time.

Of tinyphysics the whole graph takes 37.5 million operations a step. In its last block all rows are needed for keys and
values only: queries, what follows from the attention, MLP and head are computed for the end. Nothing of a step can be
kept for the next one: the window moves, so that each row has another position, which is added to it at the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from racing.envs.lateral.default_model import MEAN
from racing.envs.lateral.rules import CONTEXT
from racing.errors import InputError
from racing.onnx_files import session_of

LAST = (CONTEXT - 1,)
# Two: the products of a single row are summed in another order.
ENDS = (CONTEXT - 2, CONTEXT - 1)
BLOCK, ATTENTION = "/h.3/Add_output_0", "/h.3/attn/"


@dataclass(frozen=True)
class Pick:
    """Rows of a tensor that are enough for the node that has the output `user`; '': for all that take it."""

    tensor: str
    rows: tuple[int, ...]
    user: str = ""
    axis: int = 1


@dataclass(frozen=True)
class Cut:
    """What is picked, and the shapes that outputs of Reshape have then; 0: as before."""

    picks: Sequence[Pick]
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)


CUTS = (
    Cut(  # tinyphysics: (b, 20, k) queries, mask, result and residual of the last block's attention
        (
            Pick(f"{ATTENTION}Split_output_0", ENDS, f"{ATTENTION}Reshape_1_output_0"),
            Pick(f"{ATTENTION}Cast_2_output_0", ENDS, f"{ATTENTION}Where_output_0", axis=2),
            Pick(f"{ATTENTION}Reshape_3_output_0", (1,), f"{ATTENTION}c_proj/MatMul_output_0"),
            Pick("/h.2/Add_1_output_0", LAST, BLOCK),
        ),
        {f"{ATTENTION}Reshape_1_output_0": (0, 2, 4, 32), f"{ATTENTION}Reshape_3_output_0": (0, 2, 128)},
    ),
    Cut((Pick(BLOCK, LAST),)),  # the same from the last MLP on
    Cut((Pick(MEAN, LAST),)),  # the default model
)


def last_row_sessions(content: bytes) -> Iterator[Any]:
    """Sessions that give the last row of the output only, (b, 1, V), of a model's content; the quickest first.

    Whether the bits are the same is to be seen: another graph may have tensors of these names.
    """
    for cut in CUTS:
        cut_off = apply(cut, content)
        if cut_off is not None:
            try:
                yield session_of(cut_off, "the trimmed model")
            except InputError:
                continue


def apply(cut: Cut, content: bytes) -> bytes | None:
    """The model without what a cut leaves away; None where it has no such tensors."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(content)
    graph, made = model.graph, {name: node for node in model.graph.node for name in node.output}
    wanted = {*cut.shapes, *(pick.tensor for pick in cut.picks), *(pick.user for pick in cut.picks if pick.user)}
    if not wanted <= set(made):
        return None

    def constant(name: str, values: Sequence[int]) -> str:
        graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    for name, shape in cut.shapes.items():
        made[name].input[1] = constant(f"{name}/shape", shape)
    for pick in cut.picks:
        name, rows = f"{pick.tensor}/picked", constant(f"{pick.tensor}/rows", pick.rows)
        for node in [made[pick.user]] if pick.user else graph.node:
            node.input[:] = [name if given == pick.tensor else given for given in node.input]
        place = list(graph.node).index(made[pick.tensor]) + 1
        graph.node.insert(place, helper.make_node("Gather", [pick.tensor, rows], [name], axis=pick.axis))
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    del graph.value_info[:]
    return bytes(model.SerializeToString())
