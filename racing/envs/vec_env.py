"""The batch of cars as Stable-Baselines3's VecEnv, natively: no per-car Python objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv

from racing.envs.task import DrivingTask, StepResult, is_scored, require_finite
from racing.errors import is_number, require
from racing.observations import rows_of


class RacingVecEnv(VecEnv):
    """The N cars of one task. Truncations carry "TimeLimit.truncated" and bootstrap.

    Beside SB3's interface: `step_batch(actions) -> StepResult` returns plain arrays without per-car dicts, which is
    what fast collectors use, and `get_state()/set_state()` are complete.

    task: of racing.envs; observations of racing.envs.vision.VisionTask are dicts of arrays.
    privileged: (N, P) float32, what a critic or a teacher may see beside the observation that was returned last; zeros
    before the first reset. None: the task has no such observations.
    stack: frames in an observation of the camera.
    """

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(self, task: DrivingTask) -> None:
        """See the class."""
        self.task = task
        self.render_mode = None
        self._actions = np.zeros((task.num_cars, *task.action_space.shape), np.float32)
        self._returns = np.zeros(task.num_cars, np.float64)
        self._terms = np.zeros((task.num_cars, len(task.reward_terms)), np.float64)
        size = task.privileged_size
        self.privileged = None if size is None else np.zeros((task.num_cars, size), np.float32)
        self.stack = task.frame_stack
        self.episodes: list[dict[str, Any]] = []  # what ended since it was last emptied by `take_episodes`
        self._agents = [""] * task.num_cars
        self._weights: npt.NDArray[np.float32] | None = None  # (N, T), None: the task's for all
        super().__init__(task.num_cars, task.observation_space, task.action_space)

    def reset(self) -> Any:
        """Start all cars anew; returns observations (N, ...)."""
        self._begin()
        observation, self.privileged = self.task.reset()
        return observation

    def reset_alike(self, first: int, distinct: int, steps: int) -> Any:
        """Start all cars anew, car i as car first + i % distinct of a larger batch; returns observations (N, ...).

        steps: that an episode lasts at most. Of tasks that have `reset_alike`; see `starts_alike`.
        """
        self._begin()
        observation, self.privileged = self.task.reset_alike(first, distinct, steps)  # type: ignore[attr-defined]
        return observation

    @property
    def drives_laps(self) -> bool:
        """Whether episodes tell of laps and progress: where there are tracks."""
        return not is_scored(self.task)

    @property
    def starts_alike(self) -> bool:
        """Whether cars can start as others do: by their sensors, each alone or in a race of its own."""
        return bool(getattr(self.task, "starts_alike", hasattr(self.task, "reset_alike")))

    @property
    def races_alike(self) -> bool:
        """Whether they also race against others: `task.standing` says how far all have come since `reset_alike`."""
        return self.starts_alike and bool(getattr(self.task, "drivers", ()))

    @property
    def turns(self) -> npt.NDArray[np.int64]:
        """(N,) by which several agents take the cars: of a race consecutive numbers, the first of the next race's one
        higher, so that nobody has the same place in all of them.
        """
        return getattr(self.task, "turns", np.arange(self.num_envs))

    def assign(self, agent: str, cars: npt.NDArray[Any], reward: Mapping[str, float]) -> None:
        """Let the cars (n,) be those of an agent: their episodes name it.

        reward: weights of terms that differ from the task's. Raises InputError for other names and values.
        """
        for car in cars.tolist():
            self._agents[car] = agent
        terms = self.task.reward_terms
        for name, weight in reward.items():
            require(name in terms, f"{agent}.reward.{name} is no reward term of env; use: {', '.join(terms)}")
            require(is_number(weight), f"{agent}.reward.{name} must be a finite number, got {weight!r}; e.g. 0")
            if self._weights is None:
                self._weights = np.tile(self.task.weights, (self.num_envs, 1))
            self._weights[cars, terms.index(name)] = weight

    def _begin(self) -> None:
        """Take the seed that was set, and begin all accounts anew."""
        if self._seeds[0] is not None:
            self.task.reseed(int(self._seeds[0]))
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0
        self._terms[:] = 0

    def step_batch(self, actions: npt.NDArray[Any], counted: npt.NDArray[np.bool_] | None = None) -> StepResult:
        """Advance all cars by one environment step; keep account of ended episodes.

        counted: (N,) the cars whose episodes are, None: all.
        """
        step = self.task.step_batch(actions)
        if self._weights is not None:
            step = replace(step, reward=(step.terms * self._weights).sum(1))
        self.privileged = step.privileged
        self._returns += step.reward
        self._terms += step.terms
        ended = step.terminated | step.truncated
        for i in np.flatnonzero(ended if counted is None else ended & counted):
            self.episodes.append(self._episode(int(i)))
        self._returns[ended] = 0
        self._terms[ended] = 0
        return step

    def _episode(self, i: int) -> dict[str, Any]:
        weighted = self._terms[i] * (self.task.weights if self._weights is None else self._weights[i])
        return {
            **({"agent": self._agents[i]} if self._agents[i] else {}),
            "reward": float(self._returns[i]),
            **self.task.last_episode(i),
            "terms": dict(zip(self.task.reward_terms, weighted.tolist(), strict=True)),
        }

    def take_episodes(self) -> list[dict[str, Any]]:
        """Episodes that ended since the last call."""
        taken, self.episodes = self.episodes, []
        return taken

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Keep the actions (N, A) for step_wait. Raises NonFiniteAction."""
        require_finite(actions)
        self._actions = actions

    def step_wait(self) -> tuple[Any, Any, Any, Any]:
        """SB3's step: observations (N, D), rewards (N,), dones (N,), infos."""
        before = len(self.episodes)
        step = self.step_batch(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        done = step.terminated | step.truncated
        for i, episode in zip(np.flatnonzero(done), self.episodes[before:], strict=True):
            infos[i] = {
                "terminal_observation": rows_of(step.final_observation, i),
                "TimeLimit.truncated": bool(step.truncated[i]),
                "episode": {"r": episode["reward"], "l": episode["steps"], "t": 0.0},
                "racing": episode,
            }
        return step.observation, step.reward, done, infos

    def get_state(self) -> dict[str, Any]:
        """The task and the accounts of its episodes, as copies."""
        extra = {} if self.privileged is None else {"privileged": self.privileged.copy()}
        return {
            **self.task.get_state(),
            **extra,
            "returns": self._returns.copy(),
            "terms": self._terms.copy(),
            "episodes": [dict(episode) for episode in self.episodes],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from `get_state()`."""
        self.task.set_state(state)
        if self.privileged is not None:
            self.privileged = state["privileged"].copy()
        self._returns[:] = state["returns"]
        self._terms[:] = state["terms"]
        self.episodes = [dict(episode) for episode in state["episodes"]]

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """The same value for every car: attributes belong to the batch."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None) -> None:
        """Set an attribute of the batch."""
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: int | Iterable[int] | None = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the batch once; its result for every car."""
        result = getattr(self, method_name)(*method_args, **method_kwargs)
        return [result] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: Any, indices: int | Iterable[int] | None = None) -> list[bool]:
        """Never: there are no single environments inside."""
        return [False] * len(list(self._get_indices(indices)))

    def get_images(self) -> Sequence[npt.NDArray[np.uint8] | None]:
        """Picture (H, W, 3) of the first car's surroundings."""
        return [self.task.render()]
