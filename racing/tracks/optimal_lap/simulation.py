"""One step of the simulator from any state beside a line, and back to states beside it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from racing.sim.episodes import EpisodeConfig
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.sim.world import RangeFinder, World
from racing.tracks.optimal_lap.smooth_line import SmoothLine

Array = npt.NDArray[np.float64]
Cars = npt.NDArray[np.void]

# A state, and a deviation from one, in this order: offset to the left [m], heading of the car to the line's [rad],
# longitudinal velocity [m/s], w (as in racing.sim.dynamics), yaw rate [rad/s], steering angle [rad].
SIZE = 6
OFFSET, HEADING, SPEED, W, YAW_RATE, STEER = range(SIZE)
PROJECTIONS, NEAREST = 6, 1e-6  # Newton steps towards the nearest point of the line, at most; [m] which is there


class Simulation:
    """One environment step of many independent cars on one track, from any state."""

    def __init__(self, track: Track, vehicle: Vehicle, action_repeat: int, line: SmoothLine) -> None:
        self.track, self.vehicle, self.action_repeat, self.line = track, vehicle, action_repeat, line
        self._worlds: dict[int, World] = {}

    @property
    def step_dt(self) -> float:
        """Length of an environment step [s]."""
        return self.vehicle.control_period * self.action_repeat

    def world(self, count: int) -> World:
        """A world of `count` cars, the same for the same number."""
        if count not in self._worlds:
            self._worlds[count] = World(
                [self.track],
                self.vehicle,
                races=count,
                range_finder=RangeFinder(rays=1),
                action_repeat=self.action_repeat,
                episodes=EpisodeConfig(random_start=False),
            )
            self._worlds[count].reset()
        return self._worlds[count]

    def step(self, s: Array, states: Array, commands: Array) -> tuple[Array, Array]:
        """Arc lengths (K,) and states (K, 6) one step after `s` and `states` under `commands` (K, 2)."""
        world = self.world(len(s))
        place(world.cars.reshape(-1), self.line, s, states, self.vehicle)
        world.step(actions_of(commands, self.vehicle))
        return located(world.final_cars.reshape(-1), self.line, s + states[:, SPEED] * world.step_dt, self.vehicle)


def place(cars: Cars, line: SmoothLine, s: Array, states: Array, vehicle: Vehicle) -> None:
    """Put cars (K,) into states (K, 6) at arc lengths s (K,) of the line."""
    course = line.frame(s)[1]
    cars["x"], cars["y"] = line.beside(s, states[:, OFFSET]).T
    cars["yaw"] = turned(course + states[:, HEADING])
    cars["v"], cars["yaw_rate"], cars["steer"] = states[:, SPEED], states[:, YAW_RATE], states[:, STEER]
    cars["slip"] = states[:, W] if vehicle.model == "linear" else np.arctan2(states[:, W], states[:, SPEED])


def located(cars: Cars, line: SmoothLine, s: Array, vehicle: Vehicle) -> tuple[Array, Array]:
    """Arc lengths (K,) of the points of the line that are nearest to cars (K,), sought from s, and states (K, 6)."""
    x, y = cars["x"].astype(float), cars["y"].astype(float)
    s = np.array(s, float)
    for _ in range(PROJECTIONS):
        along, offset, course, bend = _beside(line, s, x, y)
        if np.abs(along).max(initial=0.0) < NEAREST:
            break
        s += along / np.maximum(1 - bend * offset, 0.3)
    w = cars["slip"] if vehicle.model == "linear" else cars["v"] * np.tan(cars["slip"])
    columns = (offset, turned(cars["yaw"] - course), cars["v"], w, cars["yaw_rate"], cars["steer"])
    return s, np.stack(columns, axis=1).astype(float)


def _beside(line: SmoothLine, s: Array, x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    points, course, bend = line.frame(s)
    dx, dy = x - points[:, 0], y - points[:, 1]
    sin, cos = np.sin(course), np.cos(course)
    return dx * cos + dy * sin, dy * cos - dx * sin, course, bend


def turned(angle: Array) -> Array:
    """Angles [rad] brought into [-pi, pi)."""
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)


def actions_of(commands: Array, vehicle: Vehicle) -> npt.NDArray[np.float32]:
    """Actions (K, 2) that ask for a steering angle [rad] and an acceleration [m/s^2], clipped to [-1, 1]."""
    pedal = commands[:, 1] / np.where(commands[:, 1] >= 0, vehicle.max_drive, vehicle.max_brake)
    return np.clip(np.stack([commands[:, 0] / vehicle.max_steer, pedal], axis=1), -1, 1).astype(np.float32)
