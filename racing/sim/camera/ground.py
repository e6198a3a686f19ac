"""Pictures of the ground: each row of a camera's picture is a straight walk through a texture and its halved versions.

On flat ground a row below the horizon has one depth, so equal steps along the row are equal steps on the ground: the
n-th sample is n steps away, in fixed point. What a pixel of a far row covers is long in the viewing direction and
narrow across. Such a row is walked several times, at depths spread over its height, in the level of the texture whose
pixels are about as large as the covered ground is wide, or as half the gap between these walks, whichever is more.

A walk is done in loops over the row (where to sample, sample, blend), because all but the sampling then compile to
vector instructions. Two neighbours are one load of 64 bits. Channels are blended in 16 bits each: the work space is
read as uint32 by pixel and as uint16 by channel. Where rows are walked does not depend on the place: `plan_rows` is
done once for many cars, or for each picture where cameras move on their cars.
"""

from __future__ import annotations

import numpy as np

from racing.sim.kernels.kernel import inlined, kernel, real
from racing.sim.kernels.simd import put_word, two_words
from racing.sim.kernels.trig import sincos

ZERO, HALF, ONE, TWO = real(0), real(0.5), real(1), real(2)
# Pictures differ from ones with 144 samples per pixel by 2 to 3 of 255 (rms, on a drawn circuit); more gain little.
MOST_DOUBLINGS = 2  # along one row at most 2 ** 2 walks
LONGEST = real(2.0)  # times as long as wide may be the ground that one walk stands for
SHARPEST = real(0.71)  # [widths of that ground] least size of a texture's pixel, where there are levels to choose from
FARTHEST = real(400.0)  # [camera heights] the ground is drawn as if it ended there
FIXED = real(65536.0)  # texture coordinates have 16 bits behind the point, of which 8 blend
# Rows of the work space, each as long as the picture's: place in the texture, shares of the next pixel to the right
# and above (twice, for two channels), the four pixels there, sums over the walks of red and blue, and of green or gray;
# green of the lower and of the upper row; number of the column.
PLACE, SHARE_U, SHARE_V, LOW, LOW_RIGHT, HIGH, HIGH_RIGHT, RED_BLUE, GREEN, BOTH, COLUMN, WORK_ROWS = range(12)
ROW = np.dtype(  # of a picture: level of the texture, its pixel [m], 65536 / that; walks: 2 ** doublings, each one's
    [("level", np.int64), ("doublings", np.int64), ("size", np.float32), ("scale", np.float32)]
    + [(n, np.float32, 1 << MOST_DOUBLINGS) for n in ("ahead", "step")]  # distance ahead, and between two samples [m]
)
PAIR, BYTE, ROUND = np.uint32(0xFF00FF), np.uint32(0xFF), np.uint32(0x800080)
EIGHT16, BYTE16, ROUND16, TWICE = np.uint16(8), np.uint16(255), np.uint16(128), np.uint32(0x10001)
EIGHT, SIXTEEN, THIRTY_TWO = np.uint32(8), np.uint32(16), np.uint64(32)


@inlined
def depth(down, sin, cos, above):
    """(distance on the ground [m], distance along the optical axis [m]) to where the ray `down` meets the ground.

    down: tangent of the angle below the optical axis. sin, cos: of the camera's pitch. above: its height [m].
    """
    axial = above / max(sin + down * cos, ONE / FARTHEST)
    return axial * (cos - down * sin), axial


@kernel
def plan_rows(eye, ground, plan):
    """Fill `plan` (ROW records (H,)) for a picture H rows high: the walks of each row. Returns the first row of ground.

    eye, ground: records of racing.sim.camera.render; of the eye only what every place shares: height, pitch and focal
    length.
    """
    high = len(plan)
    sin, cos = sincos(eye.pitch)
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
        row = plan[r]
        row.level, row.doublings, row.size, row.scale = level, doublings, size, FIXED / size
        for k in range(1 << doublings):
            part = real(2 * k + 1) / real(2 << doublings) - HALF
            row.ahead[k], axial = depth(down + part * per_focal, sin, cos, eye.above)
            row.step[k] = axial * per_focal
    return 0


@kernel
def draw_ground(eye, ground, levels, texels, first, plan, work, halves, pairs, picture):
    """Draw the rows of `picture` (H, W, 3 or 1) from `first` on as `plan` says (plan_rows).

    eye, ground, levels: records of racing.sim.camera.render. texels: packed levels (Texture.packed).
    work (WORK_ROWS, W) uint32, of which COLUMN holds 0, 1, ...; halves: the same memory as uint16; pairs (2, W) uint64.
    """
    high, wide, channels = picture.shape
    dy, dx = sincos(eye.yaw)
    for r in range(high - 1, first - 1, -1):
        row = plan[r]
        size, scale = row.size, row.scale
        table = levels[ground.first_level + row.level]
        corner_x = ground.x + HALF * (size - ground.resolution)  # middle of the level's first pixel
        corner_y = ground.y + HALF * (size - ground.resolution)
        for c in range(wide):
            work[RED_BLUE, c] = work[GREEN, c] = 0
        for k in range(1 << row.doublings):
            ahead, step = row.ahead[k], row.step[k]
            left = step * HALF * real(wide - 1)
            u = int((eye.x + ahead * dx - left * dy - corner_x) * scale)
            v = int((eye.y + ahead * dy + left * dx - corner_y) * scale)
            walk(table.start, table.width, table.height, u, v, int(step * dy * scale), int(-step * dx * scale), work)
            if channels == 3:
                add_colors(texels, table.width, work, halves, pairs)
            else:
                add_grays(texels, work)
        write(work, np.uint32(row.doublings), picture, r)


