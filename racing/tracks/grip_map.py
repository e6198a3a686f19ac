"""Load the grip map of a track: a grayscale PNG beside it, or one factor for all of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from racing.errors import InputError, require
from racing.sim.grip import LEAST, MOST, GripMap, uniform_grip
from racing.sim.track import Track
from racing.tracks.images.image import open_picture

WET = 0.5  # of the dry grip
SUFFIX = "_grip"  # <name>_grip.png lies beside <name>.png
FULL = 255.0  # gray level of full grip; grip is proportional to it
MOST_CELLS = 4_000_000  # larger maps are downsampled


def with_grip(track: Track, grip: str | float | None = None, *, beside: Path | None = None) -> Track:
    """Add the grip of the ground to `track`, before scaling.

    grip: None: use <name>_grip.png beside the file `beside`, if it exists. "dry": ignore such a file.
        "wet": multiply by 0.5. A number in [0.05, 2]: multiply by it. Else the path of a grayscale picture of the size
        of the track's: 255 is the vehicle's friction, 128 half of it; transparent pixels count as 255.
    Raises InputError if there is no such picture, its size differs, or the track was not read from a picture.
    """
    if grip == "dry":
        return track
    if isinstance(grip, str) and grip != "wet":
        return replace(track, **_drawn(track, Path(grip)))
    own = None if beside is None else beside.with_name(f"{beside.stem}{SUFFIX}.png")
    if own is not None and own.is_file():
        track = replace(track, **_drawn(track, own))
    if grip is None:
        return track
    factor = WET if grip == "wet" else grip
    fits = isinstance(factor, int | float) and not isinstance(factor, bool) and LEAST <= factor <= MOST
    require(fits, f"track.grip must be wet, dry, a picture, or a factor in [{LEAST}, {MOST}], got {grip!r}; choose one")
    source = {**track.source, "grip": grip}
    if track.grip is None:
        return replace(track, grip=uniform_grip(float(factor)), source=source)
    values = np.maximum(track.grip.values * np.float32(factor), np.float32(LEAST))
    return replace(track, grip=replace(track.grip, values=values), source=source)


def _drawn(track: Track, path: Path) -> dict[str, Any]:
    """Read the grip map in `path`; returns the fields of `track` to replace."""
    from racing.tracks.images.assemble import digest
    from racing.tracks.images.image import picture_size

    source = track.source
    require(
        path.suffix.lower() == ".png",
        f"track.grip must be wet, dry, a factor or the path of a PNG, got {str(path)!r}; choose one",
    )
    require(
        "picture" in source and source.get("yaw", 0.0) == 0.0,
        f"track {track.name} has no picture along the axes that a grip map could lie on; use a factor such as 0.5",
    )
    picture = open_picture(path)
    size = picture_size(Path(source["picture"]))
    if picture.shape[1::-1] != size:
        wide, high = picture.shape[1::-1]
        raise InputError(
            f"grip map {path.name} has {wide} x {high} pixels, the track's picture {size[0]} x {size[1]}; "
            "draw it on a copy"
        )
    gray = np.where(picture[..., 3] < 128, FULL, picture[..., :3].mean(axis=2))
    values = np.flipud(np.maximum(gray / FULL, LEAST)).astype(np.float32)
    resolution = float(source["metres_per_pixel"])
    x, y = (float(v) for v in source["pixel_origin"])
    step = int(np.ceil(np.sqrt(values.size / MOST_CELLS)))
    if step > 1:
        high, wide = (n // step * step for n in values.shape)
        values = values[:high, :wide].reshape(high // step, step, wide // step, step).mean(axis=(1, 3))
        x, y, resolution = x + (step - 1) / 2 * resolution, y + (step - 1) / 2 * resolution, resolution * step
    files = {**source.get("files", {}), path.name: digest(path)}
    grip = GripMap(np.ascontiguousarray(values, np.float32), (x, y), resolution)
    return {"grip": grip, "source": {**source, "files": files}}
