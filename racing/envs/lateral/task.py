"""`env=lateral`: steer cars so that their lateral acceleration follows a plan, smoothly. docs/lateral.md"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from racing.envs.lateral.challenge import write_controller
from racing.envs.lateral.controllers import REFERENCES, Controller, drive, pid
from racing.envs.lateral.dynamics import DEFAULT, Dynamics
from racing.envs.lateral.mpc import Mpc, MpcConfig
from racing.envs.lateral.observation import BOUND, NAMES, believed_steer, observe
from racing.envs.lateral.pictures import routes_picture
from racing.envs.lateral.rendering import picture_of
from racing.envs.lateral.routes.sets import GENERATED, route_set
from racing.envs.lateral.rules import CONTROL_START, COST_END, MOST_STEER, PLAN, STEP_S, costs, step_costs
from racing.envs.lateral.world import LateralWorld
from racing.envs.rewards import checked_weights
from racing.envs.task import Cost, Driver, Part, StepResult, require_driver
from racing.errors import read_group, require, require_number
from racing.sim.conditions.config import ConditionsConfig

F = npt.NDArray[np.float32]

ACTIONS = {"delta": 0.25, "absolute": MOST_STEER, "residual": 0.5}  # kind -> scale
REWARD_TERMS = ("lataccel", "jerk")
"""Each is what a step adds to the challenge's total_cost, times the 400 steps of an episode: their means over an
episode are 50 * lataccel_cost and jerk_cost. With weights of -1/500 the rewards' mean is -total_cost / 500."""


