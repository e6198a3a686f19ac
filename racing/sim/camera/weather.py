"""A wet road in a camera's picture: darker asphalt that mirrors the sky far ahead, an overcast sky, spray.

Wet ground is about two thirds as bright as dry ground (Lekner, Dorf, Why some things are darker when wet, Applied
Optics 27, 1988); how much it mirrors grows towards the horizon, where light falls flat (Fresnel). How strong glare and
spray are is an engineering choice.
"""

from __future__ import annotations

import numpy as np

from racing.sim.kernels.kernel import inlined, kernel, real

ZERO, ONE = real(0), real(1)
DARKER = real(0.38)  # share of the ground's brightness that a wet road has lost
GLARE = real(0.6)  # share of the sky in a wet road at the horizon
OVERCAST = real(0.6)  # share of gray in the sky of a wet road
SPRAY, SPRAY_PER_SPEED = real(0.3), real(0.012)  # at most; per [m/s]: share of gray in front of everything
CLOUD, MIST = real(158.0), real(178.0)  # gray of clouds and of spray
FIXED = real(256.0)


@kernel
def wet_ground(wetness, horizon, picture):
    """Let the sky be overcast, the rows before `horizon`, and the ground below it wet. picture (H, W, 3 or 1) uint8."""
    high = picture.shape[0]
    for r in range(high):
        if r < horizon:
            mix(picture[r], OVERCAST * wetness, CLOUD)
        else:
            near = real(r - horizon) / real(max(high - horizon, 1))
            glare = GLARE * wetness * (ONE - near) ** 4
            keep = (ONE - DARKER * wetness) * (ONE - glare)
            blend(picture[r], keep, glare * CLOUD)


@kernel
def spray(wetness, speed, picture):
    """Throw spray before the camera of a car that drives at `speed` [m/s]."""
    share = min(SPRAY_PER_SPEED * abs(speed), SPRAY) * wetness
    for r in range(picture.shape[0]):
        mix(picture[r], share, MIST)


@inlined
def mix(row, share, gray):
    """Blend a row of a picture with `share` of a gray."""
    blend(row, ONE - share, share * gray)


@inlined
def blend(row, keep, add):
    """Scale the bytes of a row (W, C) by `keep` and add `add`, in fixed point."""
    factor, shift = np.int32(keep * FIXED), np.int32(add * FIXED) + 128
    for c in range(row.shape[0]):
        for k in range(row.shape[1]):
            row[c, k] = (np.int32(row[c, k]) * factor + shift) >> 8
