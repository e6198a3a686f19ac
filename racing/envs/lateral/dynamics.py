"""What the car does: an ONNX model that gives the logits of the next lateral acceleration."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.envs.lateral.default_model import default_model
from racing.envs.lateral.kernels import expect_rows, sample_rows
from racing.envs.lateral.rules import BINS, CONTEXT, TEMPERATURE, VOCABULARY
from racing.envs.lateral.trimming import last_row_sessions
from racing.errors import InputError, read_bytes, require
from racing.onnx_files import MOST_ONNX, session_of

Array = npt.NDArray[Any]

DEFAULT = "default"
TINYPHYSICS_SHA256 = "5beca7f07a3e9b183b4aa0402c780ddbc985416fe50ca788017b09705b4d0705"  # of comma's, in 2025
# Cars that a model is run for at once. What it computes for more does not fit into a core's cache; small models, whose
# calls take longer than that, are better off with more.
SMALL, FEW, MANY = 100_000, 16, 64  # [bytes] of a model, cars, cars
INPUTS = {"states": ("tensor(float)", (CONTEXT, 4)), "tokens": ("tensor(int64)", (CONTEXT,))}
OUTPUT = ("tensor(float)", (CONTEXT, VOCABULARY))


class Dynamics:
    """A model with the inputs and outputs of comma's tinyphysics.onnx, run by ONNX Runtime on one thread.

    Inputs: states (b, 20, 4) float32 of rows t-19 .. t: steering command, lateral acceleration by roll [m/s^2], speed
    [m/s], acceleration [m/s^2]; tokens (b, 20) int64 of the lateral accelerations of rows t-20 .. t-1. Output: logits
    (b, 20, 1024) float32, of which the last row is that of the lateral acceleration of row t.

    name: default, tinyphysics, or the file's. sha256: of the file. trimmed: whether the last part of the graph runs for
    the last row only, which gives the same bits in less time. chunk: cars that it is best run for at once.
    """

    def __init__(self, source: str = DEFAULT) -> None:
        """source: DEFAULT, or an ONNX file. Raises InputError where it is none, or has other inputs and outputs."""
        rule = f"dynamics must be {DEFAULT} or an ONNX file, got {source!r}"
        require(isinstance(source, str) and source != "", f"{rule}; give its path")
        if source == DEFAULT:
            content = default_model()
        else:
            content = read_bytes(Path(source).expanduser(), MOST_ONNX, "an ONNX model such as comma's tinyphysics.onnx")
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.name = "tinyphysics" if self.sha256 == TINYPHYSICS_SHA256 else Path(source).stem
        whole = session_of(content, source)
        check_interface(whole, source)
        probe = probe_inputs()
        expected = run(whole, *probe)
        sizes = f"dynamics {source} must give logits (b, {CONTEXT}, {VOCABULARY}), it gave {expected.shape}"
        require(expected.shape == (len(probe[0]), CONTEXT, VOCABULARY), f"{sizes}; export it again")
        require(bool(np.isfinite(expected).all()), f"dynamics {source} must give numbers, it gave NaN; export it again")
        self.chunk = MANY if len(content) < SMALL else FEW
        last = next((one for one in last_row_sessions(content) if gives(one, probe, expected[:, -1])), None)
        self.trimmed = last is not None
        self._session = last if self.trimmed else whole

    def sample(self, states: Array, tokens: Array, uniforms: Array) -> npt.NDArray[np.int64]:
        """Draw the next tokens (b,) as `numpy.random.choice` does from the softmax of the logits at TEMPERATURE.

        uniforms: (b,) in [0, 1), one for each. Raises InputError where the model gives no probabilities.
        """
        # In float32 and in this order: the challenge's own, bit for bit.
        logits = run(self._session, states, tokens)[:, -1] / np.float32(TEMPERATURE)
        powers = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
        drawn = np.empty(len(powers), np.int64)
        sample_rows(powers / np.sum(powers, axis=-1, keepdims=True), uniforms, drawn)
        self._require_numbers(bool((drawn >= 0).all()))
        return drawn

    def expect(self, states: Array, tokens: Array) -> npt.NDArray[np.float64]:
        """Mean lateral accelerations (b,) [m/s^2] of the next tokens. Raises InputError as `sample`."""
        means = np.empty(len(states))
        expect_rows(run(self._session, states, tokens)[:, -1], BINS, TEMPERATURE, means)
        self._require_numbers(bool(np.isfinite(means).all()))
        return means

    def _require_numbers(self, given: bool) -> None:
        require(given, f"dynamics {self.name} must give numbers, it gave NaN or infinity; export it again")


def run(session: Any, states: Array, tokens: Array) -> npt.NDArray[np.float32]:
    """Logits (b, rows, VOCABULARY) of a session. Raises InputError where the model fails."""
    try:
        logits: npt.NDArray[np.float32] = session.run(None, {"states": states, "tokens": tokens})[0]
    except Exception as error:  # onnxruntime's own, without a common base
        raise InputError(f"dynamics must run, onnxruntime says: {str(error).splitlines()[0]}; export it") from error
    return logits


def check_interface(session: Any, source: str) -> None:
    """Raise InputError unless a session has the inputs and outputs of tinyphysics.onnx."""
    wanted = f"states (b, {CONTEXT}, 4) float32 and tokens (b, {CONTEXT}) int64 -> (b, {CONTEXT}, {VOCABULARY}) float32"
    found = {part.name: part for part in session.get_inputs()}
    texts = ", ".join(f"{part.name} {part.shape} {part.type}" for part in (*found.values(), *session.get_outputs()))
    fits = set(found) == set(INPUTS) and len(session.get_outputs()) == 1
    fits = fits and all(fitting(found[name], *form) for name, form in INPUTS.items())
    fits = fits and fitting(session.get_outputs()[0], *OUTPUT)
    require(fits, f"dynamics {source} must be a model {wanted}, got {texts}; give one like comma's tinyphysics.onnx")


def fitting(part: Any, kind: str, shape: tuple[int, ...]) -> bool:
    """Whether an input or output has that type, and that shape after a free batch axis; unknown sizes may be any."""
    sizes = list(part.shape or ())
    free = len(sizes) == 1 + len(shape) and not isinstance(sizes[0], int)
    return (
        part.type == kind
        and free
        and all(not isinstance(n, int) or n == m for n, m in zip(sizes[1:], shape, strict=True))
    )


def probe_inputs(rows: int = 3) -> tuple[Array, Array]:
    """Inputs (rows, ...) such as the challenge has, to see what a model gives."""
    rng = np.random.RandomState(0)
    low, high = np.array([-1.0, -0.5, 3.0, -1.0]), np.array([1.0, 0.5, 34.0, 1.0])
    states = rng.uniform(low, high, (rows, CONTEXT, 4)).astype(np.float32)
    return states, rng.randint(300, 724, (rows, CONTEXT)).astype(np.int64)


def gives(session: Any, inputs: tuple[Array, Array], expected: Array) -> bool:
    """Whether the last rows of what a session gives are equal to those expected, bit for bit."""
    try:
        found = run(session, *inputs)[:, -1]
    except InputError:  # a graph with the same names, and other sizes
        return False
    return found.shape == expected.shape and found.tobytes() == expected.tobytes()
