"""Names of a table's columns -> what they mean -> their unit: the one place that knows.

Known are those of TUM's tracks and racelines, F1TENTH's waypoints, pose logs, ROS bags and hand-made tables. A column
that no rule knows (speed, curvature, time, heading, ...) is not looked at; x and y must be found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from racing.errors import InputError, require

ROLES = ("x", "y", "right", "left", "width", "half_width")  # what --columns may name
LENGTHS = {  # unit -> metres
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1.0),
    **dict.fromkeys(("dm", "decimeter", "decimetre"), 0.1),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 0.01),
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 0.001),
    **dict.fromkeys(("km", "kilometer", "kilometers", "kilometre", "kilometres"), 1000.0),
    **dict.fromkeys(("ft", "foot", "feet"), 0.3048),
    **dict.fromkeys(("in", "inch", "inches"), 0.0254),
    **dict.fromkeys(("yd", "yard", "yards"), 0.9144),
    **dict.fromkeys(("mi", "mile", "miles"), 1609.344),
}
DEGREES = ("deg", "degree", "degrees", "°", "rad", "radian", "radians")
NO_LENGTHS = (*DEGREES, "px", "pixel", "pixels", "cell", "cells")  # units that a place may have and no factor converts
GEOGRAPHIC = {"lat", "latitude", "lon", "lng", "long", "longitude"}
AXES = {  # word -> (axis, rank: of several columns that may be x the lowest is)
    **{f"{axis}": (axis, 0) for axis in "xy"},
    **{word.format(axis): (axis, 0) for axis in "xy" for word in ("{}pos", "pos{}", "{}coord", "t{}")},
    **{"easting": ("x", 4), "east": ("x", 4), "northing": ("y", 4), "north": ("y", 4)},
}
PLACES = {  # words that may stand beside x and y in the name of a place on the line
    *(
        "pos",
        "position",
        "pose",
        "point",
        "coord",
        "coords",
        "coordinate",
        "coordinates",
        "waypoint",
        "waypoints",
        "wp",
    ),
    *(
        "center",
        "centre",
        "centerline",
        "centreline",
        "cl",
        "mid",
        "middle",
        "line",
        "track",
        "path",
        "ref",
        "reference",
    ),
    *("rl", "raceline", "racing", "opt", "optimal", "smooth", "smoothed", "raw", "car", "ego", "vehicle", "gps", "utm"),
    *("map", "world", "local", "global", "enu", "odom", "field", "transform", "translation", "data", "msg", "header"),
}
SIDES = {"right": "right", "r": "right", "left": "left", "l": "left"}
GLUED = {
    **{"wr": "w right", "wl": "w left", "rw": "w right", "lw": "w left", "wright": "w right", "wleft": "w left"},
    **{"widthright": "width right", "widthleft": "width left", "rightwidth": "width right", "leftwidth": "width left"},
    **{"halfwidth": "half width", "hw": "half width", "trackwidth": "track width", "roadwidth": "road width"},
}
BESIDE = {  # words that may stand beside left and right in the name of a half-width
    *("w", "width", "half", "tr", "track", "road", "border", "bound", "boundary", "edge", "margin", "side"),
    *("dist", "distance", "d", "to", "from", "center", "centre", "centerline", "centreline"),
}
WHOLE = {"width", "tr", "track", "road", "full", "total"}  # words of a road's whole width; `w` alone may be anything
LISTED = 12  # names in a message
REMEDY = "name them: --columns x=NAME,y=NAME (track.columns); also right, left, width, half_width"


@dataclass(frozen=True)
class Pick:
    """A column: its place from 0, its name, and what its values are multiplied by to be metres."""

    index: int
    name: str
    factor: float = 1.0


@dataclass(frozen=True)
class _Name:
    index: int
    text: str
    words: frozenset[str]
    unit: str | None


def parse_columns(given: Any) -> dict[str, str]:
    """Parse `x=NAME,y=NAME` or a mapping of roles to names; names may be numbers of columns, from 1.

    Raises InputError for another form, or roles that there are not.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        pairs = [(str(role), str(name)) for role, name in given.items()]
    else:
        parts = [part.partition("=") for part in str(given).split(",")]
        form = all(equals and name.strip() for _, equals, name in parts)
        require(form, f"columns must be x=NAME,y=NAME, got {str(given)[:80]!r}; see docs/tracks.md")
        pairs = [(role.strip(), name.strip()) for role, _, name in parts]
    for role, _ in pairs:
        require(role in ROLES, f"columns may name {', '.join(ROLES)}, got {role[:40]!r}; correct it")
    require(len(dict(pairs)) == len(pairs), f"columns names a role twice: {str(given)[:80]!r}; correct it")
    return dict(pairs)


