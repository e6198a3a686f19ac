"""Draw previews of tracks: road, gates, start, curvature, and the reference line with its speed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from racing.files import atomic_path
from racing.sim.track import Track
from racing.tracks.images.image import open_picture
from racing.tracks.images.lap import Mark
from racing.tracks.render import draw_track, frame_for

if TYPE_CHECKING:
    from racing.tracks.reference_lap import ReferenceLap

Extent = tuple[float, float, float, float]


def save_preview(track: Track, path: Path, lap: ReferenceLap | None = None, *, on_source: bool = False) -> None:
    """Write one PNG: the road with gates, start and curvature, and beside it the reference line with its speed.

    on_source: draw over the picture that the track was read from, to check an import.
    """
    wide, high = np.ptp(track.points, axis=0) + 4 * float(track.left.mean())
    panels = 1 if lap is None else 2
    side_by_side = high > 0.8 * wide
    rows, columns = (1, panels) if side_by_side else (panels, 1)
    size = 8.0
    panel = np.array([size * min(1.0, wide / high), size * min(1.0, high / wide)])
    figure, axes = _figure(rows, columns, (columns * (panel[0] + 1.3), rows * (panel[1] + 0.9)))
    _road(axes[0], track, on_source)
    _coloured(axes[0], track.points, track.curvature, "curvature [1/m], left positive", "coolwarm", centred=True)
    _gates(axes[0], track)
    width = float(track.left.mean() + track.right.mean())
    radius = 1 / max(float(np.abs(track.curvature).max()), 1e-9)
    axes[0].set_title(
        f"{track.name}: {track.length:.0f} m, {width:.1f} m wide, least radius {radius:.1f} m", fontsize=11
    )
    if lap is not None:
        _road(axes[1], track, False)
        _coloured(axes[1], lap.points, lap.speed, "speed [m/s]", "turbo")
        axes[1].set_title(f"reference lap {lap.time_s:.2f} s", fontsize=11)
    _save(figure, path)


def save_sheet(tracks: Sequence[Track], path: Path, columns: int = 4) -> None:
    """Write one PNG with a drawing of each track, titled with its name and measures."""
    rows = -(-len(tracks) // columns)
    figure, axes = _figure(rows, columns, (3.8 * columns, 4.0 * rows))
    for axis, track in zip(axes, tracks, strict=False):
        _road(axis, track, False)
        width = float(track.left.mean() + track.right.mean())
        axis.set_title(f"{track.name}\n{track.length:.0f} m, {width:.1f} m wide", fontsize=11)
    for axis in axes[len(tracks) :]:
        axis.set_visible(False)
    _save(figure, path)


def save_marks(picture: Path, marks: Sequence[Mark], path: Path) -> None:
    """Write `picture` as a PNG with labelled rings around `marks`, to show why it was rejected."""
    pixels = open_picture(picture)
    high, wide = pixels.shape[:2]
    scale = 9.0 / max(high, wide)
    figure, (axis,) = _figure(1, 1, (max(3.0, wide * scale), max(3.0, high * scale)))
    axis.imshow(pixels[..., :3], interpolation="antialiased")
    for mark in marks:
        axis.plot(
            mark.x, mark.y, "o", markersize=26, markerfacecolor="none", markeredgecolor="red", markeredgewidth=2.5
        )
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "red"}
        away = (14 if mark.x < 0.7 * wide else -14, 18 if mark.y > 0.2 * high else -26)
        side = "left" if away[0] > 0 else "right"
        text = f"{mark.text}\n({mark.x:.0f}, {mark.y:.0f})"
        axis.annotate(text, (mark.x, mark.y), away, textcoords="offset points", ha=side, fontsize=9, bbox=box)
    _save(figure, path)


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """Create a figure without a display and without pyplot's global state; returns it and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(np.atleast_1d(figure.subplots(rows, columns)).ravel())
    for axis in axes:
        axis.set_aspect("equal")
        axis.set_axis_off()
    return figure, axes


def _road(axis: Any, track: Track, on_source: bool) -> None:
    """Draw the road's picture in world coordinates."""
    picture, extent = _source_picture(track) if on_source else _drawing(track)
    axis.imshow(picture, extent=extent, interpolation="antialiased")
    corners = np.concatenate([track.left_edge, track.right_edge])
    margin = float(track.left.mean() + track.right.mean())
    (left, low), (right, high) = corners.min(axis=0) - margin, corners.max(axis=0) + margin
    axis.set_xlim(left, right)
    axis.set_ylim(low, high)


def _drawing(track: Track) -> tuple[npt.NDArray[np.uint8], Extent]:
    reach = float(np.ptp(track.points, axis=0).max())
    frame, columns = frame_for(track, reach / 1100)
    picture = draw_track(track, frame, columns)
    return picture, _extent(frame.origin, frame.resolution, columns, frame.height)


def _source_picture(track: Track) -> tuple[npt.NDArray[np.uint8], Extent]:
    """Return the picture that the track was read from if it is known and not rotated, else a drawing."""
    source = track.source
    if "picture" not in source or source.get("yaw", 0.0) != 0.0:
        return _drawing(track)
    picture = open_picture(Path(source["picture"]))
    scale = float(source.get("scale", 1.0))
    x, y = source["pixel_origin"]
    high, wide = picture.shape[:2]
    return picture[..., :3], _extent((x * scale, y * scale), source["metres_per_pixel"] * scale, wide, high)


def _extent(origin: tuple[float, float], resolution: float, wide: int, high: int) -> Extent:
    """Return matplotlib's extent of a picture whose lower-left pixel has its centre at `origin`."""
    left, low = origin[0] - resolution / 2, origin[1] - resolution / 2
    return left, left + wide * resolution, low, low + high * resolution


def _coloured(
    axis: Any,
    points: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    label: str,
    colours: str,
    *,
    centred: bool = False,
) -> None:
    """Draw a closed line coloured by `values`, with a colour bar."""
    from matplotlib.collections import LineCollection

    segments = np.stack([points, np.roll(points, -1, axis=0)], axis=1)
    line = LineCollection(list(segments), cmap=colours, linewidths=2.2, capstyle="round")
    line.set_array(values)
    if centred:
        limit = float(np.percentile(np.abs(values), 99))
        line.set_clim(-limit, limit)
    axis.add_collection(line)
    axis.figure.colorbar(line, ax=axis, shrink=0.7, pad=0.01).set_label(label, fontsize=9)


def _gates(axis: Any, track: Track) -> None:
    """Draw gates as thin lines, the start line bold, the start pose as an arrow."""
    from matplotlib.collections import LineCollection

    axis.add_collection(LineCollection(list(track.gates[:-1]), colors="cyan", linewidths=0.9))
    axis.add_collection(LineCollection([track.gates[-1]], colors="yellow", linewidths=2.2))
    ahead = np.array([np.cos(track.start_angle), np.sin(track.start_angle)])
    length = 2.5 * float(track.left.mean() + track.right.mean())
    axis.annotate(
        "",
        xy=track.start_position + ahead * length,
        xytext=track.start_position,
        arrowprops={"arrowstyle": "-|>", "color": "yellow", "lw": 2.2, "mutation_scale": 18},
    )


def _save(figure: Any, path: Path) -> None:
    """Write the PNG atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
