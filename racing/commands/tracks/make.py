"""`racing tracks import | generate | export`: write tracks."""

from __future__ import annotations

import argparse
import filecmp
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from racing.errors import InputError, require
from racing.files import atomic_path, is_file_name
from racing.tracks.images.lap import UnclearRoad
from racing.tracks.measure import difficulty, least_radius, mean_width

if TYPE_CHECKING:
    from racing.sim.track import Track

SURE = 0.7  # confidence below which a warning is printed


def import_track(options: argparse.Namespace, load: Callable[[], Track]) -> int:
    """Read any supported format and write the native format."""
    from racing.tracks.validation import findings

    name = _name(options, Path(options.file).stem)
    try:
        track = load()
    except UnclearRoad as error:
        raise InputError(f"{error}{_marked(options, name, error)}") from None
    if options.start is not None:
        track = _restarted(track, options)
    found = findings(track)
    for finding in found:
        print(finding)
    fatal = next((finding for finding in found if finding.fatal), None)
    if fatal is not None:
        raise InputError(f"{options.file} was not imported: {fatal.text}; {fatal.remedy}")
    return _write(track, options)


def _marked(options: argparse.Namespace, name: str, error: UnclearRoad) -> str:
    """Write the picture with the places marked; returns a phrase for the error message."""
    from racing.tracks.preview import save_marks

    if not error.marks:
        return ""
    path = options.out / f"{name}-refused.png"
    try:
        save_marks(error.picture or Path(options.file), error.marks, path)
    except OSError as trouble:
        return f" (the marked picture cannot be written: {trouble})"
    return f"; marked in {path}"


def _restarted(track: Track, options: argparse.Namespace) -> Track:
    """Move the start line to --start: a pixel of a picture, else metres."""
    from racing.tracks.images.assemble import started_at
    from racing.tracks.images.image import Frame, picture_size
    from racing.tracks.images.lap import parse_pixel

    place = parse_pixel(options.start, "start must be X,Y (a pixel of the picture)")
    source = track.source
    if "picture" not in source:
        return started_at(track, place)
    scale = float(source.get("scale", 1.0))
    _, rows = picture_size(Path(source["picture"]))
    origin = tuple(float(v) * scale for v in source["pixel_origin"])
    frame = Frame(float(source["metres_per_pixel"]) * scale, rows, (origin[0], origin[1]), source.get("yaw", 0.0))
    import numpy as np

    x, y = frame.to_world(np.array(place, float))
    return started_at(track, (float(x), float(y)))


def generate_track(options: argparse.Namespace) -> int:
    """Generate one circuit, or all that ship."""
    from racing.tracks.generator import generate
    from racing.tracks.shipped import draw_shipped

    if options.shipped:
        for path in draw_shipped(options.out):
            print(f"wrote {path}")
        return 0
    return _write(generate(options.seed, options.style, options.length, options.width), options)


def _is_another(place: Path, made: Path) -> bool:
    """Whether there is something at `place` that is not the file `made`."""
    return place.exists() and not (place.is_file() and filecmp.cmp(place, made, shallow=False))


def export_track(options: argparse.Namespace, load: Callable[[], Track]) -> int:
    """Write a track in one of FORMATS."""
    from racing.tracks.formats.writers import FORMATS

    remedy = "it is called native now" if options.format == "house" else "choose one"
    rule = f"--format must be one of {', '.join(FORMATS)}, got {options.format!r}"
    require(options.format in FORMATS, f"{rule}; {remedy}")
    track = load()
    track = replace(track, name=_name(options, track.name))
    try:
        with tempfile.TemporaryDirectory(prefix="racing-export-") as folder:  # what is there is compared first
            made = FORMATS[options.format](track, Path(folder), options.metres_per_pixel)
            others = [path.name for path in made if _is_another(options.out / path.name, path)]
            rule = f"{', '.join(others)} in {options.out} would be replaced by something else"
            require(options.force or not others, f"{rule}; choose another --out or --name, or give --force")
        for path in FORMATS[options.format](track, options.out, options.metres_per_pixel):
            print(f"wrote {path}")
    except OSError as error:
        raise InputError(f"{options.out} cannot be written ({error}); choose another --out") from None
    return 0


def _name(options: argparse.Namespace, default: str) -> str:
    name = str(options.name or re.sub(r"[^A-Za-z0-9_-]+", "_", default).lstrip("_-") or "track")
    require(is_file_name(name, dots=False), f"--name {name!r} must be letters, digits, _ and -")
    return name


def _write(track: Track, options: argparse.Namespace) -> int:
    """Write <out>/<name>/ atomically: the native format, and an overlay to check it."""
    from racing.tracks.formats.native import write_native
    from racing.tracks.preview import save_preview

    name = _name(options, track.name)
    target = options.out / name
    require(options.force or not target.exists(), f"{target} exists already; choose another --name, or give --force")
    track = replace(track, name=name)
    try:
        with atomic_path(target) as temporary:
            write_native(track, temporary)
            save_preview(track, temporary / "overlay.png", on_source=True)
    except OSError as error:
        raise InputError(f"{target} cannot be written ({error}); choose another --out") from None
    _report(track, target)
    return 0


def _report(track: Track, target: Path) -> None:
    """Print the measures of what was written, and the confidence of the reading."""
    widths = track.left + track.right
    print(
        f"wrote {target}: {track.length:.1f} m, {mean_width(track):.2f} m wide ({widths.min():.2f} to "
        f"{widths.max():.2f}), tightest radius {least_radius(track):.1f} m, {len(track.gates)} gates, "
        f"difficulty {difficulty(track):g} of 10"
    )
    source = track.source
    if "confidence" in source:
        holes, sure = source["holes"], source["confidence"]
        print(f"the road encloses {holes} large area{'s' * (holes > 1)}; confidence {sure:.2f}", end="")
        print(": low, check the overlay closely" if sure < SURE else "")
        if source.get("bridged_px"):
            print(f"a line or gap across the road of up to {source['bridged_px']} px was bridged")
        if source.get("dropped_branches"):
            print(f"{source['dropped_branches']} branch(es) dropped; --branch selects another one")
    if "direction" in source:
        print(f"direction {source['direction']}, start on the longest straight; --reverse, --start X,Y change them")
    print(f"check {target / 'overlay.png'}, then: racing train track={target}")
