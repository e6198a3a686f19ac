"""Pictures of the ground: each row of a camera's picture is a straight walk through a texture and its halved versions.

On flat ground a row below the horizon has one depth, so equal steps along the row are equal steps on the ground:
positions advance by addition, in fixed point. What a pixel of a far row covers is long in the viewing direction and
narrow across. Such a row is walked several times, at depths spread over its height, in the level of the texture whose
pixels are about as large as the covered ground is wide, or as half the gap between these walks, whichever is more.

A walk is done in three loops over the row (where to look, look, blend), because the first and the last then compile to
vector instructions. Two channels are blended by one multiplication, 16 bits apart.
"""

from __future__ import annotations

import numpy as np

from racing.sim.precision import inlined, kernel, real
from racing.sim.trig import sincos

ZERO, HALF, ONE, TWO = real(0), real(0.5), real(1), real(2)
# Pictures differ from ones with 144 looks per pixel by 2 to 3 of 255 (rms, on a drawn circuit); more walks gain little.
MOST_DOUBLINGS = 2  # along one row at most 2 ** 2 walks
LONGEST = real(2.0)  # times as long as wide may be the ground that one walk stands for
SHARPEST = real(0.71)  # [widths of that ground] least size of a texture's pixel, where there are levels to choose from
FARTHEST = real(400.0)  # [camera heights] the ground is drawn as if it ended there
FIXED = real(65536.0)  # texture coordinates have 16 bits behind the point, of which 8 blend
# Rows of the work space, each as long as the picture's: place in the texture, shares of the next pixel to the right
# and above, the four pixels there, sums over the walks of red and blue, and of green or grey.
PLACE, SHARE_U, SHARE_V, LOW, LOW_RIGHT, HIGH, HIGH_RIGHT, RED_BLUE, GREEN, WORK_ROWS = range(10)
PAIR, BYTE, ROUND = np.uint32(0xFF00FF), np.uint32(0xFF), np.uint32(0x800080)
EIGHT, SIXTEEN = np.uint32(8), np.uint32(16)


@inlined
def depth(down, sin, cos, above):
    """(distance on the ground [m], distance along the optical axis [m]) to where the ray `down` meets the ground.

    down: tangent of the angle below the optical axis. sin, cos: of the camera's pitch. above: its height [m].
    """
    axial = above / max(sin + down * cos, ONE / FARTHEST)
    return axial * (cos - down * sin), axial


@kernel
def draw_ground(eye, ground, levels, texels, work, picture):
    """Draw the rows of `picture` (H, W, 3 or 1) below the horizon; returns the first of these rows.

    eye, ground, levels: records of racing.sim.view. texels: packed levels (Texture.colours or .greys).
    work (WORK_ROWS, W): work space.
    """
    high, wide, channels = picture.shape
    sin, cos = sincos(eye.pitch)
    dy, dx = sincos(eye.yaw)
    per_focal = ONE / eye.focal
    level, size = 0, ground.resolution
    for r in range(high - 1, -1, -1):
        down = (real(r) + HALF - HALF * real(high)) * per_focal
        if sin + down * cos <= ZERO:
            return r + 1
        near, _ = depth(down + HALF * per_focal, sin, cos, eye.above)
        far, _ = depth(down - HALF * per_focal, sin, cos, eye.above)
        _, axial = depth(down, sin, cos, eye.above)
        across, gap, doublings = axial * per_focal, far - near, 0
        while doublings < MOST_DOUBLINGS and gap > LONGEST * max(across, ground.resolution):
            doublings, gap = doublings + 1, gap * HALF
        while size < max(SHARPEST * across, HALF * gap) and level < ground.levels - 1:
            level, size = level + 1, size * TWO
        table = levels[ground.first_level + level]
        scale = FIXED / size
        corner_x = ground.x + HALF * (size - ground.resolution)  # middle of the level's first pixel
        corner_y = ground.y + HALF * (size - ground.resolution)
        for c in range(work.shape[1]):
            work[RED_BLUE, c] = work[GREEN, c] = 0
        for k in range(1 << doublings):
            part = real(2 * k + 1) / real(2 << doublings) - HALF
            ahead, axial = depth(down + part * per_focal, sin, cos, eye.above)
            step = axial * per_focal
            left = step * HALF * real(wide - 1)
            u = int((eye.x + ahead * dx - left * dy - corner_x) * scale)
            v = int((eye.y + ahead * dy + left * dx - corner_y) * scale)
            walk(table.start, table.width, table.height, u, v, int(step * dy * scale), int(-step * dx * scale), work)
            if channels == 3:
                add_colours(texels, table.width, work)
            else:
                add_greys(texels, work)
        write(work, np.uint32(doublings), picture, r)
    return 0


