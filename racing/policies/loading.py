"""Find and load a trained policy: from a run, an ONNX file, a Stable-Baselines3 file or an MLflow model.

ONNX is the default and needs no torch. Nothing that a file or a run directory brings along is run, unless `trust` says
so: any of them may come from elsewhere. docs/security.md
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.config import build, load_group
from racing.errors import InputError, is_file, require
from racing.evaluation.evaluate import Policy, Task, evaluation_task
from racing.files import read_json
from racing.observations import VECTOR, parts_of, shapes_of
from racing.onnx_files import onnx_session
from racing.policies.foreign_code import GROUPS, refuse_foreign_code
from racing.renamed_keys import upgraded
from racing.runs.directory import RunDirectory, whole_runs
from racing.runs.paths import IN_RUN, RunPaths, where
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracking.client import Store
from racing.tracking.run_record import local_run
from racing.tracks.catalog import load_tracks

AGENT = re.compile(r"(?P<run>.+?)@(?P<agent>[a-z]\w*)(?P<half>@half)?")  # of a run of several
BACKENDS = ("onnx", "torch")
# In the folder of a policy that `racing campaign` has deployed; the file is called as in a run.
DEPLOYED, MANIFEST = IN_RUN.policy_onnx.name, "manifest.json"
F = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class LoadedPolicy:
    """A policy that is ready to drive.

    name: for records and folders. backend: onnx or torch. shapes: of what one car observes, by name. config: the run's
    resolved config, or its groups env, track and vehicle as an ONNX file remembers them; empty where nothing is known.
    trusted: whether the config may name any code to be run. run: None for files.
    model: the Stable-Baselines3 model behind backend torch. sha256: of the file.
    """

    name: str
    backend: str
    shapes: dict[str, tuple[int, ...]]
    predict: Policy  # -> (N, A) float32 in [-1, 1]
    config: dict[str, Any] = field(default_factory=dict)
    trusted: bool = False
    run: RunDirectory | None = None
    model: Any = None
    sha256: str = ""


def load_policy(spec: str, outputs: Path, backend: str = "onnx", *, trust: bool = False) -> LoadedPolicy:
    """The policy that `spec` means.

    spec: a run (directory, its name, MLflow run id, latest; fetched where only MLflow has it), RUN@AGENT of a run of
    several agents and RUN@AGENT@half (it when half of its training was done), a folder that `racing campaign` has
    deployed it to, FILE.onnx, FILE.zip (Stable-Baselines3), models:/NAME@ALIAS or models:/NAME/VERSION (MLflow's
    registry: the run that made the model, or the model itself where another program made it). MLflow is that of
    MLFLOW_TRACKING_URI, else the embedded store.
    backend: for a run, its ONNX file or its torch one. trust: run what is in it that is code.
    Raises InputError if there is none or it cannot be read.
    """
    policy = _found(spec, outputs, backend, trust)
    return replace(policy, trusted=trust)


def _found(spec: str, outputs: Path, backend: str, trust: bool) -> LoadedPolicy:
    require(backend in BACKENDS, f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}; choose one")
    if spec.startswith("models:/"):
        return _registered(spec, outputs, backend, trust)
    path = Path(spec).expanduser()
    if path.suffix in (".onnx", ".zip"):
        remedy = f"see `racing runs list{where(outputs)}` for trained runs"
        require(path.is_file(), f"policy {spec} must be an existing file; {remedy}")
        return _from_onnx(path, path.stem) if path.suffix == ".onnx" else _from_zip(path, trust=trust)
    if is_deployed(path):
        return _deployed(path, backend)
    named = AGENT.fullmatch(spec)
    if named is not None and not path.exists():
        return _of_agent(local_run(named["run"], outputs), named["agent"], backend, trust, half=bool(named["half"]))
    return _of_run(_latest(outputs, backend) if spec == "latest" else local_run(spec, outputs), backend, trust)


def _latest(outputs: Path, backend: str) -> RunDirectory:
    """The newest run that has a policy; without any the newest one, which says so."""
    with_policy = (run for run in whole_runs(outputs) if _file_of(run, backend).is_file())
    return next(with_policy, None) or local_run("latest", outputs)


def _file_of(run: RunDirectory, backend: str) -> Path:
    return run.paths.policy_onnx if backend == "onnx" else run.paths.policy_zip


def agents_of(run: RunDirectory) -> list[str]:
    """Names of the agents whose policies a run has; none where it has one policy."""
    return sorted(path.parent.name for path in run.paths.export.glob(f"*/{IN_RUN.policy_onnx.name}"))


def _of_agent(run: RunDirectory, agent: str, backend: str, trust: bool, *, half: bool) -> LoadedPolicy:
    known = agents_of(run)
    none = f"run {run.name} ({run.status}) has no agents; leave @{agent} away"
    require(bool(known), none)
    require(agent in known, f"run {run.name} has no agent {agent!r}; it has: {', '.join(known)}")
    paths = run.paths.of_agent(agent)
    if half:
        policy = _from_zip(paths.half_zip, run, trust=trust)
        return replace(policy, name=f"{run.name}@{agent}@half")
    onnx = backend == "onnx"
    policy = _from_onnx(paths.policy_onnx, run.name, run) if onnx else _from_zip(paths.policy_zip, run, trust=trust)
    return replace(policy, name=f"{run.name}@{agent}")


def is_deployed(folder: Path) -> bool:
    """Whether a folder holds a policy that `racing campaign` has deployed."""
    return is_file(folder / DEPLOYED) and is_file(folder / MANIFEST)


def _deployed(folder: Path, backend: str) -> LoadedPolicy:
    require(backend == "onnx", f"policy {folder} is an ONNX file, backend={backend} has none; leave backend away")
    policy = _from_onnx(folder / DEPLOYED, folder.resolve().name)
    try:
        told = read_json(folder / MANIFEST).get("sha256")
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / MANIFEST} is damaged, {error}; deploy the policy again") from error
    rule = f"{folder / DEPLOYED} must be the file that {MANIFEST} names, its sha256 is another"
    require(told == policy.sha256, f"{rule}; deploy the policy again, or take {folder / 'previous'}")
    return policy


def _of_run(run: RunDirectory, backend: str, trust: bool) -> LoadedPolicy:
    file = _file_of(run, backend)
    export = run.finished and backend != "torch"
    remedy = f"racing export run={run.name}{where(run.paths.outputs)}" if export else "train it to its end first"
    require(file.is_file(), f"run {run.name} ({run.status}) has no {file.relative_to(run.path)}; {remedy}")
    return _from_onnx(file, run.name, run) if backend == "onnx" else _from_zip(file, run, trust=trust)


def onnx_policy(session: Any) -> Policy:
    """The policy of an onnxruntime session as a plain function of observations."""
    target, names = session.get_outputs()[0].name, input_names(session)

    def predict(observation: Any) -> F:
        inputs = {names[part]: array for part, array in parts_of(observation).items()}
        return np.asarray(session.run([target], inputs)[0], np.float32)

    return predict


def input_names(session: Any) -> dict[str, str]:
    """Names of the inputs by what they take: a single vector may be called anything."""
    inputs = session.get_inputs()
    single = len(inputs) == 1 and len(inputs[0].shape) == 2
    return {VECTOR if single else part.name: part.name for part in inputs}


def _from_onnx(path: Path, name: str, run: RunDirectory | None = None) -> LoadedPolicy:
    session = onnx_session(path)
    sizes = [tuple(part.shape) for part in session.get_inputs()]
    fits = bool(sizes) and all(len(size) > 1 and all(isinstance(n, int) for n in size[1:]) for size in sizes)
    require(fits, f"{path} must have inputs (N, ...) of known size, got {sizes}; export it with `racing export`")
    return LoadedPolicy(
        name=name,
        backend="onnx",
        shapes=dict(zip(input_names(session), (size[1:] for size in sizes), strict=True)),
        predict=onnx_policy(session),
        config=run.config if run else _remembered(path, session.get_modelmeta().custom_metadata_map),
        run=run,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _remembered(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """The config groups in the file's metadata, with today's names of their keys."""
    try:
        groups = {group: json.loads(metadata[group]) for group in GROUPS if group in metadata}
    except ValueError as error:
        raise InputError(f"{path}: its metadata must be JSON, {error}; export it with `racing export`") from error
    for group, values in groups.items():
        rule = f"{path}: {group} in its metadata must be keys and values, got {str(values)[:60]!r}"
        require(isinstance(values, dict), f"{rule}; export it with `racing export`")
    return upgraded(groups)


def load_model(path: Path, *, trust: bool = False) -> Any:
    """The model in `path`, a file of Stable-Baselines3, on the CPU; imports torch. Raises InputError for other files.

    Nothing that is in the file is run (racing.policies.saved); trust: run what is pickled in it, as
    Stable-Baselines3 itself does.
    """
    from racing.algos.optimizers import leave_dynamo_out
    from racing.policies.saved import DAMAGED, NeedsTrust, read_model

    leave_dynamo_out()
    try:
        return _unpickled(path) if trust else read_model(path)
    except NeedsTrust as error:
        remedy = "reading it would run code that is in it: trust=true does, for a file of your own"
        raise InputError(f"{path} is not read, {error}; {remedy}") from error
    except DAMAGED as error:
        if isinstance(error, InputError):
            raise
        short = " ".join(str(error).split())[:200]
        raise InputError(f"{path} must be a policy saved by Stable-Baselines3, {short}; give another file") from error


def _unpickled(path: Path) -> Any:
    """As Stable-Baselines3 loads it: everything that is pickled in the file is run."""
    from racing.policies.saved import algorithm_of

    with zipfile.ZipFile(path) as archive:
        data = json.loads(archive.read("data"))
    return algorithm_of(data).load(path, device="cpu")


def _from_zip(path: Path, run: RunDirectory | None = None, *, trust: bool) -> LoadedPolicy:
    from racing.algos.extractors import use_float32

    model = load_model(path, trust=trust)
    use_float32(model.policy)
    place = RunPaths.of(path)
    owner = run or (RunDirectory(place.folder) if place else None)

    def predict(observation: Any) -> F:
        return np.asarray(model.predict(observation, deterministic=True)[0], np.float32)

    return LoadedPolicy(
        name=owner.name if owner and owner.exists else path.stem,
        backend="torch",
        shapes=shapes_of(model.observation_space),
        predict=predict,
        config=owner.config if owner else {},
        run=run,
        model=model,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _registered(spec: str, outputs: Path, backend: str, trust: bool) -> LoadedPolicy:
    """The policy of the run that made a registered model; without such a run of racing, the model's ONNX file."""
    store = Store(None, outputs)
    store.model_run(spec)  # says what is wrong with `spec`
    try:
        run = local_run(spec, outputs)
    except InputError:
        if backend == "torch":
            raise
    else:
        return _of_run(run, backend, trust)
    with tempfile.TemporaryDirectory(prefix="racing-policy-") as folder:
        store.download_model(spec, Path(folder))
        files = sorted(Path(folder).rglob("*.onnx"))
        require(
            len(files) == 1, f"{spec} must hold one ONNX file, got {len(files)}; register the model of a racing run"
        )
        return _from_onnx(files[0], spec.removeprefix("models:/").replace("/", "-").replace("@", "-"))


