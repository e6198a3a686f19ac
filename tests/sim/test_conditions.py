"""What changes while a car drives: numbers against those computed by hand, and bits that depend on nothing else."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from racing.errors import InputError, read_group
from racing.sim.conditions.config import ConditionsConfig
from racing.sim.episodes import EpisodeConfig
from racing.sim.race.config import RaceConfig
from racing.sim.records import Ending
from racing.sim.track import Track
from racing.sim.variation.config import VariationConfig
from racing.sim.vehicle import Vehicle
from racing.sim.world import World
from tests.sim.test_variation import ROLLING, STANDING
from tests.sim.test_world import actions, history, make

EVERYTHING: dict[str, Any] = {
    "tyres": {"life": 40.0, "start_wear": [0, 0.5], "optimal_temperature": 60, "start_temperature": [20, 90]},
    "fuel": {"start": [1, 30], "consumption": 2.0},
    "weather": {"start_wetness": [0, 0.5], "rain_start": [0, 4], "rain_duration": [1, 5], "wetting_time": 2.0},
    "damage": {"closing_speed": 8.0},
    "pit_stop": {"every": 1, "time": 5.0},
}


def changing(track: Track, vehicle: Vehicle, *, episodes: EpisodeConfig = STANDING, **groups: Any) -> World:
    """Four cars."""
    return make(track, vehicle, races=4, episodes=episodes, conditions=ConditionsConfig(**groups))


def drive(world: World, steering: float, pedal: float, steps: int = 1) -> Any:
    """Start, then the same action; returns condition records."""
    world.reset()
    for _ in range(steps):
        world.step(np.tile(np.array([steering, pedal], np.float32), (world.num_cars, 1)))
    return world.conditions


@pytest.mark.parametrize("cars", [1, 3])
def test_what_changes_without_effect_leaves_the_vehicle_s_bits(wavy: Track, kart: Vehicle, cars: int):
    commands = actions(150, 32 * cars)
    options = {"races": 32, "cars_per_race": cars, "race": RaceConfig(wreck="obstacle")}
    plain = make(wavy, kart, **options)
    tyres = {"life": 30.0, "grip_loss": 0.0, "start_wear": [0, 1], "optimal_temperature": 50, "temperature_loss": 0.0}
    worn = make(wavy, kart, **options, conditions=ConditionsConfig(tyres=tyres, weather={"start_wetness": 0.0}))
    assert plain.conditions is None
    assert history(plain, commands) == history(worn, commands)
    assert worn.conditions is not None
    assert np.ptp(worn.conditions["wear"]) > 0.5


def test_tyres_slide_by_the_work_of_their_forces(wavy: Track, kart: Vehicle):
    """Straight ahead at 4 m/s^2 by the rear wheels: slip ratio F / (mu F_z C), work F times ratio times speed."""
    light = dataclasses.replace(kart, drag=0.0, rolling=0.0)
    own = drive(changing(wavy, light, tyres={"life": 1000.0}), 0.0, 4.0 / kart.max_drive, 5)
    load = kart.mass * (9.81 * kart.front_axle + 4.0 * kart.cg_height) / (kart.front_axle + kart.rear_axle)
    force, speed = kart.mass * 4.0, 4.0 * 0.5
    sliding = force * force / (kart.friction * load * kart.stiffness_rear) * speed / (kart.mass * 9.81)
    np.testing.assert_allclose(own["sliding"], sliding, rtol=1e-3)
    np.testing.assert_allclose(own["power"], force * speed * 1e-6, rtol=1e-3)
    means = sum(sliding * k / 5 for k in range(1, 6)) * 0.1  # it grows with the speed
    np.testing.assert_allclose(own["wear"], means / 1000.0, rtol=1e-3)
    np.testing.assert_allclose(own["wear_delta"], sliding * 0.1 / 1000.0, rtol=1e-3)


def test_tyres_slide_sideways_by_side_force_and_speed(wavy: Track, kart: Vehicle):
    """A kart that drifts straight on, turned by 3 degrees: both axles push across with C mu F_z tan(3 deg) at most."""
    world = changing(wavy, kart, episodes=ROLLING, tyres={"life": 1000.0})
    drive(world, 0.0, 0.0, 0)
    world.cars["v"], world.cars["slip"] = 20.0, math.radians(3)
    world.step(np.zeros((4, 2)))
    assert world.conditions is not None
    car, own = world.cars[0, 0], world.conditions[0, 0]
    across = float(car["v"] * math.tan(car["slip"]))
    yaw_rate = float(car["yaw_rate"])
    work = 0.0
    for arm, stiffness, share in (
        (kart.front_axle, kart.stiffness_front, kart.rear_axle),
        (-kart.rear_axle, kart.stiffness_rear, kart.front_axle),
    ):
        sideways = across + arm * yaw_rate
        angle = math.atan(stiffness / kart.tyre_shape * abs(sideways) / float(car["v"]))
        load = share / (kart.front_axle + kart.rear_axle)  # of the weight
        work += kart.friction * load * math.sin(kart.tyre_shape * angle) * abs(sideways)
    assert own["sliding"] == pytest.approx(work, rel=1e-3)


def test_worn_tyres_have_lost_their_share_of_the_grip(wavy: Track, kart: Vehicle):
    """Half worn out: half of the loss. Braking at the limit shows it."""
    for wear, grip in ((0.0, 1.0), (0.5, 0.8), (1.0, 0.6)):
        tyres = {"life": 1e9, "grip_loss": 0.4, "start_wear": wear}
        slippery = dataclasses.replace(kart, friction=0.5, drag=0.0, rolling=0.0, brake_front=0.5)
        world = changing(wavy, slippery, episodes=ROLLING, tyres=tyres)
        own = drive(world, 0.0, -1.0)
        np.testing.assert_allclose(own["grip"], grip, rtol=1e-6)
        other = make(wavy, dataclasses.replace(slippery, friction=0.5 * grip), races=4, episodes=ROLLING)
        drive(other, 0.0, -1.0)
        np.testing.assert_allclose(world.cars["ax"], other.cars["ax"], rtol=1e-5)
        assert (world.cars["ax"] < -0.5 * grip * 9.81 * 0.8).all()


def test_tyres_wear_no_further_than_out(wavy: Track, kart: Vehicle):
    own = drive(changing(wavy, kart, episodes=ROLLING, tyres={"life": 0.1}), 1.0, 0.0, 5)
    np.testing.assert_array_equal(own["wear"], 1.0)
    np.testing.assert_array_equal(own["wear_delta"], 0.0)


def test_tyres_cool_to_the_air_and_grip_best_at_their_optimum(wavy: Track, kart: Vehicle):
    tyres = {"optimal_temperature": 70, "temperature_window": 40, "temperature_loss": 0.2, "start_temperature": 110}
    own = drive(changing(wavy, kart, tyres={**tyres, "cooling_time": 8.0}), 0.0, 0.0, 20)
    temperature = 20 + 90 * math.exp(-2.0 / 8.0)
    np.testing.assert_allclose(own["temperature"], temperature, rtol=1e-5)
    np.testing.assert_allclose(own["grip"], 1 - 0.2 * ((temperature - 70) / 40) ** 2, rtol=1e-5)
    cold = drive(changing(wavy, kart, tyres={**tyres, "start_temperature": -20}), 0.0, 0.0, 0)
    np.testing.assert_allclose(cold["grip"], 0.8, rtol=1e-6)  # beyond the window


def test_sliding_heats_the_tyres(wavy: Track, kart: Vehicle):
    """T' = heating * slide - (T - ambient) / time: exact over the step, as sliding is at its end."""
    world = changing(wavy, kart, episodes=ROLLING, tyres={"optimal_temperature": 70, "heating": 3.0})
    own = drive(world, 0.5, 0.0, 1)
    rest = 20 + 3.0 * own["sliding"] * 60.0
    np.testing.assert_allclose(own["temperature"], rest + (60 - rest) * math.exp(-0.1 / 60), rtol=1e-6)
    assert (own["sliding"] > 0.3).all()


def test_fuel_weighs_and_burns_by_the_work_of_the_drive(wavy: Track, kart: Vehicle):
    """As much fuel as vehicle: the drive's force of 4.5 m/s^2 gives half. Work: force times way."""
    light = dataclasses.replace(kart, drag=0.0, rolling=0.0, cg_height=0.0)
    world = changing(wavy, light, fuel={"start": kart.mass, "consumption": 100.0})
    own = drive(world, 0.0, 1.0, 5)
    np.testing.assert_allclose(world.cars["v"], 4.5 / 2 * 0.5, rtol=2e-3)
    np.testing.assert_allclose(own["power"], kart.mass * 4.5 * 4.5 / 2 * 0.5 * 1e-6, rtol=5e-3)
    burnt = 100.0 * sum(own["power"].ravel()[0] * k / 5 * 0.1 for k in range(1, 6))
    np.testing.assert_allclose(kart.mass - own["fuel"], burnt, rtol=5e-2)


def test_a_car_without_fuel_rolls(wavy: Track, kart: Vehicle):
    light = dataclasses.replace(kart, drag=0.0, rolling=0.0)
    world = changing(wavy, light, fuel={"start": 0.01, "consumption": 1000.0})
    drive(world, 0.0, 1.0, 10)
    speed = world.cars["v"].copy()
    assert world.conditions is not None
    np.testing.assert_array_equal(world.conditions["fuel"], 0)
    world.step(np.tile([0.0, 1.0], (4, 1)))
    np.testing.assert_allclose(world.cars["v"], speed, rtol=1e-5)
    assert (speed > 0.3).all()