def find_columns(names: Sequence[str], explicit: Mapping[str, str], where: str) -> dict[str, Pick]:
    """Find the columns of a table by their names: role -> column, with x and y.

    explicit: roles whose columns were given, by name or number. where: file and line, for messages.
    Raises InputError if x and y are not found, are ambiguous, or are in a unit that is no length.
    """
    known = [_parsed(k, name) for k, name in enumerate(names)]
    told = {role: _told(name, known, where) for role, name in explicit.items()}
    found = {**_widths(known, told, where), **told}
    if not {"x", "y"} <= set(found):
        require(not {"x", "y"} & set(told), f"{where}: columns must name both x and y; add the other one")
        found |= _place(known, where)
    ordered = {role: found[role] for role in ROLES if role in found}
    picks = {role: Pick(name.index, name.text, _factor(name, where)) for role, name in ordered.items()}
    bare = [found[role].text for role in picks if found[role].unit is None]
    other = [pick.name for pick in picks.values() if pick.factor != 1.0]
    if other and bare:
        raise InputError(f"{where}: {other[0]!r} is not in metres, {bare[0]!r} names no unit; name the unit of all")
    return picks


def is_usual(text: str) -> bool:
    """Whether a name is one of those that tables usually give to a place or a width."""
    words = _parsed(0, text).words
    return bool(words & (AXES.keys() | GEOGRAPHIC | {"width"})) or (
        bool(words & SIDES.keys()) and words <= BESIDE | SIDES.keys()
    )


def by_number(explicit: Mapping[str, str], count: int, where: str) -> dict[str, Pick]:
    """`find_columns` for a table of `count` columns without names: all of them are given by number."""
    require({"x", "y"} <= set(explicit), f"{where}: columns must name x and y; add them")
    return {role: Pick(_number(name, count, where), f"column {name}") for role, name in explicit.items()}


def _number(name: str, count: int, where: str) -> int:
    fits = name.isascii() and name.isdigit() and 1 <= int(name[:9]) <= count
    require(fits, f"{where}: columns names {name[:40]!r}, the table has columns 1 to {count} without names; correct it")
    return int(name) - 1


def _parsed(index: int, text: str) -> _Name:
    """Split a name into words and its unit: `w_tr_right_m`, `Width right [m]`, `trackWidthLeft`, `pose.position.x`."""
    bracket = re.search(r"[\[({]\s*([^\])}]*?)\s*[\])}]", text)
    unit = bracket[1].lower() if bracket else None
    bare = text if bracket is None else text[: bracket.start()] + " " + text[bracket.end() :]
    bare = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", bare)
    words = [word for word in re.split(r"[\W_]+", bare.lower()) if word]
    if unit is None and len(words) > 1 and (words[-1] in LENGTHS or words[-1] in NO_LENGTHS):
        unit = words.pop()
    glued = [part for word in words for part in GLUED.get(word, word).split()]
    return _Name(index, text, frozenset(glued), unit or None)


