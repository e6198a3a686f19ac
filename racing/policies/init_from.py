"""`init_from`: a new run that begins with the weights of another one, and the record of where they came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch as th

from racing.algos.state import weights_sha256
from racing.errors import InputError, is_file, require
from racing.files import read_json
from racing.policies.loading import agents_of, load_model
from racing.runs.checkpoints import MARKER, Checkpoints, read_checkpoint
from racing.runs.directory import RUNS, RunDirectory
from racing.runs.paths import IN_RUN, RunPaths, where
from racing.tracking.run_record import local_run

# <run>@policy, <run>@<agent> or <run>@<step>, with the weights' checksum once they are known
_PLACE = re.compile(r"(?P<run>.+)@(?P<what>[a-z]\w*|\d+)(#(?P<sha>[0-9a-f]{12}))?")


@dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """Weights to begin with.

    spec: names them for ever: `<run>@policy#<sha>` (what the run ships), `<run>@<agent>#<sha>` (what one of several
    agents does), `<run>@<step>#<sha>` (a checkpoint) or `<file>#<sha>`.
    name, run_id: of the run that they come from. steps: decisions that they have seen. lineage: the
    runs before, oldest first. observation, action: shapes as text.
    """

    spec: str
    name: str
    run_id: str | None
    steps: int
    lineage: tuple[str, ...]
    weights: Mapping[str, Any]
    sha256: str
    observation: str
    action: str
    path: Path  # file or folder that holds them

    def tags(self) -> dict[str, str]:
        """What the run that begins here is found by in MLflow."""
        return {
            "racing.init_from": self.spec,
            "racing.ancestor": self.run_id or self.name,
            "racing.lineage": " > ".join(self.lineage),
            "racing.steps_before": str(self.steps),
        }

    def provenance(self) -> dict[str, Any]:
        """For the run's provenance.json."""
        return {
            "spec": self.spec,
            "run": self.name,
            "run_id": self.run_id,
            "sha256": self.sha256,
            "steps": self.steps,
            "lineage": list(self.lineage),
        }


def find_initial_weights(
    spec: Any, outputs: Path, uri: str | None = None, key: str = "init_from", *, trust: bool = False
) -> InitialWeights:
    """The weights that `<key>=<spec>` means.

    spec: a run (directory, name, MLflow run id, models:/NAME@ALIAS), RUN@AGENT for one of its agents, RUN@STEP for one
    of its checkpoints, the folder of one, or a policy.zip.
    uri: MLflow's, for runs that are not here.
    trust: see `load_model`.
    Raises InputError if there is none.
    """
    listed = f"`racing runs list{where(outputs)}`"
    require(isinstance(spec, str) and spec != "", f"{key} must be a run, got {spec!r}; see {listed}")
    rule = "must name one run: repeated, the command would begin from another one"
    require(spec != "latest", f"{key}={spec} {rule}; take a name of {listed}")
    path = Path(spec.partition("#")[0]).expanduser()
    if path.suffix == ".zip":
        require(is_file(path), f"{key}={spec} must be an existing file; see {listed} for runs")
        found = _from_zip(path, RunDirectory(path.resolve().parent.parent), trust)
    elif is_file(path / MARKER):
        found = _from_checkpoint(path.resolve())
    else:
        place = None if spec.startswith("models:/") else _PLACE.fullmatch(spec)
        run = _run(place["run"] if place else spec, outputs, uri)
        found = _from_run(run, place["what"] if place else None, trust)
    wanted = spec.partition("#")[2]
    rule = f"must be the weights {wanted}, they are {found.sha256[:12]} now"
    require(found.sha256.startswith(wanted), f"{key}={spec} {rule}; name the run anew")
    return found


def load_initial_weights(model: Any, initial: InitialWeights) -> None:
    """Give each learner of `model` these weights; its optimizer stays fresh, as does a `log_std` that is to be reset.

    Raises InputError where they do not fit.
    """
    for learner in model.learners.values():
        require_fit(learner, initial.spec, initial.observation, initial.action, initial.weights)
        weights = dict(initial.weights)
        if getattr(learner, "reset_log_std", False):  # what is to be learnt anew needs more exploration
            weights["log_std"] = learner.policy.state_dict()["log_std"]
        learner.policy.load_state_dict(weights)


