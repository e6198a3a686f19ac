"""Who can drive on the page: policies, drivers that tasks offer, a person. Each has a world of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.config import compose_run
from racing.evaluation.evaluate import Policy, Task, evaluation_task
from racing.evaluation.seeds import TEST_SEEDS
from racing.policies.loading import LoadedPolicy, evaluation_task_for
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle

F = npt.NDArray[np.float32]
HUMAN = "human"
LAPS = 1000  # of an episode, as many as an evaluation may have: who stays on the road drives on
KEY_RATE = 3.5  # [1/s] by which a key turns the wheel, of its way from the middle to one end
KEY_RETURN = 6.0  # [1/s] likewise, on the way back
PEDAL_RATE = 5.0  # [1/s] by which a key moves the pedals


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where is driven, and in what. reference_s: reference lap [s]. seed: of the starts."""

    track: Track
    vehicle: Vehicle
    reference_s: float
    seed: int = 0

    def options(self) -> dict[str, Any]:
        """Of the environment: one car, for an evaluation that does not end."""
        return {"races": 1, "laps": LAPS, "seed": TEST_SEEDS + self.seed}

    def task(self, env: Mapping[str, Any]) -> Task:
        """The environment of a config group `env`, with one car."""
        return evaluation_task(env, [self.track], self.vehicle, [self.reference_s], **self.options())


@dataclass(frozen=True, kw_only=True)
class Driver:
    """Who drives. task: makes the environment. wheel: takes it over, and gives what drives it from then on."""

    name: str
    kind: str  # policy | driver | human
    task: Callable[[], Task]
    wheel: Callable[[Task], Policy]


def policy_driver(policy: LoadedPolicy, place: Place) -> Driver:
    """A policy, in the environment that it was trained in."""

    def make() -> Task:
        return evaluation_task_for(policy, [place.track], place.vehicle, [place.reference_s], **place.options())

    return Driver(name=policy.name, kind="policy", task=make, wheel=lambda task: policy.predict)


def task_driver(name: str, pace: float, place: Place, env: Mapping[str, Any]) -> Driver:
    """A driver that the environment of a config group `env` offers (racing.envs.task.HasDrivers).

    pace: share of what it can drive.
    """

    def wheel(task: Task) -> Policy:
        drive = task.driver(name, pace=pace)
        return lambda _: drive()

    return Driver(name=name, kind="driver", task=lambda: place.task(env), wheel=wheel)


def human_env(conditions: Mapping[str, Any] | None) -> dict[str, Any]:
    """The config group `env` of a person, who decides in every control period; Hydra composes it.

    conditions: what changes while they drive, as env.conditions; None: nothing.
    """
    env: dict[str, Any] = compose_run(["env=mlp"])["env"] | {"action_repeat": 1}
    return env if conditions is None else env | {"conditions": dict(conditions)}


def human_driver(place: Place, env: Mapping[str, Any], hands: Hands) -> Driver:
    """A person. env: of `human_env`."""

    def wheel(task: Task) -> Policy:
        return lambda _: hands.action(task.world.step_dt)

    return Driver(name=HUMAN, kind=HUMAN, task=lambda: place.task(env), wheel=wheel)


class Hands:
    """What a person asks for, and what the car is given: keys move wheel and pedals no faster than hands could."""

    def __init__(self) -> None:
        self.let_go()

    def let_go(self) -> None:
        """Wheel and pedals in the middle, at once."""
        self._wanted, self._keys = np.zeros(2, np.float32), True
        self._given = np.zeros(2, np.float32)

    def ask(self, steer: float, throttle: float, *, keys: bool) -> None:
        """Where wheel (left positive) and pedals (brake negative) should be, each in [-1, 1].

        keys: they are pressed or not; else an axis, which is followed at once.
        """
        self._wanted[:], self._keys = np.clip([steer, throttle], -1, 1), keys

    def action(self, dt: float) -> F:
        """(1, 2) of the next `dt` [s]."""
        if not self._keys:
            self._given[:] = self._wanted
        else:
            back = abs(self._wanted[0]) < abs(self._given[0]) or self._wanted[0] * self._given[0] < 0
            most = np.array([KEY_RETURN if back else KEY_RATE, PEDAL_RATE], np.float32) * np.float32(dt)
            self._given += np.clip(self._wanted - self._given, -most, most)
        return self._given[None].copy()
