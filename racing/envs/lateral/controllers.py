"""Controllers of batches of cars that do not learn: PID, PID on a preview, with feed-forward."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from racing.envs.lateral.default_model import feed_forward
from racing.envs.lateral.rules import CONTEXT, CONTROL_START
from racing.envs.lateral.world import LateralWorld

Array = npt.NDArray[Any]

PROPORTIONAL, INTEGRAL, DERIVATIVE = 0.195, 0.100, -0.053  # of the challenge's controllers/pid.py since 2025-07-23
PREVIEW = 5  # rows whose mean target makes up for the delay of the dynamics


class Controller(Protocol):
    """Steers the cars of a world. Before each of its steps `look` is called once, `command` as often as is wanted."""

    def begin(self, world: LateralWorld) -> None:
        """The world's episodes begin."""

    def look(self, world: LateralWorld) -> None:
        """Go on to the world's present row."""

    def command(self, world: LateralWorld) -> Array:
        """Steering commands (N,) for the present row, not clipped."""

    def get_state(self) -> dict[str, Any]:
        """What changes, as copies."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from `get_state()`."""


class Pid:
    """PID on the mean target of the present row and those ahead, and feed-forward from it; a Controller.

    preview: rows of that mean, 1: the present one alone. share: of the feed-forward command that is added.
    """

    def __init__(self, preview: int = 1, share: float = 0.0) -> None:
        """See the class."""
        self.preview, self.share = preview, share
        self.integral = self.error = self.change = np.zeros(0)

    def begin(self, world: LateralWorld) -> None:
        """The world's episodes begin: the rows from CONTEXT on, which the log steered, are in the integral."""
        targets = world.routes.plans[world.chosen, CONTEXT : CONTROL_START + self.preview - 1, 0]
        followed = world.lataccel[:, CONTEXT - 1 : CONTROL_START - 1]
        errors = np.stack([targets[:, k : k + self.preview].mean(1) for k in range(CONTROL_START - CONTEXT)], axis=1)
        errors -= followed
        self.integral, self.error = np.add.accumulate(errors, axis=1)[:, -1], errors[:, -1].copy()
        self.change = np.zeros(world.num_cars)

    def _set_point(self, world: LateralWorld) -> Array:
        mean: Array = np.stack([world.plan(k)[:, 0] for k in range(self.preview)], axis=1).mean(1)
        return mean

    def look(self, world: LateralWorld) -> None:
        """See Controller: the present row's error is added up."""
        error = self._set_point(world) - world.lataccel[:, world.now - 1]
        self.integral = self.integral + error
        self.change = error - self.error
        self.error = error

    def command(self, world: LateralWorld) -> Array:
        """See Controller."""
        command: Array = PROPORTIONAL * self.error + INTEGRAL * self.integral + DERIVATIVE * self.change
        if self.share:
            _, roll, speed, _ = world.plan().T
            command = command + self.share * feed_forward(self._set_point(world), roll, speed)
        return command

    def get_state(self) -> dict[str, Array]:
        """What changes, as copies."""
        return {"integral": self.integral.copy(), "error": self.error.copy(), "change": self.change.copy()}

    def set_state(self, state: dict[str, Array]) -> None:
        """Continue from `get_state()`."""
        self.integral, self.error, self.change = (state[name].copy() for name in ("integral", "error", "change"))


def pid() -> Pid:
    """The challenge's own."""
    return Pid()


def preview_pid() -> Pid:
    """PID that aims at the mean of the next half second."""
    return Pid(PREVIEW)


def feed_forward_pid() -> Pid:
    """The same, to which part of what the steady state asks for is added."""
    return Pid(PREVIEW, 0.4)


REFERENCES = {"pid": pid, "preview_pid": preview_pid, "feed_forward": feed_forward_pid}


def drive(controller: Controller, world: LateralWorld) -> None:
    """Drive the world's next episodes to their end."""
    world.begin()
    controller.begin(world)
    while not world.over:
        controller.look(world)
        world.step(controller.command(world))