def test_a_road_gets_wet_and_dries_and_dries_first_on_the_line(wavy: Track, kart: Vehicle):
    """Dry until 1 s, rain until 3 s, then sun; at rest in the middle of the line, and 3 m beside it."""
    weather = {"rain_start": 1.0, "rain_duration": 2.0, "wetting_time": 4.0, "drying_time": 10.0}
    weather |= {"line_drying_time": 5.0, "line_width": 1.5, "grip_loss": 0.3}
    world = changing(wavy, kart, weather=weather)
    seen = {}
    world.reset()
    for step in range(1, 51):
        world.step(np.zeros((4, 2)))
        assert world.conditions is not None
        seen[step] = float(world.conditions["wetness"][0, 0])
    assert seen[10] == 0
    assert seen[20] == pytest.approx(1 - math.exp(-1 / 4), abs=1e-4)
    wet = 1 - math.exp(-2 / 4)
    assert seen[30] == pytest.approx(wet, abs=1e-4)
    assert seen[50] == pytest.approx(wet * math.exp(-2 / 5), abs=2e-3)  # a centimetre beside the line
    assert float(world.conditions["grip"][0, 0]) == pytest.approx(1 - 0.3 * seen[50], abs=1e-5)

    beside = changing(wavy, kart, weather=weather)
    beside.reset()
    heading = world.tracks[0].heading[int(beside.cars["nearest"][0, 0])]
    beside.cars["x"][0, 0] -= 3.0 * math.sin(heading)
    beside.cars["y"][0, 0] += 3.0 * math.cos(heading)
    for _ in range(50):
        beside.step(np.zeros((4, 2)))
    assert beside.conditions is not None
    on_line, off_line = wet * math.exp(-2 / 5), wet * math.exp(-2 / 10)
    share = 0.5 ** ((3.0 / 1.5) ** 2)
    expected = off_line + share * (on_line - off_line)
    assert float(beside.conditions["wetness"][0, 0]) == pytest.approx(expected, abs=2e-3)


