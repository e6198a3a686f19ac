"""Counter-based random numbers: hash(seed, key, episode, draw). No state, so no order and no batch can change them."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from racing.sim.kernels.kernel import kernel, real

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
UNIT = real(1.0 / (1 << 24))


class Draw(IntEnum):
    """What the random numbers of one episode are for: every number of the stream that is taken is listed here.

    A run repeats only as long as these stay what they are: add numbers, never change or reuse one.
    """

    START_PLACE = 0  # on the lap; the key is the race, which its cars share
    START_LATERAL_OFFSET = 1
    START_HEADING_ERROR = 2
    START_SPEED = 3
    TIME_LIMIT = 4
    STANDING_START = 5
    RACE_SPEED = 6  # of a rolling start; the key is the race
    NEAR = 7  # whether a car respawns behind another,
    NEAR_WHOM = 8  # which one,
    NEAR_GAP = 9  # and how far
    RACE_START = 10  # which of two kinds it is; the key is the race
    BRAKING = 11  # when the car ahead brakes, in a suite of races; the key is the race
    OPPONENT = 12  # which policy of a pool drives the others; the key is the learner's car
    CAMERA_HEIGHT = 16
    CAMERA_PITCH = 17
    CAMERA_YAW = 18
    CAMERA_FIELD_OF_VIEW = 19
    CONTRAST = 24
    BRIGHTNESS = 25
    COLOR = 26  # and 27, 28: one per channel
    BLUR = 32
    RESPAWN_PLACE = 40  # and 41 to 55: places that a car may respawn at
    FRAME_NOISE = 64  # and the 2^31 above: one per step of the episode
    VARIATION = 1 << 32  # and those above: one per range of racing.sim.variation.config.LIMITS
    CONDITION = 1 << 40  # and those above: one per number of racing.sim.conditions.kernels
    RAY = 1 << 48  # and all above: 4096 per step of the episode, one per ray


@kernel
def key_of(i, rules):
    """Key of the draws of car i of the world: its number, counted over all worlds that are parts of a larger one."""
    return rules.first_car + i % rules.distinct_cars


@kernel
def scramble(z):
    """Finaliser of splitmix64 (Steele, Lea, Flood 2014)."""
    z = (z ^ (z >> np.uint64(30))) * MIX_1
    z = (z ^ (z >> np.uint64(27))) * MIX_2
    return z ^ (z >> np.uint64(31))


@kernel
def bits(seed, key, episode, draw):
    """64 random bits, a pure function of the four whole arguments.

    seed: of the world. key: number of the car, or of the race, counted over all batches (`first_race` of a world).
    episode: number of the car's episode. draw: a Draw, plus an offset where it says so.
    """
    return scramble(stream(seed, key, episode) + np.uint64(draw) * GOLDEN)


@kernel
def stream(seed, key, episode):
    """What all draws of an episode have in common; arguments as in `bits`."""
    z = scramble(np.uint64(seed) * GOLDEN + np.uint64(key))
    return scramble(z + np.uint64(episode) * GOLDEN)


@kernel
def uniform(seed, key, episode, draw):
    """Uniform number in [0, 1) with 24 bits; arguments as in `bits`."""
    return real(bits(seed, key, episode, draw) >> np.uint64(40)) * UNIT
