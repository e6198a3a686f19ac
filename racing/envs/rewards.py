"""What a car is rewarded for, term by term, and how an episode's end counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.errors import is_number, require
from racing.sim.kernels.kernel import inlined, kernel
from racing.sim.records import Ending

REWARD_TERMS = ("progress", "off_track", "stalled", "overspeed", "steering_change", "slip", "lap")
"""Reward terms, each a number per environment step; the reward is their sum weighted by the config's numbers:

progress         arc length won / (top speed * duration of a step): the share of top speed made good along the track
off_track        1 in the step in which the car leaves the road
stalled          1 in the step in which it is given up as stalled or driving the wrong way
overspeed        by how much the car is faster than the line's speed at this place (`line`), v / speed - 1, >= 0
steering_change  |steering command - the one before|, 0..2
slip             |angle between car and velocity| [rad]
lap              1 in the step in which the laps of an episode are done
"""
RACE_TERMS = ("passing", "contact", "rear_end", "braking_needed")
"""What is added in races of several cars (Wurman et al. 2022, doi 10.1038/s41586-021-04357-7, extended data table 1):

passing          arc length won on every car within the window, summed, in the unit of progress: being passed costs what
                 passing earns
contact          1 in a step in which the car touches another one, whoever is to blame
rear_end         (closing speed / top speed)^2 of a contact with the car's own nose
braking_needed   (deceleration that is needed not to run into a car ahead on the own path / greatest braking)^2, at most
                 1: DRAC, the deceleration rate to avoid a crash, closing speed^2 / (2 gap)
"""
CONDITION_TERMS = ("tyre_wear", "damage")
"""What is added where something changes while cars drive (racing.sim.conditions):

tyre_wear        share of the tyres' life that the step has cost
damage           damage that the car has taken in the step, 1 ruins it
"""


def reward_weights(reward: Mapping[str, float] | None) -> dict[str, float]:
    """Weight of each reward term by its name; None: the default. Raises InputError for other names and values."""
    if reward is None:
        return {"progress": 0.1, "off_track": -5.0}
    return checked_weights(reward, (*REWARD_TERMS, *RACE_TERMS, *CONDITION_TERMS))


def checked_weights(reward: Mapping[str, float], terms: Sequence[str]) -> dict[str, float]:
    """The weights, as a dict. Raises InputError where they name others than these terms, or are no numbers."""
    known = ", ".join(terms)
    require(isinstance(reward, Mapping), f"reward must be weights by term, got {reward!r}; the terms: {known}")
    for name, weight in reward.items():
        require(name in terms, f"reward.{name} is no reward term; use: {known}")
        require(is_number(weight), f"reward.{name} must be a finite number, got {weight!r}; 0 switches it off")
    return dict(reward)


@kernel
def reward_terms_and_dones(cars: Any, per_metre: Any, terms: Any, terminated: Any, truncated: Any) -> None:
    """Fill terms (N, T) and terminated, truncated (N,) for cars (N,) after a step; per_metre: progress term of 1 m."""
    for i in range(len(cars)):
        reward_terms(cars[i], per_metre, terms, i)
        truncated[i] = is_truncated(cars[i].ended)
        terminated[i] = is_terminated(cars[i].ended)


@inlined
def reward_terms(car: Any, per_metre: Any, terms: Any, i: int) -> None:
    """Fill row i of terms (N, T) in the order of REWARD_TERMS."""
    ended = car.ended
    terms[i, 0] = car.progress_delta * per_metre
    terms[i, 1] = np.float32(ended == Ending.OFF_TRACK)
    terms[i, 2] = np.float32(ended == Ending.STALLED or ended == Ending.WRONG_WAY)
    terms[i, 3] = max(car.v / car.line_speed - np.float32(1), np.float32(0))
    terms[i, 4] = car.steering_change
    terms[i, 5] = abs(car.slip)
    terms[i, 6] = np.float32(ended == Ending.LAPS_DONE)


@kernel
def race_terms(traffic: Any, per_metre: Any, per_speed: Any, per_brake: Any, terms: Any) -> None:
    """Fill the first columns of terms (N, T), RACE_TERMS, for traffic records (N,) after a step.

    per_metre: as above. per_speed: 1 / top speed. per_brake: 1 / greatest braking.
    """
    for i in range(len(traffic)):
        here = traffic[i]
        terms[i, 0] = here.won * per_metre
        terms[i, 1] = np.float32(here.contact_with != 0)
        terms[i, 2] = (here.ran_into * per_speed) ** 2
        terms[i, 3] = min(here.braking_needed * per_brake, np.float32(1)) ** 2


def condition_terms(records: npt.NDArray[Any], terms: npt.NDArray[np.float32]) -> None:
    """Fill terms (N, 2), CONDITION_TERMS, for condition records (N,) after a step."""
    terms[:, 0], terms[:, 1] = records["wear_delta"], records["damage_delta"]


@inlined
def is_truncated(ended: Any) -> Any:
    """Whether the episode was cut, so that the value of what would follow is bootstrapped."""
    return ended == Ending.LAPS_DONE or ended == Ending.TIME_LIMIT


@inlined
def is_terminated(ended: Any) -> Any:
    """Whether the episode ended by what the car did."""
    by_itself = ended == Ending.OFF_TRACK or ended == Ending.STALLED or ended == Ending.WRONG_WAY
    return by_itself or ended == Ending.RETIRED
