"""How far the cars of races come from a common start on, where each car has episodes of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from racing.sim.records import Ending
from racing.sim.world import World

F = npt.NDArray[np.float32]


class Standing:
    """Arc length won by each car of each race since all of them started.

    won: (R, C) [m]; of the first car up to the end of its episode, of the others in later ones, too: who is out, and
    starts anew, loses time alone. lap: (R,) [m].
    """

    def __init__(self, world: World) -> None:
        """All have just started."""
        self.won: F = np.zeros(world.cars.shape, np.float32)
        self.lap: F = world.track_table["length"][world.cars["track"][:, 0]].astype(np.float32)
        self._racing: npt.NDArray[Any] = np.ones(len(self.won), bool)

    def add(self, world: World) -> None:
        """Note the last step."""
        final = world.final_cars
        moved = final["progress_delta"].copy()
        moved[~self._racing, 0] = 0
        self.won += moved
        self._racing &= final["ended"][:, 0] == Ending.RUNNING
