"""`racing runs`: what was trained, here and in MLflow."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from racing.commands.options import action_options
from racing.errors import require
from racing.runs.directory import RunDirectory, all_runs, find_run
from racing.runs.status import RunStatus
from racing.tracking.fetch import is_fetched
from racing.tracking.run_record import find_record

EXAMPLES = """usage: racing runs list | show | artifacts | fetch | push | sync | prune | promote  [RUN] [key=value ...]

What was trained, here and in MLflow. RUN is short for run=RUN.

examples:
  racing runs list                                every run under outputs/, newest first
  racing runs list tracking.uri=http://HOST:5000  every run of a server
  racing runs show latest                         one run: settings, results
  racing runs artifacts latest                    its files, here and in MLflow
  racing runs fetch run=RUN_ID path=export to=.   from MLflow to this machine; without path= all of it
  racing runs artifacts --from modal://VOLUME     what lies on a volume of Modal; with RUN only that
  racing runs fetch RUN --from modal://VOLUME     the same for copying; path= alone names any file or folder there
  racing runs fetch RUN --from s3://BUCKET        the same for jobs on AWS; s3://BUCKET/runs/SWEEP/N is one job's place
  racing runs push RUN --to modal://VOLUME        from this machine to Modal, for jobs that begin from it; RUN@STEP, too
  racing runs prune --from modal://VOLUME         delete there what is finished and whole here; dry=true only says what
  racing runs sync latest                         upload what MLflow lacks to the store that the run was made with
  racing runs sync all tracking.uri=http://HOST:5000
  racing runs prune run=latest keep_last=1        delete checkpoints; dry=true only says which
  racing runs promote run=latest name=kart        a version of a registered model: models:/kart@champion
"""
KEYS = {  # action -> keys that it takes besides paths.outputs
    "list": ("format", "tracking.uri"),
    "show": ("run", "format", "tracking.uri"),
    "artifacts": ("run", "format", "tracking.uri", "from", "path"),
    "fetch": ("run", "path", "to", "tracking.uri", "from"),
    "push": ("run", "to"),
    "sync": ("run", "tracking.uri"),
    "prune": ("run", "keep_last", "milestones", "remote", "dry", "from"),
    "promote": ("run", "name", "alias", "tracking.uri"),
}
TEXTS = ("run", "path", "to", "name", "alias", "from")


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    options = parse(argv)
    if options is None:
        return 0
    action, run, outputs = options["action"], options["run"], Path(options["paths"]["outputs"])
    uri, as_json = options["tracking"]["uri"], options["format"] == "json"
    if options["from"] is not None or action == "push":
        return on_volume(options, outputs, as_json=as_json)
    from racing.commands.runs import files, show

    if action == "list":
        return show.list_runs(outputs, uri, as_json=as_json)
    if action == "show":
        return show.show(find_record(run, outputs, uri), options["format"])
    if action == "sync":
        runs = all_runs(outputs) if run == "all" else [find_run(run, outputs)]
        return max([sync_or_say(run, uri) for run in runs], default=0)
    if action == "promote":
        return promote(run, options["name"], options["alias"], outputs, uri)
    if action == "artifacts":
        return files.artifacts(run, outputs, uri, as_json=as_json)
    if action == "fetch":
        return files.fetch(run, options["path"], options["to"], outputs, uri)
    return files.prune(run, outputs, options)


def on_volume(options: Mapping[str, Any], outputs: Path, *, as_json: bool) -> int:
    """Show, fetch, push or delete files of runs where jobs work; returns the exit code."""
    from racing.commands.runs import remote

    address, run, path = options["from"], options["run"] if options["chosen"] else None, options["path"]
    if options["action"] == "push":
        return remote.push(options["run"], options["to"], outputs)
    if options["action"] == "prune":
        return remote.prune(address, run, outputs, dry=options["dry"])
    if options["action"] == "artifacts":
        return remote.artifacts(address, run, path, as_json=as_json)
    return remote.fetch(address, run, path, options["to"], outputs)


def parse(argv: Sequence[str]) -> dict[str, Any] | None:
    """Return the options of conf/verbs/runs.yaml, checked, and `action`; None after printing help. Raises InputError.

    `chosen`: whether a run was named.
    """
    parsed = action_options("runs", with_from(argv), EXAMPLES, KEYS, "run", quoted)
    if parsed is None:
        return None
    options, given = parsed
    action = options["action"]
    volume = options["from"] is not None
    needed = {"promote": ("run", "name"), "prune": () if volume else ("run",), "push": ("run", "to")}
    for key in needed.get(action, ()):
        require(key in given, f"{action} needs {key}=...; say which")
    for key in ("keep_last", "milestones", "remote") if volume else ():
        require(key not in given, f"{key} is for checkpoints of a run that is here; drop it, or from=")
    check(options)
    require(volume or action != "artifacts" or options["path"] is None, "path= of artifacts needs from=; drop it")
    return options | {"chosen": "run" in given}


def with_from(argv: Sequence[str]) -> list[str]:
    """Write `--from ADDRESS`, `--to ADDRESS` among the arguments as from=ADDRESS, to=ADDRESS."""
    arguments = list(argv)
    for flag in ("--from", "--to"):
        if flag in arguments[:-1]:
            at = arguments.index(flag)
            address = arguments.pop(at + 1)
            # last: what may stand without a key stays first
            arguments[at:] = [*arguments[at + 1 :], f"{flag.removeprefix('--')}={address}"]
    flagged = ("--from=", "--to=")
    return [argument.removeprefix("--") if argument.startswith(flagged) else argument for argument in arguments]


def quoted(argument: str) -> str:
    """Put a text that Hydra would take for a number, such as the run id 1e5, in quotes."""
    key, _, value = argument.partition("=")
    return f"{key}='{value}'" if key in TEXTS and re.fullmatch(r"\d[\d._eE+\-]*", value) else argument


def check(options: Mapping[str, Any]) -> None:
    """Raise InputError unless the values are of the right kind."""
    texts = {"run": options["run"], "alias": options["alias"]}
    texts |= {key: options[key] for key in ("path", "to", "name", "from") if options[key] is not None}
    if options["tracking"]["uri"] is not None:
        texts["tracking.uri"] = options["tracking"]["uri"]
    for key, value in texts.items():
        require(isinstance(value, str) and value != "", f"{key} must be a text, got {value!r}; write {key}=TEXT")
    formats = ("table", "full", "json") if options["action"] == "show" else ("table", "json")
    known = f"format must be {' or '.join(formats)}, got {options['format']!r}; choose one"
    require(options["format"] in formats, known)
    for key in ("milestones", "remote", "dry"):
        require(isinstance(options[key], bool), f"{key} must be true or false, got {options[key]!r}; choose one")
    last = options["keep_last"]
    whole = isinstance(last, int) and not isinstance(last, bool) and last >= 1
    require(whole, f"keep_last must be a whole number >= 1, got {last!r}; a run continues from its last checkpoint")


def promote(spec: str, name: str, alias: str, outputs: Path, uri: str | None) -> int:
    """Register a run's policy and print the name that it is found by."""
    from racing.tracking.model_registry import promote as register

    done = register(spec, name, alias, outputs, uri)
    before = f", before it version {done.before}" if done.before not in (None, done.version) else ""
    print(f"models:/{done.name}@{done.alias}  version {done.version}{before}")
    for key, value in done.tags.items():
        print(f"  {key:<12} {value}")
    return 0


