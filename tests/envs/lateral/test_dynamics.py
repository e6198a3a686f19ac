"""The dynamics: the default model by its formula, sampling as numpy's, files from outside."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from racing.cli import main
from racing.envs.lateral.default_model import default_model
from racing.envs.lateral.dynamics import Dynamics, gives, probe_inputs, run
from racing.envs.lateral.kernels import expect_rows, sample_rows
from racing.envs.lateral.rules import BINS, TEMPERATURE
from racing.envs.lateral.trimming import last_row_sessions
from racing.errors import InputError
from racing.onnx_files import session_of


@pytest.fixture(scope="module")
def default() -> Dynamics:
    return Dynamics()


def test_the_default_model_is_its_formula():
    states, tokens = probe_inputs(4)
    logits = run(session_of(default_model(), "default"), states, tokens)
    assert (logits.shape, logits.dtype) == ((4, 20, 1024), np.float32)
    y1, y2 = BINS[tokens[:, 19]], BINS[tokens[:, 18]]
    u, roll, v = states[..., 0].astype(float), states[:, 19, 1], states[:, 19, 2].astype(float)
    felt = 0.117 * u[:, 18] + 0.149 * u[:, 17] + 0.282 * u[:, 16] + 0.452 * u[:, 15]
    gain = 1.75 * v**2 / (v**2 + 9)
    mu = y1 + 0.276 * (y1 - y2) + 0.53 * (gain * (felt + 0.06 * felt**3) + roll - y1)
    np.testing.assert_allclose(BINS[logits[:, 19].argmax(1)], np.clip(mu, -5, 5), atol=0.006)
    # After the temperature it is a Gaussian of 0.042 m/s^2.
    expected = -((BINS - mu[:, None]) ** 2) / (2 * 0.042**2)
    near = np.abs(BINS - mu[:, None]) < 0.2
    np.testing.assert_allclose(logits[:, 19][near] / 0.8, expected[near], atol=0.01)


def test_the_default_model_is_small_and_has_the_interface_of_tinyphysics():
    model = onnx.load_from_string(default_model())
    assert len(default_model()) < 8000
    assert (model.ir_version, model.opset_import[0].version) == (7, 14)
    assert [part.name for part in (*model.graph.input, *model.graph.output)] == ["states", "tokens", "output"]


@pytest.mark.parametrize("seed", range(3))
def test_sampling_is_that_of_numpy_bit_for_bit(seed: int):
    rng = np.random.RandomState(seed)
    logits = (rng.normal(size=(200, 1024)) * rng.choice([1, 10, 60], (200, 1))).astype(np.float32)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = powers / powers.sum(1, keepdims=True)
    assert (probabilities == 0).any()
    np.random.seed(seed)
    expected = [np.random.choice(1024, p=row) for row in probabilities]
    out = np.empty(200, np.int64)
    sample_rows(probabilities, np.random.RandomState(seed).random_sample(200), out)
    np.testing.assert_array_equal(out, expected)


def test_the_ends_of_sampling():
    probabilities = np.array([[0, 0.5, 0, 0.5, 0], [0, 0, 0, 0, 0], [0, np.nan, 1, 0, 0]], np.float32)
    out = np.empty(3, np.int64)
    sample_rows(probabilities, np.zeros(3), out)
    assert out.tolist() == [1, -1, -1]
    sample_rows(probabilities, np.full(3, 0.5), out)
    assert out[0] == 3
    sample_rows(probabilities, np.full(3, np.nextafter(1, 0)), out)
    assert out[0] == 3


@pytest.mark.parametrize(("name", "cuts"), [("default", 1), ("transformer", 2)])
def test_a_trimmed_model_gives_the_same_bits_and_so_does_any_batch(
    name: str, cuts: int, transformer: Callable[..., bytes]
):
    content = default_model() if name == "default" else transformer()
    whole, trimmed = session_of(content, name), list(last_row_sessions(content))
    assert len(trimmed) == cuts
    states, tokens = probe_inputs(65)
    expected = run(whole, states, tokens)[:, -1]
    for size in (1, 2, 13, 64, 65):
        parts = [slice(k, k + size) for k in range(0, 65, size)]
        for session in (whole, *trimmed):
            rows = np.concatenate([run(session, states[p], tokens[p])[:, -1] for p in parts])
            assert rows.tobytes() == expected.tobytes()


def test_a_model_of_other_sizes_is_cut_where_that_gives_the_same(transformer: Callable[..., bytes], tmp_path: Path):
    """The first cut knows into how many heads tinyphysics divides what it attends to."""
    (tmp_path / "mine.onnx").write_bytes(transformer(heads=8))
    mine, probe = Dynamics(str(tmp_path / "mine.onnx")), probe_inputs()
    expected = run(session_of(transformer(heads=8), "mine"), *probe)[:, -1]
    assert [gives(session, probe, expected) for session in last_row_sessions(transformer(heads=8))] == [True]
    assert mine.trimmed
    assert mine.chunk < Dynamics().chunk  # it is not small
    assert mine.expect(*probe).tobytes() == expect(expected).tobytes()


def expect(logits: np.ndarray) -> np.ndarray:
    means = np.empty(len(logits))
    expect_rows(logits, BINS, TEMPERATURE, means)
    return means


def test_a_model_whose_rows_mix_later_is_not_trimmed(tmp_path: Path):
    """It has a tensor of the name, but the last row of the output follows from all rows of it."""
    model = onnx.load_from_string(default_model())
    axes = onnx.numpy_helper.from_array(np.array([1], np.int64), "rows")
    model.graph.initializer.append(axes)
    off = next(k for k, node in enumerate(model.graph.node) if node.output[0] == "off")
    mean = onnx.helper.make_node("ReduceSum", ["mu", "rows"], ["sum"], keepdims=1)
    share = onnx.helper.make_node("Add", ["mu", "sum"], ["mixed"])
    model.graph.node[off].input[1] = "mixed"
    for node in (share, mean):
        model.graph.node.insert(off, node)
    onnx.save(model, tmp_path / "mixed.onnx")
    assert not Dynamics(str(tmp_path / "mixed.onnx")).trimmed


def test_a_model_of_the_users_own(make_model: Callable[..., Path]):
    mine = Dynamics(str(make_model()))
    assert (mine.name, mine.trimmed, len(mine.sha256)) == ("sums", False, 64)
    states, tokens = probe_inputs(2)
    # All tokens alike: the uniform number alone decides.
    assert mine.sample(states, tokens, np.array([0.0, 0.9999])).tolist() == [0, 1023]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"states": "state"}, "must be a model states .* got state "),
        ({"rows": 10}, r"got states \['b', 10, 4\]"),
        ({"vocabulary": 512}, "got states .*512"),
        ({"kind": TensorProto.FLOAT}, r"tokens \['b', 20\] tensor\(float\)"),
        ({"factor": float("nan")}, "must give numbers, it gave NaN"),
    ],
)
def test_other_models_are_refused(make_model: Callable[..., Path], changed: dict, message: str):
    with pytest.raises(InputError, match=message):
        Dynamics(str(make_model(**changed)))


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes | None):
    path = tmp_path / "other.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"other\.onnx"):
        Dynamics(str(path))


def test_the_command_line_says_so_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "lateral", f"dynamics={tmp_path}/none.onnx", f"paths.outputs={tmp_path}"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "none.onnx" in said[0]


def test_it_needs_no_torch():
    code = "import sys; from racing.envs.lateral.task import LateralTask; LateralTask(races=1, route_count=1).reset()"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr
