"""Paths of tracks in Hydra overrides: a file may have any name, also one that Hydra's grammar takes for something else.

Commas, brackets, blanks, umlauts, `=`, `#`, `%` and quotes are letters of a name where a file of that name is there.
"""

from __future__ import annotations

import re
from pathlib import Path

PLAIN = re.compile(r"[A-Za-z_./~-][A-Za-z0-9_./~-]*")  # what Hydra's grammar takes for text as it stands
WORDS = ("true", "false", "null", "nan", "inf", "yes", "no", "on", "off")
MOST_PARTS = 64  # between commas, of which names are put together again


def quoted(text: str) -> str:
    """Write a text so that Hydra and OmegaConf take it letter by letter."""
    escaped = re.sub(r"(\\*)'", lambda found: found[1] * 2 + "\\'", text.replace("${", "\\${"))
    escaped = re.sub(r"(\\+)$", lambda found: found[1] * 2, escaped)
    return f"'{escaped}'"


def quoted_paths(value: str) -> str | None:
    """Quote the paths in the value of an override: one, several between commas, or a list of them in brackets.

    None where all stands as it is: no such files, or names that Hydra takes as they are.
    """
    if _exists(value):
        return None if _is_plain(value) else quoted(value)
    listed = value.startswith("[") and value.endswith("]")
    pieces = _pieces((value[1:-1] if listed else value).split(","))
    if pieces is None or all(_is_plain(piece) for piece in pieces):
        return None
    joined = ",".join(piece if _is_plain(piece) else quoted(piece) for piece in pieces)
    return f"[{joined}]" if listed else joined


def _pieces(parts: list[str]) -> list[str] | None:
    """Put the parts between commas together to paths that are there, and plain names; None if some are neither."""
    pieces: list[str] = []
    while parts and len(parts) <= MOST_PARTS:
        for count in range(len(parts), 0, -1):
            piece = ",".join(parts[:count]).strip()
            if _exists(piece) or (count == 1 and _is_plain(piece)):
                pieces.append(piece)
                parts = parts[count:]
                break
        else:
            return None
    return None if parts else pieces


def _is_plain(text: str) -> bool:
    return PLAIN.fullmatch(text) is not None and text.lower() not in WORDS


def _exists(text: str) -> bool:
    try:
        return text != "" and Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False
