"""Read and write the native format: `<name>.png` beside `checkpoints.json`. Pixel conventions: docs/tracks.md."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.errors import InputError, is_number, require
from racing.files import atomic_path, write_atomic
from racing.sim.track import Track
from racing.tracks.formats.text import read_any_text
from racing.tracks.images.assemble import digest, guessed_scale, mask_track
from racing.tracks.images.gates import check_gates, find_road, lap_through_gates
from racing.tracks.images.image import Frame, Picture, open_picture
from racing.tracks.images.lap import UnclearRoad
from racing.tracks.images.obstacles import obstacles, warn_of_obstacles
from racing.tracks.images.painted import painted_track

GATES_FILE = "checkpoints.json"
MOST_JSON = 16_000_000  # [bytes]
FARTHEST = 1e7  # [m] from the origin
AXES = ("image", "plot")  # origin top-left and y down | origin bottom-left and y up
ANGLES = ("ccw", "cw")  # start_angle is counter-clockwise | clockwise from +x, as seen on the picture
MOST_ASKEW = 75.0  # [deg] largest angle between start_angle and the road
KEYS = {"checkpoints", "start_position", "start_angle", "metres_per_pixel", "axes", "angle", "origin"}


@dataclass(frozen=True)
class Entry:
    """One picture's part of checkpoints.json. gates (G, 2, 2), start (2,): pixels, y down; angle [rad] ccw, y up."""

    gates: npt.NDArray[np.float64]
    start: npt.NDArray[np.float64] | None
    angle: float | None
    metres_per_pixel: float | None
    origin: tuple[float, float]


def read_native(
    picture: Path, *, metres_per_pixel: float | None = None, branch: str | None = None, close_gaps: int = 0
) -> Track:
    """Read the track drawn in `picture`, with the gates and start pose from the checkpoints.json beside it.

    Without an entry there the road is segmented by colour and width, and driven clockwise from its longest straight.
    metres_per_pixel: overrides the file's; if neither is given, the road is assumed to be 10 m wide.
    branch, close_gaps: for pictures without gates, see `racing.tracks.images.painted.painted_track`.
    Raises InputError that names the value, the rule and the place.
    """
    pixels = open_picture(picture)
    sidecar = gates_file(picture.parent)
    files = {picture.name: digest(picture)}
    entry = None
    if sidecar is not None:
        entries = read_entries(sidecar)
        name = named_as(picture, list(entries))
        if name is None:
            rule = f"{sidecar} has no entry {picture.name!r}, it has {_names(entries)}"
            raise InputError(f"{rule}; name the entry as the picture")
        entry = parse_entry(entries[name], f"{sidecar.name}[{name}]", len(pixels))
        files[sidecar.name] = digest(sidecar)
    scale = metres_per_pixel or (entry.metres_per_pixel if entry else None)
    fits = scale is None or (is_number(scale) and 1e-4 < scale < 1e3)
    require(fits, f"metres_per_pixel must be in (0.0001, 1000), got {scale!r}; measure it")
    source: dict[str, Any] = {"format": "native", "picture": str(picture.resolve()), "files": files}
    if entry is None:
        try:
            return painted_track(picture.stem, pixels, scale, source, branch=branch, close_gaps=close_gaps)
        except UnclearRoad as error:
            raise UnclearRoad(f"{picture.stem}: {error}", error.marks, picture) from None
    return _gated(picture.stem, pixels, entry, scale, source)


def _gated(name: str, pixels: Picture, entry: Entry, scale: float | None, source: dict[str, Any]) -> Track:
    """Build the track of a picture with gates."""
    high, wide = pixels.shape[:2]
    check_gates(entry.gates, wide, high, name)
    try:
        road = find_road(pixels, entry.gates)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    middles = np.round(entry.gates.mean(axis=1)).astype(int)
    off = np.nonzero(~road.mask[middles[:, 1], middles[:, 0]])[0]
    if len(off):
        x, y = middles[off[0]]
        raise InputError(f"{name}: gate {off[0]} at pixel ({x}, {y}) lies off the road; move it onto the road")
    try:
        points, half = lap_through_gates(road, entry.gates)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    width = float(np.median(np.linalg.norm(entry.gates[:, 1] - entry.gates[:, 0], axis=1)))
    scale = guessed_scale(width, scale, name)
    frame = Frame(scale, high, entry.origin)
    warn_of_obstacles(name, obstacles(road.alike, road.mask, width, compact=True), frame)
    world = frame.to_world(points)
    start = None if entry.start is None else frame.to_world(entry.start)
    if entry.start is not None:
        _check_start(name, entry.start, entry.angle, road.mask, world)
    source = {**source, "metres_per_pixel": scale, "pixel_origin": list(entry.origin)}
    return mask_track(
        name,
        frame,
        road.mask,
        world,
        source,
        half=None if half is None else half * scale,
        widen=road.widen,
        gates=frame.to_world(entry.gates),
        start_position=start,
        start_angle=entry.angle,
    )


def _check_start(
    name: str,
    start: npt.NDArray[np.float64],
    angle: float | None,
    road: npt.NDArray[np.bool_],
    world: npt.NDArray[np.float64],
) -> None:
    """Raise InputError unless the start pose (`start` in pixels) is on the road and points along it."""
    x, y = np.round(np.clip(start, -1e6, 1e6)).astype(int)
    inside = 0 <= y < road.shape[0] and 0 <= x < road.shape[1] and bool(road[y, x])
    require(
        inside,
        f"{name}: start_position ({x}, {y}) px lies off the road; put it on the road, at or before the last gate",
    )
    if angle is None:
        return
    ahead = world[min(5, len(world) - 1)] - world[-5]
    road_angle = float(np.arctan2(ahead[1], ahead[0]))
    off = abs(float(np.degrees((angle - road_angle + np.pi) % (2 * np.pi) - np.pi)))
    require(
        off <= MOST_ASKEW,
        f"{name}: start_angle {np.degrees(angle) % 360:.1f} deg points {off:.0f} deg away from the driving "
        f"direction {np.degrees(road_angle) % 360:.1f} deg at the last gate; correct it, or set "
        '"angle": "cw", or order the gates as driven',
    )


def gates_file(folder: Path) -> Path | None:
    """Find the checkpoints.json of a folder, also where another system wrote its name in capitals."""
    if (folder / GATES_FILE).is_file():
        return folder / GATES_FILE
    alike = [path for path in sorted(folder.iterdir()) if path.name.lower() == GATES_FILE and path.is_file()]
    return alike[0] if len(alike) == 1 else None


def named_as(picture: Path, names: Sequence[str]) -> str | None:
    """Which of the entries `names` is of `picture`: its name, also in another case or without the suffix.

    Letters count as equal however they are composed: macOS splits umlauts. None if there is none, or several.
    """
    if picture.name in names:
        return picture.name
    for wanted in (_folded(picture.name), _folded(picture.stem)):
        alike = [name for name in names if _folded(name) == wanted]
        if alike:
            return alike[0] if len(alike) == 1 else None
    return None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _names(entries: dict[str, Any]) -> str:
    """List the pictures that have entries, for an error message."""
    return ", ".join(repr(name)[1:-1][:60] for name in list(entries)[:8])


def read_entries(path: Path) -> dict[str, Any]:
    """Read the entries of a checkpoints.json, unchecked. Raises InputError if it is not a JSON object."""
    text = read_any_text(path, MOST_JSON)
    try:
        entries = json.loads(text)
    except RecursionError:
        raise InputError(f"{path} is nested too deeply to be read; see docs/tracks.md for the format") from None
    except ValueError as error:
        if not isinstance(error, json.JSONDecodeError):  # a number of thousands of digits
            raise InputError(f"{path}: {str(error)[:80]}; repair the JSON") from None
        raise InputError(f"{path} line {error.lineno} column {error.colno}: {error.msg}; repair the JSON") from None
    shape = isinstance(entries, dict) and bool(entries) and all(isinstance(v, dict) for v in entries.values())
    require(shape, f'{path} must be an object {{"<picture>.png": {{"checkpoints": ...}}}}; see docs/tracks.md')
    return dict(entries)


