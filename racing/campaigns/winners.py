"""Who of a campaign's entries are the winners: the best generalist, and on each track the best of its specialists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from racing.campaigns.plan import GENERALIST, home_among
from racing.campaigns.training import Trained
from racing.campaigns.validation import Validated


@dataclass(frozen=True, kw_only=True)
class Winner:
    """An entry that is to be deployed. role: generalist or specialist. tracks: that it is judged on."""

    name: str
    role: str
    tracks: tuple[str, ...]

    @property
    def place(self) -> Path:
        """Its folder below that of all policies."""
        return Path(GENERALIST) if self.role == GENERALIST else Path("specialists", self.name)


def find_winners(trained: Sequence[Trained], validated: Validated, anchor: str | None) -> list[Winner]:
    """The generalist first. By ratings, of specialists on their own track; of equals who is named first."""
    tracks = list(validated.matches)
    homes = {one.entry.name: home_among(one.run.config, tracks) for one in trained}
    out = []
    for home in (None, *tracks):
        names = [name for name, where in homes.items() if where == home]
        ratings = validated.ratings(anchor, home)
        if names:
            best = max(names, key=lambda name: ratings[name].value if name in ratings else 0.0)
            role = GENERALIST if home is None else "specialist"
            out.append(Winner(name=best, role=role, tracks=tuple(tracks) if home is None else (home,)))
    return out
