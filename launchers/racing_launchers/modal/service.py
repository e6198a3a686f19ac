"""An app on Modal that trains on a web request: python -m racing_launchers.modal.service [gpu=T4 timeout_min=60 ...]

    POST /train             {"experiment": "generalist", "overrides": {"seed": 3, "algo.total_timesteps": 500000}}
    GET  /runs/<id>         how far it is, how it ended, where its files are
    POST /campaigns         {"campaign": "circuits", "overrides": {"games": 200, "webhook": "https://example.com/hook"}}
    GET  /campaigns/<id>    how far each entry is, how it ended, who won

Modal lets in only who shows a proxy token of the workspace (headers Modal-Key and Modal-Secret). What may be asked for
is on lists (racing_launchers.modal.requests).
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
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from racing.config import compose_run
from racing.errors import ExitCode, InputError, input_error, require
from racing_launchers.job import JobStatus
from racing_launchers.job_progress import progress_of
from racing_launchers.modal.app import ResourceRequest, function_options, make_image, passed_on, volume
from racing_launchers.modal.requests import accepted, accepted_campaign
from racing_launchers.modal.volume import answered, library
from racing_launchers.modal.worker import RemoteJobSpec, run_job
from racing_launchers.payload import CommandJob
from racing_launchers.sweep import Job, Sweep

MAX_BODY = 1 << 14  # [bytes] of a request
RUN, CAMPAIGN = "web", "campaign"  # what the jobs' names begin with
CLAIM_S = 60.0  # [s] within which what was claimed has begun
POLICIES = "policies"  # on the volume: folder of what campaigns deploy
DEPLOYMENT = "RACING_SERVICE"  # variable that tells the container what it serves


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
        """Start the training that a request asks for; returns its id. Raises InputError."""
        run_overrides = accepted(body)
        config = checked_run(run_overrides, int(self.deployment["memory"]))
        # Without a server the journal is the record: racing runs fetch.
        more = [] if self.deployment["tracked"] else ["tracking.enabled=false"]
        name = self._start(RUN, ["train", *run_overrides, *more], run_overrides, int(config["algo"]["total_timesteps"]))
        return {"id": name, "name": config["name"], "overrides": run_overrides}

    def campaign(self, body: Any) -> dict[str, Any]:
        """Start the campaign that a request asks for, or continue it; returns its id. Raises InputError.

        One container does all of it; its files lie on the runs volume, what it deploys in POLICIES. One campaign of a
        name at a time: they share a folder.
        """
        words = accepted_campaign(body)
        choice = str(body["campaign"])
        with answered("the campaigns"):
            begun = library().Dict.from_name(f"{self.deployment['app']}-campaigns", create_if_missing=True)
            before = begun.get(choice)
        found = None if before is None else self._state(str(before).rpartition(".")[2])
        busy = found is not None and found["state"] == JobStatus.RUNNING
        require(not busy, f"campaign {choice} is running, {before}; wait for it: GET /campaigns/{before}")
        with self._claimed(begun, choice, before):
            name = self._start_campaign(words)
            with answered("the campaigns"):
                begun.put(choice, name)
        return {"id": name, "name": choice, "overrides": words[1:]}

    @contextlib.contextmanager
    def _claimed(self, begun: Any, choice: str, before: Any) -> Iterator[None]:
        """Whoever follows the campaign `before` is one alone, of all who ask at the same moment. Raises InputError.

        A claim is void, when what it was for has not begun in time: whoever had it is gone.
        """
        key = f"{choice} after {before}"
        with answered("the campaigns"):
            since = begun.get(key)
            if since is not None and time.time() - since > CLAIM_S:
                begun.pop(key)
            won = begun.put(key, time.time(), skip_if_exists=True)
        require(won, f"campaign {choice} is being started by another request; ask again in {CLAIM_S:.0f} s")
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):
                begun.pop(key)
            raise

    def _start_campaign(self, words: list[str]) -> str:
        """Have a container do a campaign; returns the id of its job. words: of the command line."""
        beside = max(1, int(self.deployment["cpu"]))
        more = [] if self.deployment["gpus"] else [f"launcher.n_jobs={beside}"]
        more += [] if self.deployment["tracked"] else ["tracking.enabled=false", "campaign.model=null"]
        # Matches in one process: the cores that a container sees are not those that it has.
        fixed = ["launcher=local", "sequential=true", f"policies={self.runs / POLICIES}"]
        return self._start(CAMPAIGN, ["campaign", *words, *fixed, *more], words)

    def _start(self, kind: str, arguments: list[str], overrides: list[str], steps: int | None = None) -> str:
        """Have a container do a verb of the command line; returns the id of its job. overrides: what was asked for."""
        name = f"{kind}-{uuid.uuid4().hex[:8]}"
        job = {"number": 0, "overrides": overrides, "label": " ".join(overrides), "tags": {"racing.sweep": name}}
        spec = RemoteJobSpec(
            sweep=name,
            number=0,
            attempt=1,
            payload=packed(CommandJob(arguments)),
            job=job | {"steps": steps},
            volume=self.deployment["volume"],
            runs_path=self.deployment["runs"],
            gpus=list(self.deployment["gpus"]),
            commit_every=float(self.deployment["commit_every"]),
        )
        with answered("the job"):
            call = library().Function.from_name(self.deployment["app"], "job").spawn(spec.plain())
        return f"{name}.{call.object_id}"

    def show_run(self, name: str) -> dict[str, Any] | None:
        """How far a training is; None if there is none of that id."""
        found = self._find(RUN, name)
        if found is None:
            return None
        job, state = found
        progress = progress_of(job, self.runs)
        return {"id": name, "run": Path(progress.run).name, "step": progress.step, "total": progress.total} | state

    def show_campaign(self, name: str) -> dict[str, Any] | None:
        """How far a campaign is, and each of its entries; None if there is none of that id.

        value: at the end what its webhook is told, too.
        """
        found = self._find(CAMPAIGN, name)
        if found is None:
            return None
        job, state = found
        folder = next(reversed(job.folder.runs), "")
        entries = []
        for entry in Sweep(self.runs / folder).jobs if folder else ():
            progress = progress_of(entry, self.runs)
            ended = entry.ended or (JobStatus.RUNNING if entry.folder.started else JobStatus.WAITING)
            entries.append({"name": entry.label, "state": ended, "step": progress.step, "total": progress.total})
        return {"id": name, "campaign": Path(folder).name, "entries": entries} | state

    def _find(self, kind: str, name: str) -> tuple[Job, dict[str, Any]] | None:
        """The job of an id, and how far its call is; None if there is none of that kind."""
        known = re.fullmatch(rf"({kind}-[0-9a-f]{{8}})\.(fc-[A-Za-z0-9]{{1,40}})", name)
        if known is None:
            return None
        library().Volume.from_name(self.deployment["volume"]).reload()
        job = Sweep(self.runs / "sweeps" / known[1]).job(0)
        state = self._state(known[2])
        if state is None or job.folder.attempt.get("call", known[2]) != known[2]:
            return None
        return job, state

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

    def starts(what: Callable[[Any], dict[str, Any]]) -> Any:
        async def start(request: Request) -> JSONResponse:
            content = await request.body()
            try:
                rule = f"a request may have {MAX_BODY} bytes, got {len(content)}; leave something out"
                require(len(content) <= MAX_BODY, rule)
                with refused_if_wrong():
                    body = json.loads(content)
                return JSONResponse(await run_in_threadpool(what, body))
            except Exception as error:
                wrong = input_error(error)
                if wrong is None:
                    raise
                readable = str(wrong).encode(errors="backslashreplace").decode()  # a sender may name half a letter
                return JSONResponse({"error": readable}, status_code=400)

        return start

    def shows(what: Callable[[str], dict[str, Any] | None], kind: str) -> Any:
        async def show(request: Request) -> JSONResponse:
            found = await run_in_threadpool(what, request.path_params["name"])
            return JSONResponse(found or {"error": f"there is no such {kind}"}, status_code=200 if found else 404)

        return show

    return Starlette(
        routes=[
            Route("/train", starts(service.train), methods=["POST"]),
            Route("/runs/{name}", shows(service.show_run, "run"), methods=["GET"]),
            Route("/campaigns", starts(service.campaign), methods=["POST"]),
            Route("/campaigns/{name}", shows(service.show_campaign, "campaign"), methods=["GET"]),
        ]
    )


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
        "cpu": resources.cpu,
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
        print("\n".join(["for each training or campaign that is asked for:", *backend.plan(1)]), file=sys.stderr)
        print(deploy(backend.resources, backend.commit_every, backend.resources.app))
    except InputError as error:
        print(f"racing: {error}", file=sys.stderr)
        return ExitCode.WRONG_INPUT
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
