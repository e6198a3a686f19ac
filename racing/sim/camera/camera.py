"""First-person cameras: what every car of a world sees, as uint8 pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.errors import input_group, require, require_number
from racing.sim.angles import radians, require_degrees
from racing.sim.camera import render
from racing.sim.camera.mipmap import Texture
from racing.sim.kernels.rng import Draw, key_of, uniform
from racing.sim.packing import Joined
from racing.sim.vehicle import Vehicle
from racing.sim.world import World

Array = npt.NDArray[Any]
Pictures = npt.NDArray[np.uint8]

USUAL_HEIGHT = 3.4  # [car widths] 4.8 m on a kart: the road 40 m ahead lies 6 of 84 rows below the horizon
BODY_HEIGHT = 0.7  # [car widths] of other cars with their drivers
LEAST_FRAMES = 4  # per thread; fewer take less time than handing them over
DRAWS = {  # key of Randomize -> what is drawn around 0
    "height": Draw.CAMERA_HEIGHT,
    "pitch": Draw.CAMERA_PITCH,
    "yaw": Draw.CAMERA_YAW,
    "field_of_view": Draw.CAMERA_FIELD_OF_VIEW,
    "brightness": Draw.BRIGHTNESS,
    "contrast": Draw.CONTRAST,
}
COLORS = ("red", "green", "blue")
LEAST_GROUND = np.radians(2)  # the lowest row looks down at least as steeply


@dataclass(frozen=True, kw_only=True)
class Lens:
    """Where a camera sits on its car, and what it covers. Pixels are square; row 0 is the top, column 0 the left.

    width, height: of the picture [pixels], 8..1024.
    gray: one channel, luma (ITU-R BT.601), instead of red, green, blue.
    field_of_view: from the left to the right border [rad], 0.17..2.6 (10..150 degrees).
    pitch: of the optical axis below the horizon [rad], -1.2..1.4 (-70..80 degrees).
    above: height over the road [m]. forward: place ahead of the car's centre of gravity [m].
    """

    width: int = 84
    height: int = 84
    gray: bool = False
    field_of_view: float = float(np.radians(90))
    pitch: float = float(np.radians(26))
    above: float
    forward: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what takes no picture."""
        for name in ("width", "height"):
            value = getattr(self, name)
            require_number(name, value, 8, 1024, whole=True, unit="pixels", remedy="84 is usual")
        require_degrees("field_of_view", self.field_of_view, 10, 150, remedy="90 is usual")
        require_degrees("pitch", self.pitch, -70, 80, remedy="26 is usual")
        for name, least in (("above", 0.001), ("forward", -100.0)):
            remedy = "null: it follows from the vehicle"
            require_number(name, getattr(self, name), least, 100.0, unit="m", remedy=remedy)

    @property
    def focal(self) -> float:
        """Focal length [pixels]."""
        return float(self.width / 2 / np.tan(self.field_of_view / 2))


def make_lens(
    vehicle: Vehicle,
    *,
    width: int = 84,
    height: int = 84,
    gray: bool = False,
    field_of_view: float = 90.0,
    pitch: float = 26.0,
    above: float | None = None,
    forward: float | None = None,
) -> Lens:
    """The lens of `env.camera`; field_of_view and pitch in degrees, the rest as in `Lens`.

    above: None: 3.4 car widths. forward: None: 0, the centre of gravity. Raises InputError for values out of range.
    """
    usual = {"above": USUAL_HEIGHT * vehicle.width, "forward": 0.0}
    given = {name: value for name, value in (("above", above), ("forward", forward)) if value is not None}
    angles = {"field_of_view": radians("field_of_view", field_of_view), "pitch": radians("pitch", pitch)}
    return Lens(width=width, height=height, gray=gray, **angles, **{**usual, **given})


