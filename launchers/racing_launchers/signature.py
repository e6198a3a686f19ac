"""Tell what this user's own commands have written from what came from somewhere else, by a key that only they have.

What a sweep's folder holds is run: payloads, shell lines of its launcher. Owner and mode of a file say nothing: an
archive belongs to whoever unpacks it. The key lies in the cache and never travels: what is sent to another machine is
verified here first (racing_launchers.worker.payload_digest). Without it nothing is lost but jobs that wait: the command
of their sweep, given again, signs them anew.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from racing.errors import InputError
from racing.files import cache_root, write_own
from racing.reading import read_own
from racing.runs.lock import FileLock

KEY = "sweeps.key"  # in the cache
SIZE = 32  # [bytes] of the key, and of a signature
SIGNED = ("launcher", "cwd")  # of a sweep's manifest: what is run where its jobs are submitted


def signature(content: bytes, kind: str) -> bytes:
    """Return the signature of this user under `content`. kind: what it is for; it is valid for nothing else."""
    return hmac.digest(_key(), f"{kind}\n".encode() + content, "sha256")


def is_ours(content: bytes, kind: str, signed: bytes) -> bool:
    """Whether `signed` is the signature of this user under `content`."""
    return hmac.compare_digest(signature(content, kind), signed)


def manifest_signature(manifest: Mapping[str, Any]) -> str:
    """Return the signature of this user under what a sweep's manifest has run."""
    text = json.dumps({name: manifest.get(name) for name in SIGNED}, sort_keys=True)
    return signature(text.encode(), "manifest").hex()


def _key() -> bytes:
    """Return the key, made at its first use. Raises InputError where it cannot be, or where others know it."""
    path = cache_root() / KEY
    lock = FileLock(Path(f"{path}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(wait=True)  # of two processes that make one, both shall have the same
        try:
            if not path.exists():
                write_own(path, secrets.token_bytes(SIZE))
            key = read_own(path, SIZE)
        finally:
            lock.release()
    except OSError as error:
        rule = f"{path}, the key that signs sweeps, must be a file of yours alone, {error.strerror}"
        raise InputError(f"{rule}; remove it, or set RACING_CACHE=FOLDER to a writable one") from error
    if len(key) != SIZE:
        raise InputError(f"{path}, the key that signs sweeps, must have {SIZE} bytes, it has {len(key)}; remove it")
    return key
