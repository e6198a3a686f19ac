"""Read the .yaml of a ROS map as map_server does: numbers of YAML 1.2, quoted or not, and pictures found again."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from racing.errors import InputError, inside, is_file, require
from racing.tracks.formats.text import read_any_text

log = logging.getLogger(__name__)

MOST_YAML = 100_000  # [bytes]
DEEPEST = 20  # lists and mappings in each other: the parser's time grows with the square of it
OPENING = {
    f"{kind}StartToken" for kind in ("BlockSequence", "BlockMapping", "FlowSequence", "FlowMapping")
}  # of PyYAML
CLOSING = {f"{kind}EndToken" for kind in ("Block", "FlowSequence", "FlowMapping")}
FARTHEST = 1e7  # [m] from the origin
MODES = ("trinary", "scale", "raw")
PICTURES = (".png", ".pgm", ".jpg", ".jpeg", ".bmp")
NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")  # YAML 1.2; 1.1 wants a dot in 1e-1
TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class RosMap:
    """The keys of a map's yaml. resolution [m], origin x, y [m] and yaw [rad] of the picture's lower-left corner."""

    image: Path
    resolution: float
    origin: tuple[float, float, float]
    negate: bool
    free: float
    mode: str


def read_settings(path: Path) -> RosMap:
    """Read and validate a map's yaml. Raises InputError naming key, rule and remedy."""
    data = _keys(path)
    name = path.name
    for key in ("image", "resolution", "origin"):
        require(key in data, f"{name}: key {key} is missing; a ROS map needs image, resolution, origin")
    image = data["image"]
    named = isinstance(image, str) and image.strip() != ""
    require(named, f"{name}: image must be a file name, got {repr(image)[:60]}; correct it")
    resolution = _number(data["resolution"], f"{name}: resolution must be metres per pixel > 0")
    require(resolution > 0, f"{name}: resolution must be > 0 m, got {resolution:g}; correct it")
    fits = 1e-4 < resolution < 1e3
    require(fits, f"{name}: resolution must be in (0.0001, 1000) m, got {resolution:g}; correct it")
    origin = data["origin"]
    listed = isinstance(origin, list) and len(origin) in (2, 3)
    require(listed, f"{name}: origin must be [x, y, yaw], got {repr(origin)[:60]}; correct it")
    x, y, yaw = (_number(v, f"{name}: origin must be three numbers") for v in [*origin, 0.0][:3])
    near = max(abs(x), abs(y)) <= FARTHEST and abs(yaw) < 1e3
    require(near, f"{name}: origin must be within {FARTHEST:g} m, got [{x:g}, {y:g}, {yaw:g}]; correct it")
    free = _number(data.get("free_thresh", 0.196), f"{name}: free_thresh must be a number")
    occupied = _number(data.get("occupied_thresh", 0.65), f"{name}: occupied_thresh must be a number")
    rule = f"{name}: 0 < free_thresh <= occupied_thresh <= 1 must hold, got {free:g} and {occupied:g}"
    require(0 < free <= occupied <= 1, f"{rule}; correct them")
    mode = data.get("mode", "trinary")
    require(mode in MODES, f"{name}: mode must be one of {', '.join(MODES)}, got {repr(mode)[:40]}; choose one")
    negate = _truth(data.get("negate", 0), f"{name}: negate must be 0 or 1")
    return RosMap(find_picture(path, image.strip()), resolution, (x, y, yaw), negate, free, mode)


def _keys(path: Path) -> dict[Any, Any]:
    """Parse the yaml: lists, mappings and texts; what is plain stays text, and is converted by who reads it."""
    import yaml

    class Texts(yaml.SafeLoader):
        """A loader that leaves numbers, truth values and dates as they are written: YAML 1.1 takes 010 for 8."""

    kept = {"tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"}
    Texts.yaml_implicit_resolvers = {
        first: [pair for pair in pairs if pair[0] in kept] for first, pairs in Texts.yaml_implicit_resolvers.items()
    }
    text = read_any_text(path, MOST_YAML)
    remedy = "they can grow without bound; write them out"
    depth = 0
    try:
        for token in yaml.scan(text, Loader=Texts):
            require(not isinstance(token, yaml.AliasToken), f"{path.name}: references (*name) are not read: {remedy}")
            depth += (type(token).__name__ in OPENING) - (type(token).__name__ in CLOSING)
            fits = depth <= DEEPEST
            require(fits, f"{path.name} is nested too deeply to be read; a map needs image, resolution, origin")
        data = yaml.load(text, Loader=Texts)
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())[:160]}; repair it") from None
    rule = f"{path.name} must hold keys like 'image: map.png', got {repr(data)[:40]}"
    require(isinstance(data, dict), f"{rule}; see docs/tracks.md")
    return dict(data)


def _number(value: Any, rule: str) -> float:
    """Convert a number, also a quoted one."""
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        value = float(value)
    fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    require(fits, f"{rule}, got {repr(value)[:60]}; correct it")
    return float(value)


def _truth(value: Any, rule: str) -> bool:
    """Convert a truth value: 0, 1, true, false."""
    if isinstance(value, str) and value.strip().lower() in TRUTH:
        return TRUTH[value.strip().lower()]
    return _number(value, rule) != 0


def find_picture(path: Path, image: str) -> Path:
    """Find the picture that a map's yaml names: there, else the one of that name beside the yaml, with a warning.

    Map savers write paths of the machine that they ran on: /home/..., ~/..., package://..., C:\\...; a name may lack
    its suffix. Raises InputError if there is none, or it lies outside the yaml's folder.
    """
    folder = path.parent
    name = re.split(r"[/\\]", image)[-1]
    beside = _alike(folder, name) if len(name) < 256 else None
    foreign = re.match(r"~|[A-Za-z]:[\\/]|\w+://|.*\\", image) is not None
    if beside is not None and (foreign or not _is_inside(folder, image)):
        log.warning(
            "%s names the picture %s; taking %s beside it: write image: %s", path.name, image, *[beside.name] * 2
        )
        return inside(folder, beside.name, path.name)  # it may be a link
    try:
        place = inside(folder, image, path.name)
    except InputError as error:
        near = f", or write image: {beside.name}" if beside else ""
        raise InputError(f"{error}{near}") from None
    require(is_file(place), f"picture {place} does not exist{_others(folder)}; correct image in {path.name}")
    return place


def _is_inside(folder: Path, image: str) -> bool:
    """Whether a file of that name lies in the folder or below it."""
    try:
        place = folder / image
        return place.resolve().is_relative_to(folder.resolve()) and is_file(place)
    except (OSError, ValueError, RuntimeError):
        return False


def _alike(folder: Path, name: str) -> Path | None:
    """Find the picture in `folder` of that name, also in another case or without its suffix; None if not one."""
    if name in ("", ".", ".."):
        return None
    files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in PICTURES and is_file(file)]
    for wanted in (name, name.casefold()):
        found = [file for file in files if wanted in (file.name, file.name.casefold())]
        if found:
            return found[0] if len(found) == 1 else None
    found = [file for file in files if file.stem.casefold() == name.casefold()]
    return found[0] if len(found) == 1 else None


def _others(folder: Path) -> str:
    """The pictures that are there instead, for a message."""
    found = [file.name for file in sorted(folder.iterdir()) if file.suffix.lower() in PICTURES]
    return f"; there is {', '.join(found[:4])}" if found else ""
