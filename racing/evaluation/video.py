"""Render `lap.mp4`: the onboard view of a lap, a map of the track, and the telemetry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from racing.envs.race import RaceTask, senses_of
from racing.envs.vision import VisionTask
from racing.evaluation.evaluate import Task
from racing.evaluation.plots import speed_unit
from racing.evaluation.video_panels import BACKGROUND, INK, Map, Strip, dashboard, write
from racing.files import atomic_path
from racing.sim.camera.camera import Camera, Lens, make_lens
from racing.sim.track import Track
from racing.sim.world import World
from racing.tracks.texture import make_textures

Array = npt.NDArray[Any]
U = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 1280, 720  # [pixels]
VIEW = (848, 504)  # [pixels] of the onboard view; the map is to its right, dashboard and telemetry below
BOARD = 300  # [pixels] width of the dashboard
INSET = 168  # [pixels] least height of the policy's camera picture, enlarged
RATE = 30  # [frames/s]
LONGEST = 180.0  # [s] of a video
HOLD = 1.0  # [s] for which the last frame is shown
TOGETHER = 16  # frames rendered in one batch
BT_709 = 1  # FFmpeg's number of the HD colour space
QUALITY = "25"  # x264's constant rate factor: lower is better and larger


def write_video(
    path: Path, task: Task | RaceTask, track: Track, lap: Mapping[str, Array], title: str, facts: Sequence[str] = ()
) -> Path:
    """Write a video of `lap` in real time, 1280 x 720 at 30 frames/s, H.264; returns `path`.

    task: environment that the policy drove in; if it has a camera, its picture is inset in a corner, and the onboard
        view is rendered from the same pose, in colour and with a wider angle.
    lap: columns of racing.evaluation.result.Evaluation.lap_table, at most LONGEST seconds are shown.
    title, facts: texts above the map.
    The file is written atomically.
    """
    moments, rows = moments_of(lap)
    poses = poses_of(lap, moments)
    cameras = _Cameras(task, track)
    place = Map(track, lap["v"], WIDTH - VIEW[0], VIEW[1], [title, *facts])
    strip = Strip(lap, WIDTH - BOARD, HEIGHT - VIEW[1])
    scale, unit = speed_unit(lap["v"])
    duration = float(lap["time_s"][-1] - lap["time_s"][0])

    def pictures() -> Iterator[U]:
        picture = np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.uint8)
        wide, high = VIEW
        for n, view in enumerate(cameras.render(poses, lap, rows)):
            now, clock = rows[n], float(moments[n] - lap["time_s"][0])
            speed = float(np.interp(moments[n], lap["time_s"], lap["v"]))
            commands = {name: float(lap[name][now]) for name in ("steering_command", "throttle_command")}
            picture[:high, :wide] = view
            picture[:high, wide:] = place.show(poses[n, :2], float(poses[n, 2]), speed)
            picture[high:, :BOARD] = dashboard((BOARD, HEIGHT - high), unit, speed * scale, clock, commands)
            picture[high:, BOARD:] = strip.show(clock / max(duration, 1e-6))
            yield picture
        for _ in range(round(HOLD * RATE)):
            yield picture

    encode(path, pictures(), (WIDTH, HEIGHT))
    return path


def moments_of(lap: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return the times of the frames [s], and the latest row of the lap at each."""
    first, last = float(lap["time_s"][0]), float(lap["time_s"][-1])
    moments = np.arange(first, min(last, first + LONGEST) + 1e-6, 1 / RATE)
    rows = np.searchsorted(lap["time_s"], moments + 1e-4, side="right") - 1
    return moments, np.clip(rows, 0, len(lap["time_s"]) - 1)


def poses_of(lap: Mapping[str, Array], moments: Array) -> Array:
    """Interpolate x [m], y [m], yaw [rad] of the car at `moments`: (n, 3)."""
    from scipy.interpolate import CubicSpline

    columns = np.stack([lap["x"], lap["y"], np.unwrap(lap["yaw"])], axis=1).astype(np.float64)
    return np.asarray(CubicSpline(lap["time_s"].astype(np.float64), columns)(moments))


class _Cameras:
    """The onboard view for the video, and inset in a corner the picture of the policy's camera, if it has one."""

    def __init__(self, task: Task | RaceTask, track: Track) -> None:
        senses = senses_of(task)
        seeing = senses if isinstance(senses, VisionTask) else None
        textures = make_textures([track], source=seeing.texture if seeing else "drawn")
        self._world = World([track], task.vehicle, races=TOGETHER)
        lens = seeing.camera.lens if seeing else make_lens(task.vehicle)
        self._camera = Camera(self._world, widened(lens, *VIEW), textures)
        self._own = Camera(self._world, lens, textures) if seeing else None

    def render(self, poses: Array, lap: Mapping[str, Array], rows: Array) -> Iterator[U]:
        """Render frames (H, W, 3) from `poses` (n, 3); the inset is the observation in `rows` (n,)."""
        observed = np.stack([lap["x"], lap["y"], lap["yaw"]], axis=1)[rows]
        there = {name: lap[name][rows] for name in ("v", "wetness") if "wetness" in lap}
        for first in range(0, len(poses), TOGETHER):
            count = min(TOGETHER, len(poses) - first)
            now = {name: values[first : first + count] for name, values in there.items()}
            views = self._take(self._camera, poses[first : first + count], now)
            if self._own is not None:
                own = self._take(self._own, observed[first : first + count], now)
                for view, seen in zip(views, own, strict=True):
                    _inset(view, seen)
            yield from views

    def _take(self, camera: Camera, poses: Array, weather: Mapping[str, Array]) -> U:
        """weather: speeds [m/s] and wetness (n,), for spray; empty where the road is dry."""
        cars = self._world.cars.copy()
        for k, name in enumerate(("x", "y", "yaw")):
            cars[name][: len(poses), 0] = poses[:, k]
        wetness = np.zeros(len(cars), np.float32) if weather else None
        if wetness is not None:
            cars["v"][: len(poses), 0], wetness[: len(poses)] = weather["v"], weather["wetness"]
        return camera.render(cars, np.arange(len(poses)), wetness=wetness)


def widened(lens: Lens, width: int, height: int) -> Lens:
    """Return the lens with more pixels, in colour, with the same vertical and a wider horizontal field of view."""
    focal = lens.focal * height / lens.height
    angle = 2 * float(np.arctan(width / 2 / focal))
    return replace(lens, width=width, height=height, gray=False, field_of_view=min(angle, 2.6))


def _inset(view: U, seen: U) -> None:
    """Paste the policy's camera picture, enlarged without smoothing, into the lower left corner of `view`."""
    factor = max(1, round(INSET / seen.shape[0]))
    large = np.repeat(np.repeat(seen, factor, axis=0), factor, axis=1)[-VIEW[1] // 2 :, : VIEW[0] // 2]
    high, wide = large.shape[:2]
    bottom = view.shape[0] - 14
    cv2.rectangle(view, (12, bottom - high - 2), (15 + wide, bottom + 1), INK, 1)
    view[bottom - high : bottom, 14 : 14 + wide] = large
    write(view, (14, bottom - high - 22), "what the policy sees", 13)


def encode(path: Path, pictures: Iterator[U], size: tuple[int, int]) -> None:
    """Encode RGB pictures (H, W, 3) as H.264 in yuv420p, streamable (faststart).

    size: width and height, even. Raises OSError if the file cannot be written; then no partial file remains.
    """
    import av

    options = {"movflags": "faststart"}
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4", options=options) as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"crf": QUALITY, "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        codec = stream.codec_context
        codec.thread_count = 1  # the rest of the machine may be learning
        codec.colorspace = codec.color_primaries = codec.color_trc = BT_709  # players guess it from the size, else
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=BT_709)))
        container.mux(stream.encode())
