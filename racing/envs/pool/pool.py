"""Who of a pool drives the opponents' cars, race by race: those that the learner can learn most from, more often.

Prioritized fictitious self-play of AlphaStar (Vinyals et al., Grandmaster level in StarCraft II using multi-agent
reinforcement learning, Nature 2019, doi 10.1038/s41586-019-1724-z, methods): an opponent's weight is a function of the
learner's win share x against it, (1 - x)^p for hard ones, x (1 - x) for those about as strong as itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.envs.drivers import PolicyDrivers
from racing.envs.pool.encounters import Encounters
from racing.errors import require, require_number
from racing.sim.kernels.rng import Draw, uniform
from racing.sim.world import World

Array = npt.NDArray[Any]
Weights = Mapping[str, Array]
CHOICES = ("equal", "hard", "even")
FLOOR = 20.0  # encounters that a share is of, at least: those that are missing count as drawn
MEMORY = 0.99  # by which older encounters count less with each further one: about the last hundred tell
OLDEST, NEWEST = 2, 8  # snapshots that are kept


@dataclass(frozen=True, kw_only=True)
class PoolConfig:
    """How opponents are chosen, and whether snapshots of the learner join: keys of conf/env/race.yaml, `league`.

    choice: equal, hard or even. power: p of hard, >= 0. snapshots: share of the training after each of which the
    learner's policy may join, [0, 1]; 0: never. joins_above: share of the encounters since the last such time that it
    must have won more than. Raises InputError for values out of range.
    """

    choice: str = "equal"
    power: float = 2.0
    snapshots: float = 0.0
    joins_above: float = 0.55

    def __post_init__(self) -> None:
        known = f"choice must be one of {', '.join(CHOICES)}, got {self.choice!r}; choose one"
        require(self.choice in CHOICES, known)
        require_number("power", self.power, 0, 100, remedy="2 is usual")
        require_number("snapshots", self.snapshots, 0, 1, remedy="it is a share of the training, 0: never")
        require_number("joins_above", self.joins_above, 0, 1, remedy="0.55 is usual")

    @property
    def on(self) -> bool:
        """Whether anything is to be done: else each policy has its own races, for good."""
        return self.choice != "equal" or self.snapshots > 0


@dataclass
class Member:
    """A policy of the pool. games, points: the learner's encounters with it, weighted, and what it won of them.

    weights: of a snapshot; None: the policy came from a file.
    """

    name: str
    drivers: PolicyDrivers
    weights: Weights | None = None
    games: float = 0.0
    points: float = 0.0

    @property
    def share(self) -> float:
        """Of the encounters, that the learner has won."""
        missing = max(FLOOR - self.games, 0.0)
        return (self.points + missing / 2) / (self.games + missing)

    def add(self, points: Array) -> None:
        """Count encounters that ended together; points (n,) of the learner."""
        kept = MEMORY ** len(points)
        self.games = kept * self.games + len(points)
        self.points = kept * self.points + float(points.sum())


@dataclass
class Pool:
    """Drives all cars but the first of some races; a racing.envs.drivers.Drivers.

    cars: (K,) of the whole task. who: (R,) number of the member in each race. revive: makes a policy, observations
    (N, ...) -> actions (N, 2), of a snapshot's weights; whoever trains sets it.
    periods: times at which snapshots could join so far. encounters, won: since the last one.
    """

    config: PoolConfig
    table: Array  # (R, C - 1) numbers of the cars
    fights: Encounters
    members: list[Member]
    revive: Callable[[Weights], Callable[[Any], Array]] | None = None
    periods: int = 0
    encounters: int = 0
    won: float = 0.0
    who: Array = field(init=False)
    looks: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        self.cars = self.table.ravel()
        self.who = np.zeros(len(self.table), np.int64)

    def begin(self, world: World) -> None:
        """All cars have just started: nobody is near anybody, opponents are drawn."""
        self.fights.forget()
        self._draw(world, np.arange(len(self.who)))

    def actions(self, world: World, observation: Any) -> Array:
        """See Drivers. Before there is a member, nobody drives."""
        out = np.zeros((*self.table.shape, 2), np.float32)
        for number, member in enumerate(self.members):
            mine = self.who == number
            if mine.any():
                member.drivers.cars = self.table[mine].ravel()
                out[mine] = member.drivers.actions(world, observation).reshape(-1, self.table.shape[1], 2)
        return out.reshape(-1, 2)

    def after(self, world: World) -> None:
        """Note what the last step ended, and draw who drives in races whose first car starts anew."""
        rows, points = self.fights.add(world)
        if len(self.members) == 0:
            return
        for number in np.unique(self.who[rows]):
            self.members[number].add(points[self.who[rows] == number])
        self.encounters += len(rows)
        self.won += float(points.sum())
        ended = np.flatnonzero(world.final_cars["ended"][self.fights.races, 0])
        if len(ended):
            self._draw(world, ended)

    def weights(self) -> Array:
        """(M,) probability of each member to be drawn."""
        share = np.array([member.share for member in self.members])
        weight = {"equal": np.ones_like(share), "hard": (1 - share) ** self.config.power, "even": share * (1 - share)}
        chosen = weight[self.config.choice]
        return chosen / chosen.sum() if chosen.sum() > 1e-9 else np.full(len(share), 1 / len(share))

    def _draw(self, world: World, rows: Array) -> None:
        """Draw a member for some races, by the episode that their first car is in."""
        if len(self.members) == 0:
            return
        until, seed = np.cumsum(self.weights()), int(world.rules["seed"])
        for row in rows:
            race = int(self.fights.races[row])
            episode = int(world.cars["episode"][race, 0])
            drawn = float(uniform(seed, race * world.cars_per_race, episode, Draw.OPPONENT))
            self.who[row] = min(int(np.searchsorted(until, drawn, side="right")), len(until) - 1)

    def join(self, world: World, name: str, weights: Weights) -> None:
        """Take a snapshot in. Of those before, the OLDEST and the NEWEST are kept; who raced others meets a new one."""
        self.members.append(self._snapshot(name, weights))
        own = [number for number, member in enumerate(self.members) if member.weights is not None]
        gone = own[OLDEST:-NEWEST] if len(own) > OLDEST + NEWEST else []
        left = [number for number in range(len(self.members)) if number not in gone]
        number = {old: new for new, old in enumerate(left)}
        homeless = np.flatnonzero(np.isin(self.who, gone)) if len(self.members) > 1 else np.arange(len(self.who))
        self.who = np.array([number.get(int(old), 0) for old in self.who], np.int64)
        self.members = [self.members[old] for old in left]
        self.fights.forget(homeless)
        self._draw(world, homeless)

    def _snapshot(self, name: str, weights: Weights) -> Member:
        assert self.revive is not None, "a pool that grows must be told how"
        return Member(name, PolicyDrivers(self.cars[:0], self.revive(weights)), weights)

    def due(self, progress: float) -> bool:
        """Whether it is time for a snapshot to join, and it has earned that. progress: of the training, [0, 1].

        An empty pool takes the first one as it comes. The account of the time since the last one begins anew.
        """
        if self.config.snapshots == 0:
            return False
        if not self.members:
            return True
        period = int(progress / self.config.snapshots + 1e-9)
        if period <= self.periods:
            return False
        good = self.encounters >= FLOOR and self.won > self.config.joins_above * self.encounters
        self.periods, self.encounters, self.won = period, 0, 0.0
        return good

    def figures(self) -> dict[str, float]:
        """Metrics: members, win share against the hardest and the easiest, and against all since it was last `due`."""
        shares = [member.share for member in self.members]
        found = {"league/members": float(len(shares))}
        if shares:
            found |= {"league/win_share_hardest": min(shares), "league/win_share_easiest": max(shares)}
        return found | ({"league/win_share": self.won / self.encounters} if self.encounters else {})

    def get_state(self) -> dict[str, Any]:
        """Everything that changes, as copies; weights of snapshots never do."""
        return {
            "who": self.who.copy(),
            "fights": self.fights.get_state(),
            "account": [self.periods, self.encounters, self.won],
            "members": [[one.name, one.games, one.points, one.weights and dict(one.weights)] for one in self.members],
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `get_state()`."""
        files = iter([member for member in self.members if member.weights is None])  # which stay, in their order
        self.members = []
        for name, games, points, weights in state["members"]:
            member = next(files) if weights is None else self._snapshot(name, weights)
            member.games, member.points = float(games), float(points)
            self.members.append(member)
        self.who = np.array(state["who"], np.int64)
        self.fights.set_state(state["fights"])
        periods, encounters, won = state["account"]
        self.periods, self.encounters, self.won = int(periods), int(encounters), float(won)


def make_pool(
    config: PoolConfig, table: Array, races: Array, names: Sequence[str], drivers: Sequence[PolicyDrivers]
) -> Pool:
    """A pool of policies from files. table: (R, C - 1) cars. races: (R,) numbers. names: as `env.pool` has them."""
    members = [Member(name, one) for name, one in zip(names, drivers, strict=True)]
    return Pool(config, table, Encounters(races, table.shape[1] + 1), members)
