"""Strengths of entries from games of two and races of several: Plackett-Luce by maximum likelihood.

A race is a row of choices: the winner of all, the second of those who are left, and so on; each is chosen with a
probability in proportion to its strength. A game of two is one choice, and the model then that of Bradley and Terry.
A fit knows how often who was chosen of whom, not in which order races were driven. It is stated in Elo points: whoever
wins a game of two with probability p is 400 log10(p / (1 - p)) above the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import numpy.typing as npt

from racing.evaluation.intervals import wilson

F = npt.NDArray[np.float64]

SCALE = 400 / np.log(10)  # [Elo points] of a factor e in strength
LEVEL = 1000.0  # [Elo points] of the anchor
PRIOR = 0.5  # games won, and as many lost, that count besides between every two that met: who is unbeaten stays finite
SAMPLES = 1000  # of an interval
ROUNDS, CLOSE = 20_000, 1e-9  # of the iteration, at most; change of the logarithms at which it ends


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Game pairs of two entries.

    a, b: their numbers. points: (n,) of a in each pair, 0..2; a draw is a half. same: (n,) equal numbers for pairs that
    were driven the same, and so are one observation; None: all differ.
    """

    a: int
    b: int
    points: F
    same: npt.NDArray[np.int64] | None = None

    @property
    def entries(self) -> tuple[int, ...]:
        """Who met."""
        return self.a, self.b

    def groups(self) -> npt.NDArray[np.int64]:
        """(n,) number of each pair's observation, from 0."""
        return _groups(len(self.points), self.same)

    def choices(self) -> Iterator[tuple[tuple[int, ...], F]]:
        """Of whom was chosen, and how often each of them in each pair (n, 2)."""
        points = np.asarray(self.points, float)
        yield self.entries, np.stack([points, 2 - points], axis=1)


@dataclass(frozen=True, kw_only=True)
class Field:
    """Races of several entries.

    entries: (C,) their numbers, all different. times: (n, C) [s] when each came home, infinite where it did not; equal
    ones are tied. same: as in Meeting, of races.
    """

    entries: tuple[int, ...]
    times: F
    same: npt.NDArray[np.int64] | None = None

    def groups(self) -> npt.NDArray[np.int64]:
        """(n,) number of each race's observation, from 0."""
        return _groups(len(self.times), self.same)

    def choices(self) -> Iterator[tuple[tuple[int, ...], F]]:
        """Of whom was chosen, and how often each of them in each race (n, size).

        Those who are tied are one choice, won by each in equal shares: a draw of two is half won by both.
        """
        found: dict[tuple[int, ...], F] = {}
        for race, times in enumerate(np.asarray(self.times, float)):
            left = np.arange(len(self.entries))
            while len(left) > 1:
                best = times[left] == times[left].min()
                won = found.setdefault(tuple(left), np.zeros((len(self.times), len(left))))
                won[race] += best / best.sum()
                left = left[~best]
        for columns, won in found.items():
            yield tuple(self.entries[column] for column in columns), won


def _groups(count: int, same: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64]:
    return np.arange(count) if same is None else np.unique(same, return_inverse=True)[1]


@dataclass(frozen=True, kw_only=True)
class Rating:
    """Elo points, with a 95 % interval."""

    value: float
    low: float
    high: float

    def record(self) -> dict[str, float]:
        """As plain data, by the names that tables have."""
        return {"rating": self.value, "rating_low": self.low, "rating_high": self.high}


@dataclass
class Choices:
    """All that a fit of K entries knows, counted once and, in the other rows, with each of SAMPLES random weights.

    chosen: (1 + SAMPLES, K) how often each was chosen. times: (1 + SAMPLES,) how often anybody was, by those who could
    be. beat: (K, K) whether the first was ever chosen where the second could have been.
    """

    chosen: F
    beat: npt.NDArray[np.bool_]
    times: dict[tuple[int, ...], F] = field(default_factory=dict)

    def add(self, among: tuple[int, ...], won: F) -> None:
        """Count choices among entries (C,). won: (1 + SAMPLES, C) of each."""
        ordered = tuple(sorted(among))
        self.times[ordered] = self.times.get(ordered, 0.0) + won.sum(axis=1)
        self.chosen[:, among] += won
        for column, entry in enumerate(among):
            self.beat[entry, among] |= bool(won[0, column] > 0)

    def fit(self) -> F:
        """(1 + SAMPLES, K) strengths [Elo points], see `plackett_luce`."""
        sets = np.zeros((len(self.times), len(self.beat)), bool)
        for row, among in enumerate(self.times):
            sets[row, among] = True
        return plackett_luce(sets, np.stack(list(self.times.values()), axis=1), self.chosen)


