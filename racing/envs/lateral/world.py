"""N cars that steer along routes, in step with each other: the challenge's simulator for a batch, as pure arrays."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.envs.lateral.dynamics import Dynamics
from racing.envs.lateral.kernels import draw_episodes, gather_inputs
from racing.envs.lateral.routes.routes import Routes, challenge_noise
from racing.envs.lateral.rules import (
    BINS,
    CONTEXT,
    CONTROL_START,
    COST_END,
    MOST_CHANGE,
    MOST_STEER,
    STEP_S,
    STEPS,
    encode,
)

Array = npt.NDArray[Any]

STATE = ("steer", "lataccel", "chosen", "episode")


class LateralWorld:
    """The state of N cars, all at the same row `now` of their routes. Before row CONTROL_START cars follow the log.

    steer (N, COST_END): commands of all rows before `now`, right positive, in [-2, 2]. lataccel (N, COST_END): lateral
    accelerations [m/s^2] likewise. chosen (N,): number of each car's route. episode (N,): number of its episode. end:
    the row at which episodes are over.

    Which route a car follows and what noise there is are functions of seed, the car's number and its episode's, or with
    `fixed` of the route: car i then drives route i, again and again, with the noise of the challenge.
    """

    def __init__(
        self,
        routes: Routes,
        dynamics: Dynamics,
        *,
        cars: int,
        seed: int = 0,
        first_car: int = 0,
        fixed: bool = False,
        threads: int = 1,
    ) -> None:
        """cars: N. first_car: number of the first car in a larger batch. threads: batches of cars at a time."""
        self.routes, self.dynamics, self.fixed = routes, dynamics, fixed
        self._seed, self._first, self._distinct = seed, first_car, max(cars, 1)
        self._first_car, self._threads = first_car, threads
        self.steer, self.lataccel = np.zeros((cars, COST_END)), np.zeros((cars, COST_END))
        self._tokens = np.zeros((cars, COST_END), np.int64)
        self.chosen, self.episode = np.zeros(cars, np.int64), np.full(cars, -1, np.int64)
        self._uniforms = np.empty((cars, STEPS))
        self.now, self.end = COST_END, COST_END
        chunk = dynamics.chunk
        self._chunks = [slice(k, min(k + chunk, cars)) for k in range(0, cars, chunk)]
        workers = min(threads, len(self._chunks))
        self._pool = ThreadPoolExecutor(workers, "racing-lateral") if workers > 1 else None

    @property
    def num_cars(self) -> int:
        """N."""
        return len(self.chosen)

    @property
    def step_dt(self) -> float:
        """[s] of a step."""
        return STEP_S

    def again(self) -> LateralWorld:
        """Another world with the same settings, whose cars have not begun."""
        return LateralWorld(
            self.routes,
            self.dynamics,
            cars=self.num_cars,
            seed=self._seed,
            first_car=self._first_car,
            fixed=self.fixed,
            threads=self._threads,
        )

    @property
    def over(self) -> bool:
        """Whether the episodes are."""
        return self.now >= self.end

    def plan(self, ahead: int = 0) -> npt.NDArray[np.float64]:
        """(N, 4) target, roll, speed, acceleration of the present row, or of one ahead, see `Routes`."""
        rows: npt.NDArray[np.float64] = self.routes.plans[self.chosen, self.now + ahead]
        return rows

    def reseed(self, seed: int) -> None:
        """Take another seed; the next episodes are the cars' first."""
        self._seed = seed
        self.restart_all()

    def restart_all(self, first: int | None = None, distinct: int | None = None, steps: int | None = None) -> None:
        """The next episodes are the cars' first; car i is car first + i % distinct of a larger batch.

        steps: that episodes last from now on, 1..STEPS. None: as the world was made.
        """
        self._first = self._first_car if first is None else first
        self._distinct = self.num_cars if distinct is None else distinct
        self.end = CONTROL_START + (STEPS if steps is None else min(steps, STEPS))
        self.episode[:] = -1

    def begin(self) -> None:
        """Start every car's next episode, at row CONTROL_START."""
        self.episode += 1
        self._draw()
        log = self.routes.steer[self.chosen]
        target = self.routes.plans[self.chosen, :CONTROL_START, 0]
        self.steer[:, :CONTROL_START], self.steer[:, CONTROL_START:] = log, 0.0
        self.lataccel[:, :CONTROL_START], self.lataccel[:, CONTROL_START:] = target, 0.0
        self._tokens[:, :CONTROL_START] = encode(target)
        self.now = CONTROL_START

    def _draw(self) -> None:
        """The route and the noise of the episodes."""
        if self.fixed:
            numbers = self._first + np.arange(self.num_cars) % self._distinct
            self.chosen[:] = numbers % len(self.routes)
            for i, number in enumerate(numbers.tolist()):
                self._uniforms[i] = challenge_noise(
                    self.routes.names[number % len(self.routes)], number // len(self.routes)
                )
            return
        place = (self._seed, self._first, self._distinct)
        draw_episodes(*place, self.episode, len(self.routes), self.chosen, self._uniforms)

    def step(self, steer: Array) -> None:
        """Advance all cars by one row under steering commands (N,), clipped to [-2, 2]."""
        now = self.now
        self.steer[:, now] = np.clip(steer, -MOST_STEER, MOST_STEER)
        tokens = np.empty(self.num_cars, np.int64)

        def advance(part: slice) -> None:
            tokens[part] = self._next_tokens(part)

        if self._pool is None:
            for part in self._chunks:
                advance(part)
        else:
            list(self._pool.map(advance, self._chunks))
        before = self.lataccel[:, now - 1]
        self.lataccel[:, now] = np.clip(BINS[tokens], before - MOST_CHANGE, before + MOST_CHANGE)
        self._tokens[:, now] = encode(self.lataccel[:, now])
        self.now = now + 1

    def _next_tokens(self, part: slice) -> Array:
        """What the dynamics draw for the cars of `part`."""
        count = part.stop - part.start
        states, tokens = np.empty((count, CONTEXT, 4), np.float32), np.empty((count, CONTEXT), np.int64)
        rows = (self.chosen[part], self.steer[part], self._tokens[part], self.now)
        gather_inputs(self.routes.plans, *rows, states, tokens)
        return self.dynamics.sample(states, tokens, self._uniforms[part, self.now - CONTROL_START])

    def get_state(self) -> dict[str, Any]:
        """Everything that changes, as copies."""
        arrays = {name: getattr(self, name).copy() for name in STATE}
        numbers = {"seed": self._seed, "first": self._first, "distinct": self._distinct}
        return {**arrays, **numbers, "now": self.now, "end": self.end}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `get_state()` of a world with the same settings. Raises ValueError if it does not fit."""
        cars = len(state["chosen"])
        if cars != self.num_cars:
            raise ValueError(f"the state of {cars} cars does not fit a world of {self.num_cars}; make one of that size")
        for name in STATE:
            getattr(self, name)[:] = state[name]
        self._seed, self._first, self._distinct = state["seed"], state["first"], state["distinct"]
        self.now, self.end = state["now"], state["end"]
        self._tokens[:] = encode(self.lataccel)
        if (self.episode >= 0).all():
            self._draw()
