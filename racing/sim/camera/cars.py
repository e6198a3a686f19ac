"""Other cars in a camera's picture: shaded boxes on their shadows, drawn from the farthest to the nearest."""

from __future__ import annotations

import math

import numpy as np

from racing.sim.kernels.kernel import inlined, kernel, real
from racing.sim.kernels.trig import sincos
from racing.sim.race.traffic import is_met

ZERO, HALF, ONE = real(0), real(0.5), real(1)
NEAR = real(0.1)  # [car heights] in front of the camera; what is nearer is cut away
# Corner k lies at the low (0) or high (1) end of x (bit 0), y (bit 1), z (bit 2). Faces are seen counter-clockwise.
FACES = np.array([[4, 5, 7, 6], [1, 3, 7, 5], [2, 0, 4, 6], [0, 1, 5, 4], [3, 2, 6, 7]], np.int64)
LIGHT = np.array([1.0, 0.8, 0.75, 0.6, 0.65], np.float32)  # on the top, front, rear, right and left
PAINTS = np.array(
    [[214, 40, 40], [40, 90, 214], [245, 200, 40], [235, 235, 235], [240, 120, 30], [150, 60, 190], [40, 190, 190]],
    np.float32,
)
CABIN, SHADOW = np.array([45, 45, 50], np.float32), np.array([48, 52, 48], np.float32)
# Lowest and highest x, y, z of a box, in lengths, widths and heights of the car; x ahead, y to the left.
HULL = np.array([[-0.5, 0.5], [-0.5, 0.5], [0.12, 0.5]], np.float32)
SEAT = np.array([[-0.3, 0.15], [-0.28, 0.28], [0.5, 1.0]], np.float32)
GROUND = np.array([[-0.54, 0.54], [-0.58, 0.58], [0.0, 0.0]], np.float32)


@kernel
def draw_cars(eye, cars, traffic, mine, body, order, corners, outline, picture):
    """Draw the `cars` (C,) of a race, but number `mine` and those that are out, into `picture` (H, W, 3 or 1).

    eye, body: records of racing.sim.camera.render. Work space: order (C,), corners (8, 3), outline (2, 5, 3).
    """
    count = 0
    for k in range(len(cars)):
        if k == mine or not is_met(traffic[k]):
            continue
        away = (cars[k].x - eye.x) ** 2 + (cars[k].y - eye.y) ** 2
        at = count
        while at > 0:
            other = cars[order[at - 1]]
            if (other.x - eye.x) ** 2 + (other.y - eye.y) ** 2 >= away:
                break
            order[at] = order[at - 1]
            at -= 1
        order[at] = k
        count += 1
    for n in range(count):
        car, paint = cars[order[n]], PAINTS[order[n] % len(PAINTS)]
        draw_box(eye, car, body, GROUND, SHADOW, corners, outline, picture)
        if eye.above > HULL[2, 1] * body.height:  # a plane between two boxes says which of them hides the other
            draw_box(eye, car, body, HULL, paint, corners, outline, picture)
            draw_box(eye, car, body, SEAT, CABIN, corners, outline, picture)
        else:
            draw_box(eye, car, body, SEAT, CABIN, corners, outline, picture)
            draw_box(eye, car, body, HULL, paint, corners, outline, picture)


@kernel
def draw_box(eye, car, body, box, paint, corners, outline, picture):
    """Draw one box (3, 2) that is fixed to `car`. corners (8, 3): right of, below and before the camera [m]."""
    sin, cos = sincos(eye.pitch)
    ey, ex = sincos(eye.yaw)
    cy, cx = sincos(car.yaw)
    before = False
    for k in range(8):
        x, y = box[0, k & 1] * body.length, box[1, (k >> 1) & 1] * body.width
        fall = eye.above - box[2, k >> 2] * body.height
        dx, dy = car.x + x * cx - y * cy - eye.x, car.y + x * cy + y * cx - eye.y
        ahead = dx * ex + dy * ey
        corners[k, 0] = dx * ey - dy * ex
        corners[k, 1] = fall * cos - ahead * sin
        corners[k, 2] = ahead * cos + fall * sin
        before = before or corners[k, 2] > NEAR * body.height
    if not before:
        return
    for f in range(len(FACES)):
        a, b, d = corners[FACES[f, 0]], corners[FACES[f, 1]], corners[FACES[f, 3]]
        if facing(a, b, d) >= ZERO:
            continue
        count = clip(corners, FACES[f], NEAR * body.height, outline)
        if count >= 3:
            for n in range(count):
                depth = outline[0, n, 2]
                outline[1, n, 0] = outline[0, n, 0] / depth * eye.focal + HALF * real(picture.shape[1] - 1)
                outline[1, n, 1] = outline[0, n, 1] / depth * eye.focal + HALF * real(picture.shape[0] - 1)
            fill(outline[1], count, paint, LIGHT[f], picture)
        if box[2, 0] == box[2, 1]:
            return  # flat: it has no sides


@inlined
def facing(a, b, d):
    """Triple product of the corners a, b, d as seen from the camera; its sign is the side that is seen."""
    return a[0] * (b[1] * d[2] - b[2] * d[1]) - a[1] * (b[0] * d[2] - b[2] * d[0]) + a[2] * (b[0] * d[1] - b[1] * d[0])


@kernel
def clip(corners, face, near, outline):
    """Write the part of the face that lies farther than `near` [m] to outline[0] (5, 3); returns its corner count."""
    count = 0
    for n in range(4):
        here, following = corners[face[n]], corners[face[(n + 1) & 3]]
        inside, next_inside = here[2] > near, following[2] > near
        if inside:
            outline[0, count] = here
            count += 1
        if inside != next_inside:
            share = (near - here[2]) / (following[2] - here[2])
            for i in range(2):
                outline[0, count, i] = here[i] + share * (following[i] - here[i])
            outline[0, count, 2] = near
            count += 1
    return count


@kernel
def fill(outline, count, paint, light, picture):
    """Paint the pixels whose middles lie in a convex outline (count, 2..) of columns and rows."""
    high, wide, channels = picture.shape
    top, bottom = outline[0, 1], outline[0, 1]
    for n in range(1, count):
        top, bottom = min(top, outline[n, 1]), max(bottom, outline[n, 1])
    first = math.ceil(min(max(top, ZERO), real(high)))
    last = math.ceil(min(max(bottom, ZERO), real(high)))
    red, green, blue = paint[0] * light, paint[1] * light, paint[2] * light
    gray = real(0.299) * red + real(0.587) * green + real(0.114) * blue + HALF
    for r in range(first, last):
        left, right, row = real(wide), ZERO, real(r)
        for n in range(count):
            m = n + 1 if n + 1 < count else 0
            if (outline[n, 1] <= row) != (outline[m, 1] <= row):
                share = (row - outline[n, 1]) / (outline[m, 1] - outline[n, 1])
                at = outline[n, 0] + share * (outline[m, 0] - outline[n, 0])
                left, right = min(left, at), max(right, at)
        for c in range(math.ceil(max(left, ZERO)), math.ceil(min(right, real(wide)))):
            if channels == 3:
                picture[r, c, 0], picture[r, c, 1], picture[r, c, 2] = (
                    int(red + HALF),
                    int(green + HALF),
                    int(blue + HALF),
                )
            else:
                picture[r, c, 0] = int(gray)
