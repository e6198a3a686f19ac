"""One environment step of many races: all cars move and touch, then all look, then those that are out start again.

The order matters: a car that started again before another looked would be seen by those that come after it only.
"""

from __future__ import annotations

import numpy as np

from racing.sim.block import BLOCK_ROWS, DEMAND, STEER_TARGET, VARIED, X_BEFORE, Y_BEFORE, load, move, store
from racing.sim.kernels.kernel import kernel, real
from racing.sim.kernels.lanes import LANES
from racing.sim.race.bodies import touch
from racing.sim.race.config import MOST_CARS, Wreck
from racing.sim.race.contact import BODY_ROWS, CONTACT_COLUMNS
from racing.sim.race.slipstream import shelter
from racing.sim.race.starts import respawn, start_race
from racing.sim.race.traffic import GONE, RACING, STOPPED, look_around, see_cars
from racing.sim.rays import scan
from racing.sim.records import Ending
from racing.sim.step import keep_up, locate_car
from racing.sim.variation import kernels as variation

ZERO, ONE = real(0), real(1)
PAIRS = MOST_CARS * (MOST_CARS - 1) // 2
OBSTACLE = int(Wreck.OBSTACLE)


@kernel
def begin_races(first, last, cars, traffic, points, gates, grid, tracks, vehicle, rules, race, ranges, vary):
    """Start races first..last-1 and measure their rays; arguments as in `step_races`."""
    count = rules.cars_per_race
    for number in range(first, last):
        start_race(number * count, count, cars, traffic, points, gates, tracks, rules, race)
        look_around(number * count, count, cars, traffic, tracks, vehicle, race.window)
    see(np.arange(first * count, last * count), cars, traffic, points, grid, tracks, vehicle, rules, race, ranges, vary)


@kernel
def see(chosen, cars, traffic, points, grid, tracks, vehicle, rules, race, ranges, vary):
    """Measure the rays of the cars `chosen` (n,), after what differs of those that begin an episode is drawn."""
    count = rules.cars_per_race
    scan(cars, chosen, grid, tracks, rules.field_of_view, rules.range, ranges)
    if race.rays_see_cars:
        for i in chosen:
            see_cars(i, i - i % count, count, cars, traffic, vehicle, rules.field_of_view, rules.range, ranges)
    if vary is not None:
        variation.renew(chosen, cars, points, tracks, vary, rules)
        variation.disturb(chosen, cars, vary, rules, ranges)


