"""Files of conf/ are parsed once in a process: Hydra reads thirty, twice, for each configuration that it composes."""

from __future__ import annotations

import copy
from typing import Any

import yaml

load = yaml.load
_parsed: dict[str, Any] = {}


def load_once(stream: Any, Loader: Any) -> Any:
    """yaml.load, which remembers what OmegaConf has asked for: by the text, so that a file may change.

    What cannot be parsed is parsed again, with the stream's name in its error.
    """
    if Loader.__name__ != "OmegaConfLoader" or not hasattr(stream, "name"):
        return load(stream, Loader)
    start = stream.tell()
    text = stream.read()
    if text not in _parsed:
        stream.seek(start)
        _parsed[text] = load(stream, Loader)
    return copy.deepcopy(_parsed[text])


def install() -> None:
    """From now on, remember."""
    yaml.load = load_once  # type: ignore[assignment]