def _factor(name: _Name, where: str) -> float:
    """How many metres the unit in a column's name is; a name without one is in metres."""
    if name.unit is None:
        return 1.0
    require(name.unit not in DEGREES, f"{where}: {name.text!r} is an angle; {_PROJECT}")
    rule = f"{where}: {name.text!r} is in {name.unit!r}, which is no length known here"
    require(name.unit in LENGTHS, f"{rule}; give metres, and write so in its name")
    return LENGTHS[name.unit]


_PROJECT = "project longitude and latitude to metres (UTM, or a plane at the track), and name the columns x_m and y_m"


def _told(name: str, known: Sequence[_Name], where: str) -> _Name:
    """The column that --columns means: of that name, else of that number."""
    same = [column for column in known if column.text == name] or [
        column for column in known if column.text.lower() == name.lower()
    ]
    if not same and name.isascii() and name.isdigit() and 1 <= int(name[:9]) <= len(known):
        same = [known[int(name) - 1]]
    require(
        len(same) == 1, f"{where}: {len(same) or 'no'} columns {name[:40]!r} among {_list(known)}; correct --columns"
    )
    return same[0]


def _place(known: Sequence[_Name], where: str) -> dict[str, _Name]:
    """The columns of x and y: of one kind, and the plainest of several pairs."""
    pairs: dict[tuple[int, frozenset[str]], dict[str, list[_Name]]] = {}
    for name in known:
        axes = name.words & AXES.keys()
        rest = name.words - axes
        if len(axes) == 1 and rest <= PLACES:
            axis, rank = AXES[next(iter(axes))]
            pairs.setdefault((rank + len(rest), rest), {}).setdefault(axis, []).append(name)
    whole = sorted(((rank, pair) for (rank, _), pair in pairs.items() if len(pair) == 2), key=lambda pair: pair[0])
    if not whole:
        degrees = [name.text for name in known if name.words & GEOGRAPHIC]
        require(not degrees, f"{where}: {' and '.join(degrees[:2])} are degrees; {_PROJECT}")
        raise InputError(f"{where}: no columns x and y among {_list(known)}; {REMEDY}")
    best = [pair for rank, pair in whole if rank == whole[0][0]]
    several = len(best) > 1 or any(len(names) > 1 for names in best[0].values())
    require(not several, f"{where}: several columns may be x and y among {_list(known)}; {REMEDY}")
    return {axis: names[0] for axis, names in best[0].items()}


def _widths(known: Sequence[_Name], told: Mapping[str, _Name], where: str) -> dict[str, _Name]:
    """The columns with widths: both sides, else one half-width, else one whole width, else none."""
    if {"right", "left", "width", "half_width"} & set(told):
        require(("right" in told) == ("left" in told), f"{where}: columns must name both right and left; add the other")
        return {}
    found: dict[str, list[_Name]] = {"right": [], "left": [], "half_width": [], "width": []}
    for name in known:
        sides = name.words & SIDES.keys()
        if len(sides) == 1 and name.words - sides <= BESIDE:
            found[SIDES[next(iter(sides))]].append(name)
        elif "half" in name.words and {"w", "width"} & name.words and name.words <= BESIDE:
            found["half_width"].append(name)
        elif "width" in name.words and name.words <= WHOLE:
            found["width"].append(name)
    for role, names in found.items():
        require(len(names) < 2, f"{where}: {' and '.join(n.text for n in names[:2])} may both be {role}; {REMEDY}")
    if found["right"] and found["left"]:
        return {"right": found["right"][0], "left": found["left"][0]}
    for one, other in (("right", "left"), ("left", "right")):
        sure = [name.text for name in found[one] if {"w", "width"} & name.words]  # `r` alone may be a yaw rate
        require(not sure, f"{where}: {sure[:1]} is a half-width, none is found on the {other}; {REMEDY}")
    return {role: found[role][0] for role in ("half_width", "width") if found[role]}


def _list(known: Sequence[_Name]) -> str:
    """The names of a table, for a message."""
    texts = [name.text[:30] or "(unnamed)" for name in known[:LISTED]]
    return ", ".join(texts) + (f" and {len(known) - LISTED} more" if len(known) > LISTED else "")