@dataclass(frozen=True, kw_only=True)
class Randomize:
    """How far what a camera shows may be off, evenly drawn for each car and episode. 0: not, and that costs nothing.

    height: share of the camera's height, 0..0.5. pitch, yaw: [rad], 0..0.26 and 0..0.52 (15 and 30 degrees).
    field_of_view: share of the angle, 0..0.2.
    brightness: share of full white that is added, 0..1. contrast: share by which distances to mid gray change, 0..0.9.
    color: share by which red, green and blue change, each by itself, 0..0.9; gray pictures have no color.
    noise: share of full white that is added to each byte, drawn anew for each frame, 0..1.
    blur: deviation of the blur [pixels], drawn from 0 to this, 0..0.8.
    """

    height: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0
    field_of_view: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    color: float = 0.0
    noise: float = 0.0
    blur: float = 0.0

    def __post_init__(self) -> None:
        """Refuse amplitudes out of range."""
        highest = {"height": 0.5, "field_of_view": 0.2, "contrast": 0.9, "color": 0.9, "blur": 0.8}
        for name, high in (("pitch", 15.0), ("yaw", 30.0)):
            require_degrees(name, getattr(self, name), 0.0, high, remedy="0 turns it off")
        for name in (item.name for item in fields(self) if item.name not in ("pitch", "yaw")):
            unit, high = "pixels" if name == "blur" else "", highest.get(name, 1.0)
            require_number(name, getattr(self, name), 0.0, high, unit=unit, remedy="0 turns it off")


def make_randomize(amplitudes: Mapping[str, Any]) -> Randomize:
    """`Randomize` from `env.randomize`, where pitch and yaw are degrees. Raises InputError for unknown names."""
    names = [item.name for item in fields(Randomize)]
    for name in amplitudes:
        require(name in names, f"randomize has no {name!r}, it has {', '.join(names)}; correct its spelling")
    with input_group("randomize", names):
        angles = {k: radians(k, v) for k, v in amplitudes.items() if k in ("pitch", "yaw")}
        return Randomize(**{**amplitudes, **angles})


