"""The gate, by figures made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from racing.campaigns.gate import judge, means
from racing.campaigns.plan import Gate

GATE = Gate(games=100, win_share=0.5, lap_ratio=0.01, finish_rate=0.9)
BETTER = (0.65, 0.55, 0.74)


def alone(finish: float, ratio: float | None, track: str = "oval") -> dict[str, Any]:
    return {track: {"finish_rate": finish, "lap_ratio": ratio}}


@pytest.mark.parametrize(
    ("mine", "champion", "share", "reason"),
    [
        (alone(1.0, 1.1), None, None, None),
        (alone(0.8, 1.1), None, None, "it finishes 0.800 of its starts alone, at least 0.9 are asked for"),
        (alone(1.0, 1.1), alone(1.0, 1.2), BETTER, None),
        (alone(1.0, 1.21), alone(1.0, 1.2), BETTER, None),  # within 1 %
        (
            alone(1.0, 1.213),
            alone(1.0, 1.2),
            BETTER,
            "its lap ratio alone is 1.213, the champion's 1.200, at most 1.2",
        ),
        (alone(1.0, None), alone(1.0, 1.2), BETTER, None),  # no lap of both: nothing to compare
        (alone(0.95, 1.1), alone(0.96, 1.2), BETTER, "it finishes 0.950 of its starts alone, the champion 0.960"),
        (alone(1.0, 1.1), alone(1.0, 1.2), (0.58, 0.5, 0.66), "it wins 0.58 (0.50 .. 0.66) of its games against the"),
        (alone(1.0, 1.1), alone(1.0, 1.2), (0.59, 0.501, 0.67), None),
    ],
)
def test_what_must_hold(mine: Any, champion: Any, share: Any, reason: str | None):
    judged = judge(GATE, mine, champion, share)
    assert judged.passed == (reason is None), judged.reasons
    assert len(judged.reasons) == (reason is not None)
    if reason is not None:
        assert judged.reasons[0].startswith(reason)


def test_every_reason_is_given():
    judged = judge(GATE, alone(0.5, 2.0), alone(1.0, 1.0), (0.1, 0.0, 0.2))
    assert len(judged.reasons) == 4


def test_of_several_tracks_it_is_the_mean_where_both_lap():
    mine = alone(1.0, 1.2) | alone(0.5, 1.0, "karting") | alone(0.0, None, "circuit")
    other = alone(1.0, 1.1) | alone(1.0, None, "karting") | alone(1.0, 1.0, "circuit")
    assert means(mine, other) == (0.5, 1.2)
    assert means(other, mine) == (1.0, 1.1)
    assert means({"oval": None}, other) == (0.0, None)