@inlined
def walk(start, width, height, u, v, du, dv, work):
    """Where the looks (u, v), (u + du, v + dv), ... fall: PLACE, SHARE_U, SHARE_V. Outside: the border's ground."""
    count = work.shape[1]
    last_u, last_v = ((width - 1) << 16) - 1, ((height - 1) << 16) - 1
    end_u, end_v = u + (count - 1) * du, v + (count - 1) * dv
    if min(u, end_u) >= 0 and max(u, end_u) <= last_u and min(v, end_v) >= 0 and max(v, end_v) <= last_v:
        at_u, at_v, step_u, step_v = np.uint32(u), np.uint32(v), np.uint32(du), np.uint32(dv)
        first, stride = np.uint32(start), np.uint32(width)
        for c in range(count):
            work[PLACE, c] = first + np.uint32(at_v >> SIXTEEN) * stride + np.uint32(at_u >> SIXTEEN)
            work[SHARE_U, c] = np.uint32(at_u >> EIGHT) & BYTE
            work[SHARE_V, c] = np.uint32(at_v >> EIGHT) & BYTE
            at_u, at_v = np.uint32(at_u + step_u), np.uint32(at_v + step_v)
    else:
        for c in range(count):
            in_u, in_v = min(max(u, 0), last_u), min(max(v, 0), last_v)
            work[PLACE, c] = start + (in_v >> 16) * width + (in_u >> 16)
            work[SHARE_U, c], work[SHARE_V, c] = (in_u >> 8) & 255, (in_v >> 8) & 255
            u, v = u + du, v + dv


@inlined
def add_colours(texels, width, work):
    """Add the colours at the places of a walk to RED_BLUE and GREEN, each blended from the four pixels around."""
    for c in range(work.shape[1]):
        at = np.uint64(work[PLACE, c])
        work[LOW, c], work[LOW_RIGHT, c] = texels[at], texels[at + np.uint64(1)]
        at += np.uint64(width)
        work[HIGH, c], work[HIGH_RIGHT, c] = texels[at], texels[at + np.uint64(1)]
    for c in range(work.shape[1]):
        low, low_right, high, high_right = work[LOW, c], work[LOW_RIGHT, c], work[HIGH, c], work[HIGH_RIGHT, c]
        u, v = work[SHARE_U, c], work[SHARE_V, c]
        work[RED_BLUE, c] += mix(mix(low & PAIR, low_right & PAIR, u), mix(high & PAIR, high_right & PAIR, u), v)
        low, low_right = np.uint32(low >> EIGHT) & BYTE, np.uint32(low_right >> EIGHT) & BYTE
        high, high_right = np.uint32(high >> EIGHT) & BYTE, np.uint32(high_right >> EIGHT) & BYTE
        work[GREEN, c] += mix(mix(low, low_right, u), mix(high, high_right, u), v)


@inlined
def add_greys(texels, work):
    """Add the luma at the places of a walk to GREEN; one number of the texture holds all four pixels around."""
    for c in range(work.shape[1]):
        work[LOW, c] = texels[np.uint64(work[PLACE, c])]
    for c in range(work.shape[1]):
        four = work[LOW, c]
        both = mix(four & PAIR, np.uint32(four >> EIGHT) & PAIR, work[SHARE_U, c])
        work[GREEN, c] += mix(both & BYTE, np.uint32(both >> SIXTEEN), work[SHARE_V, c])


@inlined
def mix(a, b, share):
    """a + (b - a) * share / 256, rounded, of the bytes at 0 and at 16 bits at once.

    The difference may borrow from the upper byte's; the sum gives it back. Every step is cut to 32 bits to be vectors.
    """
    change = np.uint32(np.uint32(b - a) * share)
    return np.uint32(np.uint32(np.uint32(np.uint32(a << EIGHT) + change) + ROUND) >> EIGHT) & PAIR


@inlined
def write(work, shift, picture, r):
    """Row r of the picture from the sums over 2 ** shift walks."""
    if picture.shape[2] == 3:
        for c in range(picture.shape[1]):
            picture[r, c, 0] = work[RED_BLUE, c] >> shift
            picture[r, c, 1] = work[GREEN, c] >> shift
            picture[r, c, 2] = work[RED_BLUE, c] >> (shift + SIXTEEN)
    else:
        for c in range(picture.shape[1]):
            picture[r, c, 0] = work[GREEN, c] >> shift
