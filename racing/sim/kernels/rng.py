"""Counter-based random numbers: hash(seed, car, episode, draw). No state, so no order and no batch can change them."""

from __future__ import annotations

import numpy as np

from racing.sim.kernels.kernel import kernel, real

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
UNIT = real(1.0 / (1 << 24))


@kernel
def scramble(z):
    """Finaliser of splitmix64 (Steele, Lea, Flood 2014)."""
    z = (z ^ (z >> np.uint64(30))) * MIX_1
    z = (z ^ (z >> np.uint64(27))) * MIX_2
    return z ^ (z >> np.uint64(31))


@kernel
def bits(seed, car, episode, draw):
    """64 random bits, a pure function of the four whole arguments."""
    z = scramble(np.uint64(seed) * GOLDEN + np.uint64(car))
    z = scramble(z + np.uint64(episode) * GOLDEN)
    return scramble(z + np.uint64(draw) * GOLDEN)


@kernel
def uniform(seed, car, episode, draw):
    """Uniform number in [0, 1) with 24 bits, a pure function of its four whole arguments."""
    return real(bits(seed, car, episode, draw) >> np.uint64(40)) * UNIT