def tracks_and_vehicle(
    policy: LoadedPolicy,
    track: str | Sequence[str] | Track | None = None,
    vehicle: str | None = None,
    **reading: Any,
) -> tuple[list[Track], Vehicle]:
    """The tracks and the car that `policy` was trained with, or those named here.

    track: name, path, or several, or one that is read; reading: how to read it, see racing.tracks.catalog.load_tracks.
    vehicle: a name in conf/vehicle. Raises InputError where the policy does not say, or names code that isn't racing's.
    """
    config, name = policy.config, policy.name
    require(bool(config.get("env")), f"policy {name} does not say what it observes; give a run or an exported .onnx")
    if not policy.trusted:
        refuse_foreign_code(config, f"policy {name}")
    if track is None:
        require(bool(config.get("track")), f"policy {name} does not say where it drives; name a track=")
    if isinstance(track, Track):
        tracks = [track]
    else:
        tracks = load_tracks(track, **reading) if track is not None else build(config["track"])
    return tracks, load_group("vehicle", vehicle) if vehicle is not None else _own_vehicle(policy)


def vehicle_of(policy: LoadedPolicy) -> Vehicle | None:
    """The car that `policy` was trained with; None where it does not say.

    Raises InputError where it names code that is not racing's.
    """
    if not policy.trusted:
        refuse_foreign_code(policy.config, f"policy {policy.name}")
    return _own_vehicle(policy) if policy.config.get("vehicle") else None


