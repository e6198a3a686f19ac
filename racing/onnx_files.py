"""Open ONNX files that may come from anywhere: one CPU thread, nothing read beside the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from racing.errors import InputError, read_bytes, require

MOST_ONNX = 1 << 30  # [bytes]


def onnx_session(source: Path) -> Any:
    """An onnxruntime session on one CPU thread. Raises InputError if the file is no ONNX model."""
    return session_of(read_bytes(source, MOST_ONNX, "an ONNX model"), source)


def session_of(content: bytes, source: Any) -> Any:
    """As `onnx_session`, of a file's content. source: its name, for messages."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # small networks: handing work over costs more
    options.log_severity_level = 3
    refuse_other_files(content, source)
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a dozen classes for "this is no model"
        first = str(error).splitlines()[0]
        raise InputError(f"{source} must be an ONNX model, onnxruntime says: {first}; export it again") from error


def refuse_other_files(content: bytes, source: Any) -> None:
    """Raise InputError if a model keeps weights in other files: it could name any file of this machine."""
    if b"external_data" not in content and b"location" not in content:  # the keys that name such files
        return
    import onnx
    from onnx.external_data_helper import _get_all_tensors, uses_external_data

    try:
        outside = any(uses_external_data(tensor) for tensor in _get_all_tensors(onnx.load_from_string(content)))
    except Exception:  # no model: onnxruntime says why
        return
    require(not outside, f"{source} must hold its weights itself, it names other files for them; save it as one file")