def sync_or_say(run: RunDirectory, uri: str | None) -> int:
    """As `sync`; a damaged run is said to be so, and the next one is not kept waiting."""
    if run.damage is not None:
        print(run.damage)
        return 1
    return sync(run, uri)


def sync(run: RunDirectory, uri: str | None = None) -> int:
    """Send what MLflow and the run's other sinks lack, in the foreground; 0 if they have all, 1 if not (yet)."""
    from racing.tracking.errors import Refused, Unreachable
    from racing.tracking.mlflow_sink import Delivery
    from racing.tracking.sinks.configured import sync_sinks

    require(not is_fetched(run), f"{run.path} was fetched from {run.mlflow.get('uri')}, it has nothing to send")
    delivery = Delivery(run, target_uri(run, uri), run.config.get("tracking", {}).get("experiment", "racing"))
    if not delivery.lock.acquire():
        print(f"{run.name}: is being sent by {delivery.lock.owner}; run the command again when that one is done")
        return 1
    problem = ""
    try:
        while delivery.deliver():
            pass
        if run.status == RunStatus.KILLED:
            delivery.mark_killed()
    except (Unreachable, Refused) as error:
        problem = textwrap.shorten(str(error), 200)
    finally:
        delivery.lock.release()
    sent = ", ".join(f"{number:,} {what}" for what, number in delivery.sent.items()) or "nothing new"
    if problem:
        remedy = "run the command again when the server answers"
        print(f"{run.name}: sent {sent}; upload to MLflow incomplete: {problem}; {remedy}")
    else:
        print(f"{run.name}: sent {sent}; {delivery.uri} is complete")
    if delivery.sent["rejected"]:
        print(f"{run.name}: MLflow refused {delivery.sent['rejected']} entries; see {run.paths.rejected}")
    sinks = sync_sinks(run)
    for name, hindrance in sinks.items():
        print(f"{run.name}: {name} is {f'incomplete: {hindrance}' if hindrance else 'complete'}")
    return 1 if problem or any(sinks.values()) else 0


def target_uri(run: RunDirectory, uri: str | None) -> str:
    """Return where a run's copy belongs: `uri`, else the server that has it, else the configured or embedded store.

    A database file that the run was sent to before does not count: the directory may come from another machine.
    """
    from racing.tracking.store import resolve_uri

    known = str(run.mlflow.get("uri", ""))
    remote = known if not known.startswith("sqlite") else ""
    return resolve_uri(uri or remote or run.config.get("tracking", {}).get("uri"), run.paths.outputs)