def _own_vehicle(policy: LoadedPolicy) -> Vehicle:
    own = policy.config.get("vehicle") or {}
    if "_target_" in own:
        return build(own)  # type: ignore[no-any-return]
    try:
        return Vehicle(**own)
    except TypeError as error:
        message = f"policy {policy.name}: its vehicle does not fit this version, {error}; name one"
        raise InputError(message) from error


def evaluation_task_for(
    policy: LoadedPolicy, tracks: Sequence[Track], vehicle: Vehicle, references: Sequence[float], **options: Any
) -> Task:
    """The environment that `policy` was trained in, made for evaluation; arguments as in `evaluation_task`.

    Raises InputError if the policy reads observations of another size.
    """
    name = policy.name
    try:
        task = evaluation_task(dict(policy.config["env"]), tracks, vehicle, references, **options)
    except TypeError as error:  # a keyword that this version does not know
        raise InputError(f"policy {name}: its env does not fit this version, {error}; train it again") from error
    require_same_shapes(policy, task.observation_space)
    return task


def require_same_shapes(policy: LoadedPolicy, space: Any) -> None:
    """Raise InputError unless a policy reads what its environment gives; space: one car's observation."""
    theirs, given = policy.shapes, shapes_of(space)
    sizes = f"reads observations {batch_text(theirs)}, its environment gives {batch_text(given)}"
    rule = f"policy {policy.name} {sizes}"
    require(theirs == given, f"{rule}; the configuration belongs to another policy: export it again")


def batch_text(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Shapes with their batch axis, as text: (N, 10), or vision (N, 84, 84, 4) and telemetry (N, 9)."""
    texts = {name: f"({', '.join(map(str, ('N', *shape)))})" for name, shape in shapes.items()}
    return " and ".join(text if name == VECTOR else f"{name} {text}" for name, text in sorted(texts.items())[::-1])
