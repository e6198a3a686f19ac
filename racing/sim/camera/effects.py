"""What a camera does to a picture: a soft lens, exposure, noise. Strengths are drawn per episode, noise per frame."""

from __future__ import annotations

import numpy as np

from racing.sim.kernels.kernel import inlined, kernel, real
from racing.sim.kernels.rng import bits, scramble, uniform

ZERO, HALF, ONE, TWO = real(0), real(0.5), real(1), real(2)
MIDDLE, WHITE = real(127.5), real(255.0)
# Numbers of an episode's draws; a world's own come before them, and frames' come after.
POSE, EXPOSURE, SOFTNESS, FRAMES = 16, 24, 32, 64


@inlined
def around_zero(seed, car, episode, draw):
    """Uniform number in [-1, 1)."""
    return TWO * uniform(seed, car, episode, draw) - ONE


@kernel
def develop(seed, car, episode, step, chance, curve, lines, picture):
    """Blur, expose and disturb `picture` (H, W, 3 or 1) as `chance` (record of racing.sim.camera.render) says.

    Work space: curve (3, 256) and lines (2, W), uint8.
    """
    if chance.blur > ZERO:
        deviation = chance.blur * uniform(seed, car, episode, SOFTNESS)
        blur(int(real(128.0) * deviation * deviation), lines, picture)  # a side weight of deviation ** 2 / 2
    if chance.exposes:
        expose(seed, car, episode, chance, curve, picture)
    if chance.noise > ZERO:
        disturb(bits(seed, car, episode, FRAMES + step), int(chance.noise * real(256.0)), picture)


@kernel
def blur(side, lines, picture):
    """Weights (side, 256 - 2 side, side) / 256 along rows, then along columns; the border repeats itself."""
    high, wide, channels = picture.shape
    middle = 256 - 2 * side
    for k in range(channels):
        for r in range(high):
            before = np.int32(picture[r, 0, k])
            here = before
            for c in range(wide):
                after = np.int32(picture[r, min(c + 1, wide - 1), k])
                picture[r, c, k] = (here * middle + (before + after) * side + 128) >> 8
                before, here = here, after
        for c in range(wide):
            lines[0, c] = lines[1, c] = picture[0, c, k]  # above, here
        for r in range(high):
            below = min(r + 1, high - 1)
            for c in range(wide):
                after, here = np.int32(picture[below, c, k]), np.int32(lines[1, c])
                picture[r, c, k] = (here * middle + (np.int32(lines[0, c]) + after) * side + 128) >> 8
                lines[0, c], lines[1, c] = here, after


@kernel
def expose(seed, car, episode, chance, curve, picture):
    """Contrast around middle grey, brightness, and a gain for each colour."""
    high, wide, channels = picture.shape
    contrast = ONE + chance.contrast * around_zero(seed, car, episode, EXPOSURE)
    shift = chance.brightness * WHITE * around_zero(seed, car, episode, EXPOSURE + 1)
    for k in range(channels):
        gain = ONE
        if channels == 3:
            gain += chance.colour * around_zero(seed, car, episode, EXPOSURE + 2 + k)
        for value in range(256):
            level = gain * ((real(value) - MIDDLE) * contrast + MIDDLE + shift)
            curve[k, value] = int(min(max(level, ZERO), WHITE) + HALF)
    for r in range(high):
        for c in range(wide):
            for k in range(channels):
                picture[r, c, k] = curve[k, picture[r, c, k]]


@kernel
def disturb(key, strength, picture):
    """Add uniform noise of +-strength / 256 of full white to every byte; eight bytes share one random number."""
    high, wide, channels = picture.shape
    number, count = key, 0
    for r in range(high):
        for c in range(wide):
            for k in range(channels):
                if count & 7 == 0:
                    number = scramble(key + np.uint64(count))
                draw = np.int32(number & np.uint64(255))
                number >>= np.uint64(8)
                count += 1
                value = np.int32(picture[r, c, k]) + (((2 * draw - 255) * strength + 128) >> 8)
                picture[r, c, k] = min(max(value, 0), 255)
