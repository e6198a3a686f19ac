"""`env=vision`: driving by what a camera in the car sees, and by what the car feels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from racing.envs.conditions import sense_conditions
from racing.envs.drivers import HasOptimalDriver
from racing.envs.sensors import SensorsTask, randomized
from racing.envs.task import StepResult
from racing.errors import input_group, require, require_number
from racing.sim.camera.camera import Camera, Randomize, make_lens, make_randomize
from racing.sim.track import Track
from racing.sim.variation.config import make_variation
from racing.sim.vehicle import GRAVITY, Vehicle
from racing.sim.world import World
from racing.tracks.texture import make_textures

F = npt.NDArray[np.float32]
U = npt.NDArray[np.uint8]
TELEMETRY = {  # name -> unit
    "speed": "top speeds",
    "longitudinal_g": "9.81 m/s^2",  # in the car's frame
    "lateral_g": "9.81 m/s^2",
    "yaw_rate": "friction * g / quarter of top speed",  # as the sensors have it
    "slip": "rad",  # angle between the car and its path
    "steering_angle": "greatest road-wheel angle",
    "steering_command": "[-1, 1]",  # last action
    "throttle_command": "[-1, 1]",
    "steering_change": "[0, 2]",  # |difference of the last two steering commands|
}
MOST_FRAMES = 16
CAMERA = ("field_of_view", "pitch", "above", "forward")  # parameters of make_lens that are those of `camera`
AMPLITUDES = tuple(field.name for field in fields(Randomize))  # keys of `randomize` that are the camera's


class VisionTask(HasOptimalDriver):
    """Driving by a camera and what the car feels of its motion; a racing.envs.task.DrivingTask.

    Action Space, Rewards, Starting State, Episode End: those of racing.envs.sensors.SensorsTask.

    Observation Space: Dict of

    key        space                              content
    vision     Box(0, 255, (H, W, k * C), uint8)  k frames from the oldest to the newest, C = 3 (RGB) or 1 (gray). An
                                                  episode begins with k copies of its first frame.
    telemetry  Box(-10, 10, (9 + S,), float32)    TELEMETRY, and what `conditions` lets the car sense, clipped. What a
                                                  car can measure itself: nothing of the track. Left out with
                                                  telemetry=False.

    telemetry's columns, in order:

    index  value              range     unit
    0      speed              [-1, 1]   top speeds
    1      longitudinal_g     about 1   9.81 m/s^2, in the car's frame
    2      lateral_g          about 1   9.81 m/s^2
    3      yaw_rate           about 1   friction * g / quarter of top speed, as the sensors have it
    4      slip               about 0   rad, between the car and its path
    5      steering_angle     [-1, 1]   greatest road-wheel angle
    6, 7   steering_command,  [-1, 1]   last action
           throttle_command
    8      steering_change    [0, 2]    |difference of the last two steering commands|

    Privileged observation (N, P): the observation of SensorsTask, for critics and teachers while training.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        vehicle: Vehicle,
        *,
        races: int,
        width: int = 84,
        height: int = 84,
        grayscale: bool = False,
        frame_stack: int = 1,
        telemetry: bool = True,
        texture: str = "drawn",
        camera: Mapping[str, Any] | None = None,
        randomize: Mapping[str, Any] | None = None,
        **sensors: Any,
    ) -> None:
        """Arguments that are not listed here are keys of conf/env/vision.yaml, which says what they mean.

        tracks, vehicle, races: as in SensorsTask.
        camera: the arguments of racing.sim.camera.camera.make_lens that differ from its defaults.
        randomize: the fields of racing.sim.camera.camera.Randomize that are not 0, pitch and yaw in degrees, and what
        SensorsTask takes.
        sensors: arguments of SensorsTask.
        Raises InputError for values out of range.
        """
        require_number("frame_stack", frame_stack, 1, MOST_FRAMES, whole=True, remedy="1 is a single frame")
        for name, value in (("grayscale", grayscale), ("telemetry", telemetry)):
            require(isinstance(value, bool), f"{name} must be true or false, got {value!r}; choose one")
        with input_group("camera", CAMERA):
            lens = make_lens(vehicle, width=width, height=height, gray=grayscale, **(camera or {}))
        amplitudes = {name: value for name, value in (randomize or {}).items() if name in AMPLITUDES}
        others = {name: value for name, value in (randomize or {}).items() if name not in AMPLITUDES}
        self._amplitudes = {name: value for name, value in amplitudes.items() if value}
        variation = make_variation(others, AMPLITUDES)
        self.sensors = SensorsTask(tracks, vehicle, races=races, randomize=variation, **sensors)
        self.tracks, self.vehicle, self.weights = self.sensors.tracks, vehicle, self.sensors.weights
        self.frame_stack, self.channels = frame_stack, 1 if grayscale else 3
        self.texture = texture
        textures = make_textures(tracks, source=texture)
        with input_group("camera", CAMERA):
            self.camera = Camera(self.world, lens, textures, make_randomize(amplitudes))
        self._telemetry = telemetry
        # Planes, the newest frame last: what convolutions read, and older frames move up in one piece.
        self._frames: U = np.zeros((self.num_cars, frame_stack * self.channels, height, width), np.uint8)
        self.privileged_size = self.sensors.size
        self.action_space, self.reward_terms = self.sensors.action_space, self.sensors.reward_terms

    @property
    def world(self) -> World:
        """The cars."""
        return self.sensors.world

    @property
    def cars(self) -> Any:
        """As in SensorsTask."""
        return self.sensors.cars

    @property
    def final_cars(self) -> Any:
        """As in SensorsTask."""
        return self.sensors.final_cars

    @property
    def num_cars(self) -> int:
        """Number of cars N."""
        return self.sensors.num_cars

    @property
    def observation_space(self) -> spaces.Dict:
        """See the class."""
        height, width = self._frames.shape[2:]
        parts: dict[str, spaces.Space[Any]] = {
            "vision": spaces.Box(0, 255, (height, width, self._frames.shape[1]), np.uint8)
        }
        if self._telemetry:
            parts["telemetry"] = spaces.Box(-10.0, 10.0, (len(self.observation_names),), np.float32)
        return spaces.Dict(parts)

    @property
    def observation_names(self) -> list[str]:
        """Names of the telemetry's values, in order."""
        return [*TELEMETRY, *self.world.condition_rules.sensed]

    def reseed(self, seed: int) -> None:
        """Take another seed; the next `reset` starts every car's first episode."""
        self.world.reseed(seed)

    def reset(self) -> tuple[dict[str, Any], F]:
        """Start every car's next episode; returns (observation, privileged (N, P))."""
        privileged, _ = self.sensors.reset()
        self._see()
        self._begin(np.arange(self.num_cars))
        return self.observe(), privileged

    def start_at(self, along: float, pace: float) -> tuple[dict[str, Any], F]:
        """As in SensorsTask."""
        privileged, _ = self.sensors.start_at(along, pace)
        self._see()
        self._begin(np.arange(self.num_cars))
        return self.observe(), privileged

    def observe(self) -> dict[str, Any]:
        """What all cars observe now."""
        return self._observation(self._frames, self.cars, self.world.conditions)

    def step_batch(self, actions: npt.NDArray[Any]) -> StepResult:
        """Advance all cars by one environment step. actions (N, 2)."""
        step = self.sensors.step_batch(actions)
        ended = np.flatnonzero(step.terminated | step.truncated)
        self._frames[:, : -self.channels] = self._frames[:, self.channels :]
        final = None
        if len(ended):
            last = self._frames[ended]
            newest, there = pictures(last[:, -self.channels :]), self.world.final_traffic
            conditions = self.world.final_conditions
            wetness = None if conditions is None else conditions["wetness"]
            self.camera.render(self.world.final_cars, ended, out=newest, traffic=there, wetness=wetness)
            conditions = None if conditions is None else conditions.reshape(-1)[ended]
            final = self._spread(self._observation(last, self.final_cars[ended], conditions), ended)
        self._see()
        self._begin(ended)
        observation = self.observe()
        return StepResult(
            observation=observation,
            reward=step.reward,
            terms=step.terms,
            terminated=step.terminated,
            truncated=step.truncated,
            final_observation=observation if final is None else final,
            privileged=step.observation,
            final_privileged=step.final_observation,
        )

    def last_episode(self, i: int) -> dict[str, Any]:
        """As in SensorsTask."""
        return self.sensors.last_episode(i) | randomized(self.drawn(np.array([i]), final=True))

    @property
    def randomize(self) -> dict[str, Any]:
        """As in SensorsTask, and the amplitudes of the camera."""
        return self.sensors.randomize | self._amplitudes

    def drawn(self, indices: npt.NDArray[Any], *, final: bool = False) -> dict[str, npt.NDArray[Any]]:
        """As in SensorsTask, and of the cameras (racing.sim.camera.camera.Camera.drawn)."""
        cars = self.world.final_cars if final else self.world.cars
        return self.sensors.drawn(indices, final=final) | self.camera.drawn(cars, indices)

    def render(self) -> U:
        """As in SensorsTask."""
        return self.sensors.render()

    def driver_camera(self, height: int) -> Camera:
        """The task's camera for people: pictures of `height` pixels (1024 at most) in color."""
        lens = self.camera.lens
        larger = replace(lens, width=min(1024, round(height * lens.width / lens.height)), height=height, gray=False)
        textures = make_textures(self.tracks, source=self.texture)
        return Camera(self.world, larger, textures, self.camera.randomize)

    def get_state(self) -> dict[str, Any]:
        """World and frames, as copies."""
        return {**self.sensors.get_state(), "frames": self._frames.copy()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `get_state()`."""
        self.sensors.set_state(state)
        self._frames[:] = state["frames"]

    def _see(self) -> None:
        """Take the newest frame of every car."""
        self.camera.render(out=pictures(self._frames[:, -self.channels :]))

    def _begin(self, indices: npt.NDArray[Any]) -> None:
        """Episodes of the cars `indices` have just begun: their stacks are their first frame."""
        self._frames[indices] = np.tile(self._frames[indices, -self.channels :], (1, self.frame_stack, 1, 1))

    def _observation(self, frames: U, cars: Any, conditions: Any) -> dict[str, Any]:
        """frames (n, k * C, H, W) and telemetry of `cars` (n,), in `conditions` (n records, or None)."""
        seen: dict[str, Any] = {"vision": pictures(frames.copy())}
        if self._telemetry:
            seen["telemetry"] = self._feel(cars, conditions)
        return seen

    def _feel(self, cars: Any, conditions: Any) -> F:
        """(n, 9 + S) telemetry of `cars` (n,)."""
        felt = telemetry_of(cars, self.vehicle)
        rules = self.world.condition_rules
        if not rules.sensed:
            return felt
        out = np.zeros((len(felt), felt.shape[1] + len(rules.sensed)), np.float32)
        out[:, : felt.shape[1]] = felt
        records = None if conditions is None else conditions.reshape(-1)
        out[:, felt.shape[1] :] = np.clip(sense_conditions(records, rules, self.vehicle), -10.0, 10.0)
        return out

    def _spread(self, some: dict[str, Any], indices: npt.NDArray[Any]) -> dict[str, Any]:
        """Observations of the cars `indices` as rows of observations of all cars; the other rows mean nothing."""
        out = {}
        for key, array in some.items():
            out[key] = np.zeros((self.num_cars, *array.shape[1:]), array.dtype)
            out[key][indices] = array
        return out


def pictures(planes: U) -> U:
    """Planes (n, C, H, W) as pictures (n, H, W, C), a view."""
    return planes.transpose(0, 2, 3, 1)


def telemetry_of(cars: Any, vehicle: Vehicle) -> F:
    """(n, 9) of car records (n,): TELEMETRY, clipped to [-10, 10]."""
    columns = (
        cars["v"] / vehicle.max_speed,
        cars["ax"] / GRAVITY,
        cars["ay"] / GRAVITY,
        cars["yaw_rate"] * vehicle.max_speed / (4 * vehicle.max_lateral),
        cars["slip"],
        cars["steer"] / vehicle.max_steer,
        cars["steering_command"],
        cars["throttle_command"],
        cars["steering_change"],
    )
    return np.clip(np.stack(columns, axis=1).astype(np.float32), -10.0, 10.0)
