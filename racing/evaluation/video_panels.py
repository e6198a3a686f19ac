"""Panels beside the onboard view in the video of a lap: map, dashboard, and telemetry."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from racing.evaluation.plots import speed_unit
from racing.sim.track import Track

Array = npt.NDArray[Any]
U = npt.NDArray[np.uint8]

BACKGROUND, ROAD, EDGE, INK, FAINT = (17, 19, 24), (62, 66, 76), (112, 117, 130), (240, 242, 246), (150, 156, 168)
DRIVE, BRAKE, LINE, OTHER = (52, 199, 103), (240, 72, 84), (92, 156, 255), (150, 156, 168)
AHEAD = 0.3  # brightness of the telemetry after the current time
DPI = 100


@lru_cache
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans, which ships with matplotlib."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def write(picture: U, at: tuple[int, int], text: str, size: int, colour: Any = INK, *, bold: bool = False) -> None:
    """Draw one line of text into `picture` (H, W, 3); `at`: x and y [pixels] of its upper left corner."""
    typeface = font(size, bold=bold)
    right, bottom = (int(edge) for edge in typeface.getbbox(text)[2:])
    x, y = at
    window = picture[y : y + bottom, x : x + right + 1]  # only this part is converted to Pillow and back
    image = Image.fromarray(window)
    ImageDraw.Draw(image).text((0, 0), text, fill=colour, font=typeface)
    window[:] = np.asarray(image)


def fitting(text: str, size: int, width: int) -> str:
    """Shorten `text` to `width` [pixels]."""
    while font(size).getlength(text) > width and len(text) > 2:
        text = text[:-2] + "…"
    return text


class Map:
    """Map of the track with the line driven so far, coloured by speed; rotated if that fills the panel better."""

    def __init__(self, track: Track, speeds: Array, width: int, height: int, header: Sequence[str]) -> None:
        """speeds: (T,) [m/s] of the whole lap, for the range of colours. header: a title, and lines below it."""
        edges = np.concatenate([track.left_edge, track.right_edge])
        top = 30 + 22 * len(header)
        room = np.array([width - 48, height - top - 24])
        extent = np.ptp(edges, axis=0)
        self._turned = bool(np.min(room / extent[::-1]) > 1.2 * np.min(room / extent))
        x, y = self._axes(edges)
        low, extent = np.array([x.min(), y.min()]), np.array([np.ptp(x), np.ptp(y)])
        self._scale = float(np.min(room / extent))
        self._origin = np.array([24, top]) + (room - extent * self._scale) / 2 - low * self._scale
        self._slow, self._fast = float(np.min(speeds)), float(np.max(speeds)) + 1e-6
        self._picture = np.full((height, width, 3), BACKGROUND, np.uint8)
        self._draw_track(track)
        write(self._picture, (24, 18), fitting(header[0], 20, width - 48), 20, bold=True)
        for n, text in enumerate(header[1:]):
            write(self._picture, (24, 48 + 22 * n), fitting(text, 14, width - 48), 14, FAINT)
        self._last: Any = None

    def _axes(self, points: Array) -> tuple[Array, Array]:
        """Return the coordinates to the right and down of points (n, 2) [m]."""
        return (points[:, 1], points[:, 0]) if self._turned else (points[:, 0], -points[:, 1])

    def _pixels(self, points: Array) -> Any:
        """Convert points (n, 2) [m] to places (n, 2) [1/16 pixel]."""
        places = np.stack(self._axes(points), axis=1) * self._scale + self._origin
        return np.round(places * 16).astype(np.int32)

    def _draw_track(self, track: Track) -> None:
        closed = [np.vstack([edge, edge[:1]]) for edge in (track.left_edge, track.right_edge)]
        for n in range(len(track.points)):  # a piece at a time: a track may cross itself
            piece = np.array([closed[0][n], closed[0][n + 1], closed[1][n + 1], closed[1][n]])
            cv2.fillConvexPoly(self._picture, self._pixels(piece), ROAD, cv2.LINE_AA, shift=4)
        for edge in closed:
            cv2.polylines(self._picture, [self._pixels(edge)], False, EDGE, 1, cv2.LINE_AA, shift=4)
        start = self._pixels(np.array([track.left_edge[0], track.right_edge[0]]))
        cv2.line(self._picture, tuple(start[0].tolist()), tuple(start[1].tolist()), INK, 3, cv2.LINE_AA, shift=4)

    def show(self, place: Array, yaw: float, speed: float, others: Sequence[tuple[Array, Any]] = ()) -> U:
        """Extend the line to the car at `place` (2,) [m]; returns the panel (H, W, 3).

        others: x, y [m], yaw [rad] and colour of further cars.
        """
        (here,) = self._pixels(place[None]).tolist()
        if self._last is not None:
            share = 255 * (speed - self._slow) / (self._fast - self._slow)
            gray = np.full((1, 1), np.clip(share, 0, 255), np.uint8)
            colour = cv2.applyColorMap(gray, cv2.COLORMAP_TURBO)[0, 0, ::-1].tolist()
            cv2.line(self._picture, self._last, here, colour, 3, cv2.LINE_AA, shift=4)
        self._last = here
        picture = self._picture.copy()
        for pose, colour in (*others, (np.array([*place, yaw]), INK)):
            shape = np.array([[11, 0], [-7, 6.5], [-7, -6.5]]) / self._scale
            cos, sin = np.cos(pose[2]), np.sin(pose[2])
            arrow = self._pixels(pose[:2] + shape @ np.array([[cos, sin], [-sin, cos]]))
            cv2.fillConvexPoly(picture, arrow, colour, cv2.LINE_AA, shift=4)
            cv2.polylines(picture, [arrow], True, BACKGROUND, 2, cv2.LINE_AA, shift=4)
        return picture


class Strip:
    """Speed, pedals, steering and lateral acceleration over the lap, plotted once and revealed with time."""

    def __init__(self, lap: Mapping[str, Array], width: int, height: int) -> None:
        """lap: columns of racing.evaluation.result.Evaluation.lap_table."""
        self._bright, self._left, self._right = _draw(lap, width, height)
        behind = np.array(BACKGROUND)
        self._faded: U = (behind + AHEAD * (self._bright - behind)).astype(np.uint8)
        self._faded[:, : self._left] = self._bright[:, : self._left]  # the labels

    def show(self, share: float) -> U:
        """Return the panel (H, W, 3) after that share of the lap's time."""
        at = round(self._left + share * (self._right - self._left))
        picture: U = self._faded.copy()
        picture[:, :at] = self._bright[:, :at]
        picture[6:-22, max(at - 1, 0) : at + 1] = INK
        return picture


