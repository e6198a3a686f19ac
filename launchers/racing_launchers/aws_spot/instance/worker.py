"""What an instance does: one attempt at one job. The systemd unit in user_data.sh calls `python -m` this module.

It takes the job over (place.py), brings what earlier attempts have left to this disk, and starts the process that does
the job (job_process.py). While that one works its files are uploaded, and three things are watched: the notices that
AWS takes the instance away, a wish to cancel, the clock. For each the job is asked to save its state and leave, as
everywhere else, and what it has left is uploaded before the instance ends itself.

It leaves with 0 when the job has ended, 75 when it goes on elsewhere, FENCED when another instance has it. Anything
else is a failure of this program, after which systemd starts it again, three times at most.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from racing.errors import ExitCode, InputError, require
from racing.files import read_json, write_json
from racing.processes import python
from racing_launchers.aws_spot.account.client import Aws, answered
from racing_launchers.aws_spot.account.group import end
from racing_launchers.aws_spot.account.objects import Objects
from racing_launchers.aws_spot.account.secrets import read as read_secrets
from racing_launchers.aws_spot.instance.metadata import Metadata
from racing_launchers.aws_spot.instance.uploads import Uploads
from racing_launchers.aws_spot.place import Fenced, Place, Snapshot, Writer
from racing_launchers.aws_spot.spec import Spec
from racing_launchers.backend import TIME_LIMIT
from racing_launchers.job import WRITTEN_THERE, JobFolder, JobStatus
from racing_launchers.sweep import CANCEL_FILE

FENCED = 3
CANCELLED = "cancelled"
STOPPED_HERE = ".stopped"  # what the job says where another instance goes on: hidden, it is not uploaded
WATCH_EVERY = 2.0  # [s] between two looks at notices, of the two minutes that they leave
UPLOAD_TIME = 35.0  # [s] before the instance is gone in which the last files are uploaded
PATIENCE = 90.0  # [s] that a job has to save its state where nobody says how long there is
TICK = 0.2  # [s]


class Worker:
    """This instance, and its job."""

    def __init__(self, root: Path) -> None:
        """root: where code and outputs lie; the environment says what is to be done. Raises InputError, Fenced."""
        self.metadata = Metadata()
        self.instance, self.kind = os.environ["INSTANCE_ID"], os.environ.get("INSTANCE_TYPE", "")
        self.aws = Aws(os.environ["AWS_DEFAULT_REGION"])
        self.objects = Objects(self.aws.client("s3"), os.environ["BUCKET"])
        self.spec = Spec(**json.loads(self._checked(os.environ["SPEC"], os.environ["SPEC_SHA256"])))
        self.outputs = root / "outputs"
        self.place = Place(self.objects, self.spec.place)
        self.sweep = self.outputs / "sweeps" / self.spec.sweep
        self.folder = JobFolder(self.sweep / "jobs" / str(self.spec.number))
        self.why, self.until = "", 0.0  # why the job shall stop, and when the instance is gone [s since 1970]
        self._asked = False  # the job was told to
        self._began = time.time()
        self._child: subprocess.Popen[bytes] | None = None

    def _checked(self, key: str, sha256: str) -> bytes:
        content = self.objects.read(key)
        require(content is not None, f"s3://{self.objects.bucket}/{key} is missing; submit the job again")
        assert content is not None
        require(hashlib.sha256(content).hexdigest() == sha256, f"{key} has changed since it was submitted")
        return content

    def run(self) -> int:
        """Do all that the instance is for; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            writer = Writer(self.place, self.spec.attempt, self.instance, succeeds=bool(self.spec.group))
            again = writer.found.instance == self.instance and self.outputs.is_dir()
            if not again:  # else we were started again, and this disk is newer than the bucket
                Snapshot(self.place, writer.found).restore(self.outputs)
            uploads = Uploads(writer, self.outputs, {} if again else writer.found.files)
            self._prepare()
            uploads.commit()
            threading.Thread(target=self._watch, daemon=True).start()
            code = self._work(uploads) if len(writer.passed) < self.spec.max_instances else self._too_many(writer)
            self._record_usage()
            uploads.commit()
            if self.folder.result:
                self._end_group()
            return code
        except Fenced as fenced:
            self._kill()
            print(f"{fenced}: this instance ends", flush=True)
            return FENCED

    def _prepare(self) -> None:
        """Make the job's folder this attempt's: nobody may take what an earlier one left for it."""
        path, spec = self.folder.path, self.spec
        path.mkdir(parents=True, exist_ok=True)
        if self.folder.attempt.get("call") != spec.call:  # else we were started again
            for name in (*WRITTEN_THERE, CANCEL_FILE):
                if name != "runs.txt":
                    (path / name).unlink(missing_ok=True)
            write_json(path / "attempt.json", {"number": spec.attempt, "launcher": "aws_spot", "call": spec.call})
        tags = {"racing.aws_instance": self.instance, "racing.aws_instance_type": self.kind}
        write_json(path / "job.json", {**spec.job, "tags": {**spec.job.get("tags", {}), **tags}})
        self.folder.log.touch()
        self._record_usage()

    def _too_many(self, writer: Writer) -> int:
        """The job has had all the instances that it may have."""
        if not self.folder.result:
            rule = f"{len(writer.passed)} instances were taken away (launcher.max_resubmits)"
            self._write_result(JobStatus.FAILED, f"{rule}; raise it and run the same command", {})
        return ExitCode.DONE

    def _end_group(self) -> None:
        """The job has ended: nobody shall launch an instance for it any more."""
        if self.spec.group:
            end(self.aws.client("autoscaling"), self.spec.group)

    def _work(self, uploads: Uploads) -> int:
        """Start the job and look after it until it has ended."""
        if self.folder.result:  # before we were started again
            return ExitCode.DONE
        self._start()
        assert self._child is not None
        last = time.monotonic()
        while self._child.poll() is None:
            if self.why and time.time() > self._give_up():
                self._kill()
            if time.monotonic() - last > self.spec.upload_every_s:
                self._record_usage()
                try:
                    uploads.commit()
                except InputError as error:  # the next one may do
                    print(f"upload failed: {error}", flush=True)
                last = time.monotonic()
            time.sleep(TICK)
        return self._ended(self._child.returncode)

    def _start(self) -> None:
        """Start the process that does the job."""
        secrets = read_secrets(self.spec.secrets, self.aws.client)
        payload = self.folder.path / "job.pkl"
        payload.write_bytes(self._checked(self.spec.payload, self.spec.payload_sha256))
        write_json(self.folder.path / "tracks.json", {"tracks": self._tracks()})
        (self.folder.path / f"{STOPPED_HERE}.json").unlink(missing_ok=True)
        command = python(
            *("-m", "racing_launchers.aws_spot.instance.job_process", str(self.folder.path), str(self.spec.attempt)),
            *([STOPPED_HERE] if self.spec.group else []),
        )
        environment = {**os.environ, **self.spec.env, **secrets}
        with self.folder.log.open("ab") as log:
            log.write(f"instance {self.instance}, {self.kind}, attempt {self.spec.attempt}\n".encode())
            log.flush()
            cwd = self.outputs.parent
            self._child = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                start_new_session=True,
            )
        if self.why:  # it came meanwhile
            self._ask_to_stop()

    def _tracks(self) -> dict[str, Any]:
        """Bring the tracks that the job needs to this disk; returns what `provide` takes."""
        for track in self.spec.tracks.values():
            for name in track["files"]:
                key = "/".join(part for part in (self.spec.tracks_folder, track["name"], name) if part)
                self.objects.fetch(key, self.outputs.parent / "tracks" / track["name"] / name)
        return self.spec.tracks

    def _ended(self, code: int) -> int:
        """Note how the process ended; returns what this one leaves with."""
        attempt = self.spec.attempt
        result = self.folder.result or read_json(self.folder.path / f"{STOPPED_HERE}.json")
        if code < 0:
            name = signal.Signals(-code).name
            reason = f"killed by {name}" + (": out of memory, or by hand" if name == "SIGKILL" and not self.why else "")
        else:
            reason = f"left with exit code {code}"
        late = self.why.startswith(TIME_LIMIT)
        self.folder.write("exit", attempt, {"exit_code": code, "reason": f"{self.why}, {reason}" if late else reason})
        stopped = self.why and result.get("status") in (None, JobStatus.STOPPED)
        if stopped and self.spec.group and self.why != CANCELLED:
            return ExitCode.STOPPED  # the group's next instance goes on: the attempt has not ended
        if stopped:
            error = str(result.get("error") or f"{reason} before its state was saved")
            self._write_result(JobStatus.STOPPED, error if late else f"{self.why}: {error}", result)
            return ExitCode.STOPPED
        if not self.folder.result:
            self._write_result(JobStatus(result.get("status", JobStatus.FAILED)), reason, result)
        return ExitCode.DONE

    def _write_result(self, status: JobStatus, error: str, result: dict[str, Any]) -> None:
        ended = {"status": status.value, "error": error, "ended_ms": time.time_ns() // 1_000_000}
        began = {"began_ms": int(self._began * 1000), "runs": self.folder.runs}
        self.folder.write("result", self.spec.attempt, began | result | ended)

    # what is watched

    def _watch(self) -> None:
        """Look for a reason to stop until there is one."""
        while not self.why:
            try:
                self._look()
            except Exception as error:  # nobody may miss a notice for that: the next look may do
                print(f"what is watched could not be looked at: {error!r}", flush=True)
            time.sleep(WATCH_EVERY if not self.why else 0)

    def _look(self) -> None:
        """Look once."""
        notice = self.metadata.notice(rebalance=self.spec.leave_on_rebalance)
        if notice is not None:
            self._stop(notice.why, notice.until or time.time() + PATIENCE + UPLOAD_TIME)
        elif time.time() - self._began > self.spec.timeout_s:
            self._stop(f"{TIME_LIMIT} (launcher.timeout_min)")
        else:
            with suppress(InputError):  # S3 does not answer just now
                if self.objects.read(self.place.cancel_key) is not None:
                    (self.folder.path / CANCEL_FILE).touch()
                    self._stop(CANCELLED)

    def _stop(self, why: str, until: float = 0.0) -> None:
        """Ask the job to save its state. until: see Notice."""
        self.until = until or time.time() + PATIENCE + UPLOAD_TIME
        self.why = why
        print(f"{why}: the job is asked to save its state", flush=True)
        self._ask_to_stop()

    def _ask_to_stop(self) -> None:
        with suppress(ProcessLookupError):
            if self._child is not None and not self._asked:
                self._asked = True
                self._child.send_signal(signal.SIGTERM)

    def _give_up(self) -> float:
        """When the job is ended that was asked to leave [s since 1970]."""
        return self.until - UPLOAD_TIME

    def _kill(self) -> None:
        """End the job, and whatever it has started."""
        if self._child is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """The instance is shut down."""
        if not self.why:
            self._stop(f"the instance is shut down ({signal.Signals(number).name})")

    def _record_usage(self) -> None:
        """Note for how long this instance has run: it is paid for, however it ends."""
        usage = self.folder.path / "usage"
        usage.mkdir(exist_ok=True)
        used = {"type": self.kind, "began": self._began, "until": time.time(), "attempt": self.spec.attempt}
        used |= {"instance": self.instance}
        write_json(usage / f"{self.instance}.json", used)


def main() -> int:
    """The process."""
    root = Path(os.environ.get("RACING_ROOT", "/opt/racing"))
    with answered("the job"):
        return Worker(root).run()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"racing: {error}", file=sys.stderr, flush=True)
        sys.exit(ExitCode.FAILED)
