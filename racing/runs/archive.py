"""Nested state as one .npz file: every array under the name of its place, no pickle, the same bytes for the same state.

`numpy.load("policy.npz")["policy/action_net.weight"]` reads a single weight; everything that is no array stands as
JSON in the entry `tree`.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.errors import InputError

TREE = "tree"
TAKEN = (TREE, "file", "allow_pickle")  # names that numpy.savez, or we, use for something else


def dump_tree(tree: Any) -> bytes:
    """Return `tree` as the bytes of an .npz file.

    tree: dicts (text or whole numbers as keys), lists, tuples, None, bool, int of any size, float, str, numpy arrays
    and scalars, torch tensors. Raises TypeError for anything else.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    shape = _encode(tree, "", arrays)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{TREE: np.array(json.dumps(shape))}, **arrays)
    return file.getvalue()


def load_tree(data: bytes, name: str) -> Any:
    """Return what `dump_tree` made `data` of; tensors come back on the CPU. name: of the file, for the error.

    Raises InputError if it is no such file.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return _decode(json.loads(str(file[TREE])), file)
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{name} must be a file of a checkpoint, {error}; use another checkpoint") from error


def _encode(node: Any, place: str, arrays: dict[str, npt.NDArray[Any]]) -> Any:
    """Return the JSON of `node`, and put its arrays into `arrays`."""
    if node is None or (isinstance(node, bool | int | float | str) and not isinstance(node, np.generic)):
        return node
    if isinstance(node, dict):
        return {"dict": [[key, _encode(value, _below(place, key), arrays)] for key, value in node.items()]}
    if isinstance(node, list | tuple):
        kind = "list" if isinstance(node, list) else "tuple"
        return {kind: [_encode(value, _below(place, i), arrays) for i, value in enumerate(node)]}
    if isinstance(node, np.ndarray):
        kind, array = "array", node
    elif isinstance(node, np.generic):
        kind, array = "scalar", np.asarray(node)
    elif hasattr(node, "detach"):
        kind, array = "tensor", node.detach().cpu().numpy()
    else:
        raise TypeError(f"{place}: {type(node).__name__} is nothing that a checkpoint holds")
    name = place or "array"
    while name in arrays or name in TAKEN:  # {"a": {"b": ...}, "a/b": ...}
        name += "'"
    arrays[name] = array
    return {kind: name}


def _decode(node: Any, arrays: Any) -> Any:
    if not isinstance(node, dict):
        return node
    ((kind, value),) = node.items()
    if kind == "dict":
        return {key: _decode(child, arrays) for key, child in value}
    if kind in ("list", "tuple"):
        children = [_decode(child, arrays) for child in value]
        return children if kind == "list" else tuple(children)
    if kind == "tensor":
        import torch

        return torch.from_numpy(arrays[value])
    return arrays[value][()] if kind == "scalar" else arrays[value]


def _below(place: str, key: object) -> str:
    return f"{place}/{key}" if place else str(key)