def _draw(lap: Mapping[str, Array], width: int, height: int) -> tuple[U, int, int]:
    """Plot the whole strip; returns it and the columns [pixels] of the lap's first and last moment."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=_rgb(BACKGROUND))
    FigureCanvasAgg(figure)
    rows = figure.subplots(4, 1, sharex=True, height_ratios=[1.7, 1, 1, 1])
    figure.subplots_adjust(left=84 / width, right=1 - 20 / width, top=1 - 8 / height, bottom=24 / height, hspace=0.16)
    speed, pedals, steering, lateral = rows
    at = lap["time_s"] - lap["time_s"][0]
    scale, unit = speed_unit(lap["v"])
    speed.plot(at, lap["v"] * scale, color=_rgb(LINE), linewidth=1.6)
    speed.set_ylim(0, float(lap["v"].max() * scale) * 1.1 + 1e-6)
    pedal = lap["throttle_command"]
    pedals.fill_between(at, np.maximum(pedal, 0), step="pre", color=_rgb(DRIVE), linewidth=0)
    pedals.fill_between(at, np.minimum(pedal, 0), step="pre", color=_rgb(BRAKE), linewidth=0)
    pedals.set_ylim(-1.05, 1.05)
    for axes, values in ((steering, np.degrees(lap["steer"])), (lateral, lap["lateral_g"])):
        axes.plot(at, values, color=_rgb(LINE), linewidth=1.3)
        most = float(np.abs(values).max()) * 1.15 + 1e-6
        axes.set_ylim(-most, most)
    names = (f"speed\n[{unit}]", "throttle\nbrake", "steering\n[°]", "lateral\n[g]")
    for axes, name in zip(rows, names, strict=True):
        axes.set_facecolor(_rgb(BACKGROUND))
        axes.set_xlim(float(at[0]), float(at[-1]))
        axes.tick_params(colors=_rgb(FAINT), labelsize=7, length=0)
        axes.spines[:].set_visible(False)
        axes.axhline(0, color=_rgb(ROAD), linewidth=0.8)
        axes.annotate(
            name,
            (8 / width, 0.5),
            xycoords=("figure fraction", "axes fraction"),
            va="center",
            fontsize=7,
            color=_rgb(INK),
        )
    pedals.set_yticks([])
    file = io.BytesIO()
    figure.savefig(file, format="rgba", dpi=DPI)
    picture = np.frombuffer(file.getvalue(), np.uint8).reshape(height, width, 4)[..., :3].copy()
    first, last = speed.transData.transform([(at[0], 0), (at[-1], 0)])[:, 0]
    return picture, round(first), round(last)


def _rgb(colour: Sequence[int]) -> tuple[float, ...]:
    return tuple(value / 255 for value in colour)


def dashboard(size: tuple[int, int], unit: str, speed: float, clock: float, row: Mapping[str, float]) -> U:
    """Draw the panel (height, width, 3): speed in `unit`, time of the lap [s], steering and pedals as bars.

    size: width and height [pixels]. row: steering_command and throttle_command, each in [-1, 1].
    """
    width, height = size
    picture = np.full((height, width, 3), BACKGROUND, np.uint8)
    digits = f"{speed:.0f}" if unit == "km/h" else f"{speed:.1f}"
    write(picture, (160 - round(font(56, bold=True).getlength(digits)), 12), digits, 56, bold=True)
    write(picture, (172, 46), unit, 20, FAINT)
    write(picture, (28, 84), f"{int(clock // 60)}:{clock % 60:04.1f}", 28, FAINT)
    steering, pedals = -row["steering_command"], row["throttle_command"]
    _bar(picture, 128, "steering", steering, LINE)
    _bar(picture, 172, "throttle" if pedals >= 0 else "brake", pedals, DRIVE if pedals >= 0 else BRAKE)
    return picture


def _bar(picture: U, y: int, name: str, value: float, colour: Any) -> None:
    """Draw a bar from the middle to `value` in [-1, 1], labelled above, from row `y` on."""
    middle, half = picture.shape[1] // 2, picture.shape[1] // 2 - 28
    write(picture, (28, y), name, 12, FAINT)
    top, bottom = y + 18, y + 32
    picture[top:bottom, middle - half : middle + half] = ROAD
    end = middle + round(half * float(np.clip(value, -1, 1)))
    picture[top:bottom, min(middle, end) : max(middle, end)] = colour
    picture[top - 2 : bottom + 2, middle - 1 : middle + 1] = INK
