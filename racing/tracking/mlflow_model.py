"""An ONNX policy as an MLflow model: loads with `mlflow.pyfunc.load_model` and predicts on numpy batches."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.models import ModelSignature


def write_mlflow_model(onnx_file: Path, folder: Path, **identity: str) -> None:
    """Write the MLflow model of `onnx_file` to `folder` (must not exist). identity: `run_id`, `model_id`.

    One input: predict takes an array; several: a dict of arrays by input name. The requirements are stated, not
    inferred: inference would import and run the model in a fresh process.
    """
    import mlflow.onnx
    import onnx
    from mlflow.models import Model

    model = onnx.load(onnx_file)
    signature, example = describe(model)
    mlflow.onnx.save_model(
        model,
        str(folder),
        mlflow_model=Model(**identity),
        signature=signature,
        input_example=example,
        pip_requirements=[
            f"{name}=={importlib.metadata.version(name)}" for name in ("mlflow", "numpy", "onnx", "onnxruntime")
        ],
        save_as_external_data=False,
    )


def describe(model: Any) -> tuple[ModelSignature, Any]:
    """Return signature and all-zero example (batch of one) as the graph declares them; free dimensions are -1."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema
    from onnx.helper import tensor_dtype_to_np_dtype

    def specs(values: Any) -> list[tuple[str, np.dtype[Any], tuple[int, ...]]]:
        return [
            (
                value.name,
                np.dtype(tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)),
                tuple(d.dim_value if d.HasField("dim_value") else -1 for d in value.type.tensor_type.shape.dim),
            )
            for value in values
        ]

    inputs, outputs = specs(model.graph.input), specs(model.graph.output)
    examples = {name: np.zeros([1 if size < 0 else size for size in shape], dtype) for name, dtype, shape in inputs}
    single = len(inputs) == 1
    schema = Schema(_tensor_specs(inputs, named=not single))
    signature = ModelSignature(inputs=schema, outputs=Schema(_tensor_specs(outputs, named=True)))
    return signature, next(iter(examples.values())) if single else examples


def _tensor_specs(specs: list[tuple[str, Any, tuple[int, ...]]], *, named: bool) -> list[Any]:
    from mlflow.types import TensorSpec

    return [TensorSpec(dtype, shape, name if named else None) for name, dtype, shape in specs]