class Camera:
    """Takes pictures of the cars of a world. Without state: equal cars give equal bytes, for any number of threads."""

    def __init__(
        self, world: World, lens: Lens, textures: Sequence[Texture], randomize: Randomize | None = None
    ) -> None:
        """textures: the ground of each of the world's tracks, in their order (racing.tracks.texture.make_textures).

        Raises InputError if the camera sees no ground; ValueError if there are not as many textures as tracks.
        """
        if len(textures) != len(world.tracks):
            raise ValueError(f"{len(world.tracks)} tracks need as many textures, got {len(textures)}")
        self.world, self.lens, self.randomize = world, lens, randomize or Randomize()
        _check_pose(self.lens, self.randomize)
        self._fixed = (
            pack_lens(lens),
            pack_randomize(self.randomize),
            pack_body(world.vehicle),
            *pack_textures(textures, lens.gray),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3), or (H, W, 1) in gray, of one picture."""
        return self.lens.height, self.lens.width, 1 if self.lens.gray else 3

    def render(
        self,
        cars: Array | None = None,
        indices: Array | None = None,
        out: Pictures | None = None,
        traffic: Array | None = None,
        wetness: Array | None = None,
    ) -> Pictures:
        """Draw what the cars `indices` see: uint8 (K, H, W, 3 or 1), in the order of `indices`.

        cars: records of all N = R * C cars, (R, C) or (N,), default world.cars; world.final_cars: ends of episodes.
        indices: (K,) numbers of cars in 0..N-1, default all.
        out: array to fill, of any strides (such as a view of planes), default a new one. It is returned.
        traffic: records of all, which say who is out, default world.traffic; world.final_traffic with its final_cars.
        wetness: (N,) of the road where the cars are, 0 to 1; default as it is now, where it is ever wet.
        Raises ValueError if an array does not fit.
        """
        world = self.world
        if wetness is None and world.conditions is not None and world.condition_rules.weather.on:
            wetness = world.conditions["wetness"]
        everybody = np.ascontiguousarray(world.cars if cars is None else cars).reshape(-1)
        if everybody.shape != (world.num_cars,) or everybody.dtype != world.cars.dtype:
            raise ValueError(f"cars must be the records of all {world.num_cars} cars, got {everybody.shape}")
        chosen = np.arange(world.num_cars) if indices is None else np.ascontiguousarray(indices, np.int64)
        if chosen.ndim != 1 or np.any((chosen < 0) | (chosen >= world.num_cars)):
            raise ValueError(f"indices must be numbers (K,) in 0..{world.num_cars - 1}, one per car to draw")
        shape = (len(chosen), *self.shape)
        out = np.empty(shape, np.uint8) if out is None else out
        if out.shape != shape or out.dtype != np.uint8:
            raise ValueError(f"out must be uint8 {shape}, got {out.dtype} {out.shape}")
        around = (world.traffic if traffic is None else traffic).reshape(-1)
        wet = None if wetness is None else np.ascontiguousarray(wetness, np.float32).reshape(-1)
        all_cars = (everybody, around, wet)
        world.spread(render.render, len(chosen), LEAST_FRAMES, chosen, *all_cars, world.rules, *self._fixed, out)
        return out

    def drawn(self, cars: Array, indices: Array) -> dict[str, Array]:
        """Name -> (n,) values of how far the cameras of the cars `indices` (n,) are off, where they may be.

        cars: as in `render`. Names and units are those of `env.randomize`: pitch and yaw in degrees; color is one value
        for each of COLORS. noise is as strong in every frame.
        """
        episodes = cars.reshape(-1)["episode"][indices]

        def shares(draw: int) -> Array:
            rules = self.world.rules
            keys = [int(key_of(i, rules)) for i in indices]
            return np.array([uniform(rules["seed"], *at, draw) for at in zip(keys, episodes, strict=True)], np.float64)

        values, out = self.randomize, {}
        for name, draw in DRAWS.items():
            amplitude = np.degrees(getattr(values, name)) if name in ("pitch", "yaw") else getattr(values, name)
            if amplitude > 0:
                out[name] = amplitude * (2 * shares(draw) - 1)
        if values.color > 0 and not self.lens.gray:
            out |= {f"color_{of}": values.color * (2 * shares(Draw.COLOR + k) - 1) for k, of in enumerate(COLORS)}
        if values.noise > 0:
            out["noise"] = np.full(len(indices), values.noise)
        if values.blur > 0:
            out["blur"] = values.blur * shares(Draw.BLUR)
        return out


def _check_pose(lens: Lens, randomize: Randomize) -> None:
    """Refuse a camera that shows no ground in some episode."""
    focal = lens.width / 2 / np.tan(lens.field_of_view * (1 - randomize.field_of_view) / 2)
    lowest = lens.pitch - randomize.pitch + np.arctan((lens.height - 1) / 2 / focal)
    require(
        lowest > LEAST_GROUND,
        f"pitch must show ground, got {np.degrees(lens.pitch):.1f} degrees, where the lowest row looks "
        f"{np.degrees(lowest):.1f} degrees down; raise it, 26 is usual",
    )


def pack_lens(lens: Lens) -> Array:
    """The lens as a kernel record."""
    record = np.zeros((), render.LENS)
    for name in ("above", "forward", "pitch", "field_of_view", "focal"):
        record[name] = getattr(lens, name)
    record["half_width"] = lens.width / 2
    return record[()]


def pack_randomize(randomize: Randomize) -> Array:
    """Amplitudes as a kernel record, with what is needed of the picture at all."""
    record = np.zeros((), render.RANDOMIZE)
    for name in render.AMPLITUDES:
        record[name] = getattr(randomize, name)
    record["moves_camera"] = any(record[name] for name in ("height", "pitch", "yaw", "field_of_view"))
    record["jitters_colors"] = any(record[name] for name in ("brightness", "contrast", "color"))
    record["has_effects"] = record["jitters_colors"] or record["noise"] > 0 or record["blur"] > 0
    return record[()]


def pack_body(vehicle: Vehicle) -> Array:
    """Size of the other cars as a kernel record."""
    record = np.zeros((), render.BODY)
    record["length"], record["width"], record["height"] = vehicle.length, vehicle.width, BODY_HEIGHT * vehicle.width
    return record[()]


def pack_textures(textures: Sequence[Texture], gray: bool) -> tuple[Array, Array, Array]:
    """Textures as (GROUND records (K,), LEVEL records of all of them, their pixels in one flat array)."""
    grounds = np.zeros(len(textures), render.GROUND)
    tables, texels = Joined(), Joined()
    for ground, texture in zip(grounds, textures, strict=True):
        table, packed = texture.packed(gray)
        table["start"] += texels.add(packed)
        ground["x"], ground["y"] = texture.origin
        ground["resolution"] = texture.resolution
        ground["first_level"], ground["levels"] = tables.add(table), len(table)
    return grounds, tables.whole(), texels.whole()
