"""What changes while a car drives, in the kernels: drawn at an episode's start, carried on after every step.

Numbered equations, T in degrees C, all rates per second:
  (1) P = sum over axles of |F_y v_y| + |F_x kappa v_x|, kappa = |F_x| / (mu F_z C): work that the tyres do on the
      ground. F, v: force and velocity of the wheels in their own frame; kappa: slip ratio of a tyre whose longitudinal
      stiffness is its cornering stiffness C (Pacejka, Tire and Vehicle Dynamics, 2012, 3.3: brush model, small slip).
      Wear in proportion to the work of friction: Archard, Contact and Rubbing of Flat Surfaces, 1953.
  (2) slide' = P / (m g) [m/s]   (3) wear' = slide' / life
  (4) T' = heating slide' - (T - ambient) / cooling_time
  (5) fuel' = -consumption * power of the drive
  (6) wetness' = (1 - wetness) / wetting_time while it rains, else -wetness / drying_time
"""

from __future__ import annotations

import math

from racing.sim.kernels.kernel import kernel, real
from racing.sim.kernels.rng import Draw, key_of, uniform
from racing.sim.records import Ending

ZERO, ONE, TWO, HALF = real(0), real(1), real(2), real(0.5)
GRAVITY = real(9.81)
# What is drawn for an episode, added to Draw.CONDITION; the weather's by race.
WEAR, TEMPERATURE, FUEL, SIDE, WETNESS, RAIN_START, RAIN_DURATION = range(7)


@kernel
def between(low, high, seed, key, episode, draw):
    """A number drawn evenly from [low, high]; arguments as in racing.sim.kernels.rng.bits."""
    return low + (high - low) * uniform(seed, key, episode, Draw.CONDITION + draw)


@kernel
def begin(own, car, i, rules, living):
    """Draw in what condition car i of the world begins the episode that it has begun.

    own: its condition record. living: what changes, and by how much (racing.sim.records.living).
    """
    seed, key, episode = rules.seed, key_of(i, rules), car.episode
    race = key // rules.cars_per_race
    own.wear = between(living.wear_low, living.wear_high, seed, key, episode, WEAR)
    own.temperature = between(living.temperature_low, living.temperature_high, seed, key, episode, TEMPERATURE)
    own.tank = own.fuel = between(living.fuel_low, living.fuel_high, seed, key, episode, FUEL)
    own.side = ONE if uniform(seed, key, episode, Draw.CONDITION + SIDE) < HALF else -ONE
    own.start_wetness = between(living.wetness_low, living.wetness_high, seed, race, episode, WETNESS)
    own.rain_start = between(living.rain_start_low, living.rain_start_high, seed, race, episode, RAIN_START)
    duration = between(living.rain_duration_low, living.rain_duration_high, seed, race, episode, RAIN_DURATION)
    own.rain_end = own.rain_start + duration
    own.temperature_at_start = own.temperature
    own.damage = own.wear_delta = own.damage_delta = ZERO
    own.stops = 0


@kernel
def develop(own, car, closing, here, rules, living):
    """Carry the condition of a car on over an environment step, at whose end it may retire, or stop at the pit.

    closing: [m/s] of the fastest contact in that step, 0: none. here: centreline record of the nearest point.
    """
    dt = rules.physics_dt * real(rules.substeps)
    slid = own.sliding * dt  # (2)
    before = own.wear
    own.wear = min(own.wear + slid * living.wear_per_metre, ONE)  # (3)
    own.wear_delta = own.wear - before
    rest = living.ambient_temperature + living.heating * own.sliding * living.cooling_time
    own.temperature = rest + (own.temperature - rest) * math.exp(-dt / living.cooling_time)  # (4), exact
    own.fuel = max(own.fuel - living.consumption * own.power * dt, ZERO)  # (5)
    blow = closing * living.per_closing_speed
    before = own.damage
    own.damage = min(own.damage + blow * blow, ONE)
    own.damage_delta = own.damage - before
    if living.retires_at > ZERO and own.damage >= living.retires_at and car.ended == Ending.RUNNING:
        car.ended = Ending.RETIRED
    if living.stop_every > 0 and car.laps >= (own.stops + 1) * living.stop_every and car.ended == Ending.RUNNING:
        own.stops += 1
        own.wear, own.fuel, own.damage, own.temperature = ZERO, own.tank, ZERO, own.temperature_at_start
        car.lap_started -= living.stop_time
    apply(own, car, here, rules, living)


@kernel
def apply(own, car, here, rules, living):
    """Bring up to date what a car's condition makes of it: `grip` to `offset` of its record, and the road's wetness."""
    now = real(car.steps) * rules.physics_dt * real(rules.substeps)
    along, aside = here.line_x - car.x, here.line_y - car.y
    apart = (along * along + aside * aside) / (living.line_width * living.line_width)
    on_line = math.exp(real(-0.6931472) * apart)  # a half at line_width
    elsewhere = wetness(own, now, living.drying_time, living)
    own.wetness = elsewhere + on_line * (wetness(own, now, living.line_drying_time, living) - elsewhere)
    off = (own.temperature - living.optimal_temperature) / living.temperature_window
    own.grip = (
        (ONE - living.wear_loss * own.wear)
        * (ONE - living.temperature_loss * min(off * off, ONE))
        * (ONE - living.wet_loss * own.wetness)
    )
    own.mass = ONE + own.fuel * living.per_mass
    own.drive = ZERO if own.tank > ZERO and own.fuel == ZERO else ONE - living.power_loss * own.damage
    own.drag = ONE + living.drag * own.damage
    own.offset = own.side * living.steering_offset * own.damage


@kernel
def wetness(own, now, drying_time, living):
    """How wet a road is, 0 to 1, that dries with time constant `drying_time` [s]; now: [s] of the episode. (6)"""
    wet = own.start_wetness
    if now <= own.rain_start:
        return wet * math.exp(-now / drying_time)
    wet *= math.exp(-own.rain_start / drying_time)
    wet = ONE - (ONE - wet) * math.exp(-(min(now, own.rain_end) - own.rain_start) / living.wetting_time)
    if now > own.rain_end:
        wet *= math.exp(-(now - own.rain_end) / drying_time)
    return wet
