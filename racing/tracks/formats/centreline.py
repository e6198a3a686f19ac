"""Read centreline tables: CSV with 2 (x, y), 4 (x, y, right, left) or 7 columns (s, x, y, psi, kappa, vx, ax)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from racing.errors import is_number, read_text, require
from racing.sim.track import Track, build_track, resample_closed
from racing.tracks.geometry import smooth_closed
from racing.tracks.images.assemble import digest

SMOOTHING = 0.25  # standard deviation of the Gaussian, in road widths: 0.5 m on a 2 m wide 1:10 road
FAR = 10_000.0  # [m] beyond it the world's float32 resolves less than a millimetre, so the track is moved to the origin
MAX_ROWS = 1_000_000
MOST_BYTES = 200_000_000
FARTHEST = 1e7  # [m] from the origin
MOST_STEPS = 2_000_000  # points of the smoothed line


def read_centreline(path: Path, *, half_width: float | None = None) -> Track:
    """Read a track from a centreline CSV in metres.

    Separators `,` or `;` with or without spaces; lines that begin with `#` and one header line are skipped; the last
    point may repeat the first. half_width [m]: for tables without widths. Raises InputError naming file and line.
    """
    points, right, left = read_table(path, half_width=half_width)
    width = float(np.mean(left) + np.mean(right))
    points, left, right = _smoothed(points, left, right, width)
    source: dict[str, object] = {"format": "csv", "files": {path.name: digest(path)}}
    if np.abs(points).max() > FAR:
        shift = np.round(points.mean(axis=0))
        points = points - shift
        source["shift_m"] = [float(v) for v in shift]
    return build_track(path.stem.removesuffix("_centerline"), points, left, right, source=source)


def _smoothed(
    points: npt.NDArray[np.float64], left: npt.NDArray[np.float64], right: npt.NDArray[np.float64], width: float
) -> list[npt.NDArray[np.float64]]:
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


def read_table(
    path: Path, *, half_width: float | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Read (points (N, 2), right (N,), left (N,)) [m] as in the file, without a repeated last point."""
    table = _numbers(path)
    columns = table.shape[1]
    points = table[:, 1:3] if columns == 7 else table[:, :2]
    if columns == 4:
        right, left = table[:, 2], table[:, 3]
        narrow = float(min(right.min(), left.min()))
        require(narrow > 0, f"{path.name}: half-widths (columns 3 and 4) must be > 0 m, got {narrow:g}; correct them")
    else:
        require(
            half_width is not None,
            f"{path.name} has {columns} columns, none with widths; give half_width in metres (--half-width)",
        )
        fits = is_number(half_width) and 0 < float(half_width or 0) < 1e3
        require(fits, f"half_width must be in (0, 1000) m, got {half_width!r}; correct it")
        right = left = np.full(len(table), float(half_width or 0))
    far = float(np.abs(points).max())
    require(far <= FARTHEST, f"{path.name}: coordinates must be within {FARTHEST:g} m, got {far:.3g}; give metres")
    require(float(max(right.max(), left.max())) < 1e4, f"{path.name}: half-widths must be < 10,000 m; give metres")
    keep = np.concatenate([[True], np.linalg.norm(np.diff(points, axis=0), axis=1) > 1e-9])
    points, right, left = points[keep], right[keep], left[keep]
    if len(points) > 8 and np.linalg.norm(points[0] - points[-1]) < 1e-6 + 0.01 * np.linalg.norm(points[1] - points[0]):
        points, right, left = points[:-1], right[:-1], left[:-1]
    require(
        len(points) >= 8, f"{path.name}: a centreline needs at least 8 different points, got {len(points)}; add points"
    )
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    gap, wide = float(np.linalg.norm(points[0] - points[-1])), float(np.mean(left) + np.mean(right))
    limit = max(4 * float(np.percentile(steps, 90)), 2 * wide)
    require(
        gap <= limit,
        f"{path.name}: the line is not closed: {gap:.2f} m between its ends, at most {limit:.2f} m; close it",
    )
    return points, right, left


def _numbers(path: Path) -> npt.NDArray[np.float64]:
    """Parse the table as (N, 2 | 4 | 7) finite numbers."""
    lines = read_text(path, MOST_BYTES, encoding="utf-8-sig").splitlines()
    require(len(lines) <= MAX_ROWS, f"{path.name} has {len(lines)} lines, at most {MAX_ROWS} are read; thin it out")
    rows: list[list[float]] = []
    header_allowed = True
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = [c.strip() for c in line.replace(";", ",").rstrip(", \t").split(",")]
        try:
            row = [float(c) for c in cells]
        except ValueError:
            require(
                header_allowed, f"{path.name} line {number}: {line.strip()[:40]!r} is no row of numbers; correct it"
            )
            header_allowed = False
            continue
        header_allowed = False
        wanted = len(rows[0]) if rows else len(row)
        require(
            len(row) == wanted,
            f"{path.name} line {number} has {len(row)} columns, the first row has {wanted}; correct it",
        )
        require(bool(np.isfinite(row).all()), f"{path.name} line {number} holds NaN or infinity; correct or remove it")
        rows.append(row)
    require(bool(rows), f"{path.name} holds no numbers; give rows of x, y, w_right, w_left")
    count = len(rows[0])
    require(
        count in (2, 4, 7), f"{path.name} has {count} columns; give 2 (x, y), 4 (x, y, right, left) or 7 (raceline)"
    )
    return np.array(rows)
