"""`racing export`: a trained policy as one ONNX file, checked against torch."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from racing import __version__
from racing.arguments import verb_options
from racing.envs.sensors import SensorsTask
from racing.errors import InputError, require
from racing.laps import Policy

EXAMPLES = """usage: racing export [key=value ...]

Write a run's policy as ONNX and check it against torch; exit code 1 if the two differ.

examples:
  racing export                              the newest run, to export/policy.onnx in its directory
  racing export run=my-run-1a2b3c4d out=policy.onnx
  racing export run=latest opset=17          for older runtimes
"""

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

TOLERANCE = 1e-5  # greatest difference between onnxruntime and torch, of actions in [-1, 1]
OBSERVATIONS = 1000  # least number of observations that the two are compared on
PARITY_LANES = 16  # few, so that each drives some way
OPSET = 20  # ONNX operator set: the newest that the exporter writes
OPSETS = (13, 20)
ACTION_NAMES = ("steering", "throttle")
UNITS = {
    "observation": "dimensionless, scaled to about [-1, 1] as the environment gives it",
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
    observations: npt.NDArray[np.float32],
    opset: int = OPSET,
) -> Parity:
    """Write the deterministic policy of a PPO or SAC model as ONNX, and check it.

    The file's input is "observation" (N, D) float32, exactly what the environment gives; its output "action" (N, 2)
    float32 in [-1, 1] is what the environment takes: PPO's clip or SAC's tanh are inside. N is free. metadata: texts
    kept in the file, see `describe`. observations: (n, D) recorded ones, n >= 1000, on which onnxruntime must agree
    with `model.predict`. The file appears at `path` only after it has.
    Raises ExportFailed if they differ by more than 1e-5, InputError for an opset outside 13..20, ValueError for fewer
    observations or another kind of policy.
    """
    import onnx

    if len(observations) < OBSERVATIONS:
        raise ValueError(f"parity needs >= {OBSERVATIONS} recorded observations, got {len(observations)}; record more")
    low, high = OPSETS
    require(low <= opset <= high, f"opset must be in {low}..{high}, got {opset}; {OPSET} is the default")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _write(model, temporary, observations.shape[1], opset)
        graph = onnx.load(temporary)
        # The exporter leaves the width of a clipped result open; users plan with it.
        graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(ACTION_NAMES)
        onnx.helper.set_model_props(graph, metadata)
        onnx.checker.check_model(graph, full_check=True)
        onnx.save(graph, temporary)
        difference = largest_difference(model, temporary, observations)
        if not difference <= TOLERANCE:  # also where it is NaN
            raise ExportFailed(
                f"onnxruntime and torch differ by {difference:.2g} on {len(observations)} observations, "
                f"more than {TOLERANCE:g}; {path} was not written"
            )
        size = temporary.stat().st_size
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return Parity(path=path, size=size, opset=opset, observations=len(observations), max_difference=difference)


def _write(model: BaseAlgorithm, path: Path, size: int, opset: int) -> None:
    """Trace the policy's greedy action with torch's TorchScript exporter.

    It takes 0.05 s and writes one file; the newer one (dynamo=True) takes 0.8 s, imports three seconds' worth of a
    further dependency, writes weights into a second file, and gives the same graph for a plain network.
    """
    import torch

    module = _greedy(model)
    example = torch.zeros(2, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # says that dynamo=True is the default; torch is pinned
        torch.onnx.export(
            module,
            (example,),
            path,
            input_names=["observation"],
            output_names=["action"],
            dynamic_axes={"observation": {0: "batch"}, "action": {0: "batch"}},
            opset_version=opset,
            dynamo=False,
        )


def _greedy(model: BaseAlgorithm) -> Any:
    """A torch module: observation (N, D) -> greedy action (N, 2), on the CPU. Raises ValueError for other policies."""
    import copy

    import torch

    policy = copy.deepcopy(model.policy).to("cpu").eval()  # the model may be on a GPU and goes on training
    space = model.action_space
    low, high = getattr(space, "low", None), getattr(space, "high", None)
    if low is None or high is None or not (np.all(low == -1) and np.all(high == 1)):
        raise ValueError(f"export knows actions in [-1, 1], got {space}; use racing.envs.vec_env.action_space")

    class Clipped(torch.nn.Module):
        """PPO: the mean of the Gaussian, clipped."""

        def __init__(self) -> None:
            super().__init__()
            self.features, self.hidden = policy.pi_features_extractor, policy.mlp_extractor
            self.mean = policy.action_net

        def forward(self, observation: torch.Tensor) -> torch.Tensor:
            return torch.clamp(self.mean(self.hidden.forward_actor(self.features(observation))), -1.0, 1.0)

    class Squashed(torch.nn.Module):
        """SAC: the mean of the Gaussian, squashed by tanh."""

        def __init__(self) -> None:
            super().__init__()
            actor = policy.actor
            self.layers = torch.nn.Sequential(actor.features_extractor, actor.latent_pi, actor.mu, torch.nn.Tanh())

        def forward(self, observation: torch.Tensor) -> torch.Tensor:
            return self.layers(observation)

    if hasattr(policy, "action_net"):
        return Clipped()
    if hasattr(policy, "actor") and hasattr(policy.actor, "latent_pi"):
        return Squashed()
    raise ValueError(
        f"export knows the policies of PPO and SAC, got {type(policy).__name__}; add it to racing/export.py"
    )


def largest_difference(model: BaseAlgorithm, path: Path, observations: npt.NDArray[np.float32]) -> float:
    """Greatest absolute difference between the file's actions and those of `model.predict`."""
    from racing.policies import onnx_session

    expected, _ = model.predict(observations, deterministic=True)
    (actual,) = onnx_session(path).run(["action"], {"observation": observations})
    return float(np.max(np.abs(actual - expected)))


