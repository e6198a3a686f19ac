"""`env=lateral`: steer cars so that their lateral acceleration follows a plan, smoothly. docs/lateral.md"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from racing.envs.lateral.controllers import Controller
from racing.envs.lateral.dynamics import DEFAULT, Dynamics
from racing.envs.lateral.observation import BOUND, NAMES, observe
from racing.envs.lateral.rendering import picture_of
from racing.envs.lateral.route_sets import GENERATED, TRAINING, route_set
from racing.envs.lateral.rules import CONTROL_START, MOST_STEER, costs, step_costs
from racing.envs.lateral.world import LateralWorld
from racing.envs.task import StepResult
from racing.errors import is_number, read_group, require, require_number
from racing.sim.conditions.config import ConditionsConfig

F = npt.NDArray[np.float32]

ACTIONS = {"delta": 0.25, "absolute": MOST_STEER, "residual": 0.5}  # kind -> scale
REWARD_TERMS = ("lataccel", "jerk")
"""Each is what a step adds to the challenge's total_cost, times the 400 steps of an episode: their means over an
episode are 50 * lataccel_cost and jerk_cost. With weights of -1/500 the rewards' mean is -total_cost / 500."""


class LateralTask:
    """comma.ai's controls challenge for N cars; a racing.envs.task.DrivingTask.

    Action Space: Box(-1, 1, (1,), float32). Steering command of the next 0.1 s, right positive, clipped to [-2, 2]:

    action    command                       action_scale
    delta     the last one + scale * a      0.25
    absolute  scale * a                     2
    residual  that of PID + scale * a       0.5

    Observation Space: Box(-10, 10, (46,), float32), racing.envs.lateral.observation.observe.

    Rewards: REWARD_TERMS, weighted.

    Starting State: row 100 of a route, which was followed exactly until then.

    Episode End: truncated after 400 steps. All cars are at the same row, and start their next episodes together.
    """

    reward_terms = REWARD_TERMS
    privileged_size: int | None = None
    frame_stack = 1
    observation_names: tuple[str, ...] = NAMES
    action_names = ("steering",)

    def __init__(
        self,
        *,
        races: int,
        seed: int = 0,
        first_race: int = 0,
        dynamics: str = DEFAULT,
        routes: str = GENERATED,
        route_count: int = 600,
        route_seed: int = 0,
        holdout_routes: int = 48,
        part: str = TRAINING,
        action: str = "delta",
        action_scale: float | None = None,
        reward: Mapping[str, float] | None = None,
        conditions: Mapping[str, Any] | None = None,
        threads: int = 1,
    ) -> None:
        """Arguments that are not listed here are keys of conf/env/lateral.yaml, which says what they mean.

        races: number of cars N.
        first_race: number of the first car in a larger batch.
        part: of the routes, see racing.envs.lateral.route_sets. Those that are not for training are driven in order,
        each with the challenge's noise.
        conditions: of cars with tyres; nothing may change here.
        Raises InputError for values out of range, files that are none, and unknown reward terms.
        """
        known = ", ".join(ACTIONS)
        require(action in ACTIONS, f"action must be one of {known}, got {action!r}; choose one")
        scale = ACTIONS[action] if action_scale is None else action_scale
        require_number("action_scale", scale, 1e-3, 4.0, remedy=f"null: {ACTIONS[action]:g}, that of {action}")
        still = not read_group("conditions", conditions or {}, ConditionsConfig).on
        require(still, "conditions are of cars on tracks, env=lateral has none; use conditions=none")
        weights = reward_weights(reward)
        self.action, self.action_scale, self.part = action, float(scale), part
        self.weights = np.array([weights.get(name, 0.0) for name in REWARD_TERMS], np.float32)
        self.world = LateralWorld(
            route_set(routes, part, count=route_count, holdout=holdout_routes, seed=route_seed),
            Dynamics(dynamics),
            cars=races,
            seed=seed,
            first_car=first_race,
            fixed=part != TRAINING,
            threads=threads,
        )
        self.observation_space = spaces.Box(-BOUND, BOUND, (len(NAMES),), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._pid = Controller()
        self._command = np.zeros(races)  # of PID, for the present row
        self._ended: dict[str, Any] = {}

    @property
    def num_cars(self) -> int:
        """Number of cars N."""
        return self.world.num_cars

    def reseed(self, seed: int) -> None:
        """Take another seed; the next `reset` starts every car's first episode."""
        self.world.reseed(seed)

    def reset_alike(self, first: int, distinct: int, steps: int) -> tuple[F, None]:
        """Start new episodes, of at most `steps`; car i starts as car first + i % distinct of a larger batch."""
        self.world.restart_all(first, distinct, steps)
        return self.reset()

    def reset(self) -> tuple[F, None]:
        """Start every car's next episode; returns (observation (N, 46), None)."""
        self.world.begin()
        self._pid.begin(self.world)
        return self._look(), None

    def _look(self) -> F:
        """Go on to the world's present row: what PID would do, what is seen."""
        self._command = self._pid.update(self.world)
        return observe(self.world, self._pid, self._command)

    def steer(self, actions: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Steering commands (N,) of actions (N, 1), clipped to [-1, 1]."""
        wanted = self.action_scale * np.clip(actions[:, 0].astype(np.float64), -1.0, 1.0)
        if self.action == "delta":
            return self.world.steer[:, self.world.now - 1] + wanted
        return wanted + self._command if self.action == "residual" else wanted

    def step_batch(self, actions: npt.NDArray[Any]) -> StepResult:
        """Advance all cars by one environment step. actions (N, 1)."""
        world = self.world
        target, row = world.plan()[:, 0], world.now
        world.step(self.steer(actions))
        change = world.lataccel[:, row] - world.lataccel[:, row - 1] if row > CONTROL_START else np.zeros(self.num_cars)
        terms = np.stack(step_costs(target - world.lataccel[:, row], change), axis=1).astype(np.float32)
        observation = last = self._look()
        over = np.full(self.num_cars, world.over)
        if world.over:
            self._ended = self._facts()
            observation, _ = self.reset()
        return StepResult(
            observation=observation,
            reward=terms @ self.weights,
            terms=terms,
            terminated=np.zeros(self.num_cars, bool),
            truncated=over,
            final_observation=last,
        )

    def _facts(self) -> dict[str, Any]:
        """Of the episodes that end now: steps, route numbers, costs, and the rows driven (N, steps)."""
        world, driven = self.world, slice(CONTROL_START, self.world.now)
        target = world.routes.plans[world.chosen, driven, 0]
        lataccel, steer = world.lataccel[:, driven].copy(), world.steer[:, driven].copy()
        rows = {"target": target, "lataccel": lataccel, "steer": steer}
        return {"steps": target.shape[1], "chosen": world.chosen.copy(), **rows, "costs": costs(target, lataccel)}

    def last_episode(self, i: int) -> dict[str, Any]:
        """Facts of the episode that car i ended in the last step: its route and costs."""
        ended = self._ended
        route = self.world.routes.names[int(ended["chosen"][i])]
        found = {name: float(values[i]) for name, values in ended["costs"].items()}
        return {"steps": ended["steps"], "ended": "route_done", "route": route, **found}

    def render(self) -> npt.NDArray[np.uint8]:
        """Draw the first car's plan, and how it is followed, (480, 480, 3) uint8."""
        return picture_of(self.world, 0)

    def get_state(self) -> dict[str, Any]:
        """Everything that changes, as copies."""
        return {"world": self.world.get_state(), "pid": self._pid.get_state(), "command": self._command.copy()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `get_state()`. Raises ValueError if it does not fit."""
        self.world.set_state(state["world"])
        self._pid.set_state(state["pid"])
        self._command = state["command"].copy()


def reward_weights(reward: Mapping[str, float] | None) -> dict[str, float]:
    """Weight of each reward term by its name; None: -1/500 of each. Raises InputError for other names and values."""
    if reward is None:
        return dict.fromkeys(REWARD_TERMS, -1 / 500)
    known = ", ".join(REWARD_TERMS)
    require(isinstance(reward, Mapping), f"reward must be weights by term, got {reward!r}; the terms: {known}")
    for name, weight in reward.items():
        require(name in REWARD_TERMS, f"reward.{name} is no reward term; use: {known}")
        require(is_number(weight), f"reward.{name} must be a finite number, got {weight!r}; 0 switches it off")
    return dict(reward)
