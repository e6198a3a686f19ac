"""`racing export`: write the policy of a run as ONNX and check it against torch."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from racing.commands.options import verb_options
from racing.errors import InputError, require
from racing.runs.paths import IN_RUN

if TYPE_CHECKING:
    from racing.policies.loading import LoadedPolicy

EXAMPLES = """usage: racing export [key=value ...]

Write a run's policy as ONNX and check it against torch; exit code 1 if the two differ.

examples:
  racing export                              the newest run, to export/policy.onnx in its directory
  racing export run=my-run-1a2b3c4d out=policy.onnx
  racing export run=latest opset=17          for older runtimes
  racing export format=controls_challenge    env=lateral: racing.py and policy.onnx for comma.ai's controllers/
"""
ONNX = "onnx"
PARITY_LANES = 16  # few, so that each drives some way


def main(argv: Sequence[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    options = parse(argv)
    if options is None:
        return 0
    outputs, trust = Path(options["paths"]["outputs"]), options["trust"]
    return export_run(
        str(options["run"]), outputs, options["out"], options["opset"], trust=trust, form=options["format"]
    )


def parse(argv: Sequence[str]) -> dict[str, Any] | None:
    """The options of conf/verbs/export.yaml, checked; None after printing help. Raises InputError."""
    options = verb_options("export", argv, EXAMPLES)
    if options is None:
        return None
    from racing.policies.export import OPSET

    opset, trust = options["opset"], options["trust"]
    whole = isinstance(opset, int) and not isinstance(opset, bool)
    require(whole, f"opset must be a whole number, got {opset!r}; {OPSET} is the default")
    require(isinstance(options["format"], str), f"format must be a text, got {options['format']!r}; {ONNX} is usual")
    require(isinstance(trust, bool), f"trust must be true or false, got {trust!r}; choose one")
    return options


def check_there(options: Mapping[str, Any]) -> None:
    """Raise InputError unless the policy that the options name can be read here."""
    _torch_policy(str(options["run"]), Path(options["paths"]["outputs"]), trust=options["trust"])


def _torch_policy(spec: str, outputs: Path, *, trust: bool) -> LoadedPolicy:
    """The policy to export, with its model."""
    from racing.policies.loading import load_policy

    require(not spec.endswith(".onnx"), f"run={spec} must be a run or a .zip, it is exported already; name its run")
    policy = load_policy(spec, outputs, "torch", trust=trust)
    require(policy.model is not None, f"run={spec} must be a run or a .zip with the torch policy; name its run")
    return policy


def _target(policy: LoadedPolicy, spec: str, out: str | None, form: str) -> Path:
    """The ONNX file to be written: `out`, or of other formats a file in that folder."""
    if form != ONNX:
        own = policy.run.paths.exported_as(form) if policy.run else Path(spec).with_suffix("").with_name(form)
        return (Path(out) if out else own) / IN_RUN.policy_onnx.name
    return Path(out) if out else (policy.run.paths.policy_onnx if policy.run else Path(spec).with_suffix(".onnx"))


def _task_of(policy: LoadedPolicy) -> Any:
    """What the policy is to drive while its observations are recorded."""
    from racing.policies.loading import evaluation_task_for, tracks_and_vehicle
    from racing.policies.scored import is_scored_policy, score_evaluator
    from racing.tracks.reference_lap import reference_lap

    if is_scored_policy(policy):
        return score_evaluator(policy, PARITY_LANES).task()
    tracks, vehicle = tracks_and_vehicle(policy)
    times = [reference_lap(track, vehicle).time_s for track in tracks]
    return evaluation_task_for(policy, tracks, vehicle, times, races=PARITY_LANES, laps=2, seed=0)


def export_run(spec: str, outputs: Path, out: str | None, opset: int, *, trust: bool = False, form: str = ONNX) -> int:
    """Export the torch policy of a run anew; prints what was written and returns the exit code.

    form: ONNX, or a format that the policy's environment knows.
    """
    from racing.policies.export import OBSERVATIONS, ExportFailed, describe, export_policy, record_observations

    policy = _torch_policy(spec, outputs, trust=trust)
    task = _task_of(policy)
    formats = getattr(task, "export_formats", {})
    known = ", ".join((ONNX, *formats))
    require(form == ONNX or form in formats, f"format must be one of {known} for this policy, got {form!r}; choose one")
    path = _target(policy, spec, out, form)
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
    written = formats[form](path) if form != ONNX else []
    print(f"{parity.path}  {parity.size / 1000:.1f} kB  opset {parity.opset}  {agreement}")
    for file in written:
        print(file)
    return 0
