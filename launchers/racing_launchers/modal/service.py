"""An app on Modal that trains on a web request: python -m racing_launchers.modal.service [gpu=T4 timeout_min=60 ...]

    POST /train        {"experiment": "generalist", "overrides": {"seed": 3, "algo.total_timesteps": 500000}}
    GET  /runs/<id>    how far it is, how it ended, where its files are

Modal lets in only who shows a proxy token of the workspace (headers Modal-Key and Modal-Secret). What may be asked for
is a list (ALLOWED): a configuration can name any Python object, so nothing else of it comes in from outside.
"""

from __future__ import annotations

import builtins
import contextlib
import json
import os
import pickle
import re
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from racing.config import choices, compose_run
from racing.errors import ExitCode, InputError, input_error, require
from racing.tracks.catalog import shipped
from racing_launchers.job import JobStatus
from racing_launchers.job_progress import progress_of
from racing_launchers.modal.app import ResourceRequest, function_options, make_image, passed_on, volume
from racing_launchers.modal.volume import answered, library
from racing_launchers.modal.worker import RemoteJobSpec, run_job
from racing_launchers.payload import CommandJob
from racing_launchers.sweep import Sweep

GROUPS = ("env", "track", "vehicle", "algo", "conditions", "hardware", "debug")  # a choice of conf/<group>
OF_ALGO = ("total_timesteps", "n_envs", "learning_rate", "gamma", "batch_size", "features_dim")
NUMBERS = (
    "seed",
    *(f"algo.{name}" for name in OF_ALGO),
    "env.frame_stack",
    "eval.episodes",
    "eval.laps",
    "checkpoint.every",
)
SWITCHES = ("env.grayscale", "fresh")
ALLOWED = (*GROUPS, *NUMBERS, *SWITCHES, "name")
MAX_BODY = 1 << 14  # [bytes] of a request
DEPLOYMENT = "RACING_SERVICE"  # variable that tells the container what it serves


def accepted(body: Any) -> list[str]:
    """The overrides that a request asks for. Raises InputError for anything that is not on the list."""
    rule = 'the request must be {"experiment": NAME, "overrides": {KEY: VALUE}}'
    require(isinstance(body, dict) and set(body) <= {"experiment", "overrides"} and bool(body), f"{rule}; see the docs")
    experiment, overrides = body.get("experiment"), body.get("overrides") or {}
    require(isinstance(overrides, dict), f"{rule}, got overrides {overrides!r}; name keys and values")
    found = []
    if experiment is not None:
        known = choices("experiment")
        require(experiment in known, f"experiment {experiment!r} is not known; it can be {', '.join(known)}")
        found.append(f"experiment={experiment}")
    return found + [f"{key}={allowed(key, value)}" for key, value in overrides.items()]


