"""Files on a Modal volume, seen from here: `modal://<volume>`."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from racing.errors import InputError, require
from racing.files import atomic_path, is_inside
from racing.runs.directory import RUNS
from racing_launchers.backend import NoAnswer
from racing_launchers.remote.files import RemoteFile
from racing_launchers.sweep import PLACES

SCHEME = "modal://"
CONNECT_TIMEOUT = 5.0  # [s] for the server to take a connection; Modal's own client tries for a minute
CHECK_AGAIN = 60.0  # [s] after which the connection is checked again
_reached: dict[str, float] = {}  # address -> when it took a connection
INSTALL = "pip install 'modal>=1.6,<1.7'"


def volume_name(address: str) -> str:
    """The name in `modal://<name>`. Raises InputError for anything else."""
    found = re.fullmatch(r"modal://([A-Za-z0-9][A-Za-z0-9._\-]{0,63})/?", address)
    require(found is not None, f"{address!r} must be modal://VOLUME; `modal volume list` names them")
    return str(found[1])  # type: ignore[index]


class Volume:
    """One volume. Every method raises InputError where Modal cannot be reached or refuses."""

    def __init__(self, name: str, *, create: bool = False, environment: str | None = None) -> None:
        """create: make it where it is missing. environment: of Modal; None: the profile's own."""
        self.name = name
        with answered(f"volume {name!r}"):
            modal = library()
            options = {"create_if_missing": True, "version": 2} if create else {}
            self._volume = modal.Volume.from_name(name, environment_name=environment, **options)
            self._volume.hydrate()

    @property
    def address(self) -> str:
        """See RemoteFiles."""
        return f"{SCHEME}{self.name}"

    def files(self, folder: str = "", *, recursive: bool = True) -> list[RemoteFile]:
        """Every file below a folder, or that file; none where there is no such thing."""
        found: list[RemoteFile] = []
        with answered(f"volume {self.name!r}"), absent_is_fine():
            for entry in self._volume.iterdir(folder or "/", recursive=recursive):
                if entry.type.name == "FILE":
                    name = entry.path.lstrip("/")
                    require(is_inside(name), f"{name[:80]!r} leads out of volume {self.name!r}; remove it there")
                    found.append(RemoteFile(name, int(entry.size), int(entry.mtime)))
        return found

    def parts(self) -> dict[str, list[RemoteFile]]:
        """See JobFiles: runs, and folders of sweeps."""
        found: dict[str, list[RemoteFile]] = {}
        for file in self.files():
            kind, _, inside = file.path.partition("/")
            if kind in (RUNS, *PLACES) and "/" in inside:
                found.setdefault(f"{kind}/{inside.partition('/')[0]}", []).append(file)
        return found

    def read(self, path: str) -> bytes | None:
        """Contents of a file; None where there is none."""
        with answered(f"volume {self.name!r}"), contextlib.suppress(FileNotFoundError):
            return b"".join(self._volume.read_file(path))
        return None

    def fetch(self, file: RemoteFile, place: Path) -> bool:
        """Copy a file to `place`, which is replaced once all of it is here; False if it is gone meanwhile."""
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError), atomic_path(place, sync=False) as part:
            with part.open("wb") as target, answered(f"volume {self.name!r}"):
                self._volume.read_file_into_fileobj(file.path, target)
            os.utime(part, (file.changed, file.changed))
            return True
        return False

    def put(self, files: Mapping[str, Path | bytes]) -> None:
        """Write files, all of them or none; what is there is replaced."""
        import io

        with answered(f"volume {self.name!r}"), self._volume.batch_upload(force=True) as batch:
            for path, content in files.items():
                batch.put_file(io.BytesIO(content) if isinstance(content, bytes) else content, f"/{path}")

    def remove(self, path: str) -> None:
        """Delete a file or a folder, if it is there."""
        with answered(f"volume {self.name!r}"), absent_is_fine():
            self._volume.remove_file(path, recursive=True)


def library() -> Any:
    """The package `modal`. Raises InputError where it is not installed."""
    try:
        import modal
    except ImportError as error:
        raise InputError(f"launcher=modal needs the package modal, {error}; {INSTALL}") from error
    return modal


@contextlib.contextmanager
def answered(what: str) -> Iterator[None]:
    """Turn what Modal's client raises for a wrong token, a server out of reach, a missing thing, into InputError."""
    modal = library()
    from grpclib.exceptions import StreamTerminatedError
    from modal import exception

    try:
        reachable(modal.config.config["server_url"])
        yield
    except exception.AuthError as error:
        wrong = f"Modal refused the token ({brief(error).partition('. ')[0].rstrip('.')})"
        raise InputError(f"{wrong}; run `modal token new`, or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET") from error
    except exception.PermissionDeniedError as error:
        raise InputError(f"Modal does not allow it: {brief(error)}; ask the owner of the workspace") from error
    except exception.NotFoundError as error:
        kind = what.partition(" ")[0]
        known = f"`modal {kind} list` names those that there are, `modal {kind} create NAME` makes one"
        remedy = known if kind in ("volume", "secret") else "look"
        raise InputError(f"{what} is not on Modal ({brief(error)}); {remedy}") from error
    except (exception.InvalidError, exception.ResourceExhaustedError) as error:
        raise InputError(f"Modal refused {what}: {brief(error)}; see https://modal.com/docs") from error
    except (
        *(exception.ServiceError, exception.ConnectionError, exception.InternalError),
        *(ConnectionError, socket.gaierror, StreamTerminatedError),
    ) as error:
        raise unreachable(modal.config.config["server_url"], brief(error)) from error


@contextlib.contextmanager
def absent_is_fine() -> Iterator[None]:
    """A file or folder that is not there."""
    from modal import exception

    with contextlib.suppress(exception.NotFoundError, FileNotFoundError):
        yield


def reachable(addresses: str) -> None:
    """Raise InputError unless one of these servers takes a connection. Through a proxy that cannot be told."""
    problem: OSError | None = None
    if time.monotonic() - _reached.get(addresses, float("-inf")) < CHECK_AGAIN:
        return
    for address in addresses.split(","):
        url = urllib.parse.urlsplit(address.strip())
        proxies = urllib.request.getproxies()
        if url.scheme == "unix" or ((url.scheme in proxies or "all" in proxies) and url.hostname != "127.0.0.1"):
            return
        try:
            port = url.port or (443 if url.scheme == "https" else 80)
            with socket.create_connection((url.hostname or "", port), CONNECT_TIMEOUT):
                _reached[addresses] = time.monotonic()
                return
        except OSError as error:
            problem = error
    raise unreachable(addresses, str(problem))


def unreachable(addresses: str, why: str) -> NoAnswer:
    """Nobody answers there."""
    return NoAnswer(f"Modal at {addresses} cannot be reached ({why}); check the network, or MODAL_SERVER_URL")


def brief(error: BaseException) -> str:
    """What an exception says, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
