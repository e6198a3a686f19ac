"""Random numbers are a function of what they are for: a recorded run repeats only as long as that function stays."""

from __future__ import annotations

import numpy as np
import pytest

from racing.sim.kernels.rng import Draw, bits, uniform


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((1, 2, 3, Draw.START_PLACE), 15600925365036245935),
        ((7, 31, 2, Draw.STANDING_START), 9213582706930169247),
        ((7, 31, 2, Draw.COLOR + 2), 3472478287681238659),
        ((7, 31, 2, Draw.FRAME_NOISE + 600), 6075383533227418763),
    ],
)
def test_the_stream_is_what_it_always_was(arguments: tuple, expected: int):
    assert bits(*arguments) == expected
    assert uniform(*arguments) == np.float32((expected >> 40) / (1 << 24))


def test_no_number_serves_two_purposes():
    taken = [*Draw, Draw.COLOR + 1, Draw.COLOR + 2]
    assert len(set(taken)) == len(taken)
    assert max(taken) == Draw.FRAME_NOISE  # all above are one per step
