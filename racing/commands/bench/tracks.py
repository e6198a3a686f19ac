"""`racing bench tracks`: how exactly pictures are read, how fast and how well circuits are generated."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from racing.commands.bench.report import Result, Row, say
from racing.errors import is_number, require
from racing.sim.track import Track, resample_closed

SIZES = {  # style -> (length, width) [m] of what is generated
    "oval": (560.0, 12.0),
    "flowing": (950.0, 11.5),
    "tight": (720.0, 9.0),
    "hairpin": (720.0, 9.0),
    "switchback": (720.0, 9.0),
    "fast": (1900.0, 14.0),
    "figure_eight": (700.0, 11.0),
    "kart": (420.0, 7.0),
    "street": (1200.0, 10.0),
}
TOGETHER = 32  # circuits that are driven in one world


def workshop(options: Mapping[str, Any]) -> Result:
    """Three tables in one: generated circuits by style, colour pictures by scale, maps with a published centreline."""
    rows = _generated(int(options["circuits"]), str(options["vehicles"][0]))
    scales = options["scales"]
    fit = isinstance(scales, list) and all(is_number(scale) and 0.05 <= scale <= 2 for scale in scales)
    require(fit, f"scales must be a list of metres per pixel in [0.05, 2], got {scales!r}; e.g. [0.3, 0.6]")
    rows += _pictures(scales)
    if options["maps"] is not None:
        folder = Path(str(options["maps"]))
        require(folder.is_dir(), f"maps must be a folder with ROS maps and centrelines, got {folder}; correct it")
        rows += _maps(folder)
    total = sum(int(row["count"]) for row in rows if row["what"].startswith("generated"))
    bad = sum(int(row["invalid"]) for row in rows if row["what"].startswith("generated"))
    done = sum(int(row["driven"]) for row in rows if row["what"].startswith("generated"))
    return rows, {"generated": total, "invalid": bad, "completed_share": done / max(total, 1)}


def _row(what: str, **values: Any) -> Row:
    names = ("count", "invalid", "driven", "ms", "most_ms", "mean_m", "max_m", "width_px")
    return {"what": what} | {name: values.get(name) for name in names}


def _generated(circuits: int, vehicle_name: str) -> list[Row]:
    """One row a style: seeds 0, 1, ...; findings; laps of the reference controller; CPU time of a circuit."""
    from racing.config import load_group
    from racing.tracks.generator import generate
    from racing.tracks.reference_driver import drive_round
    from racing.tracks.validation import findings

    vehicle = load_group("vehicle", vehicle_name)
    rows = []
    each = max(1, circuits // len(SIZES))
    for style, (length, width) in SIZES.items():
        generate(0, style, length, width)
        spent, invalid, driven = [], 0, 0
        for first in range(0, each, TOGETHER):
            tracks = []
            for seed in range(first, min(first + TOGETHER, each)):
                began = time.process_time()
                tracks.append(generate(seed, style, length, width))
                spent.append(1000 * (time.process_time() - began))
            invalid += sum(any(found.fatal for found in findings(track, vehicle)) for track in tracks)
            driven += sum(drive.completed for drive in drive_round(tracks, vehicle))
        rows.append(
            _row(
                f"generated {style}",
                count=each,
                invalid=invalid,
                driven=driven,
                ms=float(np.median(spent)),
                most_ms=max(spent),
            )
        )
        say(f"{style}: {each} circuits, {invalid} invalid, {driven} driven")
    return rows


def _pictures(scales: Sequence[float]) -> list[Row]:
    """One row a scale: drawings of generated circuits with noise, kerbs, lines and a dark start line, read again."""
    import cv2

    from racing.tracks.generator import generate
    from racing.tracks.images.painted import painted_track
    from racing.tracks.render import draw_track, frame_for

    rows = []
    for scale in scales:
        means, most, spent = [], [], []
        for seed, (style, (length, width)) in enumerate(SIZES.items()):
            track = generate(seed, style, length, width)
            frame, columns = frame_for(track, scale)
            rgb = draw_track(track, frame, columns).copy()
            ends = np.round(frame.to_pixels(track.gates[-1]) * 16).astype(int).tolist()
            cv2.line(rgb, ends[0], ends[1], (20, 20, 20), max(1, round(1.0 / scale)), cv2.LINE_AA, 4)
            noisy = np.clip(rgb + np.random.default_rng(seed).normal(0, 12, rgb.shape), 0, 255).astype(np.uint8)
            began = time.process_time()
            read = painted_track("drawing", np.dstack([noisy, np.full(rgb.shape[:2], 255, np.uint8)]), scale, {})
            spent.append(1000 * (time.process_time() - began))
            error = _distances(read.points + np.array(frame.origin), track)
            means.append(float(error.mean()))
            most.append(float(error.max()))
        rows.append(
            _row(
                f"colour pictures, {scale} m/px",
                count=len(means),
                ms=float(np.median(spent)),
                most_ms=max(spent),
                mean_m=max(means),
                max_m=max(most),
            )
        )
        say(f"{scale} m/px: mean error of the worst picture {max(means):.3f} m")
    return rows


def _maps(folder: Path) -> list[Row]:
    """One row for each ROS map under `folder` that has a centreline table beside it."""
    from racing.tracks.catalog import load_track
    from racing.tracks.formats.centreline import read_table

    rows = []
    for path in sorted(folder.rglob("*.yaml")):
        table = path.with_name(f"{path.stem.removesuffix('_map')}_centerline.csv")
        if not table.is_file():
            continue
        began = time.process_time()
        track = load_track(path)
        spent = 1000 * (time.process_time() - began)
        given, right, left = read_table(table, half_width=1.0)
        (fine,) = resample_closed(given, float(np.linalg.norm(given[1] - given[0])) / 30)
        error = _nearest(track.points, fine)
        off = abs(float(track.left.mean() + track.right.mean()) - float(right.mean() + left.mean()))
        pixel = float(track.source["metres_per_pixel"])
        rows.append(
            _row(
                f"map {path.stem}",
                count=1,
                ms=spent,
                mean_m=float(error.mean()),
                max_m=float(error.max()),
                width_px=off / pixel,
            )
        )
    require(bool(rows), f"maps={folder} holds no ROS map with a <name>_centerline.csv beside it; give another folder")
    return rows


def _distances(points: Any, track: Track) -> Any:
    return _nearest(points, resample_closed(track.points, track.spacing / 20)[0])


def _nearest(points: Any, line: Any) -> Any:
    from racing.tracks.geometry import nearest

    return nearest(line, points)[1]
