"""`racing play`: a server, until it is ended."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from racing.commands.play.options import parse
from racing.errors import ExitCode, InputError
from racing.viewer.addresses import EVERYWHERE, names_of

if TYPE_CHECKING:
    from racing.viewer.certificate import Certificate  # of an extra, which may be missing


def main(argv: Sequence[str]) -> int:
    """Entry point of the verb; returns the exit code when the server has ended."""
    options = parse(argv)
    if options is None:
        return ExitCode.DONE
    listening = _listen(options["host"], options["port"])  # before anything that takes long
    try:
        from racing.commands.play.stage import make_stages
        from racing.viewer.web import run  # of an extra, which may be missing

        certificate = _certificate(options)
        stages = make_stages(options)
        first, *others = _addresses(options, listening.getsockname()[1])
        print("\n".join([f"{first}  (Ctrl-C ends it)", *others, *_about(certificate)]), flush=True)
        tls = None if certificate is None else certificate.context
        run(stages, listening, options["host"], options["token"], tls, first if _opens(options) else None)
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


def _certificate(options: Mapping[str, Any]) -> Certificate | None:
    """What `ssl` says; None: the page is served over http. Raises InputError."""
    if options["ssl"] is False:
        return None
    from racing.viewer.certificate import given_certificate, own_certificate  # of the extra

    if options["ssl"] is True:
        return own_certificate(options["host"])
    chain, key = options["ssl"]
    return given_certificate(Path(chain).expanduser(), Path(key).expanduser())


def _about(certificate: Certificate | None) -> list[str]:
    """What is to be known of it."""
    if certificate is None:
        return []
    own = ", made here: browsers warn of it, go on if they show the same" if certificate.own else ""
    return [f"certificate (SHA-256) {certificate.fingerprint}{own}"]


def _addresses(options: Mapping[str, Any], port: int) -> list[str]:
    """Of the page: by this machine's name, then by its addresses, for those who cannot look the name up."""
    host, scheme = options["host"], "http" if options["ssl"] is False else "https"
    query = f"?token={options['token']}" if options["token"] else ""
    names = [name for name in names_of(host) if ":" not in name] if host in EVERYWHERE else [host]
    return [f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}/{query}" for name in names]


def _opens(options: Mapping[str, Any]) -> bool:
    """Whether a browser is opened: not where it could only be one of the terminal."""
    return bool(options["open"]) and (
        sys.platform != "linux" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
    )
