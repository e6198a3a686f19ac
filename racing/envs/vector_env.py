"""Many cars as a Gymnasium vector environment, natively: `gymnasium.make_vec("racing/Sensors-v0", num_envs=64)`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from racing.envs.gym_env import METADATA, SEEDS, make_task, require_render_mode
from racing.envs.task import StepResult, require_finite
from racing.errors import require
from racing.observations import rows_of
from racing.sim.records import Ending


class TaskVectorEnv(VectorEnv[Any, npt.NDArray[np.float32], npt.NDArray[Any]], ABC):
    """The N cars of one racing.envs.task.DrivingTask, stepped together.

    A car whose episode ended starts its next one in the same step (AutoresetMode.SAME_STEP): the observation is the new
    episode's first, and infos["final_obs"], infos["final_info"] are the ended one's last, as in SyncVectorEnv.

    Car i under a seed drives the episodes of the single environment that is made with first_race=i, under that seed.
    """

    metadata = METADATA

    def __init__(self, task: Any, render_mode: str | None) -> None:
        """task: of N cars."""
        self.num_envs, self.task, self.render_mode = task.num_cars, task, render_mode
        self.metadata = {**self.metadata, "render_fps": round(1 / task.world.step_dt)}
        self.single_observation_space, self.single_action_space = task.observation_space, task.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._seeded = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode of every car; see TaskEnv.reset. seed: one for all, from which each car draws its own."""
        require(seed is None or np.ndim(seed) == 0, f"seed must be one number for all cars, got {seed!r}; give one")
        masked = options is not None and "reset_mask" in options
        require(not masked, "options must not have reset_mask: cars start anew by themselves; leave it away")
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self.task.reseed(int(self.np_random.integers(SEEDS)) if seed is None else seed)
            self._seeded = True
        return self.task.reset()[0], {}

    def step(self, actions: npt.NDArray[np.float32]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Advance all cars by one environment step: observations, rewards (N,), terminated, truncated, infos."""
        actions = np.asarray(actions, np.float32)
        require_finite(actions)
        step = self.task.step_batch(actions)
        return step.observation, step.reward.astype(np.float64), step.terminated, step.truncated, self._infos(step)

    def _infos(self, step: StepResult) -> dict[str, Any]:
        """What SyncVectorEnv makes of the single environments' infos."""
        ended, infos = step.terminated | step.truncated, self._running()
        for name in tuple(infos):
            infos[name][ended] = None if infos[name].dtype == object else 0  # theirs are in final_info
            infos[f"_{name}"] = ~ended
        for i in np.flatnonzero(ended):
            final = {"final_obs": rows_of(step.final_observation, i), "final_info": self._final(int(i))}
            infos = self._add_info(infos, final, int(i))
        return infos

    @abstractmethod
    def _running(self) -> dict[str, npt.NDArray[Any]]:
        """What is said of all cars after a step: arrays (N,) by name, which may be changed."""

    @abstractmethod
    def _final(self, i: int) -> dict[str, Any]:
        """What is said of the episode that car i ended in the last step."""

    def render(self) -> tuple[npt.NDArray[np.uint8], ...] | None:
        """A picture of the first car's surroundings."""
        return (self.task.render(),) if self.render_mode == "rgb_array" else None


class RacingVectorEnv(TaskVectorEnv):
    """The N cars of one task of conf/env on a track."""

    group: ClassVar[str]  # file of conf/env

    def __init__(
        self,
        num_envs: int = 1,
        track: str = "circuit",
        vehicle: str = "kart",
        render_mode: str | None = None,
        **env: Any,
    ) -> None:
        """num_envs: number of cars N; the other arguments as of racing.envs.gym_env.RacingEnv. Raises InputError."""
        require_render_mode(render_mode)
        super().__init__(make_task(self.group, track, vehicle, env, races=num_envs), render_mode)

    def _running(self) -> dict[str, npt.NDArray[Any]]:
        """See TaskVectorEnv."""
        cars, running = self.task.final_cars, np.full(self.num_envs, Ending(0).label, object)
        return {
            "progress": cars["progress"].astype(np.float64),
            "laps": cars["laps"].astype(np.int64),
            "ended": running,
        }

    def _final(self, i: int) -> dict[str, Any]:
        """See TaskVectorEnv."""
        car = self.task.final_cars[i]
        return {"progress": float(car["progress"]), "laps": int(car["laps"]), "ended": Ending(car["ended"]).label}


class SensorsVectorEnv(RacingVectorEnv):
    """Driving by sensors; see racing.envs.gym_env.SensorsEnv."""

    group = "mlp"


class VisionVectorEnv(RacingVectorEnv):
    """Driving by a camera; see racing.envs.gym_env.VisionEnv."""

    group = "vision"


class RaceVectorEnv(RacingVectorEnv):
    """Driving among opponents and each other, as `mix` says; num_envs is a multiple of `cars`.

    See racing.envs.gym_env.RaceEnv. A car does not repeat the episodes of a single environment: others are around it.
    """

    group = "race"
