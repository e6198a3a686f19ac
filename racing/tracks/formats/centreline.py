"""Read centreline tables: x and y in metres, half-widths where there are some, by the names of their columns.

Without names columns are taken by their number: 2 (x, y), 4 (x, y, right, left) or 7 (s, x, y, psi, kappa, vx, ax).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.errors import InputError, is_number, require
from racing.sim.track import Points, Track, build_track, resample_closed
from racing.tracks.formats.columns import Pick, by_number, find_columns, parse_columns
from racing.tracks.formats.recorded import moving, one_lap
from racing.tracks.formats.table import Layout, read_numbers
from racing.tracks.geometry import perimeter, smooth_closed
from racing.tracks.images.assemble import digest

log = logging.getLogger(__name__)

Column = npt.NDArray[np.float64]

SMOOTHING = 0.25  # standard deviation of the Gaussian, in road widths: 0.5 m on a 2 m wide 1:10 road
FAR = 10_000.0  # [m] beyond it the world's float32 resolves less than a millimetre, so the track is moved to the origin
FARTHEST = 1e7  # [m] from the origin
MOST_STEPS = 2_000_000  # points of the smoothed line
SHORTEST = 3.0  # [road widths] a ring of road is longer: at least pi, where its inner edge is a point
WITHOUT_NAMES = {  # number of columns -> what they are
    2: {"x": 0, "y": 1},
    4: {"x": 0, "y": 1, "right": 2, "left": 3},
    7: {"x": 1, "y": 2},
}


@dataclass(frozen=True, eq=False)
class Line:
    """A closed line: points (N, 2), half-widths right, left (N,) [m]. again: points cut off, of a further lap."""

    points: Points
    right: Column
    left: Column
    again: int = 0


def read_centreline(path: Path, *, half_width: float | None = None, columns: Any = None) -> Track:
    """Read a track from a centreline table.

    half_width [m]: for tables without widths. columns: as `racing.tracks.formats.columns.parse_columns` takes them, for
    names that are not known. Raises InputError naming file, line and column.
    """
    line = read_line(path, half_width=half_width, columns=columns)
    points, right, left = line.points, line.right, line.left
    if half_width is not None and not (np.all(right == half_width) and np.all(left == half_width)):
        log.warning("%s: half_width=%s is not used, the table has widths of its own", path.name, half_width)
    width = float(np.mean(left) + np.mean(right))
    points, left, right = _smoothed(points, left, right, width)
    source: dict[str, object] = {"format": "csv", "files": {path.name: digest(path)}}
    if line.again:
        source["points_cut_off"] = line.again
    if np.abs(points).max() > FAR:
        shift = np.round(points.mean(axis=0))
        points = points - shift
        source["shift_m"] = [float(v) for v in shift]
    return build_track(path.stem.removesuffix("_centerline"), points, left, right, source=source)


def _smoothed(points: Points, left: Column, right: Column, width: float) -> list[npt.NDArray[np.float64]]:
    """Smooth the line: tables extracted from maps are noisy."""
    steps_given = np.linalg.norm(np.diff(points, axis=0), axis=1)
    spacing = min(width / 12, float(steps_given.mean()))
    require(
        float(steps_given.sum()) / spacing < MOST_STEPS,
        f"the line is {steps_given.sum():.4g} m long and the road {width:.3g} m wide: too thin; are both in metres?",
    )
    points, left, right = resample_closed(points, spacing, left, right)
    steps = SMOOTHING * width / spacing
    return [
        smooth_closed(points, steps),
        smooth_closed(left, steps, keep_size=False),
        smooth_closed(right, steps, keep_size=False),
    ]


def read_table(path: Path, *, half_width: float | None = None) -> tuple[Points, Column, Column]:
    """Read (points (N, 2), right (N,), left (N,)) [m] of a table, see `read_line`."""
    line = read_line(path, half_width=half_width)
    return line.points, line.right, line.left


def read_line(path: Path, *, half_width: float | None = None, columns: Any = None) -> Line:
    """Read the line of a table as it is there: closed, one lap, without a repeated last point."""
    explicit = parse_columns(columns)
    picks: dict[str, Pick] = {}

    def choose(layout: Layout) -> list[int]:
        picks.update(_picks(path.name, layout, explicit))
        first = [0] if layout.names is None and layout.columns == 7 and not explicit else []
        return [*first, *(pick.index for pick in picks.values())]

    table, layout, _ = read_numbers(path, choose)
    if table.shape[1] > len(picks):
        _check_raceline(path.name, table[:, 0])
        table = table[:, 1:]
    found = {role: table[:, k] * pick.factor for k, (role, pick) in enumerate(picks.items())}
    points = np.stack([found["x"], found["y"]], axis=1)
    right, left = _half_widths(path.name, found, picks, layout, half_width)
    far = float(np.abs(points).max())
    require(far <= FARTHEST, f"{path.name}: coordinates must be within {FARTHEST:g} m, got {far:.3g}; give metres")
    require(float(max(right.max(), left.max())) < 1e4, f"{path.name}: half-widths must be < 10,000 m; give metres")
    return _closed(path.name, points, right, left)


def _picks(file: str, layout: Layout, explicit: Mapping[str, str]) -> dict[str, Pick]:
    """Choose the columns of a table."""
    if layout.names is not None:
        return find_columns(layout.names, explicit, f"{file} line {layout.line}")
    if explicit:
        return by_number(explicit, layout.columns, file)
    count = layout.columns
    rule = f"{file} has {count} columns; give 2 (x, y), 4 (x, y, right, left) or 7 (raceline)"
    require(count in WITHOUT_NAMES, f"{rule}, or say which they are: a line of names, or --columns x=1,y=2")
    return {role: Pick(k, f"column {k + 1}") for role, k in WITHOUT_NAMES[count].items()}


def _check_raceline(file: str, s: Column) -> None:
    """Refuse 7 columns whose first one does not rise: a pose x, y, z, qx, qy, qz, qw is no raceline."""
    falls = np.nonzero(np.diff(s) < 0)[0]
    rising = not len(falls) and s[-1] > s[0]
    rule = f"{file} has 7 columns without names, and the first one is no arc length s of a raceline: it does not rise"
    require(rising, f"{rule}; say which they are: --columns x=1,y=2 (track.columns), or a line of names")


def _half_widths(
    file: str, found: Mapping[str, Column], picks: Mapping[str, Pick], layout: Layout, half_width: float | None
) -> tuple[Column, Column]:
    """The half-widths (right, left) of a table, else those that were told."""
    if "right" in found:
        right, left = found["right"], found["left"]
    elif "half_width" in found:
        right = left = found["half_width"]
    elif "width" in found:
        right = left = found["width"] / 2
    else:
        names = f": {', '.join(layout.names[:16])[:120]}" if layout.names else ""
        rule = f"{file} has {layout.columns} columns, none with widths{names}; give half_width in metres (--half-width)"
        require(half_width is not None, f"{rule}{', or name one: --columns width=NAME' if names else ''}")
        fits = is_number(half_width) and 0 < float(half_width or 0) < 1e3
        require(fits, f"half_width must be in (0, 1000) m, got {half_width!r}; correct it")
        right = left = np.full(len(found["x"]), float(half_width or 0))
    narrow = float(min(right.min(), left.min()))
    names = " and ".join(pick.name for role, pick in picks.items() if role not in ("x", "y"))
    require(narrow > 0, f"{file}: half-widths ({names}) must be > 0 m, got {narrow:g}; correct them")
    return right, left


def _closed(file: str, points: Points, right: Column, left: Column) -> Line:
    """Reduce a line to one closed lap. Raises InputError if it has too few points or is open."""
    wide = float(np.mean(left) + np.mean(right))
    keep = np.nonzero(np.concatenate([[True], np.linalg.norm(np.diff(points, axis=0), axis=1) > 1e-9]))[0]
    if len(keep) >= 8:
        _check_length(file, points[keep], wide)
        moved = keep[moving(points[keep])]
        if len(moved) < len(keep):
            log.warning("%s: %d points of a car that stands; left out", file, len(keep) - len(moved))
        keep = moved
    keep = keep[: _without_repetition(points[keep])]
    lap, again = one_lap(points[keep], wide) if len(keep) >= 8 else (len(keep), 0)
    if again:
        log.warning("%s: %d points at the end drive the beginning of the lap again; cut off", file, again)
        keep = keep[:lap]
        keep = keep[: _without_repetition(points[keep])]
    points, right, left = points[keep], right[keep], left[keep]
    require(len(points) >= 8, f"{file}: a centreline needs at least 8 different points, got {len(points)}; add points")
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    gap = float(np.linalg.norm(points[0] - points[-1]))
    limit = max(4 * float(np.percentile(steps, 90)), 2 * wide)
    require(
        gap <= limit or bool(again),
        f"{file}: the line is not closed: {gap:.2f} m between its ends, at most {limit:.2f} m; close it",
    )
    return Line(points, right, left, again)


def _without_repetition(points: Points) -> int:
    """Count the points of a line without its last one if that repeats the first."""
    count = len(points)
    repeats = count > 8 and np.linalg.norm(points[0] - points[-1]) < 1e-6 + 0.01 * np.linalg.norm(points[1] - points[0])
    return count - int(repeats)


def _check_length(file: str, points: Points, width: float) -> None:
    """Refuse a line around which no road of that width fits: one of the two is not in metres."""
    length = perimeter(points)
    if length >= SHORTEST * width:
        return
    low, high = points.min(axis=0), points.max(axis=0)
    degrees = (
        float(np.ptp(points, axis=0).max()) < 1 and max(abs(low[0]), high[0]) <= 180 and max(abs(low[1]), high[1]) <= 90
    )
    remedy = "project longitude and latitude to metres" if degrees else "correct the units"
    raise InputError(
        f"{file}: the lap is {length:.3g} m long and the road {width:.3g} m wide; are both in metres? {remedy}"
    )
