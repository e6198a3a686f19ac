"""Effects of a camera on its picture: blur, color jitter, noise. Strengths are drawn per episode, noise per frame."""

from __future__ import annotations

import numpy as np

from racing.sim.kernels.kernel import inlined, kernel, real
from racing.sim.kernels.rng import Draw, bits, scramble, uniform

ZERO, HALF, ONE, TWO = real(0), real(0.5), real(1), real(2)
MIDDLE, WHITE = real(127.5), real(255.0)


@inlined
def around_zero(seed, key, episode, draw):
    """Uniform number in [-1, 1); arguments as in racing.sim.kernels.rng.bits."""
    return TWO * uniform(seed, key, episode, draw) - ONE


@kernel
def apply_effects(seed, key, episode, step, randomize, curve, lines, picture):
    """Blur `picture` (H, W, 3 or 1), jitter its colors and add noise as the RANDOMIZE record says.

    seed, key, episode: as in racing.sim.kernels.rng.bits. step: of the episode.
    Work space: curve (3, 256) and lines (2, W), uint8.
    """
    if randomize.blur > ZERO:
        deviation = randomize.blur * uniform(seed, key, episode, Draw.BLUR)
        blur(int(real(128.0) * deviation * deviation), lines, picture)  # a side weight of deviation ** 2 / 2
    if randomize.jitters_colors:
        jitter_colors(seed, key, episode, randomize, curve, picture)
    if randomize.noise > ZERO:
        add_noise(bits(seed, key, episode, Draw.FRAME_NOISE + step), int(randomize.noise * real(256.0)), picture)


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
def jitter_colors(seed, key, episode, randomize, curve, picture):
    """Change contrast around middle gray, brightness, and the gain of each channel."""
    high, wide, channels = picture.shape
    contrast = ONE + randomize.contrast * around_zero(seed, key, episode, Draw.CONTRAST)
    shift = randomize.brightness * WHITE * around_zero(seed, key, episode, Draw.BRIGHTNESS)
    for k in range(channels):
        gain = ONE
        if channels == 3:
            gain += randomize.color * around_zero(seed, key, episode, Draw.COLOR + k)
        for value in range(256):
            level = gain * ((real(value) - MIDDLE) * contrast + MIDDLE + shift)
            curve[k, value] = int(min(max(level, ZERO), WHITE) + HALF)
    for r in range(high):
        for c in range(wide):
            for k in range(channels):
                picture[r, c, k] = curve[k, picture[r, c, k]]


@kernel
def add_noise(random_bits, strength, picture):
    """Add uniform noise of +-strength / 256 of full white to every byte; eight bytes share one random number."""
    high, wide, channels = picture.shape
    number, count = random_bits, 0
    for r in range(high):
        for c in range(wide):
            for k in range(channels):
                if count & 7 == 0:
                    number = scramble(random_bits + np.uint64(count))
                draw = np.int32(number & np.uint64(255))
                number >>= np.uint64(8)
                count += 1
                value = np.int32(picture[r, c, k]) + (((2 * draw - 255) * strength + 128) >> 8)
                picture[r, c, k] = min(max(value, 0), 255)
