"""A car's plan and how it is followed, for render_mode="rgb_array"."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from racing.envs.lateral.rules import CONTROL_START, MOST_STEER, PLAN
from racing.envs.lateral.world import LateralWorld

SIZE = 480  # [pixels]
BACK = 100  # rows of the past
PAPER, INK, TARGET, ACTUAL, STEER = (255, 255, 255), (110, 114, 125), (150, 154, 165), (36, 86, 201), (224, 138, 0)
LATACCEL_HALF = 2.5  # [m/s^2] from the middle of the upper part to its edge


def picture_of(world: LateralWorld, car: int) -> npt.NDArray[np.uint8]:
    """(480, 480, 3) uint8 RGB: above, target (gray, with the plan ahead) and lateral acceleration; below, steering."""
    picture = np.full((SIZE, SIZE, 3), PAPER, np.uint8)
    now = world.now
    first, last = max(now - BACK, CONTROL_START - 50), now + PLAN
    plan = world.routes.plans[world.chosen[car], :, 0]
    x = np.arange(last - first) * SIZE / (last - first)
    middle = SIZE // 3
    cv2.line(picture, (0, middle), (SIZE, middle), INK, 1)
    cv2.line(picture, (0, 5 * SIZE // 6), (SIZE, 5 * SIZE // 6), INK, 1)
    draw(picture, x, middle - plan[first:last] / LATACCEL_HALF * middle, TARGET)
    past = slice(0, now - first)
    draw(picture, x[past], middle - world.lataccel[car, first:now] / LATACCEL_HALF * middle, ACTUAL)
    draw(picture, x[past], 5 * SIZE // 6 - world.steer[car, first:now] / MOST_STEER * SIZE / 6, STEER)
    return picture


def draw(picture: npt.NDArray[np.uint8], x: Any, y: Any, colour: tuple[int, int, int]) -> None:
    """Draw a line through points; x, y: [pixels]."""
    points = np.round(np.stack([x, y], axis=1) * 16).astype(np.int32)
    cv2.polylines(picture, [points], False, colour, 2, cv2.LINE_AA, shift=4)
