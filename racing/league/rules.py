"""What holds for games whoever plays them: how many, how they start. Light: for those who only check what was typed."""

from __future__ import annotations

from typing import Any

from racing.errors import require, require_number

MOST_GAMES = 10_000
STARTS = ("rolling", "grid")
SEQUENTIAL = "sprt"  # in place of a number of games: as many as it takes
BLOCK = 20  # games between two looks at whether that is told


def require_games(name: str, games: Any) -> None:
    """Raise InputError unless `games` is a number of games: an even one, as each start is driven from both seats."""
    require_number(name, games, 2, MOST_GAMES, whole=True, remedy="an even number, 100 is the default")
    rule = f"{name} must be even, each start is driven from both seats, got {games}"
    require(games % 2 == 0, f"{rule}; take {games - 1} or {games + 1}")


def require_several(condition: bool, run: str) -> None:
    """Raise InputError unless the condition holds: a single entry must be a run of several agents, which then meet."""
    rule = f"run must name two or more, or a run of several agents, got {run}"
    require(condition, f"{rule}; add another one, or line@0.85")