@inlined
def walk(start, width, height, u, v, du, dv, work):
    """Where the samples (u, v), (u + du, v + dv), ... fall: PLACE, SHARE_U, SHARE_V. Outside: the border's ground."""
    count = work.shape[1]
    last_u, last_v = ((width - 1) << 16) - 1, ((height - 1) << 16) - 1
    end_u, end_v = u + (count - 1) * du, v + (count - 1) * dv
    if min(u, end_u) >= 0 and max(u, end_u) <= last_u and min(v, end_v) >= 0 and max(v, end_v) <= last_v:
        begin_u, begin_v, step_u, step_v = np.uint32(u), np.uint32(v), np.uint32(du), np.uint32(dv)
        first, stride = np.uint32(start), np.uint32(width)
        for c in range(count):  # column times step: a sum would be carried from one column to the next in 64 bits
            column = work[COLUMN, c]
            at_u = np.uint32(begin_u + np.uint32(column * step_u))
            at_v = np.uint32(begin_v + np.uint32(column * step_v))
            place = np.uint32(np.uint32(at_v >> SIXTEEN) * stride)
            work[PLACE, c] = np.uint32(np.uint32(place + first) + np.uint32(at_u >> SIXTEEN))
            work[SHARE_U, c] = np.uint32((np.uint32(at_u >> EIGHT) & BYTE) * TWICE)
            work[SHARE_V, c] = np.uint32((np.uint32(at_v >> EIGHT) & BYTE) * TWICE)
    else:
        for c in range(count):
            in_u, in_v = min(max(u, 0), last_u), min(max(v, 0), last_v)
            work[PLACE, c] = start + (in_v >> 16) * width + (in_u >> 16)
            work[SHARE_U, c], work[SHARE_V, c] = ((in_u >> 8) & 255) * 0x10001, ((in_v >> 8) & 255) * 0x10001
            u, v = u + du, v + dv


@inlined
def add_colors(texels, width, work, halves, pairs):
    """Add the colors at the places of a walk to RED_BLUE and GREEN, each blended from the four pixels around."""
    up = np.uint64(width)
    for c in range(work.shape[1]):
        at = np.uint64(work[PLACE, c])
        pairs[0, c], pairs[1, c] = two_words(texels, at), two_words(texels, at + up)
    for c in range(work.shape[1]):
        low, high = pairs[0, c], pairs[1, c]
        work[LOW, c], work[LOW_RIGHT, c] = np.uint32(low), np.uint32(low >> THIRTY_TWO)
        work[HIGH, c], work[HIGH_RIGHT, c] = np.uint32(high), np.uint32(high >> THIRTY_TWO)
    for h in range(halves.shape[1]):
        left, right, u = halves[LOW, h], halves[LOW_RIGHT, h], halves[SHARE_U, h]
        low = blend(left & BYTE16, right & BYTE16, u)
        halves[BOTH, h] = blend(np.uint16(left >> EIGHT16), np.uint16(right >> EIGHT16), u)
        high = blend(halves[HIGH, h] & BYTE16, halves[HIGH_RIGHT, h] & BYTE16, u)
        halves[RED_BLUE, h] += blend(low, high, halves[SHARE_V, h])
    for c in range(work.shape[1]):
        both = work[BOTH, c]
        work[GREEN, c] += mix(both & BYTE, np.uint32(both >> SIXTEEN) & BYTE, work[SHARE_V, c] & BYTE)


@inlined
def blend(a, b, share):
    """a + (b - a) * share / 256, rounded, of one channel in 16 bits, which is the fastest multiplication in vectors."""
    change = np.uint16(np.uint16(b - a) * share)
    return np.uint16(np.uint16(np.uint16(np.uint16(a << EIGHT16) + change) + ROUND16) >> EIGHT16)


@inlined
def add_grays(texels, work):
    """Add the luma at the places of a walk to GREEN; one number of the texture holds all four pixels around."""
    for c in range(work.shape[1]):
        work[LOW, c] = texels[np.uint64(work[PLACE, c])]
    for c in range(work.shape[1]):
        four = work[LOW, c]
        both = mix(four & PAIR, np.uint32(four >> EIGHT) & PAIR, work[SHARE_U, c] & BYTE)
        work[GREEN, c] += mix(both & BYTE, np.uint32(both >> SIXTEEN) & BYTE, work[SHARE_V, c] & BYTE)


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
            work[PLACE, c] = (np.uint32(work[RED_BLUE, c] >> shift) & PAIR) | np.uint32(
                np.uint32(work[GREEN, c] >> shift) << EIGHT
            )
        write_colors(work, picture, r)
    else:
        for c in range(picture.shape[1]):
            picture[r, c, 0] = work[GREEN, c] >> shift


@inlined
def write_colors(work, picture, r):
    """Row r of the picture from the colors at PLACE: red, green, blue, 0."""
    last = picture.shape[1] - 1
    if picture.flags.c_contiguous:
        for c in range(last):
            put_word(picture, r, 3 * c, work[PLACE, c])  # its fourth byte is the next pixel's first, written after it
    first = last if picture.flags.c_contiguous else 0
    for c in range(first, last + 1):
        color = work[PLACE, c]
        picture[r, c, 0], picture[r, c, 1], picture[r, c, 2] = color, color >> EIGHT, color >> SIXTEEN