def parse_entry(data: dict[str, Any], where: str, height: int) -> Entry:
    """Convert an entry to one convention: pixels with x right and y down, angle counter-clockwise with y up.

    height: rows of the picture. Raises InputError if a key is unknown, missing or of the wrong shape.
    """
    unknown = sorted(set(data) - KEYS)
    require(
        not unknown, f"{where}: unknown key {unknown[:1]}, known are {', '.join(sorted(KEYS))}; correct its spelling"
    )
    require("checkpoints" in data, f"{where}: checkpoints are missing; give [[[x, y], [x, y]], ...]")
    gates = _numbers(data["checkpoints"], (None, 2, 2), f"{where}: checkpoints must be [[[x, y], [x, y]], ...]")
    axes, turn = data.get("axes", "image"), data.get("angle", "ccw")
    require(
        axes in AXES, f"{where}: axes must be one of {', '.join(AXES)}, got {axes!r}; image is y down, plot is y up"
    )
    require(turn in ANGLES, f"{where}: angle must be one of {', '.join(ANGLES)}, got {turn!r}; ccw is usual")
    start, angle = data.get("start_position"), data.get("start_angle")
    if start is not None:
        start = _numbers(start, (2,), f"{where}: start_position must be [x, y]")
    if angle is not None:
        degrees = float(_numbers(angle, (), f"{where}: start_angle must be a number of degrees"))
        angle = float(np.radians(degrees if turn == "ccw" else -degrees))
    if axes == "plot":
        gates = np.stack([gates[..., 0], height - 1 - gates[..., 1]], axis=-1)
        start = None if start is None else np.array([start[0], height - 1 - start[1]])
    scale = data.get("metres_per_pixel")
    if scale is not None:
        scale = float(_numbers(scale, (), f"{where}: metres_per_pixel must be a number"))
        require(scale > 0, f"{where}: metres_per_pixel must be > 0, got {scale}; measure it")
    low = _numbers(data.get("origin", [0, 0]), (2,), f"{where}: origin must be [x, y] in metres")
    require(
        bool((np.abs(low) <= FARTHEST).all()),
        f"{where}: origin must be within {FARTHEST:g} m, got {low.tolist()}; correct it",
    )
    return Entry(gates, start, angle, scale, (float(low[0]), float(low[1])))


def _numbers(value: Any, shape: tuple[int | None, ...], rule: str) -> npt.NDArray[np.float64]:
    """Convert `value` to a finite array of `shape` (None: any length). Raises InputError(rule)."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{rule}, got {repr(value)[:60]}; correct it") from None
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    require(fits, f"{rule}, got {repr(value)[:60]}; correct it")
    require(bool(np.isfinite(array).all()), f"{rule}, got NaN or infinity; correct it")
    return array


def write_native(track: Track, folder: Path, *, metres_per_pixel: float | None = None) -> Path:
    """Draw `track` and write folder/<name>.png and folder/checkpoints.json; returns the picture's path.

    metres_per_pixel: size of a pixel; default 1/30 of the road's width, coarser for tracks above 3,000 px.
    Each file is written atomically and replaces a file of that name.
    """
    from PIL import Image

    from racing.tracks.render import draw_track, frame_for

    width = float(track.left.mean() + track.right.mean())
    reach = float(np.ptp(track.points, axis=0).max())
    frame, columns = frame_for(track, metres_per_pixel or max(width / 30, reach / 3000))
    gates = np.round(frame.to_pixels(track.gates), 4)
    start = np.round(frame.to_pixels(track.start_position), 4)
    entry = {
        "checkpoints": gates.tolist(),
        "start_position": start.tolist(),
        "start_angle": round(float(np.degrees(track.start_angle)) % 360, 4),
        "metres_per_pixel": frame.resolution,
        "origin": list(frame.origin),
    }
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / f"{track.name}.png"
    with atomic_path(picture) as temporary:
        Image.fromarray(draw_track(track, frame, columns)).save(temporary, format="PNG", optimize=True)
    write_atomic(folder / GATES_FILE, json.dumps({picture.name: entry}, indent=None, separators=(", ", ": ")) + "\n")
    return picture