def record_observations(policy: Policy, task: SensorsTask, count: int = OBSERVATIONS) -> npt.NDArray[np.float32]:
    """(n, D), n >= count: what the policy observes while it drives all lanes of `task` from their first starts."""
    task.world.cars["episode"] = -1
    observation = task.reset()
    rows = [observation]
    while len(rows) * task.lanes < count:
        observation = task.step(np.clip(policy(observation), -1.0, 1.0)).observation
        rows.append(observation)
    return np.concatenate(rows)


def describe(task: SensorsTask, config: dict[str, Any], run_id: str = "") -> dict[str, str]:
    """What an ONNX policy says about itself; texts, JSON where they hold more than one value.

    run_id, racing_version; tracks (names), vehicle (all parameters), env (the run's config group), observation_names,
    action_names, units, decision_s: [s] that one action lasts. `racing evaluate file.onnx` builds the environment from
    these alone.
    """
    return {
        "run_id": run_id,
        "racing_version": __version__,
        "tracks": json.dumps([track.name for track in task.tracks]),
        "vehicle": json.dumps(asdict(task.vehicle)),
        "env": json.dumps(config.get("env", {})),
        "track": json.dumps(config.get("track", {})),
        "observation_names": json.dumps(task.observation_names),
        "action_names": json.dumps(ACTION_NAMES),
        "units": json.dumps(UNITS),
        "decision_s": repr(task.world.decision),
    }


def main(argv: Sequence[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    options = verb_options("export", argv, EXAMPLES)
    if options is None:
        return 0
    opset = options["opset"]
    whole = isinstance(opset, int) and not isinstance(opset, bool)
    require(whole, f"opset must be a whole number, got {opset!r}; {OPSET} is the default")
    return export_run(str(options["run"]), Path(options["paths"]["outputs"]), options["out"], opset)


def export_run(spec: str, outputs: Path, out: str | None, opset: int) -> int:
    """Export the torch policy of a run anew; prints what was written and returns the exit code."""
    from racing.policies import ONNX_FILE, load_policy, own_task, surroundings
    from racing.tracks.reference import reference_lap

    require(not spec.endswith(".onnx"), f"run={spec} must be a run or a .zip, it is exported already; name its run")
    policy = load_policy(spec, outputs, "torch")
    require(policy.model is not None, f"run={spec} must be a run or a .zip with the torch policy; name its run")
    tracks, vehicle = surroundings(policy)
    times = [reference_lap(track, vehicle).time_s for track in tracks]
    task = own_task(policy, tracks, vehicle, times, races=PARITY_LANES, laps=2, seed=0)
    path = Path(out) if out else (policy.run.path / ONNX_FILE if policy.run else Path(spec).with_suffix(".onnx"))
    run_id = str(policy.run.mlflow.get("run_id", "")) if policy.run else ""
    try:
        parity = export_policy(
            policy.model,
            path,
            metadata=describe(task, policy.config, run_id),
            observations=record_observations(policy.predict, task, 2 * OBSERVATIONS),
            opset=opset,
        )
    except ExportFailed as error:
        print(f"racing export: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        raise InputError(f"out={path} must be a file that can be written, {error.strerror}; name another") from error
    agreement = f"agrees with torch to {parity.max_difference:.1e} on {parity.observations} observations"
    print(f"{parity.path}  {parity.size / 1000:.1f} kB  opset {parity.opset}  {agreement}")
    return 0
