"""First-person pictures of many cars: sky, ground, other cars, and what a real camera adds. Races share nothing."""

from __future__ import annotations

import numpy as np

from racing.sim.camera.cars import draw_cars
from racing.sim.camera.effects import apply_effects, around_zero
from racing.sim.camera.ground import (
    COLUMN,
    EIGHT,
    PLACE,
    ROW,
    SIXTEEN,
    WORK_ROWS,
    draw_ground,
    plan_rows,
    write_colors,
)
from racing.sim.camera.weather import spray, wet_ground
from racing.sim.kernels.kernel import inlined, kernel, real
from racing.sim.kernels.rng import Draw, key_of
from racing.sim.kernels.trig import sincos
from racing.sim.race.traffic import is_met

ZERO, HALF, ONE = real(0), real(0.5), real(1)
# The camera as it is mounted on the car: [m], [m], [rad], [rad], [pixels]; half the picture's width [pixels].
LENS = np.dtype([(n, np.float32) for n in ("above", "forward", "pitch", "field_of_view", "focal", "half_width")])
EYE = np.dtype([(n, np.float32) for n in ("x", "y", "yaw", "above", "pitch", "focal")])  # a camera in the world
BODY = np.dtype([(n, np.float32) for n in ("length", "width", "height")])  # of all cars [m]
GROUND = np.dtype(  # a track's texture: middle of its first pixel [m], size of its pixels [m], its LEVEL records
    [("x", np.float32), ("y", np.float32), ("resolution", np.float32), ("first_level", np.int64), ("levels", np.int64)]
)
AMPLITUDES = ("height", "pitch", "yaw", "field_of_view", "brightness", "contrast", "color", "noise", "blur")
RANDOMIZE = np.dtype(  # amplitudes, see racing.sim.camera.camera.Randomize; whether any of a kind is not 0
    [(n, np.float32) for n in AMPLITUDES] + [(n, np.int32) for n in ("moves_camera", "jitters_colors", "has_effects")]
)
HAZE, SKY = np.array([206, 220, 232], np.float32), np.array([96, 150, 214], np.float32)
ZENITH = real(0.6)  # sine of the elevation from which the sky is no bluer


@kernel
def render(
    first,
    last,
    indices,
    cars,
    traffic,
    wetness,
    rules,
    lens,
    randomize,
    body,
    grounds,
    levels,
    texels,
    pictures,
):
    """Draw what the cars indices[first..last-1] see to pictures (K, H, W, 3 or 1) of any strides.

    cars (N,), traffic (N,): records of all. wetness (N,): of the road where they are, 0 to 1; None: all is dry.
    """
    wide = pictures.shape[2]
    eyes = np.zeros(1, EYE)
    plan, planned, horizon = np.zeros(pictures.shape[1], ROW), -1, 0
    work = np.empty((WORK_ROWS, wide), np.uint32)
    for c in range(wide):
        work[COLUMN, c] = c
    pairs = np.empty((2, wide), np.uint64)
    halves = work.view(np.uint16)
    order = np.empty(rules.cars_per_race, np.int64)
    corners, outline = np.empty((8, 3), np.float32), np.empty((2, 5, 3), np.float32)
    curve, lines = np.empty((3, 256), np.uint8), np.empty((2, wide), np.uint8)
    for n in range(first, last):
        i, picture = indices[n], pictures[n]
        car, eye = cars[i], eyes[0]
        key = key_of(i, rules)
        aim(eye, car, lens, randomize, rules.seed, key)
        if randomize.moves_camera or car.track != planned:
            horizon, planned = plan_rows(eye, grounds[car.track], plan), car.track
        draw_ground(eye, grounds[car.track], levels, texels, horizon, plan, work, halves, pairs, picture)
        draw_sky(eye, horizon, work, picture)
        if wetness is not None:
            wet_ground(wetness[i], horizon, picture)
        if rules.cars_per_race > 1 and is_met(traffic[i]):
            start = i - i % rules.cars_per_race
            end = start + rules.cars_per_race
            draw_cars(eye, cars[start:end], traffic[start:end], i - start, body, order, corners, outline, picture)
        if wetness is not None:
            spray(wetness[i], car.v, picture)
        if randomize.has_effects:
            apply_effects(rules.seed, key, car.episode, car.steps, randomize, curve, lines, picture)


@inlined
def aim(eye, car, lens, randomize, seed, key):
    """Place the car's camera as it is mounted in this episode; seed, key: as in racing.sim.kernels.rng.bits."""
    eye.yaw, eye.above, eye.pitch, eye.focal = car.yaw, lens.above, lens.pitch, lens.focal
    if randomize.moves_camera:
        eye.above *= ONE + randomize.height * around_zero(seed, key, car.episode, Draw.CAMERA_HEIGHT)
        eye.pitch += randomize.pitch * around_zero(seed, key, car.episode, Draw.CAMERA_PITCH)
        eye.yaw += randomize.yaw * around_zero(seed, key, car.episode, Draw.CAMERA_YAW)
        wider = ONE + randomize.field_of_view * around_zero(seed, key, car.episode, Draw.CAMERA_FIELD_OF_VIEW)
        sin, cos = sincos(HALF * lens.field_of_view * wider)
        eye.focal = lens.half_width * cos / sin
    sin, cos = sincos(car.yaw)
    eye.x, eye.y = car.x + lens.forward * cos, car.y + lens.forward * sin


@kernel
def draw_sky(eye, rows, work, picture):
    """Fill the first `rows` rows: hazy at the horizon, blue above."""
    high, wide, channels = picture.shape
    sin, cos = sincos(eye.pitch)
    for r in range(rows):
        up = (HALF * real(high) - real(r) - HALF) / eye.focal
        share = min(max((up * cos - sin) / ZENITH, ZERO), ONE)
        red, green = HAZE[0] + share * (SKY[0] - HAZE[0]), HAZE[1] + share * (SKY[1] - HAZE[1])
        blue = HAZE[2] + share * (SKY[2] - HAZE[2])
        gray = np.uint8(real(0.299) * red + real(0.587) * green + real(0.114) * blue + HALF)
        red8, green8, blue8 = np.uint8(red + HALF), np.uint8(green + HALF), np.uint8(blue + HALF)
        if channels == 3:
            color = np.uint32(red8) | np.uint32(np.uint32(green8) << EIGHT) | np.uint32(np.uint32(blue8) << SIXTEEN)
            for c in range(wide):
                work[PLACE, c] = color
            write_colors(work, picture, r)
        else:
            for c in range(wide):
                picture[r, c, 0] = gray
