"""`racing play`: a server, until it is ended."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from racing.commands.play.options import parse
from racing.errors import ExitCode, InputError
from racing.viewer.guard import LOOPBACK


def main(argv: Sequence[str]) -> int:
    """Entry point of the verb; returns the exit code when the server has ended."""
    options = parse(argv)
    if options is None:
        return ExitCode.DONE
    listening = _listen(options["host"], options["port"])  # before anything that takes long
    try:
        from racing.commands.play.stage import make_stages
        from racing.viewer.web import run  # of an extra, which may be missing

        stages = make_stages(options)
        address = _address(options, listening.getsockname()[1])
        print(f"{address}  (Ctrl-C ends it)", flush=True)
        run(stages, listening, options["host"], options["token"], address if _opens(options) else None)
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()
    return ExitCode.DONE


def _listen(host: str, port: int) -> socket.socket:
    """A socket on that port. Raises InputError where it cannot be had."""
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(kind, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host can be like this
        listening.close()
        free = f"use racing play port={port + 1 if port < 65535 else 0}"
        taken = f"port {port} of {host} cannot be had, {getattr(error, 'strerror', None) or error}"
        raise InputError(f"{taken}; {free}, or another host") from error
    return listening


def _address(options: Mapping[str, Any], port: int) -> str:
    host = options["host"]
    name = host if host in LOOPBACK[:2] else socket.gethostname() if host in ("0.0.0.0", "::") else host
    name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{port}/" + (f"?token={options['token']}" if options["token"] else "")


def _opens(options: Mapping[str, Any]) -> bool:
    """Whether a browser is opened: not where it could only be one of the terminal."""
    return bool(options["open"]) and (
        sys.platform != "linux" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
    )