@kernel
def step_races(
    first,
    last,
    actions,
    cars,
    final_cars,
    traffic,
    final_traffic,
    points,
    gates,
    grid,
    grip,
    tracks,
    vehicle,
    rules,
    race,
    ranges,
    final_ranges,
    vary,
):
    """Advance races first..last-1 by one environment step; arguments as in racing.sim.step.step.

    traffic, final_traffic (N,) traffic records, of `cars` and `final_cars`. race: rules of races.
    """
    count = rules.cars_per_race
    block = np.zeros((BLOCK_ROWS, LANES), ranges.dtype)
    bodies = np.zeros((BODY_ROWS, MOST_CARS), ranges.dtype)
    contacts = np.zeros((PAIRS, CONTACT_COLUMNS), ranges.dtype)
    work = (block, bodies, contacts)
    for number in range(first, last, LANES // count):
        races = min(LANES // count, last - number)
        drive_races(number * count, races, actions, cars, traffic, vehicle, rules, race, work, tracks, grip, vary)
        place(number * count, races * count, cars, traffic, points, gates, grid, tracks, rules, race, block, vary)
    for number in range(first, last):
        look_around(number * count, count, cars, traffic, tracks, vehicle, race.window)
        for i in range(number * count, number * count + count):
            here = traffic[i]
            here.steps_near += here.state == RACING and min(here.gap_ahead, here.gap_behind) <= race.window
        if race.together:
            wave_off(number * count, count, cars, rules, race)
    see(np.arange(first * count, last * count), cars, traffic, points, grid, tracks, vehicle, rules, race, ranges, vary)
    again, restarts = np.empty((last - first) * count, np.int64), 0
    for number in range(first, last):
        keep(number * count, count, cars, final_cars, traffic, final_traffic, ranges, final_ranges, vary)
        if start_again(number * count, count, cars, traffic, points, gates, tracks, vehicle, rules, race):
            look_around(number * count, count, cars, traffic, tracks, vehicle, race.window)
            for i in range(number * count, number * count + count):
                again[restarts] = i
                restarts += 1
    see(again[:restarts], cars, traffic, points, grid, tracks, vehicle, rules, race, ranges, vary)


@kernel
def place(first, count, cars, traffic, points, gates, grid, tracks, rules, race, block, vary):
    """Bring places, progress and endings of cars first..first+count-1, a block, up to date after they moved."""
    for j in range(count):
        car, here = cars[first + j], traffic[first + j]
        if here.state == RACING:
            keep_up(car, points, gates, grid, tracks, rules, block[X_BEFORE, j], block[Y_BEFORE, j])
            here.distance += car.progress_delta
            at_fault = ZERO < race.disqualify <= here.closing and here.blame > ZERO  # of those who respawn
            if at_fault and not race.together and car.ended == Ending.RUNNING:
                car.ended = Ending.RETIRED
            if vary is not None:
                variation.develop(first + j, cars, here.closing, points, tracks, vary, rules)
        else:
            car.s = locate_car(car, points, tracks[car.track])


@kernel
def keep(first, count, cars, final_cars, traffic, final_traffic, ranges, final_ranges, vary):
    """Copy how cars first..first+count-1 are before restarts; their rays where an episode ended."""
    for i in range(first, first + count):
        final_cars[i], final_traffic[i] = cars[i], traffic[i]
        if vary is not None:
            variation.keep_last(i, vary)
        if cars[i].ended != Ending.RUNNING:
            final_ranges[i] = ranges[i]


@kernel
def drive_races(first, races, actions, cars, traffic, vehicle, rules, race, work, tracks, grip, vary):
    """Move the cars of `races` races, from car `first` on, by one environment step, touching each other.

    work: space for a block, bodies and contacts.
    """
    block, bodies, contacts = work
    count = rules.cars_per_race
    before = np.empty(LANES, np.int32)
    load(cars, actions, first, races * count, vehicle, rules, block, vary)
    for j in range(races * count):
        here = traffic[first + j]
        here.closing = here.ran_into = here.blame = ZERO
        before[j], here.contact_with = here.contact_with, 0
        if here.state != RACING:
            block[STEER_TARGET, j], block[DEMAND, j] = ZERO, -vehicle.max_brake
            if vary is not None:
                variation.halt(vehicle, block[VARIED:], j)
    if vary is not None and race.slipstream > ZERO:
        for k in range(races):
            shelter(first + k * count, count, cars, traffic, vehicle, race, block[VARIED:], k * count)
    for number in range(rules.substeps):
        move(cars, first, races * count, vehicle, rules, block, tracks, grip, vary, number)
        if race.contact:
            for k in range(races):
                touch(block, k * count, first + k * count, count, vehicle, race, traffic, bodies, contacts, vary)
    store(cars, actions, first, races * count, vehicle, block, vary)
    for j in range(races * count):
        new = traffic[first + j].contact_with & ~before[j]
        if new != 0:
            traffic[first + j].faults += traffic[first + j].blame
        while new != 0:
            new &= new - 1
            traffic[first + j].contacts += 1


@kernel
def wave_off(first, count, cars, rules, race):
    """End the episodes of those that are still under way when the winner has finished and the time of grace is over."""
    best = 0
    for i in range(first, first + count):
        if cars[i].laps >= rules.laps and rules.laps > 0 and (best == 0 or cars[i].steps < best):
            best = cars[i].steps
    for i in range(first, first + count):
        if best > 0 and cars[i].ended == Ending.RUNNING and real(cars[i].steps) >= real(best) * (ONE + race.grace):
            cars[i].ended = Ending.TIME_LIMIT


@kernel
def start_again(first, count, cars, traffic, points, gates, tracks, vehicle, rules, race):
    """Start those again that are out: each car alone, or all when the last one is. Returns whether others see it."""
    changes = out = 0
    for i in range(first, first + count):
        car = cars[i]
        if traffic[i].state == RACING and car.ended != Ending.RUNNING:
            if race.together:
                car.ended, car.progress_delta = Ending.RUNNING, ZERO  # it is said once
                traffic[i].state = STOPPED if race.wreck == OBSTACLE and car.laps < max(rules.laps, 1) else GONE
                changes += 1
            else:
                respawn(i, first, count, cars, traffic, points, gates, tracks, vehicle, rules, race)
                changes += 1
        out += traffic[i].state != RACING
    if race.together and out == count:
        start_race(first, count, cars, traffic, points, gates, tracks, rules, race)
        changes = count
    return changes > 0
