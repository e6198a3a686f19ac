"""Shares of the learner's cars, by whom they race against, become races."""

from __future__ import annotations

from collections.abc import Mapping

from racing.errors import require, require_number

OPPONENTS = ("alone", "self", "line", "pool")
ALONE, SELF, LINE, POOL = range(len(OPPONENTS))


def races_of_mix(mix: Mapping[str, float], learners: int, cars: int, pool: int) -> tuple[int, int, int, int]:
    """Number of races of each kind of OPPONENTS.

    mix: shares of the learner's cars by kind; any sum.
    learners: number of the learner's cars.
    cars: of a race. Whole races are driven alone and against each other; opponents get the cars that are left. Each
    kind with a share has a race at least; but a single car of the learner's has a race of its own.
    pool: number of policies in the pool.
    Raises InputError for shares that are none, for a pool that nobody races against, or a share without pool, and for
    too few cars.
    """
    require(isinstance(mix, Mapping), f"mix must be shares by kind of opponent, got {mix!r}; e.g. {{self: 1, line: 1}}")
    for kind, share in mix.items():
        require(kind in OPPONENTS, f"mix.{kind} is no kind of opponent; use: {', '.join(OPPONENTS)}")
        require_number(f"mix.{kind}", share, 0, 1e6, remedy="it is a share")
    shares = {kind: float(mix.get(kind, 0)) for kind in OPPONENTS}
    total = sum(shares.values())
    require(total > 0, f"mix must have a share above 0, got {dict(mix)}; e.g. self: 1")
    rule = f"mix.pool must be above 0 exactly where pool names policies, got {shares['pool']:g} and {pool} of them"
    require((shares["pool"] > 0) == (pool > 0), f"{rule}; set both")
    against = shares["line"] + shares["pool"]
    if learners == 1:  # a race of its own
        return (0, 0, int(shares["line"] > 0), int(shares["line"] == 0)) if against else (1, 0, 0, 0)
    kinds = sum(shares[kind] > 0 for kind in ("line", "pool"))
    parts, there = -(-kinds // cars), learners // cars  # as many cars as a race has, of the learner's
    needed = parts + sum(shares[kind] > 0 for kind in ("alone", "self"))
    rule = f"algo.n_envs must be {needed * cars} or more for a race of each kind in env.mix={dict(mix)}, got {learners}"
    require(there >= needed, f"{rule}; raise it, or set shares to 0")
    alone, own = (max(round(there * shares[kind] / total), int(shares[kind] > 0)) for kind in ("alone", "self"))
    while alone + own > there - parts:
        alone, own = (alone - 1, own) if alone > own else (alone, own - 1)
    if kinds == 0:
        alone, own = (alone, there - alone) if own else (there, 0)
    left = learners - cars * (alone + own)
    wanted = round(left * shares["line"] / against) if kinds else 0
    line = min(max(wanted, int(shares["line"] > 0)), left - int(pool > 0))
    return alone, own, line, left - line