class LateralTask:
    """comma.ai's controls challenge for N cars; a racing.envs.task.ScoredTask.

    Action Space: Box(-1, 1, (1,), float32). Steering command of the next 0.1 s, right positive, clipped to [-2, 2]:

    action    command                       action_scale
    delta     the last one + scale * a      0.25 (the first time: what `believed_steer` says it was)
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
    observation_names = NAMES
    action_names = ("steering",)
    costs = (
        Cost(name="total_cost", digits=1),
        Cost(name="lataccel_cost", digits=3),
        Cost(name="jerk_cost", digits=1),
    )
    reference_names = tuple(REFERENCES)
    driver_names = ("feed_forward", "pid", "preview_pid", "mpc")
    driver_settings: ClassVar[dict[str, Any]] = {"action": "absolute", "action_scale": None}
    episode_name = "route"
    export_formats: ClassVar[dict[str, Callable[[Path], list[Path]]]] = {"controls_challenge": write_controller}
    telemetry_units: ClassVar[dict[str, str]] = {
        "target": "m/s^2",
        "lataccel": "m/s^2",
        "steer": "1",  # command, right positive, [-2, 2]
        "roll_lataccel": "m/s^2",
        "v": "m/s",
        "a": "m/s^2",
    }
    panels = (("target", "lataccel"), ("steer",), ("roll_lataccel",), ("v",))
    ahead = PLAN
    units: ClassVar[dict[str, str]] = {
        "observation": "scaled by hand to about [-1, 1], see racing.envs.lateral.observation.observe",
        "action": "[-1, 1], steering right positive; times env.action_scale it is added to the last command (delta), "
        "is the command (absolute), or is added to PID's (residual); commands are clipped to [-2, 2]",
    }

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
        part: Part = Part.TRAINING,
        action: str = "delta",
        action_scale: float | None = None,
        reward: Mapping[str, float] | None = None,
        conditions: Mapping[str, Any] | None = None,
        mpc: Mapping[str, Any] | MpcConfig | None = None,
        threads: int = 1,
    ) -> None:
        """Arguments that are not listed here are keys of conf/env/lateral.yaml, which says what they mean.

        races: number of cars N.
        first_race: number of the first car in a larger batch.
        part: of the routes, see racing.envs.lateral.routes.sets. Those that are not for training are driven in order,
        each with the challenge's noise.
        conditions: of cars with tyres; nothing may change here.
        mpc: the fields of racing.envs.lateral.mpc.MpcConfig that differ from its defaults.
        Raises InputError for values out of range, files that are none, and unknown reward terms.
        """
        known = ", ".join(ACTIONS)
        require(action in ACTIONS, f"action must be one of {known}, got {action!r}; choose one")
        scale = ACTIONS[action] if action_scale is None else action_scale
        require_number("action_scale", scale, 1e-3, 4.0, remedy=f"null: {ACTIONS[action]:g}, that of {action}")
        still = not read_group("conditions", conditions or {}, ConditionsConfig).on
        require(still, "conditions are of cars on tracks, env=lateral has none; use conditions=none")
        weights = dict.fromkeys(REWARD_TERMS, -1 / 500) if reward is None else checked_weights(reward, REWARD_TERMS)
        self.action, self.action_scale, self.part = action, float(scale), part
        self._mpc = read_group("mpc", mpc or {}, MpcConfig)
        self.weights = np.array([weights.get(name, 0.0) for name in REWARD_TERMS], np.float32)
        self.world = LateralWorld(
            route_set(routes, part, count=route_count, holdout=holdout_routes, seed=route_seed),
            Dynamics(dynamics),
            cars=races,
            seed=seed,
            first_car=first_race,
            fixed=part != Part.TRAINING,
            threads=threads,
        )
        self.observation_space = spaces.Box(-BOUND, BOUND, (len(NAMES),), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._pid = pid()
        self._believed = believed_steer(self.world.routes.plans)
        self._steer = np.zeros_like(self.world.steer)  # the commands as policies see them
        self._command = np.zeros(races)  # of PID, for the present row
        self._own: Controller | None = None  # of `driver`
        self._ended: dict[str, Any] = {}
        self.keep_picture = False  # whether `last_picture` is drawn at each end: the first car's ended episode
        self.last_picture: npt.NDArray[np.uint8] | None = None

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
        for controller in self._controllers():
            controller.begin(self.world)
        self._steer[:, :CONTROL_START] = self._believed[self.world.chosen]
        return self._look(), None

    def _controllers(self) -> list[Controller]:
        return [self._pid, *([self._own] if self._own is not None else [])]

    def driver(self, name: str, *, pace: float = 1.0, **_: Any) -> Driver:
        """See HasDrivers: one of the controllers; the task keeps its state from then on."""
        require_driver(type(self), name)
        require(pace == 1.0, f"pace is a share of a lap's speed, {name} drives none; leave it away, got {pace}")
        controller: Controller = Mpc(self._mpc) if name == "mpc" else REFERENCES[name]()
        self._own = controller

        def follow(taught: float = 0.0) -> F:
            command = controller.command(self.world)
            actions = np.clip((command - self._from()) / self.action_scale, -1.0, 1.0)
            return actions.astype(np.float32)[:, None]

        return follow

    def _from(self) -> npt.NDArray[np.float64]:
        """Commands (N,) of an action of 0."""
        if self.action == "delta":
            last: npt.NDArray[np.float64] = self._steer[:, self.world.now - 1]
            return last
        return self._command if self.action == "residual" else np.zeros(self.num_cars)

    def _look(self) -> F:
        """Go on to the world's present row: what PID would do, what is seen."""
        for controller in self._controllers():
            controller.look(self.world)
        self._command = self._pid.command(self.world)
        return observe(self.world, self._steer, self._pid, self._command)

    def steer(self, actions: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Steering commands (N,) of actions (N, 1), clipped to [-1, 1]."""
        return self._from() + self.action_scale * np.clip(actions[:, 0].astype(np.float64), -1.0, 1.0)

    def step_batch(self, actions: npt.NDArray[Any]) -> StepResult:
        """Advance all cars by one environment step. actions (N, 1)."""
        world = self.world
        target, row = world.plan()[:, 0], world.now
        world.step(self.steer(actions))
        self._steer[:, row] = world.steer[:, row]
        change = world.lataccel[:, row] - world.lataccel[:, row - 1] if row > CONTROL_START else np.zeros(self.num_cars)
        terms = np.stack(step_costs(target - world.lataccel[:, row], change), axis=1).astype(np.float32)
        observation = last = self._look()
        over = np.full(self.num_cars, world.over)
        if world.over:
            self._ended = self._driven()
            self.last_picture = picture_of(world, 0) if self.keep_picture else None
            observation, _ = self.reset()
        return StepResult(
            observation=observation,
            reward=terms @ self.weights,
            terms=terms,
            terminated=np.zeros(self.num_cars, bool),
            truncated=over,
            final_observation=last,
        )

    def _driven(self) -> dict[str, Any]:
        """What the episodes that end now were: routes, rows (N, steps) by name of their column, costs (N,) by name."""
        world, rows = self.world, slice(CONTROL_START, self.world.now)
        plan = world.routes.plans[world.chosen, rows]
        target, roll, speed, acceleration = np.moveaxis(plan, 2, 0)
        lataccel, steer = world.lataccel[:, rows].copy(), world.steer[:, rows].copy()
        columns = (target, lataccel, steer, roll, speed, acceleration)
        return {
            "routes": [world.routes.names[number] for number in world.chosen.tolist()],
            "rows": dict(zip(self.telemetry_units, columns, strict=True)),
            "costs": costs(target, lataccel),
        }

    @property
    def episode_names(self) -> Sequence[str]:
        """See ScoredTask: routes."""
        return self.world.routes.names

    def begin(self, number: int) -> F:
        """See ScoredTask: the route of that number, with the challenge's noise."""
        self.world.restart_all(number, 1)
        return self.reset()[0]

    def planned(self, i: int) -> dict[str, npt.NDArray[Any]]:
        """See ScoredTask: all that the route says."""
        plan = self.world.routes.plans[self.world.chosen[i], CONTROL_START : COST_END + PLAN]
        return dict(zip(("target", "roll_lataccel", "v", "a"), plan.T, strict=True))

    def so_far(self, i: int) -> dict[str, npt.NDArray[Any]]:
        """See ScoredTask."""
        rows = slice(CONTROL_START, self.world.now)
        return {"lataccel": self.world.lataccel[i, rows].copy(), "steer": self.world.steer[i, rows].copy()}

    def costs_so_far(self, i: int) -> dict[str, float]:
        """See ScoredTask; there are none before the second step."""
        rows = slice(CONTROL_START, self.world.now)
        if self.world.now < CONTROL_START + 2:
            return {}
        target = self.world.routes.plans[self.world.chosen[i], rows, 0]
        return {name: float(value) for name, value in costs(target, self.world.lataccel[i, rows]).items()}

    def last_episode(self, i: int) -> dict[str, Any]:
        """Facts of the episode that car i ended in the last step: its route and costs."""
        ended = self._ended
        found = {name: float(values[i]) for name, values in ended["costs"].items()}
        return {"steps": ended["rows"]["target"].shape[1], "ended": "route_done", "route": ended["routes"][i], **found}

    def telemetry(self, i: int) -> dict[str, npt.NDArray[Any]]:
        """See ScoredTask: a row for each row of the route that was steered."""
        rows = {name: values[i].astype(np.float32) for name, values in self._ended["rows"].items()}
        steps = len(rows["target"])
        return {"time_s": (np.arange(CONTROL_START, CONTROL_START + steps) * STEP_S).astype(np.float32), **rows}

    def facts(self) -> dict[str, str]:
        """See ScoredTask: the dynamics and the routes, with their checksums."""
        dynamics, routes = self.world.dynamics, self.world.routes
        return {
            "dynamics": dynamics.name,
            "dynamics_sha256": dynamics.sha256,
            "routes": routes.source,
            "routes_sha256": routes.sha256(),
        }

    def references(self) -> dict[str, list[dict[str, float]]]:
        """See ScoredTask: PID and its kin, which steer without the limits that `action` has."""
        found, world = {}, self.world.again()
        for name, make in REFERENCES.items():
            world.restart_all()
            drive(make(), world)
            rows = slice(CONTROL_START, world.now)
            target = world.routes.plans[world.chosen, rows, 0]
            values = costs(target, world.lataccel[:, rows])
            found[name] = [{key: float(value[i]) for key, value in values.items()} for i in range(world.num_cars)]
        return found

    @staticmethod
    def draw(
        tables: Sequence[Mapping[str, Any]], labels: Sequence[str], title: str, facts: Sequence[str], path: Path
    ) -> Path:
        """See ScoredTask."""
        return routes_picture(tables, labels, title, facts, path)

    def render(self) -> npt.NDArray[np.uint8]:
        """Draw the first car's plan, and how it is followed, (480, 480, 3) uint8."""
        return picture_of(self.world, 0)

    def get_state(self) -> dict[str, Any]:
        """Everything that changes, as copies."""
        controllers = [controller.get_state() for controller in self._controllers()]
        return {"world": self.world.get_state(), "controllers": controllers, "command": self._command.copy()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `get_state()`. Raises ValueError if it does not fit."""
        self.world.set_state(state["world"])
        self._steer[:] = self.world.steer
        self._steer[:, :CONTROL_START] = self._believed[self.world.chosen]
        for controller, its in zip(self._controllers(), state["controllers"], strict=True):
            controller.set_state(its)
        self._command = state["command"].copy()
