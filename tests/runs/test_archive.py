"""State as one file: what comes out is what went in, to the bit, and the same state gives the same bytes."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
import torch

from racing.errors import InputError
from racing.runs.archive import dump_tree, load_tree

STATES = {
    "nothing": None,
    "text": "Läufe\n",
    "empty": {"a": {}, "b": [], "c": ()},
    "whole numbers of any size": [0, -1, 1 << 200, True, False],
    "numbers": [0.1, -0.0, 1e-320, float("inf")],
    "keys that are numbers": {0: {"step": 1}, 1: {"step": 2}, -3: None},
    "nested": {"a": [(1, [2.5, "x"]), None], "b": ({"c": (True,)},)},
    "a whole number is no truth value": [1, True, 1.0],
    "python's generator": random.Random(5).getstate(),
}


def again(tree):
    return load_tree(dump_tree(tree), "state.npz")


def same(left, right) -> None:
    """Equal values of equal types, everywhere."""
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert list(left) == list(right)
        left, right = list(left.values()), list(right.values())
    if isinstance(left, list | tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            same(one, other)
    elif isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype
        same(left.detach().numpy(), right.numpy())
    elif isinstance(left, np.ndarray | np.generic):
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        assert left.tobytes() == right.tobytes()
    else:
        assert repr(left) == repr(right)


@pytest.mark.parametrize("name", STATES)
def test_plain_values_come_back(name: str):
    same(again(STATES[name]), STATES[name])


def test_not_a_number_comes_back():
    assert np.isnan(again({"a": float("nan")})["a"])


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.arange(12, dtype=np.float64).reshape(3, 4)[:, ::2],
        np.array(7, np.int8),
        np.zeros((0, 5), np.uint64),
        np.array([np.nan, -0.0, np.inf], np.float32),
        np.array([(1, 2.5), (3, 4.5)], dtype=[("steps", "<u4"), ("progress", "<f4")]),
        np.float32(0.1),
        np.uint64(2**64 - 1),
        np.bool_(True),
        torch.arange(6.0).reshape(2, 3),
        torch.tensor(3),
        torch.tensor([True, False]),
        torch.nn.Parameter(torch.ones(3)).detach(),
    ],
    ids=lambda array: f"{type(array).__name__}-{array.dtype}-{tuple(array.shape)}",
)
def test_arrays_and_tensors_come_back(array):
    same(again({"here": [array]}), {"here": [array]})
    same(again(array), array)


def test_a_parameter_comes_back_as_a_tensor_that_may_be_changed():
    back = again({"weight": torch.nn.Parameter(torch.ones(3))})["weight"]
    back += 1
    assert back.tolist() == [2, 2, 2]


@pytest.mark.parametrize("key", ["tree", "file", "allow_pickle", "array", "arr_0"])
def test_arrays_may_be_called_anything(key: str):
    same(again({key: np.arange(3), "other": 1}), {key: np.arange(3), "other": 1})


def test_places_that_read_the_same_are_kept_apart():
    tree = {"a": {"b": np.arange(2)}, "a/b": np.arange(3), 1: np.arange(4), "1": np.arange(5)}
    same(again(tree), tree)


def test_the_same_state_gives_the_same_bytes():
    def state():
        generator = np.random.default_rng(3)
        return {"weights": torch.ones(4, 4), "noise": generator.normal(size=100), "rng": generator.bit_generator.state}

    first = dump_tree(state())
    assert first == dump_tree(state())
    assert first == dump_tree(load_tree(first, "state.npz"))


def test_a_single_weight_is_read_with_numpy_alone():
    data = dump_tree({"policy": {"action_net.weight": torch.full((2, 2), 0.5)}})
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        assert file["policy/action_net.weight"].tolist() == [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize(
    "value", [{1, 2}, b"bytes", object(), lambda: None], ids=["set", "bytes", "object", "function"]
)
def test_what_cannot_be_kept_is_refused_with_its_place(value):
    with pytest.raises(TypeError, match="counters/deep/0: .* is nothing that a checkpoint holds"):
        dump_tree({"counters": {"deep": [value]}})


def test_files_that_are_no_state_are_refused_by_name():
    other = io.BytesIO()
    np.savez(other, a=np.arange(3))
    odd = io.BytesIO()
    np.savez(odd, tree=np.array('{"array": "absent"}'))
    whole = dump_tree({"a": np.arange(1000)})
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    for data in (b"", b"no zip at all", whole[: len(whole) // 2], other.getvalue(), odd.getvalue(), pickled.getvalue()):
        with pytest.raises(InputError, match=r"rng\.npz must be a file of a checkpoint"):
            load_tree(data, "rng.npz")
