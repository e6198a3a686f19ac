"""What a car senses of its own motion and of the road ahead: values, scales, and the kernel that fills them in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.errors import require
from racing.sim.kernels.kernel import kernel
from racing.sim.vehicle import Vehicle

F = npt.NDArray[np.float32]
MOTIONS = ("yaw_rate", "steering", "slip", "acceleration", "line_offset", "standing_time", "speed_error")
LINE_OFFSET, STANDING_TIME = MOTIONS.index("line_offset"), MOTIONS.index("standing_time")
SPEED_ERROR = MOTIONS.index("speed_error")
LONGEST_STAND = np.float32(2)  # [s] that is told from longer ones
LARGE_SLIP = 0.2  # [rad] that is scaled to 1
# Share of the top speed that is scaled to 1, and how many of it are told from more. A good lap and a better one differ
# by some hundredths of it, which networks are slow to see in two speeds of which each may be 1.
SPEED_ERROR_SCALE, LARGEST_SPEED_ERROR = 0.1, np.float32(2)


def motions_of(names: Any) -> list[str]:
    """The values of `motion`, one or a list. Raises InputError for unknown ones, and for one named twice."""
    listed = [names] if isinstance(names, str) else list(names) if isinstance(names, Sequence) else [names]
    known = f"motion must be one or several of {', '.join(MOTIONS)}, got {names!r}; choose some"
    require(all(name in MOTIONS for name in listed) and len(set(listed)) == len(listed), known)
    return listed


def motion_scale(names: Sequence[str], vehicle: Vehicle, step_dt: float) -> F:
    """(M,) factors that bring values of `motion` to about [-1, 1]."""
    scales = {
        "yaw_rate": vehicle.max_speed / (4 * vehicle.max_lateral),
        "steering": 1 / vehicle.max_steer,
        "slip": 1 / LARGE_SLIP,
        "acceleration": 1 / vehicle.max_lateral,
        "line_offset": 1 / (2 * vehicle.reference_width),
        "standing_time": step_dt,
        "speed_error": 1 / (SPEED_ERROR_SCALE * vehicle.max_speed),
    }
    return np.array([scales[name] for name in names], np.float32)


@kernel
def observe_road(
    cars: Any,
    ranges: Any,
    points: Any,
    tracks: Any,
    scale: Any,
    motion: Any,
    motion_scale: Any,
    preview: int,
    out: Any,
) -> None:
    """Fill the first columns of out (n, D), as SensorsTask lists them up to the previews, for cars (n,).

    ranges (n, R) [m]. points, tracks: of the world.
    scale: 1 / greatest range [1/m], 1 / top speed [s/m], progress term of 1 m, distance of preview points [m].
    motion (M,): numbers of MOTIONS. motion_scale (M,): of `motion_scale`. preview: number of points.
    """
    rays, senses = ranges.shape[1], len(motion)
    looks, cos, sin = preview > 0 or (motion == LINE_OFFSET).any(), np.float32(1), np.float32(0)
    for i in range(len(cars)):
        car = cars[i]
        for k in range(rays):
            out[i, k] = np.float32(2) * np.sqrt(ranges[i, k] * scale[0]) - np.float32(1)
        out[i, rays] = car.v * scale[1]
        out[i, rays + 1] = min(max(car.heading_error, np.float32(-1)), np.float32(1))
        track = tracks[car.track]
        if looks:
            cos, sin = np.cos(car.yaw), np.sin(car.yaw)
        for k in range(senses):  # numbers of MOTIONS
            if motion[k] == 0:
                sensed = car.yaw_rate
            elif motion[k] == 1:
                sensed = car.steer
            elif motion[k] == 2:
                sensed = car.slip
            elif motion[k] == 3:
                sensed = car.ax
            elif motion[k] == STANDING_TIME:
                sensed = min(np.float32(car.slow_steps), LONGEST_STAND / motion_scale[k])
            elif motion[k] == SPEED_ERROR:
                most = LARGEST_SPEED_ERROR / motion_scale[k]
                sensed = min(max(points[track.point_start + car.nearest].line_speed - car.v, -most), most)
            else:
                point = points[track.point_start + car.nearest]
                sensed = (point.line_y - car.y) * cos - (point.line_x - car.x) * sin
            out[i, rays + 2 + k] = sensed * motion_scale[k]
        bearing, speed = rays + 2 + senses, rays + 2 + senses + preview
        for k in range(preview):
            ahead = int(np.float32(k + 1) * scale[3] / track.spacing)
            point = points[track.point_start + (car.nearest + ahead) % track.point_count]
            dx, dy = point.line_x - car.x, point.line_y - car.y
            away = np.sqrt(dx * dx + dy * dy) + np.float32(1e-3)
            out[i, bearing + k] = (dy * cos - dx * sin) / away
            out[i, speed + k] = point.line_speed * scale[1]
