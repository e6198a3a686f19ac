"""Writes docs/img/camera_*.png, which docs/vision.md shows: `python docs/make_camera_pictures.py [FOLDER]`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from racing.config import load_group
from racing.sim.camera.camera import Camera, make_lens, make_randomize
from racing.sim.episodes import EpisodeConfig
from racing.sim.track import Track
from racing.sim.world import World
from racing.tracks.catalog import load_track
from racing.tracks.texture import make_textures

Picture = npt.NDArray[np.uint8]
Place = tuple[float, float, float]  # x, y [m], yaw [rad]
LARGER = 4  # every pixel of a frame becomes so many, squared
CAPTION = 20  # [px] below each frame
AMPLITUDES = {
    "height": 0.3,
    "pitch": 6.0,  # [degrees]
    "yaw": 9.0,  # [degrees]
    "field_of_view": 0.2,
    "brightness": 0.3,
    "contrast": 0.6,
    "color": 0.3,
    "noise": 0.15,
    "blur": 0.8,
}


def on_road(track: Track, distance: float, side: float = 0.0, twist: float = 0.0) -> Place:
    """Place `distance` [m] after the start line, `side` [m] left of the centreline, turned by `twist` [rad]."""
    at = round(distance / track.spacing) % len(track.points)
    x, y = track.points[at] + side * track.normals[at]
    return float(x), float(y), float(track.heading[at] + twist)


def sharpest(track: Track) -> float:
    """Distance [m] from the start line to where the track bends most."""
    return float(np.argmax(np.abs(track.curvature)) * track.spacing)


def take(
    track: Track,
    places: list[Place],
    vehicle: str = "kart",
    amplitudes: dict[str, float] | None = None,
    seed: int = 0,
    **lens: Any,
) -> Picture:
    """What the first of the cars at `places` sees, (H, W, 3). lens: as in racing.sim.camera.camera.make_lens."""
    car = load_group("vehicle", vehicle)
    world = World([track], car, races=1, cars_per_race=len(places), seed=seed, episodes=EpisodeConfig())
    world.reset()
    for record, place in zip(world.cars[0], places, strict=True):
        record["x"], record["y"], record["yaw"] = place
    camera = Camera(world, make_lens(car, **lens), make_textures([track]), make_randomize(amplitudes or {}))
    frame = camera.render(indices=np.array([0]))[0]
    return np.repeat(frame, 3, axis=2) if frame.shape[2] == 1 else frame


def sheet(frames: dict[str, Picture], columns: int) -> Image.Image:
    """Frames with their captions, `columns` side by side."""
    sizes = [np.array(frame.shape[1::-1]) * LARGER for frame in frames.values()]
    wide, high = np.max(sizes, axis=0) + np.array([8, CAPTION])
    canvas = Image.new("RGB", (columns * int(wide), -(-len(frames) // columns) * int(high)), "white")
    pen = ImageDraw.Draw(canvas)
    for n, (caption, frame) in enumerate(frames.items()):
        left, top = n % columns * int(wide) + 4, n // columns * int(high)
        enlarged = Image.fromarray(frame).resize(tuple(sizes[n]), Image.Resampling.NEAREST)
        canvas.paste(enlarged, (left, top))
        pen.text((left, top + enlarged.height + 2), caption, fill="black", font_size=14)
    return canvas


def places() -> Image.Image:
    """On the road and off it."""
    circuit, technical = load_track("circuit"), load_track("technical")
    bend, hairpin = sharpest(circuit), sharpest(technical)
    return sheet(
        {
            "straight": take(circuit, [on_road(circuit, 0)]),
            "a bend 40 m ahead": take(circuit, [on_road(circuit, bend - 55)]),
            "20 m later": take(circuit, [on_road(circuit, bend - 35)]),
            "in the bend": take(circuit, [on_road(circuit, bend - 8)]),
            "a hairpin, 25 m ahead": take(technical, [on_road(technical, hairpin - 25)]),
            "in the hairpin": take(technical, [on_road(technical, hairpin - 6)]),
            "off the road, 5 m beside its edge": take(circuit, [on_road(circuit, 60, -11, 0.2)]),
            "off the road, looking away": take(circuit, [on_road(circuit, 60, 14, 0.9)]),
        },
        4,
    )


def variants() -> Image.Image:
    """Other cars, gray, other sizes, another vehicle."""
    circuit, mini = load_track("circuit"), load_track("mini")
    here = on_road(circuit, 40)
    bend = sharpest(circuit)
    many = [on_road(circuit, 40 + 9 * n, 3.0 * (-1) ** n, 0.1 * n) for n in range(1, 6)]
    behind = [on_road(circuit, 47, -0.5, 0.5), on_road(circuit, 50, 1.0, -0.3), on_road(circuit, 54, 0.2)]
    approach = on_road(circuit, bend - 45)
    return sheet(
        {
            "another car 8 m ahead": take(circuit, [here, on_road(circuit, 48, 0.8)]),
            "five, 9 to 45 m ahead": take(circuit, [here, *many]),
            "one before the other": take(circuit, [here, *behind]),
            "alongside": take(circuit, [here, on_road(circuit, 43.0, -2.2)]),
            "gray": take(circuit, [approach], gray=True),
            "48 x 48": take(circuit, [approach], width=48, height=48),
            "a 1:10 car, road 2 m wide": take(mini, [on_road(mini, sharpest(mini) - 5)], "f1tenth"),
            "a 1:10 car behind another": take(mini, [on_road(mini, 3), on_road(mini, 5.5, 0.3)], "f1tenth"),
        },
        4,
    )


def randomised() -> Image.Image:
    """Each amplitude alone, of eight episodes the one that it changes most; then two with all of them, halved."""
    circuit = load_track("circuit")
    spot = [on_road(circuit, sharpest(circuit) - 40)]
    frames = {"nothing": take(circuit, spot)}
    for name, amplitude in AMPLITUDES.items():
        episodes = [take(circuit, spot, amplitudes={name: amplitude}, seed=seed) for seed in range(8)]
        changes = [float(np.abs(frame.astype(float) - frames["nothing"]).mean()) for frame in episodes]
        frames[f"{name} {amplitude}"] = episodes[int(np.argmax(changes))]
    half = {name: amplitude / 2 for name, amplitude in AMPLITUDES.items()}
    for seed in (1, 2):
        frames[f"all, halved, episode {seed}"] = take(circuit, spot, amplitudes=half, seed=seed)
    return sheet(frames, 4)


def poses() -> Image.Image:
    """Why the camera is where it is: a bend 40 m ahead from three heights."""
    circuit = load_track("circuit")
    spot = [on_road(circuit, sharpest(circuit) - 55)]
    return sheet(
        {
            "1.6 m high, 8 degrees down": take(circuit, spot, above=1.6, pitch=8.0),
            "2.8 m high, 16 degrees down": take(circuit, spot, above=2.8, pitch=16.0),
            "default: 4.8 m high, 26 degrees down": take(circuit, spot),
        },
        3,
    )


def main(folder: Path) -> None:
    """Write all sheets to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    sheets: dict[str, Callable[[], Image.Image]] = {
        "places": places,
        "variants": variants,
        "randomised": randomised,
        "poses": poses,
    }
    for name, draw in sheets.items():
        draw().save(folder / f"camera_{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "img")
