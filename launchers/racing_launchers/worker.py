"""The process that does one job: python -m racing_launchers.worker FOLDER ATTEMPT

It leaves with the exit code of the command line (`racing.errors.ExitCode`), and result.json has the same.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import pickle
import re
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from racing.errors import ExitCode, InputError, JobsFailed, Stopped, input_error, require
from racing.files import write_own
from racing.processes import print_any_text
from racing.reading import read_regular
from racing_launchers.job import JobFolder, JobStatus
from racing_launchers.payload import Payload
from racing_launchers.signature import SIZE, is_ours, signature

PAYLOAD = "job.pkl"  # in a job's folder
MOST_PAYLOAD = 1 << 30  # [bytes]
STATUS: dict[int, JobStatus] = {
    ExitCode.DONE: JobStatus.DONE,
    ExitCode.FAILED: JobStatus.FAILED,
    ExitCode.WRONG_INPUT: JobStatus.REFUSED,
    ExitCode.STOPPED: JobStatus.STOPPED,
}


def write_payload(folder: JobFolder, payload: Payload) -> None:
    """Keep what the job is to call, and where its modules are found, signed."""
    import cloudpickle

    paths = [path for path in sys.path if path]
    content = pickle.dumps(paths) + cloudpickle.dumps(payload)
    write_own(folder.path / PAYLOAD, signature(content, PAYLOAD) + content)


def payload_content(folder: JobFolder, digest: str | None = None) -> bytes:
    """The bytes that `write_payload` has left in the folder: what they say is run.

    digest: what `payload_digest` said of them where they were submitted; None: they must bear this user's signature.
    Raises InputError for those of anybody else.
    """
    path = folder.path / PAYLOAD
    try:
        data = read_regular(path, MOST_PAYLOAD)
    except OSError as error:
        raise InputError(f"{path} must be a file that can be read, {error.strerror}; submit the job again") from error
    content = data[SIZE:]
    if digest is None:
        rule = f"{path} must bear your signature, it was written by somebody else or by an earlier version of racing"
        require(is_ours(content, PAYLOAD, data[:SIZE]), f"{rule}; what it says is run: submit the job again")
    else:
        same = hmac.compare_digest(hashlib.sha256(content).hexdigest(), digest)
        require(same, f"{path} has changed since it was submitted; submit the job again")
    return content


def payload_digest(folder: JobFolder) -> str:
    """A checksum of the job's payload, which is this user's: where it runs, it is known again by that."""
    return hashlib.sha256(payload_content(folder)).hexdigest()


def read_payload(folder: JobFolder, digest: str | None = None) -> Payload:
    """What the job calls. Raises InputError as `payload_content` and `load_payload`."""
    return load_payload(payload_content(folder, digest), folder.path / PAYLOAD)


def load_payload(content: bytes, path: Path, *, paths: bool = True) -> Payload:
    """What the bytes of a payload say is to be called: they come from this user, and may run anything.

    path: of its file, for errors. paths: its modules lie where they lay when it was made. Raises InputError for that of
    an earlier version, whose modules are gone.
    """
    with io.BytesIO(content) as file:
        known = pickle.load(file)
        if paths:
            sys.path += [path for path in known if path not in sys.path]
        try:
            return pickle.load(file)  # type: ignore[no-any-return]
        except (ModuleNotFoundError, AttributeError) as error:
            ours = re.search(r"'(racing|racing_launchers|launchers)['.]", str(error))  # else a module of the user's
            require(ours is None, f"{path} was submitted by an earlier version of racing ({error}); submit it again")
            raise


def run(folder: JobFolder, attempt: int, read: Callable[[], Payload]) -> dict[str, Any]:
    """Do the job; returns what result.json holds, which is not written yet. KeyboardInterrupt passes.

    read: gives what is to be called.
    """
    began = time.time_ns() // 1_000_000
    me = {"pid": os.getpid(), "created": psutil.Process().create_time(), "host": socket.gethostname()}
    facts = {"attempt": attempt, **me, "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"), "began_ms": began}
    folder.write("started", attempt, facts)
    error: str | None = None
    value: Any = None
    code: int = ExitCode.DONE
    try:
        with folder.as_current():
            value = read().call(folder.path)
    except KeyboardInterrupt:
        raise
    except Stopped as stopped:
        code, error = ExitCode.STOPPED, str(stopped)
    except JobsFailed as failed:
        code, error = ExitCode.FAILED, str(failed)
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else ExitCode.FAILED
        error = None if code in (ExitCode.DONE, ExitCode.STOPPED) else f"left with exit code {code}; see {folder.log}"
    except BaseException as raised:
        wrong = input_error(raised)
        code = ExitCode.WRONG_INPUT if wrong else ExitCode.FAILED
        error = str(wrong) if wrong else f"{type(raised).__name__}: {first_line(raised)}"
        if not wrong:
            traceback.print_exc()
    if error:
        print(error, file=sys.stderr, flush=True)
    sys.stdout.flush()  # before the result is there: who finds that brings the log home, and looks no more
    ended = {"ended_ms": time.time_ns() // 1_000_000, "exit_code": code}
    status = STATUS.get(code, JobStatus.FAILED).value  # plain: it travels
    return facts | ended | {"status": status, "error": error, "value": value, "runs": folder.runs}


def first_line(error: BaseException) -> str:
    """The message of an exception, on one line."""
    return (str(error).strip().splitlines() or [""])[0][:300]


def main(argv: Sequence[str] | None = None) -> int:
    """The process."""
    print_any_text()
    arguments = list(sys.argv[1:] if argv is None else argv)
    folder, attempt = JobFolder(Path(arguments[0])), int(arguments[1])
    result = run(folder, attempt, lambda: read_payload(folder))
    folder.write("result", attempt, result)
    return int(result["exit_code"])


if __name__ == "__main__":
    sys.exit(main())