def test_damage_grows_by_the_square_of_the_closing_speed_and_ends_the_race(wavy: Track, kart: Vehicle):
    rules = ConditionsConfig(damage={"closing_speed": 8.0, "power_loss": 0.5, "steering_offset": 0.04})
    race = RaceConfig(wreck="remove", start="rolling")
    world = make(wavy, kart, races=1, cars_per_race=2, race=race, conditions=rules)
    world.reset()
    front = int(np.argmax(world.traffic["distance"][0]))
    rear = 1 - front
    heading = float(world.cars["yaw"][0, front])
    for name in ("x", "y", "yaw", "s", "nearest", "lateral"):
        world.cars[name][0, rear] = world.cars[name][0, front]
    world.cars["x"][0, rear] -= 2.2 * math.cos(heading)
    world.cars["y"][0, rear] -= 2.2 * math.sin(heading)
    world.cars["v"][0] = np.where(np.arange(2) == rear, 16.0, 12.0)
    world.step(np.zeros((1, 2, 2)))
    assert world.conditions is not None
    closing, own = float(world.traffic["closing"][0, rear]), world.conditions[0]
    assert 3.5 < closing < 4.1
    np.testing.assert_allclose(own["damage"], (closing / 8.0) ** 2, rtol=1e-5)
    np.testing.assert_allclose(own["drive"], 1 - 0.5 * own["damage"], rtol=1e-6)
    np.testing.assert_allclose(abs(own["offset"]), 0.04 * own["damage"], rtol=1e-6)
    np.testing.assert_array_equal(np.sign(own["offset"]), own["side"])
    world.conditions["damage"] = [[0.9999, 0.2]]
    world.cars["v"][0] = np.where(np.arange(2) == rear, 18.0, 8.0)
    for _ in range(3):
        world.step(np.zeros((1, 2, 2)))
        if (world.final_cars["ended"] == Ending.RETIRED).any():
            break
    assert world.final_cars["ended"][0, 0] == Ending.RETIRED


def test_a_stop_makes_the_car_new_and_costs_its_time(wavy: Track, kart: Vehicle):
    """The lap counter is set to the end of the first lap: the stop happens once, and not again in the same lap."""
    groups = {
        "tyres": {"life": 10.0},
        "fuel": {"start": 2.0, "consumption": 50.0},
        "pit_stop": {"every": 2, "time": 7.0},
    }
    world = changing(wavy, kart, episodes=ROLLING, **groups)
    drive(world, 0.3, 0.5, 3)
    assert world.conditions is not None
    assert (world.conditions["wear"] > 0).all()
    started = world.cars["lap_started"].copy()
    world.cars["laps"] = 1
    world.step(np.zeros((4, 2)))
    np.testing.assert_array_equal(world.conditions["stops"], 0)
    world.cars["laps"] = 2
    world.step(np.zeros((4, 2)))
    np.testing.assert_array_equal(world.conditions["stops"], 1)
    np.testing.assert_array_equal(world.conditions["wear"], 0)
    np.testing.assert_array_equal(world.conditions["fuel"], 2.0)
    np.testing.assert_allclose(world.cars["lap_started"], started - 7.0)
    world.step(np.zeros((4, 2)))
    np.testing.assert_array_equal(world.conditions["stops"], 1)


def kept(world: World) -> bytes:
    assert world.conditions is not None
    assert world.final_conditions is not None
    return b"".join(a.tobytes() for a in (world.cars, world.final_cars, world.conditions, world.final_conditions))


@pytest.mark.parametrize("cars", [1, 4])
def test_bits_depend_neither_on_threads_nor_on_the_batch_nor_on_a_stop(wavy: Track, kart: Vehicle, cars: int):
    options = {
        "cars_per_race": cars,
        "conditions": ConditionsConfig(**EVERYTHING),
        "variation": VariationConfig(mass=[0.8, 1.2], command_delay=[0, 0.1]),
        "race": RaceConfig(near=1.0, window=7.0),
    }
    commands = actions(120, 64 * cars).reshape(120, 64, cars, 2)
    whole, threaded = (make(wavy, kart, races=64, threads=threads, **options) for threads in (1, 2))
    part, later = (make(wavy, kart, races=9, first_race=17, **options) for _ in range(2))
    for world in (whole, threaded, part):
        world.reset()
    for n, command in enumerate(commands):
        whole.step(command)
        threaded.step(command)
        part.step(command[17:26])
        if n == 60:
            later.set_state(part.get_state())
        elif n > 60:
            later.step(command[17:26])
            assert kept(later) == kept(part)
        assert kept(threaded) == kept(whole)
        for name in ("cars", "conditions", "final_conditions"):
            assert getattr(part, name).tobytes() == getattr(whole, name)[17:26].tobytes(), name
    assert whole.final_conditions is not None
    for name in ("wear", "temperature", "fuel", "wetness"):
        assert np.ptp(whole.final_conditions[name]) > 0, name
    assert (whole.cars["episode"] > 0).any()