def rate(
    meetings: Sequence[Meeting | Field],
    entries: int,
    anchor: int | None = None,
    *,
    prior: float = PRIOR,
    seed: int = 0,
) -> list[Rating]:
    """Rate entries 0..entries-1.

    meetings: of any entries; each must have met another, and so on until all are connected, else ValueError.
    anchor: the entry that is LEVEL: the others' intervals are of their distance to it; None: all are on average.
    prior: see PRIOR. seed: of the intervals.

    Intervals are Rubin's bootstrap: each game pair or race, and each prior, has a random weight from an exponential
    distribution. The games of a pair stay together, pairs that are the same are one, and a hundred wins of a hundred
    have an interval, too.
    """
    known = Choices(np.zeros((1 + SAMPLES, entries)), np.zeros((entries, entries), bool))
    draw = np.random.default_rng(seed)
    for meeting in meetings:
        if len(set(meeting.entries)) < 2:
            continue  # says nothing
        groups = meeting.groups()
        different = groups.max() + 1
        weights = np.ones((1 + SAMPLES, len(groups)))
        weights[1:] = draw.standard_exponential((SAMPLES, different))[:, groups]
        besides = prior * np.append(1.0, draw.standard_exponential(SAMPLES))
        for among, won in meeting.choices():
            known.add(among, weights @ (won * (different / len(groups))))
        for pair in combinations(meeting.entries, 2):
            known.add(pair, np.stack([besides, besides], axis=1))
    _require_connected(known.beat)
    level = known.fit()
    level = LEVEL + (level - (level.mean(-1, keepdims=True) if anchor is None else level[:, [anchor]]))
    low, high = np.percentile(level[1:], [2.5, 97.5], axis=0)
    values = zip(level[0], low, high, strict=True)
    return [Rating(value=float(value), low=float(least), high=float(most)) for value, least, most in values]


def _require_connected(beat: npt.NDArray[np.bool_]) -> None:
    """Raise ValueError where games do not say how strong all are: one won none, or lost none; some never met."""
    from scipy.sparse.csgraph import connected_components

    if connected_components(beat, connection="strong")[0] > 1:
        raise ValueError("every entry must have won, and lost, against others, directly or through third ones")


def plackett_luce(sets: npt.NDArray[np.bool_], times: F, chosen: F) -> F:
    """Fit strengths (..., K) [Elo points], 0 on average, to choices of one among several.

    sets: (M, K) who could be chosen. times: (..., M) how often somebody was. chosen: (..., K) how often each was, in
    all. Of entries that are connected by choices won and lost: otherwise there is no maximum.

    The minorizing-maximizing iteration of Hunter for this model, and of sets of two for that of Bradley and Terry: MM
    algorithms for generalized Bradley-Terry models, Annals of Statistics 32 (2004), doi 10.1214/aos/1079120141.
    """
    among = sets.astype(float)
    strength = np.ones(chosen.shape)
    for _ in range(ROUNDS):
        expected = (times / (strength @ among.T)) @ among
        better = chosen / expected
        better /= np.exp(np.log(better).mean(axis=-1, keepdims=True))
        change = np.abs(np.log(better / strength)).max()
        strength = better
        if change < CLOSE:
            break
    return np.asarray(SCALE * np.log(strength))


def win_share(meetings: Sequence[Meeting]) -> tuple[float, float, float]:
    """Share of the games that a has won, with its 95 % interval. meetings: of a, with any others.

    Wilson's interval for as many independent games as the different pairs are worth: their spread tells; at least one
    each, and at most two, for which the two games of a pair must say different things.
    """
    points = np.concatenate([meeting.points for meeting in meetings]) / 2
    firsts = [np.unique(meeting.groups(), return_index=True)[1] for meeting in meetings]
    different = np.concatenate([one.points[first] for one, first in zip(meetings, firsts, strict=True)]) / 2
    pairs, share = len(different), float(np.mean(points))
    spread = float(np.var(different, ddof=1)) if pairs > 1 else 0.0
    worth = share * (1 - share) / spread * pairs if spread > 0 else 2 * pairs if 0 < share < 1 else pairs
    games = min(max(worth, pairs), 2 * pairs)
    return share, *wilson(share * games, games)