def allowed(key: str, value: Any) -> str:
    """The value of one key as Hydra takes it. Raises InputError unless both are on the list."""
    require(key in ALLOWED, f"{key!r} may not be set; these may: {', '.join(ALLOWED)}")
    if key in GROUPS:
        known = sorted(shipped()) if key == "track" else choices(key)
        require(isinstance(value, str) and value in known, f"{key} must be one of {', '.join(known)}, got {value!r}")
        return str(value)
    if key in SWITCHES:
        require(isinstance(value, bool), f"{key} must be true or false, got {value!r}; choose one")
        return str(value).lower()
    if key == "name":
        fits = isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_\-]{0,63}", value) is not None
        require(fits, f"name must be letters, digits, _ and -, got {value!r}; choose another")
        return str(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    require(number, f"{key} must be a number, got {value!r}; give one")
    return repr(value)


def checked_run(overrides: Sequence[str], memory: int) -> dict[str, Any]:
    """The configuration of a training, built once as a sweep's jobs are. Raises InputError if it would be refused.

    memory: [MiB] of the container that it is for.
    """
    from racing_launchers.preflight import check_job

    config = compose_run(overrides)
    check_job(OmegaConf.create(config), overrides, {}, here=False, build=True, memory=memory << 20)
    return config


class Service:
    """What the web container does."""

    def __init__(self, deployment: Mapping[str, Any]) -> None:
        """deployment: see `deploy`. Nothing is asked of Modal yet."""
        self.deployment = deployment
        self.runs = Path(deployment["runs"])

    def train(self, body: Any) -> dict[str, Any]:
        """Start what a request asks for; returns its id. Raises InputError."""
        run_overrides = accepted(body)
        config = checked_run(run_overrides, int(self.deployment.get("memory", 8192)))
        name = f"web-{uuid.uuid4().hex[:8]}"
        # Without a server the journal is the record: racing runs fetch.
        more = [] if self.deployment["tracked"] else ["tracking.enabled=false"]
        job = {"number": 0, "overrides": run_overrides, "label": " ".join(run_overrides)}
        job |= {"tags": {"racing.sweep": name}, "steps": int(config["algo"]["total_timesteps"])}
        spec = RemoteJobSpec(
            sweep=name,
            number=0,
            attempt=1,
            payload=packed(CommandJob(["train", *run_overrides, *more])),
            job=job,
            volume=self.deployment["volume"],
            runs_path=self.deployment["runs"],
            gpus=list(self.deployment["gpus"]),
            commit_every=float(self.deployment["commit_every"]),
        )
        with answered("the job"):
            call = library().Function.from_name(self.deployment["app"], "job").spawn(spec.plain())
        return {"id": f"{name}.{call.object_id}", "name": config["name"], "overrides": run_overrides}

    def show(self, name: str) -> dict[str, Any] | None:
        """How far a training is; None if there is none of that id."""
        known = re.fullmatch(r"(web-[0-9a-f]{8})\.(fc-[A-Za-z0-9]{1,40})", name)
        if known is None:
            return None
        library().Volume.from_name(self.deployment["volume"]).reload()
        job = Sweep(self.runs / "sweeps" / known[1]).job(0)
        state = self._state(known[2])
        if state is None or job.folder.attempt.get("call", known[2]) != known[2]:
            return None
        progress = progress_of(job, self.runs)
        found = {"id": name, "run": Path(progress.run).name, "step": progress.step, "total": progress.total}
        return found | state

    def _state(self, call: str) -> dict[str, Any] | None:
        """How far a call is; None if there is none of that id."""
        try:
            result = library().FunctionCall.from_id(call).get(timeout=0)
        except builtins.TimeoutError:
            return {"state": JobStatus.RUNNING, "error": None}
        except library().exception.NotFoundError:
            return None
        except Exception as error:
            return {"state": JobStatus.LOST, "error": f"{type(error).__name__}: {error}"[:300]}
        return {"state": result["status"], "error": result["error"], "value": result["value"]}


def packed(payload: CommandJob) -> bytes:
    """As racing_launchers.worker.write_payload writes it; the paths of this machine do not matter."""
    import cloudpickle

    return bytes(pickle.dumps([]) + cloudpickle.dumps(payload))


def web() -> Any:
    """The ASGI application; Modal calls this in a container."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    service = Service(json.loads(os.environ[DEPLOYMENT]))

    async def train(request: Request) -> JSONResponse:
        content = await request.body()
        try:
            rule = f"a request may have {MAX_BODY} bytes, got {len(content)}; leave something out"
            require(len(content) <= MAX_BODY, rule)
            with refused_if_wrong():
                body = json.loads(content)
            return JSONResponse(await run_in_threadpool(service.train, body))
        except Exception as error:
            wrong = input_error(error)
            if wrong is None:
                raise
            readable = str(wrong).encode(errors="backslashreplace").decode()  # a sender may name half a letter
            return JSONResponse({"error": readable}, status_code=400)

    async def show(request: Request) -> JSONResponse:
        found = await run_in_threadpool(service.show, request.path_params["name"])
        return JSONResponse(found or {"error": "there is no such run"}, status_code=200 if found else 404)

    return Starlette(routes=[Route("/train", train, methods=["POST"]), Route("/runs/{name}", show, methods=["GET"])])


@contextlib.contextmanager
def refused_if_wrong() -> Any:
    """What is no JSON is the sender's mistake."""
    try:
        yield
    except (ValueError, RecursionError) as error:
        raise InputError(f"the request must be JSON, {error}; correct it") from error


def deploy(resources: ResourceRequest, commit_every: float, name: str) -> str:
    """Deploy the app, in the place of an earlier one of that name; returns its address. Raises InputError."""
    modal = library()
    app = modal.App(name, include_source=False)
    tracked = "MLFLOW_TRACKING_URI" in {**resources.env, **passed_on(resources.env_passthrough)}
    deployment = {
        "app": name,
        "volume": resources.runs_volume,
        "runs": resources.runs_path,
        "gpus": resources.gpu,
        "commit_every": commit_every,
        "tracked": tracked,
        "memory": resources.memory,
    }
    with tempfile.TemporaryDirectory(prefix="racing-modal-") as scratch, answered("the app"):
        app.function(**function_options(resources, Path(scratch), with_tracks=False))(run_job)
        function = app.function(
            name="web",
            image=make_image(resources, Path(scratch)),
            volumes={resources.runs_path: volume(resources.runs_volume, resources, create_if_missing=True, version=2)},
            env={DEPLOYMENT: json.dumps(deployment), **resources.env},
            cpu=0.5,
            timeout=300,  # a request is built once, to see that it can be
            include_source=False,
        )(modal.asgi_app(requires_proxy_auth=True)(web))
        app.deploy(environment_name=resources.environment)
        return str(function.get_web_url())


def main(argv: Sequence[str] | None = None) -> int:
    """The command: overrides of conf/launcher/modal.yaml, such as gpu=T4 timeout_min=60."""
    from racing_launchers.backend import launcher_config, make_backend
    from racing_launchers.modal.backend import ModalBackend

    arguments = list(sys.argv[1:] if argv is None else argv)
    if set(arguments) & {"-h", "--help"}:
        print(__doc__)
        return ExitCode.DONE
    try:
        launcher = launcher_config("modal", arguments)
        backend = make_backend({**launcher, "app": f"{launcher['app']}-service"})
        assert isinstance(backend, ModalBackend)
        backend.check([])
        print("\n".join(["for each training that is asked for:", *backend.plan(1)]), file=sys.stderr)
        print(deploy(backend.resources, backend.commit_every, backend.resources.app))
    except InputError as error:
        print(f"racing: {error}", file=sys.stderr)
        return ExitCode.WRONG_INPUT
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