def test_an_episode_begins_in_the_condition_that_is_drawn_for_it(wavy: Track, kart: Vehicle):
    short = dataclasses.replace(ROLLING, time_limit=0.3)
    tyres = {"life": 5.0, "start_wear": [0.2, 0.4]}
    world = make(wavy, kart, races=64, episodes=short, conditions=ConditionsConfig(tyres=tyres))
    drive(world, 0.4, 0.0, 2)
    assert world.conditions is not None
    assert world.final_conditions is not None
    before = world.conditions["wear"].copy()
    world.step(np.tile([0.4, 0.0], (64, 1)))
    assert (world.cars["episode"] == 1).all()
    assert (world.final_conditions["wear"] > before).all()
    started = world.conditions["wear"]
    assert ((started >= 0.2) & (started < 0.4)).all()
    assert np.ptp(started) > 0.15
    np.testing.assert_array_equal(world.conditions["wear_delta"], 0)


def test_cars_that_start_together_have_one_weather(wavy: Track, kart: Vehicle):
    rules = ConditionsConfig(weather={"start_wetness": [0, 1], "rain_start": [0, 60]}, fuel={"start": [1, 5]})
    world = make(wavy, kart, races=6, cars_per_race=4, race=RaceConfig(wreck="remove"), conditions=rules)
    world.reset()
    assert world.conditions is not None
    for name in ("start_wetness", "rain_start"):
        assert (np.ptp(world.conditions[name], axis=1) == 0).all()
        assert len(np.unique(world.conditions[name])) == 6
    assert (np.ptp(world.conditions["fuel"], axis=1) > 0).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tyres": {"life": 0}}, "conditions.tyres.life must be a number in [0.001, 1e+09] m, got 0"),
        (
            {"tyres": {"start_wear": [0.5, 0.2]}},
            "conditions.tyres.start_wear must be a number or [low, high], 0 <= low",
        ),
        ({"tyres": {"tread": 1}}, "conditions.tyres.tread is no key; use: life, grip_loss"),
        ({"fuel": {"start": "full"}}, "conditions.fuel.start must be a number or [low, high]"),
        ({"fuel": 3}, "conditions.fuel must be a group of keys, got 3"),
        ({"weather": {"rain_duration": 10}}, "conditions.weather.rain_duration must come with rain_start, got 10"),
        ({"weather": {"drying_time": 0}}, "conditions.weather.drying_time must be a number in [0.1, 1000000] s, got 0"),
        ({"damage": {"retires_at": 2}}, "conditions.damage.retires_at must be a number in [0.001, 1], got 2"),
        ({"pit_stop": {"every": 1.5}}, "conditions.pit_stop.every must be a whole number"),
        ({"sensed": ["wear"]}, "conditions.sensed must be a list of tyre_wear, tyre_temperature"),
        ({"sensed": ["fuel", "fuel"]}, "conditions.sensed must be a list of"),
        ({"grip": 1}, "conditions.grip is no key; use: tyres"),
    ],
)
def test_wrong_values_are_refused_with_value_rule_and_remedy(values: dict[str, Any], message: str):
    with pytest.raises(InputError) as refused:
        read_group("conditions", values, ConditionsConfig)
    assert message in str(refused.value)


def test_what_a_vehicle_has_no_place_for_is_refused(wavy: Track, kart: Vehicle, f1tenth_linear: Vehicle):
    rolling = dataclasses.replace(kart, model="kinematic")
    for vehicle in (rolling, f1tenth_linear):
        with pytest.raises(InputError, match=r"tyres of its \w+ model don't slide; take a vehicle with saturated"):
            changing(wavy, vehicle, tyres={"life": 100.0})
        with pytest.raises(InputError, match=r"conditions.damage.drag must be 0: the \w+ model has no drag"):
            changing(wavy, vehicle, damage={"closing_speed": 5.0})
        changing(wavy, vehicle, damage={"closing_speed": 5.0, "drag": 0}, weather={"rain_start": 0}, fuel={"start": 1})
