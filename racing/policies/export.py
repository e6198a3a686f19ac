"""`racing export`: a trained policy as one ONNX file, checked against torch."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from racing import __version__
from racing.algos.extractors import use_float32
from racing.envs.race import RaceTask, senses_of
from racing.envs.task import is_scored
from racing.envs.vision import TELEMETRY, VisionTask
from racing.errors import require
from racing.evaluation.evaluate import Policy, Task
from racing.files import atomic_path
from racing.observations import VECTOR, count, joined, parts_of, rows_of, shapes_of
from racing.tracking.model_registry import PARITY_TOLERANCE

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

OBSERVATIONS = 1000  # least number of observations that the two are compared on
OPSET = 20  # ONNX operator set: the newest that the exporter writes
OPSETS = (13, 20)
ACTION_NAMES = ("steering", "throttle")
PIECE = 128  # observations that torch and onnxruntime are compared on at once: frames need memory
UNITS = {
    "observation": "dimensionless, scaled to about [-1, 1] as the environment gives it",
    "vision": "bytes 0..255, (N, height, width, frames * channels), frames from the oldest to the newest",
    "telemetry": "see telemetry_units",
    "action": "[-1, 1]: steering left positive, share of the greatest road-wheel angle; throttle positive, brake "
    "negative, share of the greatest drive or brake",
}


class ExportFailed(RuntimeError):
    """The ONNX file does not act as the torch policy does; no file is left."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """A file that agrees with torch: size [bytes], observations compared, greatest difference of actions."""

    path: Path
    size: int
    opset: int
    observations: int
    max_difference: float


def export_policy(
    model: BaseAlgorithm,
    path: Path,
    *,
    metadata: dict[str, str],
    observations: Any,
    opset: int = OPSET,
) -> Parity:
    """Write the deterministic policy of a model of racing.algos as ONNX, and check it.

    The file's input is "observation" (N, D) float32, exactly what the environment gives, or one input for each part of
    a dict: "vision" (N, H, W, k * C) uint8, "telemetry" (N, 9) float32. Its output "action" (N, A) float32 in [-1, 1]
    is what the environment takes: scaling of bytes, PPO's clip or SAC's tanh are inside. N is free. metadata: texts
    kept in the file, see `describe`. observations: n >= 1000 recorded ones, on which onnxruntime must agree with
    the model in float32. The file appears at `path` only after it has.
    Raises ExportFailed if they differ by more than 1e-5, InputError for an opset outside 13..20, ValueError for fewer
    observations or a model of another package.
    """
    import onnx

    compared = count(observations)
    if compared < OBSERVATIONS:
        raise ValueError(f"parity needs >= {OBSERVATIONS} recorded observations, got {compared}; record more")
    low, high = OPSETS
    require(low <= opset <= high, f"opset must be in {low}..{high}, got {opset}; {OPSET} is the default")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        _write(model, temporary, rows_of(observations, slice(2)), opset)
        graph = onnx.load(temporary)
        # The exporter leaves the width of a clipped result open; users plan with it.
        graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value = model.action_space.shape[0]
        onnx.helper.set_model_props(graph, metadata)
        onnx.checker.check_model(graph, full_check=True)
        onnx.save(graph, temporary)
        difference = largest_difference(model, temporary, observations)
        if not difference <= PARITY_TOLERANCE:  # also where it is NaN
            raise ExportFailed(
                f"onnxruntime and torch differ by {difference:.2g} on {compared} observations, "
                f"more than {PARITY_TOLERANCE:g}; {path} was not written"
            )
        size = temporary.stat().st_size
    return Parity(path=path, size=size, opset=opset, observations=compared, max_difference=difference)


def _write(model: BaseAlgorithm, path: Path, example: Any, opset: int) -> None:
    """Trace the policy's greedy action on a few observations with torch's TorchScript exporter.

    It takes 0.05 s and writes one file; the newer one (dynamo=True) takes 0.8 s, imports three seconds' worth of a
    further dependency, writes weights into a second file, and gives the same graph for a plain network.
    """
    import torch

    parts = parts_of(example)
    names = sorted(parts, reverse=True)  # vision first
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # says that dynamo=True is the default; torch is pinned
        torch.onnx.export(
            _traceable(model, names),
            tuple(torch.as_tensor(parts[name]) for name in names),
            path,
            input_names=names,
            output_names=["action"],
            dynamic_axes={name: {0: "batch"} for name in (*names, "action")},
            opset_version=opset,
            dynamo=False,
        )


def _traceable(model: BaseAlgorithm, names: Sequence[str]) -> Any:
    """A torch module: the parts of an observation -> greedy action (N, A), on the CPU, in float32.

    names: of the parts, in the order of its arguments. Raises ValueError for models that are not of racing.algos.
    """
    import torch

    from racing.algos.common import BatchAlgorithm

    space = model.action_space
    low, high = getattr(space, "low", None), getattr(space, "high", None)
    if low is None or high is None or not (np.all(low == -1) and np.all(high == 1)):
        raise ValueError(f"export knows actions in [-1, 1], got {space}; use a task's action_space")
    if not isinstance(model, BatchAlgorithm):
        raise ValueError(f"export asks the algorithm for its greedy policy, got {type(model).__name__}; use load_model")

    greedy = model.greedy_module(_on_cpu(model))

    class Traceable(type(greedy)):  # type: ignore[misc]
        def forward(self, *parts: torch.Tensor) -> torch.Tensor:
            return super().forward(parts[0] if names == [VECTOR] else dict(zip(names, parts, strict=True)))

    greedy.__class__ = Traceable  # no module around it: nodes and weights of the file have the names of its own parts
    return greedy


def _on_cpu(model: BaseAlgorithm) -> Any:
    """A copy of the policy to be compared with, in float32: the model may be on a GPU and goes on training."""
    import copy

    policy = copy.deepcopy(model.policy).to("cpu").eval()
    use_float32(policy)
    return policy


def largest_difference(model: BaseAlgorithm, path: Path, observations: Any) -> float:
    """Greatest absolute difference between the file's actions and those of `model.predict` on the CPU, in float32.

    NaN if any action is.
    """
    from racing.onnx_files import onnx_session
    from racing.policies.loading import onnx_policy

    policy, act = _on_cpu(model), onnx_policy(onnx_session(path))
    worst = []
    for first in range(0, count(observations), PIECE):
        piece = rows_of(observations, slice(first, first + PIECE))
        worst.append(np.max(np.abs(act(piece) - policy.predict(piece, deterministic=True)[0])))
    return float(np.max(worst))


def record_observations(policy: Policy, task: Any, number: int = OBSERVATIONS) -> Any:
    """At least `number` observations: what the policy sees while it drives all cars of `task` from their first starts.

    (n, D), or a dict of arrays (n, ...).
    """
    task.world.restart_all()
    observation, _ = task.reset()
    rows = [observation]
    while len(rows) * task.num_cars < number:
        observation = task.step_batch(np.clip(policy(observation), -1.0, 1.0)).observation
        rows.append(observation)
    return joined(rows)


def describe(task: Any, config: dict[str, Any], run_id: str = "") -> dict[str, str]:
    """What an ONNX policy says about itself; texts, JSON where they hold more than one value.

    run_id, racing_version; tracks (names), vehicle (all parameters), or without these `driven`; env (the run's config
    group), observation_names (of the numbers), action_names, units, step_s: [s] that one action lasts. With frames:
    telemetry_units, frames, camera. `racing evaluate file.onnx` builds the environment from these alone.
    """
    described = {
        **(_of_scored(task) if is_scored(task) else _of_cars(task)),
        "env": config.get("env", {}),
        "track": config.get("track", {}),
        "observation_names": task.observation_names,
    }
    texts = {"run_id": run_id, "racing_version": __version__, "step_s": repr(task.world.step_dt)}
    return texts | {name: json.dumps(value) for name, value in described.items()}


def _of_scored(task: Any) -> dict[str, Any]:
    """What a racing.envs.task.ScoredTask says of itself."""
    return {"action_names": task.action_names, "units": task.units, "driven": task.facts()}


def _of_cars(task: Task | RaceTask) -> dict[str, Any]:
    senses = senses_of(task)
    return {
        "tracks": [track.name for track in task.tracks],
        "vehicle": asdict(task.vehicle),
        "action_names": ACTION_NAMES,
        "units": {name: UNITS[name] for name in (*shapes_of(task.observation_space), "action")},
        **(_seen(senses) if isinstance(senses, VisionTask) else {}),
    }


def _seen(task: VisionTask) -> dict[str, Any]:
    """How the frames of a policy were taken; whoever builds a camera for it needs no more."""
    lens = task.camera.lens
    return {
        "telemetry_units": dict(TELEMETRY),
        "frames": {
            "width": lens.width,
            "height": lens.height,
            "stack": task.frame_stack,
            "order": "oldest to newest",
            "channels": ["luma (ITU-R BT.601)"] if lens.gray else ["red", "green", "blue"],
            "rows": "top to bottom",
        },
        "camera": {
            "field_of_view_deg": float(np.degrees(lens.field_of_view)),
            "pitch_deg": float(np.degrees(lens.pitch)),
            "above_m": lens.above,
            "forward_m": lens.forward,
        },
    }
