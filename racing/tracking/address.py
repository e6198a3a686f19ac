"""Secrets in the addresses of stores: an address that holds one is refused, and shown without it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from racing.errors import require

HIDDEN = "..."  # what is shown instead
REMEDY = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or _TOKEN); a database needs an `mlflow server`"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*://"
_IN_TEXT = re.compile(rf"({_SCHEME})((?:(?!{_SCHEME})\S)*)")
_WHOLE = re.compile(rf"({_SCHEME})((?:(?!{_SCHEME}).)*)", re.DOTALL)
_PATH = re.compile(r"(sqlite|file)\b", re.IGNORECASE)  # schemes in whose paths an @ is a letter as others
_QUERY = re.compile(r"[?#;&][^\s'\"]*=[^\s'\"]*")
_WORD = re.compile(r"(\w*(?:pass|pwd|token|secret|key)\w*)\s*=\s*\S+", re.IGNORECASE)


def masked(text: str) -> str:
    """Return `text` with users, passwords and queries of all addresses in it hidden."""
    return _IN_TEXT.sub(lambda found: _hidden(found[1], found[2]), text)


def masked_address(address: str) -> str:
    """Return an address, which may be badly written and lack its scheme, without what may be secret in it."""
    if "://" not in address:
        return _WORD.sub(rf"\1={HIDDEN}", f"{HIDDEN}@{address.rpartition('@')[2]}" if "@" in address else address)
    return _WHOLE.sub(lambda found: _hidden(found[1], found[2]), address)


def require_no_secret(name: str, address: str) -> None:
    """Raise InputError where there is a secret in `address`, the value of `name`: what is typed is seen and kept."""
    shown = masked_address(address)
    rule = f"{name} must not hold a user or password, got {shown}: others see command lines and records"
    require(shown == address, f"{rule}; {REMEDY}")


def refuse_secrets(arguments: Iterable[str]) -> None:
    """Raise InputError where an argument of the command line has a secret in an address."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        if "://" in key:
            require_no_secret("an argument", argument)
        elif "://" in value:
            require_no_secret(key, value)


def _hidden(scheme: str, rest: str) -> str:
    """Return the address scheme + rest without its user, password and query."""
    is_path = _PATH.match(scheme) is not None and rest.startswith("/")
    if "@" in rest and not is_path:
        rest = f"{HIDDEN}@{rest.rpartition('@')[2]}"
    if scheme.lower() == "file://" or (is_path and "?" not in rest):
        return scheme + rest
    return scheme + _QUERY.sub(f"?{HIDDEN}", rest)
