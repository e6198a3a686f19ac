"""Whether a winner may be deployed: what it must do alone, and against the champion that is deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from racing.campaigns.plan import Gate

Alone = Mapping[str, Mapping[str, Any] | None]  # by track: finish_rate, lap_ratio; of racing.campaigns.drives


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the gate says. reasons: why not, one for each condition that does not hold. figures: that it looked at."""

    passed: bool
    reasons: Sequence[str]
    figures: Mapping[str, Any]


def judge(
    gate: Gate, challenger: Alone, champion: Alone | None = None, share: tuple[float, float, float] | None = None
) -> Judged:
    """Compare a challenger with the champion. All conditions must hold.

    challenger, champion: alone on each track that counts; champion None: there is none that it could meet.
    share: the challenger's win share against the champion, with its 95 % interval.
    """
    reasons = []
    finish, ratio = means(challenger, challenger)
    figures: dict[str, Any] = {"finish_rate": finish, "lap_ratio": ratio}
    if finish < gate.finish_rate:
        reasons.append(f"it finishes {finish:.3f} of its starts alone, at least {gate.finish_rate:g} are asked for")
    if champion is not None:
        before, _ = means(champion, champion)
        _, ratio = means(challenger, champion)
        _, ratio_before = means(champion, challenger)
        figures |= {"champion_finish_rate": before, "champion_lap_ratio": ratio_before}
        if finish < before:
            reasons.append(f"it finishes {finish:.3f} of its starts alone, the champion {before:.3f}")
        if ratio is not None and ratio_before is not None and ratio > ratio_before * (1 + gate.lap_ratio):
            most = f"at most {ratio_before * (1 + gate.lap_ratio):.3f} passes"
            reasons.append(f"its lap ratio alone is {ratio:.3f}, the champion's {ratio_before:.3f}, {most}")
    if share is not None:
        figures |= dict(zip(("win_share", "win_share_low", "win_share_high"), share, strict=True))
        if share[1] <= gate.win_share:
            low = f"{share[0]:.2f} ({share[1]:.2f} .. {share[2]:.2f})"
            reasons.append(f"it wins {low} of its games against the champion, not surely above {gate.win_share:g}")
    return Judged(passed=not reasons, reasons=reasons, figures=figures)


def means(mine: Alone, other: Alone) -> tuple[float, float | None]:
    """Finish rate on all tracks, and lap ratio on those where both have one; None where they have none."""
    told = {track: alone for track, alone in mine.items() if alone is not None}
    rates = [float(alone["finish_rate"]) for alone in told.values()]
    both = [track for track, alone in other.items() if track in told and alone and alone["lap_ratio"] is not None]
    ratios = [float(told[track]["lap_ratio"]) for track in both if told[track]["lap_ratio"] is not None]
    return float(np.mean(rates)) if rates else 0.0, float(np.mean(ratios)) if ratios else None
