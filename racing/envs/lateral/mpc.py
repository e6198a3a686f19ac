"""Model-predictive control by sampling: MPPI on the dynamics' expected lateral accelerations.

At each row, plans of the next commands are tried on the dynamics' model, and the plan becomes their mean, weighted by
exp(-cost); the first command is given, the rest is where the next row begins (Williams et al. 2017, doi
10.1109/ICRA.2017.7989202). Costs are the challenge's. Sampling needs no derivatives, which tokens do not have: the
model sees lateral accelerations in steps of 0.01 m/s^2.

What a controller may know is used and nothing else: the plan ahead, what has been, and of the log's commands what
`believed_steer` takes them to be. All cars try the same changes, so that none depends on the batch that it is in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.envs.lateral.default_model import feed_forward
from racing.envs.lateral.kernels import gather_inputs
from racing.envs.lateral.observation import LEAD, believed_steer
from racing.envs.lateral.rules import CONTEXT, CONTROL_START, COST_END, MOST_CHANGE, MOST_STEER, encode, step_costs
from racing.envs.lateral.world import LateralWorld
from racing.errors import require, require_number

F = npt.NDArray[np.float64]

KNOTS = (0, 1, 2, 3, 5, 8, 13, 21, 34)  # rows of a plan that are changed; those between them follow in a line
SPREAD = 0.1  # [-] standard deviation of the changes of steering commands at the knots; half of it in each iteration
TEMPERATURE = 0.2  # of the weights, in standard deviations of the costs that were tried
MOST_HORIZON = 40


@dataclass(frozen=True, kw_only=True)
class MpcConfig:
    """Group `mpc` of conf/env/lateral.yaml, which says what the keys mean."""

    samples: int = 32
    horizon: int = 10
    iterations: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for values out of range."""
        require_number("samples", self.samples, 2, 4096, whole=True, remedy="32 is the default")
        require(self.samples % 2 == 0, f"samples must be even, got {self.samples}; each change is tried both ways")
        require_number("horizon", self.horizon, 2, MOST_HORIZON, whole=True, remedy="10 is the default")
        require_number("iterations", self.iterations, 1, 100, whole=True, remedy="2 is the default")
        require_number("seed", self.seed, 0, (1 << 31) - 1, whole=True, remedy="0 is the default")


class Mpc:
    """Steers by `MpcConfig`; a racing.envs.lateral.controllers.Controller.

    plan: (N, horizon) commands from row `row` on.
    """

    def __init__(self, config: MpcConfig) -> None:
        """See the class."""
        self._config = config
        knots = np.array([knot for knot in KNOTS if knot < config.horizon])
        rows = np.arange(config.horizon)
        self._lines = np.stack([np.interp(rows, knots, one) for one in np.eye(len(knots))])  # (knots, horizon)
        self.plan, self.row = np.zeros((0, config.horizon)), -1

    def begin(self, world: LateralWorld) -> None:
        """See Controller: there is no plan yet."""
        self.row = -1

    def look(self, world: LateralWorld) -> None:
        """See Controller: nothing is added up."""

    def command(self, world: LateralWorld) -> F:
        """See Controller: plans, unless it has for this row."""
        if self.row != world.now:
            self._plan(world)
        first: F = self.plan[:, 0].copy()
        return first

    def get_state(self) -> dict[str, Any]:
        """What changes, as copies."""
        return {"plan": self.plan.copy(), "row": self.row}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from `get_state()`."""
        self.plan, self.row = state["plan"].copy(), state["row"]

    def _plan(self, world: LateralWorld) -> None:
        """Improve the plan of the row before, or a first guess, for the world's present row."""
        config, now = self._config, world.now
        rows = min(config.horizon, COST_END - now)
        past = now - self.row
        if self.row >= 0 and past < config.horizon:
            kept = self.plan[:, past:]
            self.plan = np.concatenate([kept, np.repeat(kept[:, -1:], past, axis=1)], axis=1)
        else:
            target, roll, speed, _ = np.moveaxis(self._route(world, now + LEAD, config.horizon), 2, 0)
            self.plan = np.clip(feed_forward(target, roll, speed), -MOST_STEER, MOST_STEER)
        self.row = now
        rng = np.random.default_rng([config.seed, now])
        for iteration in range(config.iterations):
            half = rng.standard_normal((config.samples // 2, len(self._lines))) @ self._lines
            moves = SPREAD * 0.5**iteration * np.concatenate([np.zeros((1, config.horizon)), half, -half])
            tried = np.clip(self.plan[:, None] + moves, -MOST_STEER, MOST_STEER)
            costs = self._costs(world, tried[:, :, :rows])
            costs -= costs.min(axis=1, keepdims=True)
            weights = np.exp(-costs / (TEMPERATURE * costs.std(axis=1, keepdims=True) + 1e-9))
            weights /= weights.sum(axis=1, keepdims=True)
            self.plan = (weights[..., None] * tried).sum(axis=1)

    def _costs(self, world: LateralWorld, steer: F) -> F:
        """What plans (N, S, H) cost, (N, S): the challenge's costs of the rows, summed."""
        now, rows = world.now, steer.shape[2]
        lataccel = self._expected(world, steer)
        before = np.concatenate([lataccel[..., :1], lataccel[..., :-1]], axis=2)
        if now > CONTROL_START:  # the change in an episode's first step costs nothing
            before[..., 0] = world.lataccel[:, now - 1, None]
        target = self._route(world, now, rows)[:, None, :, 0]
        tracking, jerk = step_costs(target - lataccel, lataccel - before)
        total: F = (tracking + jerk).sum(axis=2)
        return total

    @staticmethod
    def _route(world: LateralWorld, first: int, rows: int) -> F:
        """(N, rows, 4) of the routes, see `Routes`."""
        part: F = world.routes.plans[world.chosen, first : first + rows]
        return part

    def _expected(self, world: LateralWorld, steer: F) -> F:
        """Lateral accelerations [m/s^2] that the model expects of plans (N, S, H), (N, S, H)."""
        cars, plans, rows = steer.shape
        first = world.now - CONTEXT
        driven = world.steer[:, first : world.now].copy()
        unknown = max(CONTROL_START - first, 0)  # rows of the log
        if unknown:
            driven[:, :unknown] = believed_steer(world.routes.plans[world.chosen])[:, first:]
        route = self._route(world, first, CONTEXT + rows)
        seen = encode(world.lataccel[:, first : world.now])
        number, out = np.repeat(np.arange(cars), plans), np.empty((cars * plans, rows))
        asked, chunk = steer.reshape(-1, rows), world.dynamics.chunk
        for start in range(0, len(number), chunk):
            part = slice(start, start + chunk)
            who = number[part]
            commands = np.concatenate([driven[who], asked[part]], axis=1)
            tokens = np.concatenate([seen[who], np.zeros((len(who), rows), np.int64)], axis=1)
            states, context = np.empty((len(who), CONTEXT, 4), np.float32), np.empty((len(who), CONTEXT), np.int64)
            last = world.lataccel[who, world.now - 1]
            for row in range(rows):
                gather_inputs(route, who, commands, tokens, CONTEXT + row, states, context)
                last = np.clip(world.dynamics.expect(states, context), last - MOST_CHANGE, last + MOST_CHANGE)
                out[part, row] = last
                tokens[:, CONTEXT + row] = encode(last)
        return out.reshape(cars, plans, rows)
