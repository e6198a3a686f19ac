"""As many games as it takes to tell whether one policy is stronger than another: a sequential probability ratio test.

After each block of game pairs the likelihoods of two hypotheses are compared: that a is ELO[0] Elo points above b, and
that it is ELO[1] above. Wald (Sequential tests of statistical hypotheses, Annals of Mathematical Statistics 16, 1945,
doi 10.1214/aoms/1177731118) stops at ln(BETA / (1 - ALPHA)) and ln((1 - BETA) / ALPHA) of the logarithm of their ratio:
then a verdict is wrong in ALPHA of the cases in which the first holds, and BETA of those in which the second does.

The games of a pair depend on each other, so a pair is one observation: its score is 0, 1/4, 1/2, 3/4 or 1. How likely
each of the five is nobody knows: each hypothesis takes those probabilities that make what was seen most likely among
all whose mean is the score that it expects. That is the generalized test of chess engines' testing frameworks (Van den
Bergh, A practical introduction to the GSPRT; fishtest). Stopping at the first interval that leaves out a half instead
would find equal policies different ever more often.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.league.estimate import drive
from racing.league.match import Contender, Match, Terms, Watch, keep_match, kept_match
from racing.league.rules import BLOCK, MOST_GAMES

ELO = 0.0, 20.0  # [Elo points] of the hypotheses
ALPHA, BETA = 0.05, 0.05  # how often a verdict is wrong, where the first holds, where the second does
BOUNDS = float(np.log(BETA / (1 - ALPHA))), float(np.log((1 - BETA) / ALPHA))
SCORES = np.arange(5) / 4  # of a pair
UNSEEN = 1e-3  # pairs that count besides of each score, so that none is impossible
HALVINGS = 60  # of the interval in which a root lies


class Verdict(StrEnum):
    """What a test says."""

    STRONGER = "stronger"
    NOT_STRONGER = "not stronger"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class Told:
    """A test of a against b so far. ratio: logarithm of the likelihoods' ratio. pairs: whose games differ."""

    verdict: Verdict
    ratio: float
    pairs: int

    def record(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self) | {"verdict": str(self.verdict)}


def expected_score(elo: float) -> float:
    """Share of the games that is won against somebody `elo` points below."""
    return float(1 / (1 + 10 ** (-elo / 400)))


def tell(points: npt.NDArray[np.float64]) -> Told:
    """What is known of a after pairs of games. points: (n,) of a in each, 0..2; draws are half."""
    ratio = likelihood_ratio(points)
    low, high = BOUNDS
    verdict = Verdict.STRONGER if ratio >= high else Verdict.NOT_STRONGER if ratio <= low else Verdict.UNDECIDED
    return Told(verdict=verdict, ratio=ratio, pairs=len(points))


def likelihood_ratio(points: npt.NDArray[np.float64]) -> float:
    """Logarithm of the ratio of the likelihoods of ELO[1] and ELO[0], see the module; 0 without pairs."""
    if len(points) == 0:
        return 0.0
    counts = np.bincount(np.round(2 * points).astype(int), minlength=5).astype(np.float64) + UNSEEN
    low, high = (np.log(most_likely(counts, expected_score(elo))) for elo in ELO)
    return float(counts @ (high - low))


def most_likely(counts: npt.NDArray[np.float64], mean: float) -> npt.NDArray[np.float64]:
    """(5,) probabilities of SCORES with that mean under which `counts`, all above 0, are most likely.

    By Lagrange's multipliers p_i = q_i / (1 + t (a_i - mean)), q the shares of the counts, a the scores; t makes the
    mean what it is to be. It is the one root of a falling function between the two t at which a p_i becomes infinite.
    """
    shares, away = counts / counts.sum(), SCORES - mean
    low, high = -1 / away.max(), -1 / away.min()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if (shares * away / (1 + middle * away)).sum() > 0:
            low = middle
        else:
            high = middle
    return np.asarray(shares / (1 + (low + high) / 2 * away))


def drive_until_told(
    a: Contender, b: Contender, terms: Terms, kept: Path, watch: Watch | None = None
) -> tuple[Match, Told]:
    """Drive games of a against b until it is told whether a is stronger; returns them as one match, and the test.

    terms: `games` do not count. Each block is kept as a match of its own and never driven twice, so whoever is
    interrupted goes on. It ends undecided after MOST_GAMES, and where a block repeats games that were driven before.
    Raises InputError for policies whose actions are no numbers.
    """
    blocks: list[Match] = []
    before = 0
    while True:
        size = replace(terms, games=BLOCK, first=len(blocks) * BLOCK // 2)
        block = kept_match(kept, a.identity, b.identity, size.record())
        if block is None:
            block = drive(a, b, size, watch)
            keep_match(kept, block)
        blocks.append(block)
        match = joined(blocks)
        meeting = match.meeting(0, 1)
        different = np.unique(meeting.groups(), return_index=True)[1]
        tested = tell(meeting.points[different])
        over = len(blocks) * BLOCK >= MOST_GAMES or len(different) == before
        if tested.verdict != Verdict.UNDECIDED or over:
            return match, tested
        before = len(different)


def joined(blocks: list[Match]) -> Match:
    """Matches of the same two, one after another, as one."""
    rows, games = [], 0
    for block in blocks:
        rows += [{**row, "race": row["race"] + games} for row in block.rows]
        games += len(block.ways)
    known: dict[Any, int] = {}
    ways = [known.setdefault(_driven(rows[k : k + 2]), len(known)) for k in range(0, len(rows), 2)]
    return replace(blocks[0], terms={**blocks[0].terms, "games": games}, rows=rows, ways=ways)


def _driven(rows: list[dict[str, Any]]) -> Any:
    """What is known of how a game was driven, whoever drove which car and whichever game it was."""
    return tuple(
        tuple((k, v) for k, v in row.items() if k != "race") for row in sorted(rows, key=lambda row: row["car"])
    )
