"""Strengths of entries from the games that each won against each other: Bradley-Terry by maximum likelihood.

A fit knows how many games were won against whom, not in which order. It is stated in Elo points: whoever wins a game
with probability p is 400 log10(p / (1 - p)) above the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from racing.evaluation.intervals import wilson

F = npt.NDArray[np.float64]

SCALE = 400 / np.log(10)  # [Elo points] of a factor e in strength
LEVEL = 1000.0  # [Elo points] of the anchor
PRIOR = 0.5  # games won, and as many lost, that count besides between two that met: who is unbeaten stays finite
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

    def groups(self) -> npt.NDArray[np.int64]:
        """(n,) number of each pair's observation, from 0."""
        count = len(self.points)
        return np.arange(count) if self.same is None else np.unique(self.same, return_inverse=True)[1]


@dataclass(frozen=True, kw_only=True)
class Rating:
    """Elo points, with a 95 % interval."""

    value: float
    low: float
    high: float


def rate(
    meetings: Sequence[Meeting], entries: int, anchor: int | None = None, *, prior: float = PRIOR, seed: int = 0
) -> list[Rating]:
    """Rate entries 0..entries-1.

    meetings: of any entries; each must have met another, and so on until all are connected, else ValueError.
    anchor: the entry that is LEVEL: the others' intervals are of their distance to it; None: all are on average.
    prior: see PRIOR. seed: of the intervals.

    Intervals are Rubin's bootstrap: each game pair, and each prior, has a random weight from an exponential
    distribution. The games of a pair stay together, pairs that are the same are one, and a hundred wins of a hundred
    have an interval, too.
    """
    won, every = np.zeros((entries, entries)), np.zeros((SAMPLES, entries, entries))
    draw = np.random.default_rng(seed)
    for meeting in meetings:
        a, b, points = meeting.a, meeting.b, np.asarray(meeting.points, float)
        if a == b:
            continue  # says nothing
        groups = meeting.groups()
        different = groups.max() + 1
        weights = draw.standard_exponential((SAMPLES, different))[:, groups]
        besides = prior * draw.standard_exponential(SAMPLES)
        for winner, loser, won_by in ((a, b, points), (b, a, 2 - points)):
            counted = won_by * (different / len(points))
            won[winner, loser] += counted.sum() + prior
            every[:, winner, loser] += weights @ counted + besides
    levels = [bradley_terry(won), bradley_terry(every)]
    value, spread = (
        LEVEL + (level - (level.mean(-1, keepdims=True) if anchor is None else level[..., [anchor]]))
        for level in levels
    )
    low, high = np.percentile(spread, [2.5, 97.5], axis=0)
    return [Rating(value=float(v), low=float(lo), high=float(hi)) for v, lo, hi in zip(value, low, high, strict=True)]


def bradley_terry(won: F) -> F:
    """Fit strengths (..., K) [Elo points], 0 on average, to won (..., K, K): games that each has won against each.

    Hunter's iteration (Annals of Statistics 32, 2004). Raises ValueError where the games do not say: an entry that won
    none or lost none, entries that are not connected by games.
    """
    from scipy.sparse.csgraph import connected_components

    games = won + won.swapaxes(-1, -2)
    beat = won.reshape(-1, *won.shape[-2:]).any(axis=0)
    if connected_components(beat, connection="strong")[0] > 1:
        raise ValueError("every entry must have won, and lost, against others, directly or through third ones")
    strength, wins = np.ones(won.shape[:-1]), won.sum(axis=-1)
    for _ in range(ROUNDS):
        expected = (games / (strength[..., :, None] + strength[..., None, :])).sum(axis=-1)
        better = wins / expected
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
