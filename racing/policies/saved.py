"""A model of Stable-Baselines3 from its file, without running what is in the file.

Such a file is a .zip: `data`, JSON whose entries that JSON cannot hold are pickles, and weights of torch. Of `data`
what is needed to predict is read (racing.policies.pickled_data), and nothing else is looked at; classes are taken by
name from those that racing and Stable-Baselines3 have; weights are read by torch as tensors only.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import stable_baselines3.common.torch_layers as sb3_layers
import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch.overrides import TorchFunctionMode

from racing.algos.common import CLASS_TAG, BatchAlgorithm, named_class, tagged_class
from racing.policies.pickled_data import Made, Name, read_pickle
from racing.policies.pickled_data import Mapping as Pairs
from racing.reading import open_regular

MOST_FILE = 4 << 30  # [bytes]
MOST_DATA = 128 << 20  # [bytes] holds what all environments observed last
MOST_WEIGHTS = 4 << 30  # [bytes]
LEAST_PACKED = 128 << 20  # [bytes] from which on
MOST_PACKED = 4  # times is the most that anything is packed
WEIGHTS = "policy.pth"
SERIALIZED = ":serialized:"
SPACES = re.compile(r"(gymnasium|gym)\.spaces\.(box\.Box|dict\.Dict)")
ARRAYS = re.compile(r"numpy\.(_core|core)\.(numeric\._frombuffer|multiarray\._reconstruct)")
DTYPE = re.compile(r"[biuf][1248]")
ACTIVATIONS = (
    *("CELU", "ELU", "GELU", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "LeakyReLU", "LogSigmoid", "Mish"),
    *("PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "Sigmoid", "SiLU", "Softplus", "Softsign", "Tanh", "Tanhshrink"),
)
NOT_NEEDED = ("optimizer_class", "optimizer_kwargs", "device")  # of policy_kwargs, to predict or to begin from
SPARE = 1 << 24  # numbers that building a policy needs beside its weights: what it tries its convolutions on
MOST_OBSERVED = 1 << 24  # numbers in one observation
FEW = 2  # rows of the buffers of a model that is only asked
DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError),
    *(ValueError, KeyError, TypeError, IndexError, AttributeError, AssertionError, RuntimeError, MemoryError),
)  # what readers and constructors raise for content that is none


class NeedsTrust(ValueError):
    """The file needs something that only running its pickles can give."""


def read_model(path: Path) -> BatchAlgorithm:
    """The model in `path`, on the CPU: its policy, spaces and step count; its optimizer and buffers are fresh.

    Raises NeedsTrust where that takes more than names that are known, and one of DAMAGED for other files.
    """
    with open_regular(path, MOST_FILE) as file, zipfile.ZipFile(file) as archive:
        data = json.loads(_member(archive, "data", MOST_DATA))
        weights = _tensors(_member(archive, WEIGHTS, MOST_WEIGHTS))
    if not isinstance(data, dict):
        raise ValueError("its data is no JSON object")
    algorithm = algorithm_of(data)
    found = {
        "policy_class": _policy_class(_entry(data, "policy_class"), algorithm),
        "policy_kwargs": _policy_kwargs(_entry(data, "policy_kwargs")),
        **{name: _space(_entry(data, name)) for name in ("observation_space", "action_space")},
        "num_timesteps": _plain(data.get("num_timesteps", 0), int, "num_timesteps"),
        "use_sde": _plain(data.get("use_sde", False), bool, "use_sde"),
        "n_envs": 1,
    }
    with _Budget(SPARE + 2 * sum(tensor.numel() for tensor in weights.values()), 100 + 8 * len(weights)):
        model: BatchAlgorithm = _built(algorithm, found)
    _require_fit(model.policy.state_dict(), weights)
    model.policy.load_state_dict(weights)
    return model


def algorithm_of(data: Mapping[str, Any]) -> type[BatchAlgorithm]:
    """The algorithm that a file names. One that names none is of Stable-Baselines3's own PPO or SAC, or an early one
    of racing.
    """
    untagged = "racing.algos.sac.BatchSAC" if "target_entropy" in data else "racing.algos.ppo.BatchPPO"
    return tagged_class(data.get(CLASS_TAG, untagged))


def _built(algorithm: type[BatchAlgorithm], found: Mapping[str, Any]) -> Any:
    """The model with random weights, from entries of its file by the names of its attributes."""
    model: Any = algorithm(found["policy_class"], env=None, device="cpu", _init_setup_model=False)
    rows = "buffer_size" if hasattr(model, "buffer_size") else "n_steps"  # which means something else beside it
    vars(model).update({**found, rows: FEW})
    if hasattr(model, "target_entropy"):  # SAC asks the environment, of which there is none; only learning needs it
        model.target_entropy = 0.0
    model._setup_model()
    return model


class _Budget(TorchFunctionMode):
    """While entered, so many tensors can be made, with so many numbers in all: a file may ask for any size."""

    MAKERS = (th.empty, th.zeros, th.ones, th.full, th.rand, th.randn)

    def __init__(self, numbers: int, tensors: int) -> None:
        super().__init__()
        self.numbers, self.tensors = numbers, tensors

    def __torch_function__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if call in self.MAKERS:
            self.numbers -= call(*args, **{**named, "device": "meta"}).numel()
            self.tensors -= 1
            if min(self.numbers, self.tensors) < 0:
                raise ValueError("its policy is larger than its weights")
        return call(*args, **named)


def _require_fit(wanted: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
    """Raise ValueError unless the weights are those of a policy with these."""
    for name in sorted({*wanted, *weights}):
        sizes = [tuple(state[name].shape) if name in state else "none" for state in (weights, wanted)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"its {name} has the shape {sizes[0]}, its policy {sizes[1]}")


def _member(archive: zipfile.ZipFile, name: str, most_bytes: int) -> bytes:
    """A file of the archive, of at most so many bytes: packed, any size can be small."""
    about = archive.getinfo(name)
    if about.file_size > max(LEAST_PACKED, MOST_PACKED * about.compress_size):
        raise ValueError(
            f"its {name} is {about.file_size:,} bytes packed into {about.compress_size:,}: no weights are so"
        )
    if about.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or about.file_size > most_bytes:
        raise ValueError(f"its {name} has {about.file_size:,} bytes, at most {most_bytes:,} are read")
    with archive.open(about) as member:
        return member.read(about.file_size)


def _tensors(data: bytes) -> dict[str, th.Tensor]:
    """Weights by name. Raises ValueError unless they are plain tensors, as large as they claim to be."""
    with zipfile.ZipFile(io.BytesIO(data)) as inner:
        if any(about.compress_type != zipfile.ZIP_STORED for about in inner.infolist()):
            raise ValueError(f"its {WEIGHTS} is packed twice")
    try:
        state = th.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch has many classes for it
        raise ValueError(f"its {WEIGHTS} holds more than tensors") from error
    for name, tensor in state.items():
        dense = isinstance(tensor, th.Tensor) and tensor.layout == th.strided and tensor.device.type == "cpu"
        if not dense or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise ValueError(f"its {WEIGHTS} has a {name} that is no plain tensor")
    return dict(state)


def _entry(data: Mapping[str, Any], name: str) -> Any:
    """What `data` says of `name`, a pickle as what it describes."""
    value = data[name]
    if not isinstance(value, dict) or SERIALIZED not in value:
        return value
    return read_pickle(base64.b64decode(value[SERIALIZED], validate=False))


def _plain(value: Any, kind: type, name: str) -> Any:
    if type(value) is not kind:
        raise ValueError(f"its {name} is {str(value)[:40]!r}, no {kind.__name__}")
    return value


def _policy_class(value: Any, algorithm: type[BatchAlgorithm]) -> type[BasePolicy]:
    aliases: dict[str, type[BasePolicy]] = algorithm.policy_aliases
    known = {f"{policy.__module__}.{policy.__qualname__}": policy for policy in aliases.values()} | aliases
    return _class("policy_class", value, known, BasePolicy)


def _class(where: str, value: Any, known: Mapping[str, type[Any]], base: type[Any]) -> type[Any]:
    """The class that is meant: one of those known, or one of racing.algos. Raises NeedsTrust for others."""
    name = value.path if isinstance(value, Name) else value
    if isinstance(name, str) and name in known:
        return known[name]
    try:
        return named_class(name, base)
    except ValueError:
        raise NeedsTrust(f"its {where} is {_shown(value)}") from None


def _policy_kwargs(value: Any) -> dict[str, Any]:
    """Arguments of the policy: plain values, and classes that are known."""
    if not isinstance(value, Pairs | dict):
        raise NeedsTrust(f"its policy_kwargs are {_shown(value)}")
    given = value if isinstance(value, dict) else value.texts()
    read: dict[str, Callable[[Any], Any]] = {
        "activation_fn": lambda found: _class("activation_fn", found, _activations(), _Nothing),
        "features_extractor_class": lambda found: _class(
            "features_extractor_class", found, _extractors(), BaseFeaturesExtractor
        ),
    }
    found = {
        name: read[name](entry) if name in read else _values(entry, f"policy_kwargs.{name}")
        for name, entry in given.items()
        if name not in NOT_NEEDED
    }
    sizes = found.get("net_arch")
    if isinstance(sizes, list) and sizes and isinstance(sizes[0], dict):  # as Stable-Baselines3 wrote it before 1.8
        found["net_arch"] = sizes[0]
    return found


class _Nothing:
    """Base of no class."""


def _activations() -> dict[str, type[Any]]:
    return {f"torch.nn.modules.{room}.{name}": getattr(th.nn, name) for name in ACTIVATIONS for room in _rooms(name)}


def _rooms(name: str) -> tuple[str, ...]:
    return ("linear",) if name == "Identity" else ("activation",)


def _extractors() -> dict[str, type[Any]]:
    names = ("FlattenExtractor", "NatureCNN", "CombinedExtractor")
    return {f"{sb3_layers.__name__}.{name}": getattr(sb3_layers, name) for name in names}


def _values(value: Any, where: str) -> Any:
    """Numbers, texts, lists and dicts of them. Raises NeedsTrust for others."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple) and not isinstance(value, Pairs):
        return [_values(entry, where) for entry in value]
    if isinstance(value, Pairs | dict):
        entries = value.texts() if isinstance(value, Pairs) else value
        return {name: _values(entry, f"{where}.{name}") for name, entry in entries.items()}
    raise NeedsTrust(f"its {where} is {_shown(value)}")


