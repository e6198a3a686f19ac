"""A race from above, for render_mode="rgb_array"."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from racing.sim.world import World

GRASS, ROAD, CAR, LINE = (86, 125, 70), (96, 98, 102), (214, 40, 40), (240, 240, 240)


def top_down(world: World, race: int, size: int = 480, *, ended: bool = False) -> npt.NDArray[np.uint8]:
    """(size, size, 3) uint8 RGB: the whole track of `race` with its cars, north up.

    ended: the cars before their restarts, as the last step left them.
    """
    cars = (world.final_cars if ended else world.cars)[race]
    track = world.tracks[int(cars["track"][0])]
    grid = track.clearance
    picture = np.empty((*grid.values.shape, 3), np.uint8)
    picture[:] = GRASS
    picture[grid.values > 0] = ROAD
    picture[np.abs(grid.values) < grid.resolution] = LINE

    def pixel(points: Any) -> Any:
        return np.round((np.asarray(points) - grid.origin) / grid.resolution * 16).astype(np.int32)

    for car in cars:
        half = np.array([world.vehicle.length, world.vehicle.width]) * 1.5  # drawn larger than it is, to be seen
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
        c, s = np.cos(car["yaw"]), np.sin(car["yaw"])
        outline = corners @ np.array([[c, s], [-s, c]]) + [car["x"], car["y"]]
        cv2.fillConvexPoly(picture, pixel(outline), CAR, cv2.LINE_AA, shift=4)
    picture = picture[::-1]
    scale = size / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.empty((size, size, 3), np.uint8)
    canvas[:] = GRASS
    top, left = (size - small.shape[0]) // 2, (size - small.shape[1]) // 2
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas
