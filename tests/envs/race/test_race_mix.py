"""Who races against whom: shares of the learner's cars become races."""

from __future__ import annotations

import math

import numpy as np
import pytest

from racing.envs.race import has_others, races_of_mix
from racing.errors import InputError


@pytest.mark.parametrize(
    ("env", "others"),
    [
        ({}, False),
        ({"cars": 4}, False),
        ({"cars": 4, "mix": {"alone": 1, "self": 0, "line": 0.0, "pool": 0}}, False),
        ({"cars": 1, "mix": {"self": 1}}, False),
        ({"cars": 4, "mix": {"alone": 1, "line": 0.1}}, True),
        ({"cars": 2, "mix": {"self": 1}}, True),
    ],
)
def test_there_are_others_where_a_share_of_the_mix_says_so(env, others: bool):
    assert has_others(env) is others


@pytest.mark.parametrize(
    ("mix", "learners", "cars", "pool", "races"),
    [
        ({"alone": 1}, 8, 4, 0, (2, 0, 0, 0)),
        ({"self": 1}, 8, 4, 0, (0, 2, 0, 0)),
        ({"line": 1}, 8, 4, 0, (0, 0, 8, 0)),
        ({"pool": 1}, 8, 4, 1, (0, 0, 0, 8)),
        ({"alone": 0.25, "self": 0.5, "line": 0.25, "pool": 0.0}, 256, 4, 0, (16, 32, 64, 0)),
        ({"alone": 0.25, "self": 0.25, "line": 0.25, "pool": 0.25}, 64, 4, 3, (4, 4, 16, 16)),
        ({"alone": 1, "self": 1, "line": 1, "pool": 1}, 64, 4, 3, (4, 4, 16, 16)),  # any sum
        ({"line": 3, "pool": 1}, 8, 4, 1, (0, 0, 6, 2)),
        ({"line": 1, "pool": 1}, 7, 1, 1, (0, 0, 4, 3)),
        ({"alone": 1, "self": 1}, 12, 4, 0, (2, 1, 0, 0)),
        ({"alone": 5, "self": 1}, 12, 4, 0, (2, 1, 0, 0)),
        ({"alone": 1, "self": 1, "line": 1e-20}, 12, 4, 0, (1, 1, 4, 0)),  # at least one of each kind
        ({"alone": 50, "self": 1}, 16, 4, 0, (3, 1, 0, 0)),
        ({"alone": 1, "self": 50}, 16, 4, 0, (1, 3, 0, 0)),
        ({"alone": 1, "line": 50}, 16, 4, 0, (1, 0, 12, 0)),
        ({"self": 9, "pool": 1}, 12, 4, 1, (0, 2, 0, 4)),
        ({"self": 98, "line": 1, "pool": 1}, 12, 4, 1, (0, 2, 2, 2)),
        ({"line": 99, "pool": 1}, 4, 4, 1, (0, 0, 3, 1)),
        ({"line": 1, "pool": 99}, 4, 4, 1, (0, 0, 1, 3)),
        ({"alone": 1, "self": 1, "line": 1, "pool": 1}, 4, 1, 1, (1, 1, 1, 1)),
        ({"alone": 9, "self": 9, "line": 1, "pool": 1}, 10, 2, 1, (2, 2, 1, 1)),
        ({"self": 0.7, "line": 0.3}, 8, 4, 0, (0, 1, 4, 0)),  # whole races first, opponents get who is left
        ({"alone": 0.45, "self": 0.45, "line": 0.1}, 12, 4, 0, (1, 1, 4, 0)),
        ({"alone": 0.4, "self": 0.6, "line": 0}, 8, 1, 0, (3, 5, 0, 0)),
        ({"alone": 1, "self": 2}, 1, 4, 0, (1, 0, 0, 0)),  # a single one has a race of its own
        ({"self": 2, "line": 1}, 1, 4, 0, (0, 0, 1, 0)),
        ({"self": 2, "pool": 1}, 1, 4, 2, (0, 0, 0, 1)),
        ({"line": 1, "pool": 1}, 1, 4, 2, (0, 0, 1, 0)),
    ],
)
def test_shares_of_the_learners_cars_become_races(mix, learners: int, cars: int, pool: int, races):
    found = races_of_mix(mix, learners, cars, pool)
    assert found == races
    assert cars * sum(found[:2]) + sum(found[2:]) == (learners if learners > 1 else cars * found[0] + sum(found[2:]))


def test_any_shares_give_every_car_of_the_learner_a_race():
    generator = np.random.default_rng(0)
    for _ in range(500):
        cars = int(generator.integers(1, 9))
        learners = cars * int(generator.integers(1, 9))
        shares = generator.uniform(0, 1, 4) * (generator.uniform(0, 1, 4) < 0.7)
        if learners == 1 or not shares.any():
            continue
        mix = dict(zip(("alone", "self", "line", "pool"), shares, strict=True))
        least = cars * ((shares[:2] > 0).sum() + math.ceil((shares[2:] > 0).sum() / cars))
        if learners < least:
            with pytest.raises(InputError, match=f"algo.n_envs must be {least} or more .*, got {learners}; raise it"):
                races_of_mix(mix, learners, cars, int(shares[3] > 0))
            continue
        found = races_of_mix(mix, learners, cars, int(shares[3] > 0))
        assert min(found) >= 0
        assert cars * sum(found[:2]) + sum(found[2:]) == learners
        assert [number > 0 for number in found] == [share > 0 for share in shares]
        wanted = learners * shares / shares.sum()
        scarce = learners < 2 * least  # some have more than their share, so that each has a race
        assert (np.abs(np.array(found[:2]) * cars - wanted[:2]) <= (3 if scarce else 1.5) * cars).all()


@pytest.mark.parametrize(
    ("mix", "pool", "says"),
    [
        ([1], 0, r"mix must be shares by kind of opponent, got \[1\]; e.g. {self: 1, line: 1}"),
        ({"wall": 1}, 0, "mix.wall is no kind of opponent; use: alone, self, line, pool"),
        ({"self": -1}, 0, r"mix.self must be a number in \[0, 1000000\], got -1; it is a share"),
        ({"self": "most"}, 0, "mix.self must be a number"),
        ({"self": 0}, 0, "mix must have a share above 0, got {'self': 0}; e.g. self: 1"),
        ({"self": 1, "pool": 1}, 0, "mix.pool must be above 0 exactly where pool names policies, got 1 and 0 of them"),
        ({"self": 1}, 2, "mix.pool must be above 0 exactly where pool names policies, got 0 and 2 of them; set both"),
    ],
)
def test_shares_that_are_none(mix, pool: int, says: str):
    with pytest.raises(InputError, match=says):
        races_of_mix(mix, 8, 4, pool)
