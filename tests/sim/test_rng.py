"""Random numbers are a function of what they are for: a recorded run repeats only as long as that function stays."""

from __future__ import annotations

import numpy as np
import pytest

from racing.sim.conditions.kernels import RAIN_DURATION
from racing.sim.kernels.rng import Draw, bits, uniform
from racing.sim.variation.config import LIMITS
from racing.sim.variation.kernels import RAYS


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((1, 2, 3, Draw.START_PLACE), 15600925365036245935),
        ((7, 31, 2, Draw.STANDING_START), 9213582706930169247),
        ((7, 31, 2, Draw.COLOR + 2), 3472478287681238659),
        ((7, 31, 2, Draw.FRAME_NOISE + 600), 6075383533227418763),
        ((7, 31, 2, Draw.VARIATION + 4), 6347250831654661219),
        ((7, 31, 2, Draw.RAY + 4096 * 600 + 6), 17607820281671662157),
    ],
)
def test_the_stream_is_what_it_always_was(arguments: tuple, expected: int):
    assert bits(*arguments) == expected
    assert uniform(*arguments) == np.float32((expected >> 40) / (1 << 24))


def test_no_number_serves_two_purposes():
    taken = [*Draw, Draw.COLOR + 1, Draw.COLOR + 2]
    assert len(set(taken)) == len(taken)
    most_steps = (1 << 31) - 1
    assert max(set(taken) - {Draw.VARIATION, Draw.CONDITION, Draw.RAY, Draw.FRAME_NOISE}) < Draw.FRAME_NOISE
    assert Draw.FRAME_NOISE + most_steps < Draw.VARIATION
    assert Draw.VARIATION + len(LIMITS) < Draw.CONDITION
    assert Draw.CONDITION + RAIN_DURATION < Draw.RAY
    assert Draw.RAY + RAYS * (most_steps + 1) < 1 << 63
