"""Slipstream: behind another car the air moves along, so a car has less drag there.

The form is that of TORCS (simuv2, aero.cpp): it falls off exponentially with the distance, the later the faster the
other car is, and acts on those alone who follow straight behind. How strong it is, how far it reaches and how it fades
towards the sides are conventions, not findings.
"""

from __future__ import annotations

import math

from racing.sim.kernels.kernel import kernel, real
from racing.sim.kernels.trig import arctan, sincos, wrap
from racing.sim.race.traffic import is_met
from racing.sim.variation.kernels import DRAG

ZERO, ONE = real(0), real(1)
TURNED = real(math.radians(8))  # [rad] between the two cars, less than
ASIDE = real(math.radians(10))  # [rad] from straight ahead, less than


@kernel
def shelter(first, count, cars, traffic, vehicle, race, rows, column):
    """Give cars first..first+count-1, a race, the drag that they have behind each other where they are now.

    Whoever moves first does not matter: it holds for an environment step. rows (VARIED_ROWS, LANES): of a block
    (racing.sim.variation.kernels), the race's cars from `column` on.
    """
    for k in range(count):
        here = traffic[first + k]
        here.draft = ZERO
        if not is_met(here):
            continue
        for m in range(count):
            if m != k and is_met(traffic[first + m]):
                here.draft = max(here.draft, draft(cars[first + k], cars[first + m], vehicle, race))
        airspeed = ONE - race.slipstream * here.draft
        rows[DRAG, column + k] *= airspeed * airspeed


@kernel
def draft(car, other, vehicle, race):
    """How much of another car's slipstream a car has: 1 at its tail, straight behind, 0 elsewhere and when slow."""
    if min(car.v, other.v) <= race.draft_speed:
        return ZERO
    sin, cos = sincos(car.yaw)
    dx, dy = other.x - car.x, other.y - car.y
    ahead, left = dx * cos + dy * sin, dy * cos - dx * sin
    if ahead <= ZERO or ahead > race.window:
        return ZERO
    turned, aside = wrap(other.yaw - car.yaw) / TURNED, arctan(left / ahead) / ASIDE
    if abs(turned) >= ONE or abs(aside) >= ONE:
        return ZERO
    gap = max(ahead - vehicle.length, ZERO)
    align = (ONE - turned * turned) * (ONE - aside * aside)
    return align * math.exp(-gap / (race.draft_time * other.v))
