"""What the learner wins on its opponents while it trains, where races have no winner.

Its car and an opponent's have an encounter as long as they are within the race's window of each other. It ends when
they are not any more, or when an episode of either does, and is won like a game: by whoever stays on the road while the
other one leaves it; else by whoever has won more than a car length on the other meanwhile; else it is drawn. So two
copies of the same policy win as much of each other, wherever their cars start.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from racing.sim.records import Ending
from racing.sim.world import World

Array = npt.NDArray[Any]
OUT = (Ending.OFF_TRACK, Ending.STALLED, Ending.WRONG_WAY, Ending.RETIRED)


class Encounters:
    """Of the first car of each race with its C - 1 others.

    races: (R,) numbers in the world. won: (R, C - 1) [m] by the first car on each, since their encounter began. near:
    (R, C - 1) whether they have one.
    """

    def __init__(self, races: Array, cars: int) -> None:
        """Nobody is near anybody. cars: C."""
        self.races = races
        self.won = np.zeros((len(races), cars - 1), np.float32)
        self.near = np.zeros((len(races), cars - 1), bool)

    def add(self, world: World) -> tuple[Array, Array]:
        """Note the last step; returns of each encounter that it ended the row, and 1, 1/2 or 0 for its first car."""
        cars = world.final_cars[self.races]
        s, moved, ended = cars["s"], cars["progress_delta"], cars["ended"]
        lap = world.track_table["length"][cars["track"][:, :1]]
        gap = np.mod(s[:, 1:] - s[:, :1] + lap / 2, lap) - lap / 2
        near = np.abs(gap) <= world.window
        met = near | self.near  # the step that parts them counts
        self.won[met] += (moved[:, :1] - moved[:, 1:])[met]
        out, over = np.isin(ended, OUT), ended != Ending.RUNNING
        closed = met & (~near | over[:, :1] | over[:, 1:])
        length = world.vehicle.length
        points = np.where(self.won > length, 1.0, np.where(self.won < -length, 0.0, 0.5))
        points = np.where(out[:, :1] == out[:, 1:], points, out[:, 1:].astype(float))
        row, column = np.nonzero(closed)
        found = points[row, column]
        self.near = near & ~closed
        self.won[~self.near] = 0
        return row, found

    def forget(self, rows: Array | slice = slice(None)) -> None:
        """End those of some races without a result."""
        self.near[rows] = False
        self.won[rows] = 0

    def get_state(self) -> dict[str, Array]:
        """Everything that changes, as copies."""
        return {"won": self.won.copy(), "near": self.near.copy()}

    def set_state(self, state: Any) -> None:
        """Continue from `get_state()`."""
        self.won[...], self.near[...] = state["won"], state["near"]