def _shown(value: Any) -> str:
    """What something is, for people."""
    if isinstance(value, Name):
        return value.path[:80]
    return f"made by {value.path[:80] or 'a call'}" if isinstance(value, Made) else repr(type(value).__name__)


def _space(value: Any) -> gymnasium.Space[Any]:
    """A space from what its pickle describes: Box, or a Dict of them. Raises NeedsTrust for others."""
    kind = SPACES.fullmatch(value.path) if isinstance(value, Made) else None
    if kind is None or not isinstance(value.state, Pairs):
        raise NeedsTrust(f"its observation or action space is {_shown(value)}")
    state = value.state.texts()
    if kind[2] == "box.Box":
        low, high = (_array(state[name]) for name in ("low", "high"))
        return gymnasium.spaces.Box(low, high, shape=low.shape, dtype=low.dtype.type)
    spaces = state["spaces"]
    if isinstance(spaces, Made) and spaces.path == "collections.OrderedDict":
        spaces = Pairs(zip(spaces.items[::2], spaces.items[1::2], strict=True))
    return gymnasium.spaces.Dict({name: _space(part) for name, part in _plain(spaces, Pairs, "spaces").texts().items()})


def _array(value: Any) -> npt.NDArray[Any]:
    """An array of numbers from what its pickle describes. Raises NeedsTrust for others."""
    if not (isinstance(value, Made) and ARRAYS.fullmatch(value.path)):
        raise NeedsTrust(f"a bound of its space is {_shown(value)}")
    if value.path.endswith("_frombuffer"):
        content, dtype, shape, order = value.arguments
    else:
        _, shape, dtype, fortran, content = value.state
        order = "F" if fortran else "C"
    code = dtype.arguments[0] if isinstance(dtype, Made) and dtype.path == "numpy.dtype" else None
    if not (isinstance(code, str) and DTYPE.fullmatch(code) and isinstance(content, bytes | bytearray)):
        raise NeedsTrust("a bound of its space is no array of numbers")
    endian = ">" if dtype.state and dtype.state[1] == ">" else "<"
    sizes = all(type(size) is int and size > 0 for size in shape)
    if not sizes or math.prod(shape) > min(len(content), MOST_OBSERVED):
        raise ValueError("a bound of its space has no such shape")
    flat = np.frombuffer(content, np.dtype(endian + code))
    return np.array(flat.reshape(shape, order="F" if order == "F" else "C"), np.dtype(code))
