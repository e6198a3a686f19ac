"""Slipstream: drag behind another car against what is worked out by hand, and who has none of it."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from racing.errors import InputError
from racing.sim.episodes import EpisodeConfig
from racing.sim.race.config import RaceConfig
from racing.sim.race.traffic import GONE, STOPPED
from racing.sim.track import Track
from racing.sim.variation.config import VariationConfig
from racing.sim.vehicle import GRAVITY, Vehicle
from racing.sim.world import World
from tests.sim.race.worlds import bits, commands, driver, line_up, make, place

SUCTION = RaceConfig(slipstream=0.3, contact=False)
FAST = 34.0  # [m/s]


@pytest.fixture
def row(straight_road: Track, kart: Vehicle):
    """row(*places, **options): the world after a step in which the cars of its race rolled from there."""

    def rolled(*places: tuple[float, float, float], turned: float = 0.0, **options) -> World:
        world = make(straight_road, kart, races=1, cars_per_race=len(places), **{"race": SUCTION, **options})
        world.reset()
        line_up(world, *places)
        for slot, (x, y, _) in enumerate(places):  # not the nearest point of the road
            place(world, slot, x=x, y=y)
        place(world, 1, yaw=turned)
        world.step(np.zeros((1, len(places), 2)))
        return world

    return rolled


def drag_of(world: World) -> np.ndarray:
    """[N] by which the air holds the cars of the first race, that roll without throttle."""
    cars, kart = world.cars[0], world.vehicle
    return -kart.mass * cars["ax"] - kart.rolling * kart.mass * GRAVITY


@pytest.mark.parametrize("gap", [0.0, 1.0, 5.7, 20.0])
def test_drag_behind_another_car_is_what_is_worked_out_by_hand(row, kart: Vehicle, gap: float):
    """Of 486 N at 34 m/s: all times (1 - 0.3 exp(-gap / length of the wake))^2; the wake is 4.5 lengths at 35 m/s."""
    world = row((20, 0, FAST), (20 + kart.length + gap, 0, FAST))
    reach = 4.5 * 1.9 * FAST / 35
    hidden = math.exp(-gap / reach)
    np.testing.assert_allclose(world.traffic["draft"][0], [hidden, 0], rtol=1e-3)
    full = 0.42 * world.cars["v"][0].astype(float) ** 2
    assert full[1] == pytest.approx(0.42 * FAST**2, rel=0.02)
    np.testing.assert_allclose(drag_of(world), full * [(1 - 0.3 * hidden) ** 2, 1], rtol=2e-3)
    plain = row((20, 0, FAST), (20 + kart.length + gap, 0, FAST), race=RaceConfig(contact=False))
    assert not plain.traffic["draft"].any()
    won = (world.cars["v"][0] - plain.cars["v"][0]).astype(float)  # the force that is saved, over the step
    saved = 0.42 * FAST**2 * (1 - (1 - 0.3 * hidden) ** 2)
    np.testing.assert_allclose(won * kart.mass / world.step_dt, [saved, 0], rtol=0.03, atol=0.1)


def test_it_fades_towards_the_sides(row):
    """At half of the angles: three quarters for each of them."""
    straight = row((20, 0, FAST), (40, 0, FAST)).traffic["draft"][0, 0]
    aside = row((20, 0, FAST), (40, 20 * math.tan(math.radians(5)), FAST)).traffic["draft"][0, 0]
    turned = row((20, 0, FAST), (40, 0, FAST), turned=math.radians(-4)).traffic["draft"][0, 0]
    assert straight > 0.1
    assert aside == pytest.approx(0.75 * straight, rel=1e-3)
    assert turned == pytest.approx(0.75 * straight, rel=1e-3)


@pytest.mark.parametrize(
    ("other", "turned"),
    [
        ((20, 3, FAST), 0.0),  # beside it
        ((10, 0, FAST), 0.0),  # behind it
        ((40, 0, FAST), 8.1),
        ((40, 0, FAST), -8.1),
        ((40, 20 * math.tan(math.radians(10.1)), FAST), 0.0),
        ((40, 20 * math.tan(math.radians(-10.1)), FAST), 0.0),
        ((40, 0, 9.9), 0.0),  # too slow
        ((61, 0, FAST), 0.0),  # beyond the window
    ],
)
def test_there_is_none_beside_ahead_aslant_slow_and_far(row, kart: Vehicle, other, turned: float):
    assert kart.sensor_range / 3 == 40
    world = row((20, 0, FAST), other, turned=math.radians(turned))
    assert world.traffic["draft"][0, 0] == 0
    np.testing.assert_allclose(drag_of(world)[0], 0.42 * float(world.cars["v"][0, 0]) ** 2, rtol=2e-3)
    assert row((20, 0, 9.9), (40, 0, FAST)).traffic["draft"][0, 0] == 0
    assert row((20, 0, FAST), (59, 0, FAST), turned=math.radians(7.9)).traffic["draft"][0, 0] > 0


def test_the_best_of_several_counts(row):
    """Not their sum; and where they are before anybody moves."""
    pair = row((20, 0, FAST), (26, 0, FAST)).traffic["draft"][0, 0]
    assert row((20, 0, FAST), (26, 0, FAST), (32, 0, FAST)).traffic["draft"][0, :2].tolist() == [pair, pair]
    for order in ([2, 0, 1], [1, 2, 0]):
        places = np.array([(20, 0, FAST), (26, 0, FAST), (32, 0, FAST)])
        np.testing.assert_array_equal(row(*places[order]).traffic["draft"][0], np.array([pair, pair, 0])[order])


@pytest.mark.parametrize(("name", "value"), [("alone", 1), ("state", GONE), ("state", STOPPED)])
@pytest.mark.parametrize("slot", [0, 1])
def test_who_drives_alone_or_is_out_neither_gives_nor_takes_it(
    straight_road: Track, kart: Vehicle, name: str, value: int, slot: int
):
    world = make(straight_road, kart, races=1, cars_per_race=2, race=SUCTION)
    world.reset()
    line_up(world, (20, 0, FAST), (26, 0, 0 if value == STOPPED and slot == 1 else FAST))
    world.traffic[name][0, slot] = value
    world.step(np.zeros((1, 2, 2)))
    if (name, value, slot) != ("state", STOPPED, 0):  # a wreck that still rolls has drag as any car
        assert not world.traffic["draft"].any()


def test_it_acts_on_the_drag_that_a_car_has(row):
    world = row((20, 0, FAST), (26, 0, FAST), variation=VariationConfig(drag=2.0, mass=1.5))
    hidden = float(world.traffic["draft"][0, 0])
    own = 2 * 0.42 * world.cars["v"][0].astype(float) ** 2 * [(1 - 0.3 * hidden) ** 2, 1]
    kart = world.vehicle
    found = -1.5 * kart.mass * world.cars["ax"][0] - kart.rolling * 1.5 * kart.mass * GRAVITY
    np.testing.assert_allclose(found, own, rtol=2e-3)


def test_without_anybody_ahead_it_changes_no_bit(wavy: Track, kart: Vehicle):
    with_it, without = (make(wavy, kart, race=RaceConfig(slipstream=value)) for value in (0.3, 0.0))
    for world in (with_it, without):
        world.reset()
        world.traffic["alone"] = 1
    for command in commands(60, (8, 4)):
        with_it.step(command), without.step(command)
        assert bits(with_it) == bits(without)


def test_bits_depend_on_nothing_else_and_a_world_goes_on_from_its_state(wavy: Track, kart: Vehicle):
    """Cars that follow each other at speed, on two threads, in a part of the races, and from a state amid them."""
    fast = EpisodeConfig(start_speed=(1.0, 1.2), time_limit=20.0)
    options = {"race": RaceConfig(start="rolling", near=1.0, window=20.0, slipstream=0.3), "episodes": fast}
    whole, threaded = (make(wavy, kart, races=40, threads=threads, **options) for threads in (1, 2))
    part, later = make(wavy, kart, races=5, first_race=17, **options), make(wavy, kart, races=40, **options)
    for world in (whole, threaded, part):
        world.reset()
    drafts = 0
    for n in range(60):
        command = np.clip(driver(whole, 40.0) * [1, 1.6], -1, 1)
        for world, asked in ((whole, command), (threaded, command), (part, command.reshape(40, 4, 2)[17:22])):
            world.step(asked)
        if n == 20:
            later.set_state(whole.get_state())
        elif n > 20:
            later.step(command)
            assert bits(later) == bits(whole)
        assert bits(threaded) == bits(whole)
        assert part.cars.tobytes() == whole.cars[17:22].tobytes()
        drafts += int((whole.traffic["draft"] > 0.1).sum())
    assert drafts > 100


def test_a_new_race_begins_without(straight_road: Track, kart: Vehicle):
    world = make(straight_road, kart, races=1, cars_per_race=2, race=RaceConfig(slipstream=0.3, wreck="remove"))
    world.reset()
    world.traffic["draft"] = 0.5
    world.reset()
    assert not world.traffic["draft"].any()


def test_it_is_refused_for_what_has_no_drag(straight_road: Track, kart: Vehicle, f1tenth: Vehicle, f1tenth_linear):
    for vehicle in (f1tenth, f1tenth_linear):
        says = f"race.slipstream must be 0 for {vehicle.name}, which has no drag, got 0.3; set it to 0, or take another"
        with pytest.raises(InputError, match=f"^{re.escape(says)}"):
            RaceConfig(slipstream=0.3).check_vehicle(vehicle)
        RaceConfig().check_vehicle(vehicle)
    with pytest.raises(InputError, match=r"^slipstream must be a number in \[0, 1\], got 1.5; 0: none, 0.3 is usual"):
        RaceConfig(slipstream=1.5)
    assert make(straight_road, kart, cars_per_race=1, race=SUCTION).variations is None  # nobody to follow