def require_fit(model: Any, spec: str, observation: str, action: str, weights: Mapping[str, Any]) -> None:
    """Raise InputError unless `model` can take weights of these shapes. spec: names where they come from."""
    own = {"observations": shape_text(model.observation_space), "actions": shape_text(model.action_space)}
    for what, theirs in (("observations", observation), ("actions", action)):
        remedy = "choose the env that it was trained with"
        require(theirs == own[what], f"init_from={spec} has {what} of shape {theirs}, this run {own[what]}; {remedy}")
    ours, remedy = model.policy.state_dict(), "choose the algo and algo.net_arch that it was trained with"
    for name in [*ours, *(key for key in weights if key not in ours)]:
        sizes = [tuple(state[name].shape) if name in state else "none" for state in (weights, ours)]
        require(sizes[0] == sizes[1], f"init_from={spec} has {name} of shape {sizes[0]}, this run {sizes[1]}; {remedy}")


def shape_text(space: Any) -> str:
    """Shape of a Box, or of each part of a Dict, as text."""
    parts = getattr(space, "spaces", None)
    return ", ".join(f"{name} {part.shape}" for name, part in parts.items()) if parts else str(space.shape)


def _run(spec: str, outputs: Path, uri: str | None) -> RunDirectory:
    """The run directory of `spec`; one that was fetched before is found by its name, too."""
    for path in sorted((outputs / "fetched").glob(f"*/{spec}")) if "/" not in spec else ():
        if RunDirectory(path).exists and not RunDirectory(outputs / RUNS / spec).exists:
            return RunDirectory(path)
    return local_run(spec, outputs, uri)


def _from_run(run: RunDirectory, what: str | None, trust: bool) -> InitialWeights:
    """what: `policy` or None: the policy of a finished run; an agent: that one's; a step: the checkpoint there."""
    steps = ", ".join(str(c.step) for c in Checkpoints(run.path).all()) or "none"
    if what is None or not what.isdigit():
        agent = "" if what in ("policy", None) else what
        known = agents_of(run)
        none = f"run {run.name} has no agent {agent!r}; it has: {', '.join(known) or 'one policy'}"
        require(agent == "" or agent in known, none)
        policy = run.paths.of_agent(agent).policy_zip
        remedy = f"train it to its end, or name one of its checkpoints ({steps}) as {run.name}@STEP"
        require(
            policy.is_file() and run.finished, f"run {run.name} ({run.status}) has no {IN_RUN.policy_zip} yet; {remedy}"
        )
        return _from_zip(policy, run, trust, agent)
    found = [c for c in Checkpoints(run.path).all() if c.step == int(what)]
    require(bool(found), f"run {run.name} must have the checkpoint asked for, it has: {steps}; choose one of them")
    return _from_checkpoint(found[-1].path)


def _from_zip(path: Path, run: RunDirectory, trust: bool, agent: str = "") -> InitialWeights:
    model = load_model(path, trust=trust)
    known = run.exists and path == run.paths.of_agent(agent).policy_zip
    steps = run.summary.get("total_steps", model.num_timesteps) if known else model.num_timesteps
    place, owner = (f"{run.name}@{agent or 'policy'}", run) if known else (str(path.resolve()), None)
    spaces = [shape_text(space) for space in (model.observation_space, model.action_space)]
    return _initial_weights(place, path, owner, model.policy.state_dict(), steps, *spaces)


def _from_checkpoint(path: Path) -> InitialWeights:
    checkpoint = read_checkpoint(path)
    run = RunDirectory(RunPaths.of_checkpoint(path).folder)
    weights, notes = checkpoint.load("policy"), checkpoint.notes
    place = f"{run.name}@{checkpoint.step}"
    single = all(isinstance(value, th.Tensor) for value in weights.values())
    rule = f"{place} must hold one policy, it holds those of {', '.join(sorted(weights))}"
    require(single, f"{rule}; name an agent of a finished run as {run.name}@AGENT")
    return _initial_weights(place, path, run, weights, checkpoint.step, notes["observation"], notes["action"])


def _initial_weights(
    place: str, path: Path, run: RunDirectory | None, weights: Any, steps: int, observation: str, action: str
) -> InitialWeights:
    sha = weights_sha256(weights)
    name = run.name if run else place
    try:
        provenance = read_json(run.paths.provenance) if run else {}
    except ValueError as error:
        raise InputError(f"{name}: {IN_RUN.provenance} must be JSON, {error}; restore it") from error
    before = (provenance.get("ancestor") or {}).get("lineage", [])
    return InitialWeights(
        spec=f"{place}#{sha[:12]}",
        name=name,
        run_id=run.mlflow.get("run_id") if run else None,
        steps=int(steps),
        lineage=(*before, name),
        weights=weights,
        sha256=sha,
        observation=observation,
        action=action,
        path=path,
    )
