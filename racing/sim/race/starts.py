"""Where the cars of a race start: together in a grid, or alone where there is room between the others."""

from __future__ import annotations

import math

from racing.sim.kernels.kernel import kernel, real
from racing.sim.kernels.rng import Draw, bits, key_of, uniform
from racing.sim.localisation import shortest
from racing.sim.race.config import Start
from racing.sim.race.traffic import GONE, RACING, is_met
from racing.sim.step import put_at, race_of, start_at

ZERO, HALF, ONE, TWO = real(0), real(0.5), real(1), real(2)
GRID, ROLLING, MIXED = int(Start.GRID), int(Start.ROLLING), int(Start.MIXED)
COLUMN = real(0.5)  # of the room beside the centreline, to which the columns of a grid are offset
TRIES = 16  # places that are drawn before the middle of the largest gap is taken
ROOM = TWO  # [car lengths] along the track, and straight, that a respawned car has to all others at least
FASTER = TWO  # [m/s] than the car ahead, at most


@kernel
def start_race(first, count, cars, traffic, points, gates, tracks, rules, race):
    """Start the next race of cars first..first+count-1; who starts where goes round with races and episodes.

    race: rules of races. spacing of them: [m] between two places of a grid; jitter: [m] behind one, at most.
    """
    number = race_of(first, rules)
    track = tracks[number % len(tracks)]
    episode = cars[first].episode + 1
    start, line = int(race.start), ZERO
    if start == MIXED:
        start = ROLLING if uniform(rules.seed, number, episode, Draw.RACE_START) < HALF else GRID
    if rules.random_start and start != GRID:
        line = uniform(rules.seed, number, episode, Draw.START_PLACE) * track.length
    pace = rules.start_speed_low + (rules.start_speed_high - rules.start_speed_low) * uniform(
        rules.seed, number, episode, Draw.RACE_SPEED
    )
    leader = first
    for k in range(count):
        i, car = first + k, cars[first + k]
        place = (k + number + episode) % count
        if start in (GRID, ROLLING):
            behind = real(place + 1) * race.spacing * (ONE if start == GRID else TWO)
            behind += race.jitter * uniform(rules.seed, key_of(i, rules), episode, Draw.START_SPEED)
            along = on_lap(line - behind, track.length)
            here = points[track.point_start + int(along / track.spacing) % track.point_count]
            left = place % 2 == 0
            lateral = COLUMN * max((here.left if left else here.right) - rules.margin, ZERO)
            lateral = lateral if left else -lateral
            put_at(car, i, along, lateral, ZERO, ZERO if start == GRID else pace, points, gates, tracks, rules)
        else:
            behind = real(place) * track.length / real(4 * count)
            start_at(car, i, on_lap(line - behind, track.length), points, gates, tracks, rules)
        clear(traffic[i])
        traffic[i].distance = -behind
        leader = i if place == 0 else leader
    if race.together:  # they all race to the same line
        for i in range(first, first + count):
            cars[i].next_gate = cars[leader].next_gate


@kernel
def clear(here):
    """Begin a traffic record anew: a car that races and has met nobody."""
    here.distance = here.gap_ahead = here.gap_behind = here.won = ZERO
    here.closing = here.ran_into = here.blame = here.faults = here.draft = here.braking_needed = ZERO
    here.state, here.rank, here.contact_with, here.contacts, here.steps_near = RACING, 1, 0, 0, 0


@kernel
def respawn(i, first, count, cars, traffic, points, gates, tracks, vehicle, rules, race):
    """Start the next episode of car i alone, where there is room among cars first..first+count-1."""
    car = cars[i]
    track = tracks[race_of(i, rules) % len(tracks)]
    traffic[i].state = GONE
    along = free_place(i, first, count, cars, traffic, points, track, vehicle, rules, race)
    start_at(car, i, along, points, gates, tracks, rules)
    clear(traffic[i])
    for k in range(first, first + count):
        gap = shortest(cars[k].s - car.s, track.length)
        if k != i and is_met(traffic[i]) and is_met(traffic[k]) and ZERO < gap <= race.window:
            car.v = min(car.v, max(cars[k].v, ZERO) + FASTER)


@kernel
def free_place(i, first, count, cars, traffic, points, track, vehicle, rules, race):
    """An arc length [m] at which car i may start: behind another one, or anywhere; else amid the largest gap."""
    key, seed, episode = key_of(i, rules), rules.seed, cars[i].episode + 1
    room = ROOM * vehicle.length
    if count > 1 and traffic[i].alone == 0 and uniform(seed, key, episode, Draw.NEAR) < race.near:
        whom = first + int(bits(seed, key, episode, Draw.NEAR_WHOM) % (count - 1))
        whom += 1 if whom >= i else 0
        gap = room + uniform(seed, key, episode, Draw.NEAR_GAP) * max(race.window - room, ZERO)
        along = on_lap(cars[whom].s - gap, track.length)
        if is_met(traffic[whom]) and is_free(along, first, count, cars, traffic, points, track, room):
            return along
    for attempt in range(TRIES):
        along = uniform(seed, key, episode, Draw.RESPAWN_PLACE + attempt) * track.length
        if is_free(along, first, count, cars, traffic, points, track, room):
            return along
    return widest(first, count, cars, traffic, track)


@kernel
def is_free(along, first, count, cars, traffic, points, track, room):
    """Whether nobody is within `room` [m] of a place, along the track or straight (where it crosses itself)."""
    here = points[track.point_start + int(along / track.spacing) % track.point_count]
    for k in range(first, first + count):
        if not is_met(traffic[k]):
            continue
        dx, dy = cars[k].x - here.x, cars[k].y - here.y
        if abs(shortest(cars[k].s - along, track.length)) < room or dx * dx + dy * dy < room * room:
            return False
    return True


@kernel
def widest(first, count, cars, traffic, track):
    """The middle of the largest gap between two cars [m]."""
    best, along = -ONE, ZERO
    for k in range(first, first + count):
        if not is_met(traffic[k]):
            continue
        gap = track.length
        for m in range(first, first + count):
            if m != k and is_met(traffic[m]):
                gap = min(gap, on_lap(cars[m].s - cars[k].s, track.length))
        if gap > best:
            best, along = gap, on_lap(cars[k].s + HALF * gap, track.length)
    return along


@kernel
def on_lap(along, length):
    """An arc length [m], brought to [0, length)."""
    return along - length * real(math.floor(along / length))
