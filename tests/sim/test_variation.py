"""Cars that differ from their vehicle: numbers against those computed by hand, and bits that depend on nothing else."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from racing.errors import InputError
from racing.sim.episodes import EpisodeConfig
from racing.sim.kernels.rng import Draw, uniform
from racing.sim.race.config import RaceConfig
from racing.sim.track import Track
from racing.sim.variation.config import LIMITS, VariationConfig, make_variation
from racing.sim.vehicle import Vehicle
from racing.sim.world import RangeFinder, World
from tests.sim.test_world import actions, history, make

STANDING = EpisodeConfig(start_lateral_offset=0.0, start_heading_error=0.0, start_speed=(0.0, 0.0), time_limit=9.0)
ROLLING = EpisodeConfig(start_lateral_offset=0.0, start_heading_error=0.0, start_speed=(1.0, 1.0), time_limit=9.0)
EVERYTHING = VariationConfig(
    mass=[0.8, 1.3],
    friction=[0.7, 1.1],
    stiffness=[0.8, 1.2],
    power=[0.8, 1.0],
    drag=[0.5, 2.0],
    steering_offset=[-0.03, 0.03],
    command_delay=[0.0, 0.12],
    throttle_lag=[0.0, 0.2],
    ray_bias=[-0.05, 0.05],
    ray_noise=[0.0, 0.1],
    ray_dropout=[0.0, 0.05],
)


@pytest.fixture(scope="module")
def rolling_kart(kart: Vehicle) -> Vehicle:
    """Kinematic; steers at once, axles 1.5 m apart, drives with 2 m/s^2, brakes with 6; ten physics steps in 0.1 s."""
    plain = {"front_axle": 0.5, "rear_axle": 1.0, "max_drive": 2.0, "max_brake": 6.0, "switch_speed": kart.max_speed}
    return dataclasses.replace(kart, model="kinematic", max_steer_rate=1e6, physics_step=0.01, **plain)


def varied(track: Track, vehicle: Vehicle, *, episodes: EpisodeConfig = STANDING, **ranges) -> World:
    return make(track, vehicle, races=4, episodes=episodes, variation=VariationConfig(**ranges))


def after(world: World, steering: float, pedal: float, steps: int = 1) -> World:
    world.reset()
    for _ in range(steps):
        world.step(np.tile(np.array([steering, pedal], np.float32), (world.num_cars, 1)))
    return world


@pytest.mark.parametrize("name", ["kart", "f1tenth_linear"])
@pytest.mark.parametrize("cars", [1, 3])
def test_a_car_that_differs_by_nothing_has_the_vehicle_s_bits(wavy: Track, name: str, cars: int, request):
    vehicle, commands = request.getfixturevalue(name), actions(150, 32 * cars)
    options = {"races": 32, "cars_per_race": cars, "race": RaceConfig(wreck="obstacle")}
    plain = make(wavy, vehicle, **options)
    same = make(wavy, vehicle, **options, variation=VariationConfig(mass=1.0, ray_noise=0.0))
    assert plain.variations is None
    assert same.variations is not None
    assert history(plain, commands) == history(same, commands)


FACTORS = [
    ({"mass": 2.0}, {"mass": 2.0, "yaw_inertia": 2.0, "max_drive": 0.5, "max_brake": 0.5}),
    ({"power": 0.7}, {"max_drive": 0.7}),
    ({"stiffness": 0.4}, {"stiffness_front": 0.4, "stiffness_rear": 0.4}),
    ({"friction": 0.5}, {"friction": 0.5}),
    ({"friction": 0.5, "power": 0.7}, {"friction": 0.5, "max_drive": 0.7}),
    ({"drag": 3.0}, {"drag": 3.0}),
]


@pytest.mark.parametrize(
    ("name", "ranges", "changes"),
    [*(("kart", *factors) for factors in FACTORS), *(("f1tenth_linear", *factors) for factors in FACTORS[:-1])],
)
def test_a_factor_makes_the_car_one_of_another_vehicle(wavy: Track, name: str, ranges, changes, request):
    vehicle = request.getfixturevalue(name)
    other = dataclasses.replace(vehicle, **{key: getattr(vehicle, key) * factor for key, factor in changes.items()})
    worlds = [make(wavy, vehicle, variation=VariationConfig(**ranges)), make(wavy, other), make(wavy, vehicle)]
    for world in worlds:
        world.reset()
    for command in actions(12, 64):
        for world in worlds:
            world.step(command)
    mine, theirs, plain = (np.stack([world.cars[field] for field in ("x", "y", "v")]) for world in worlds)
    assert abs(mine - theirs).max() < 2e-3
    assert abs(mine - plain).max() > 2e-2


def test_twice_the_mass_halves_the_acceleration(wavy: Track, rolling_kart: Vehicle):
    time = 0.4
    for factor, speed in ((1.0, 2.0 * time), (2.0, 1.0 * time), (0.5, 4.0 * time)):
        world = after(varied(wavy, rolling_kart, mass=factor), 0.0, 1.0, round(time / 0.1))
        assert world.step_dt == pytest.approx(0.1)
        np.testing.assert_allclose(world.cars["v"], speed, rtol=1e-5)
        np.testing.assert_allclose(world.cars["ax"], speed / time, rtol=1e-5)
    world = after(varied(wavy, rolling_kart, mass=2.0, episodes=ROLLING), 0.0, -1.0)
    np.testing.assert_allclose(world.cars["ax"], -3.0, rtol=1e-5)


def test_an_offset_turns_the_car_whose_steering_is_straight(wavy: Track, rolling_kart: Vehicle):
    world = after(varied(wavy, rolling_kart, steering_offset=0.05, episodes=ROLLING), 0.0, 0.0)
    np.testing.assert_allclose(world.cars["yaw_rate"], world.cars["v"] * math.tan(0.05) / 1.5, rtol=1e-5)
    np.testing.assert_array_equal(world.cars["steer"], 0)
    world = after(varied(wavy, rolling_kart, steering_offset=0.05, episodes=ROLLING), 0.2, 0.0)
    asked = 0.2 * rolling_kart.max_steer
    np.testing.assert_allclose(world.cars["yaw_rate"], world.cars["v"] * math.tan(asked + 0.05) / 1.5, rtol=1e-5)
    np.testing.assert_allclose(world.cars["steer"], asked, rtol=1e-5)


@pytest.mark.parametrize("late", [0, 1, 3])
def test_a_delay_of_whole_steps_shifts_the_commands_by_as_many(wavy: Track, kart: Vehicle, late: int):
    delayed, shifted = (varied(wavy, kart, command_delay=delay) for delay in (late * 0.1, 0.0))
    commands = actions(30, 4)
    delayed.reset(), shifted.reset()
    for n, command in enumerate(commands):
        delayed.step(command)
        shifted.step(commands[n - late] if n >= late else np.zeros_like(command))
        for field in ("x", "y", "v", "yaw", "yaw_rate", "slip", "steer", "ax"):
            np.testing.assert_array_equal(delayed.cars[field], shifted.cars[field])
        assert delayed.ranges.tobytes() == shifted.ranges.tobytes()
        np.testing.assert_array_equal(delayed.cars["steering_command"][:, 0], command[:, 0].astype(np.float32))
    assert (delayed.cars["v"] != 0).any()


def test_a_delay_of_a_part_of_a_step_counts_in_physics_steps(wavy: Track, rolling_kart: Vehicle):
    """Full throttle, 2 m/s^2, from the first step on; with 0.13 s of delay there are 0.07 s of it in 0.2 s."""
    world = after(varied(wavy, rolling_kart, command_delay=0.13), 0.0, 1.0, 2)
    np.testing.assert_allclose(world.cars["v"], 2.0 * 0.07, rtol=1e-4)
    world.step(np.tile([0.0, -0.5], (4, 1)))
    np.testing.assert_allclose(world.cars["v"], 2.0 * 0.17, rtol=1e-4)  # the brake is not there yet
    world.step(np.tile([0.0, -0.5], (4, 1)))
    np.testing.assert_allclose(world.cars["v"], 2.0 * 0.20 - 3.0 * 0.07, rtol=1e-4)


def test_the_acceleration_follows_the_throttle_with_its_lag(wavy: Track, rolling_kart: Vehicle):
    """a = 2 (1 - exp(-t / tau)) after each physics step of 0.01 s."""
    tau, steps = 0.15, 3
    world = after(varied(wavy, rolling_kart, throttle_lag=tau), 0.0, 1.0, steps)
    times = 0.01 * np.arange(1, 10 * steps + 1)
    accelerations = 2.0 * (1 - np.exp(-times / tau))
    np.testing.assert_allclose(world.cars["ax"], accelerations[-1], rtol=1e-4)
    np.testing.assert_allclose(world.cars["v"], 0.01 * accelerations.sum(), rtol=1e-4)
    assert world.variations is not None
    np.testing.assert_allclose(world.variations["acceleration"], accelerations[-1], rtol=1e-4)


def test_an_episode_begins_without_the_commands_of_the_last_one(wavy: Track, rolling_kart: Vehicle):
    """Episodes of six steps at full throttle, which has an effect after two: one goes as the other."""
    short = dataclasses.replace(STANDING, time_limit=0.6)
    world = after(varied(wavy, rolling_kart, episodes=short, command_delay=0.2, throttle_lag=0.3), 0.0, 0.0, 0)
    speeds = []
    for _ in range(12):
        world.step(np.tile([0.0, 1.0], (4, 1)))
        speeds.append(world.final_cars["v"].copy())
    np.testing.assert_array_equal(speeds[0], 0)
    np.testing.assert_array_equal(speeds[:6], speeds[6:])
    assert (speeds[5] > 0.2).all()
    assert (world.cars["episode"] == 2).all()


def test_range_finders_measure_too_far_by_their_bias(wavy: Track, kart: Vehicle):
    finder = RangeFinder(range=20.0)
    true, biased = (
        make(wavy, kart, episodes=STANDING, range_finder=finder, variation=VariationConfig(ray_bias=bias))
        for bias in (0.0, 0.1)
    )
    true.reset(), biased.reset()
    np.testing.assert_allclose(biased.ranges, np.minimum(1.1 * true.ranges, 20.0), rtol=1e-6)
    assert (true.ranges < 18).any()
    assert (true.ranges == 20).any()


def test_noise_has_its_deviation_and_is_new_for_every_ray_and_step(wavy: Track, kart: Vehicle):
    true, noisy = (
        make(wavy, kart, races=512, episodes=STANDING, variation=VariationConfig(ray_noise=noise))
        for noise in (0.0, 0.25)
    )
    true.reset(), noisy.reset()
    errors = []
    for _ in range(2):
        errors.append(np.where(true.ranges < 55, noisy.ranges - true.ranges, np.nan)[:, 0])
        for world in (true, noisy):
            world.step(np.zeros((512, 2)))
    known = np.concatenate(errors).ravel()
    known = known[~np.isnan(known)] / 0.25
    assert len(known) > 3000
    assert abs(known.mean()) < 5 / math.sqrt(len(known))
    assert known.std() == pytest.approx(1.0, abs=0.05)
    assert (abs(known) < 1).mean() == pytest.approx(0.6827, abs=0.03)  # a bell
    assert (abs(known) < 2).mean() == pytest.approx(0.9545, abs=0.015)
    both = ~np.isnan(errors[0]) & ~np.isnan(errors[1])
    assert abs(np.corrcoef(errors[0][both], errors[1][both])[0, 1]) < 0.1
    neighbours = ~np.isnan(errors[0][:, 2:4]).any(axis=1)
    assert abs(np.corrcoef(errors[0][neighbours, 2], errors[0][neighbours, 3])[0, 1]) < 0.25


def test_rays_without_an_echo_read_the_greatest_range(wavy: Track, kart: Vehicle):
    true, dropping = (
        make(wavy, kart, races=1000, episodes=STANDING, variation=VariationConfig(ray_dropout=p)) for p in (0.0, 0.2)
    )
    true.reset(), dropping.reset()
    near = true.ranges < 59
    lost = dropping.ranges == 60.0
    assert (lost & near).sum() / near.sum() == pytest.approx(0.2, abs=0.02)
    np.testing.assert_array_equal(dropping.ranges[~lost], true.ranges[~lost])


def test_each_episode_draws_evenly_in_the_ranges(wavy: Track, kart: Vehicle):
    world = make(wavy, kart, races=2000, seed=5, first_race=7, variation=EVERYTHING)
    world.reset()
    assert world.variations is not None
    first = world.variations.copy()
    for k, name in enumerate(LIMITS):
        low, high = EVERYTHING.bounds(name)
        values = first[name][:, 0]
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
        share = uniform(5, 7 + 3, 0, Draw.VARIATION + k)
        assert values[3] == pytest.approx(low + share * (high - low), rel=1e-5)
    world.reset()
    assert (world.variations["mass"] != first["mass"]).mean() > 0.99
    world.restart_all()
    world.reset()
    np.testing.assert_array_equal(world.variations, first)
    world.reseed(6)
    world.reset()
    assert (world.variations["mass"] != first["mass"]).mean() > 0.99


def everything_of(world: World) -> bytes:
    assert world.variations is not None and world.final_variations is not None
    kept = (world.cars, world.ranges, world.final_cars, world.final_ranges, world.variations, world.final_variations)
    return b"".join(array.tobytes() for array in kept)


@pytest.mark.parametrize("cars", [1, 4])
def test_bits_depend_neither_on_threads_nor_on_the_batch(wavy: Track, kart: Vehicle, cars: int):
    commands = actions(120, 80 * cars).reshape(120, 80, cars, 2)
    options = {"cars_per_race": cars, "variation": EVERYTHING, "race": RaceConfig(start="rolling")}
    whole, threaded = (make(wavy, kart, races=80, threads=threads, **options) for threads in (1, 2))
    part = make(wavy, kart, races=13, first_race=29, **options)
    whole.reset(), threaded.reset(), part.reset()
    ended = 0
    for command in commands:
        whole.step(command), threaded.step(command), part.step(command[29:42])
        assert everything_of(whole) == everything_of(threaded)
        for name in ("cars", "ranges", "final_cars", "variations", "final_variations"):
            assert getattr(part, name).tobytes() == getattr(whole, name)[29:42].tobytes()
        ended += int((part.final_cars["ended"] > 0).sum())
    assert ended > 0


@pytest.mark.parametrize("cars", [1, 4])
def test_a_world_goes_on_from_its_state(wavy: Track, kart: Vehicle, cars: int):
    commands = actions(80, 16 * cars).reshape(80, 16, cars, 2)
    world, other = (make(wavy, kart, races=16, cars_per_race=cars, variation=EVERYTHING) for _ in range(2))
    world.reset()
    for command in commands[:37]:
        world.step(command)
    other.set_state(world.get_state())
    for command in commands[37:]:
        world.step(command), other.step(command)
        assert everything_of(world) == everything_of(other)


def test_what_differed_in_the_last_episode_is_kept_until_the_next_step(wavy: Track, kart: Vehicle):
    world = make(wavy, kart, races=64, variation=VariationConfig(mass=[0.5, 1.5]))
    world.reset()
    assert world.variations is not None and world.final_variations is not None
    seen = 0
    for command in actions(150, 64):
        before = world.variations["mass"].copy()
        world.step(command)
        np.testing.assert_array_equal(world.final_variations["mass"], before)
        over = world.final_cars["ended"] > 0
        np.testing.assert_array_equal(world.variations["mass"] != before, over)
        seen += int(over.sum())
    assert seen > 10


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "mass",
            0.0,
            r"mass must be a number or \[low, high\], 0\.1 <= low <= high <= 10, got 0\.0; null: the vehicle",
        ),
        ("mass", [1.1, 0.9], r"mass must .* got \[1\.1, 0\.9\]"),
        ("friction", "high", "friction must .* got 'high'"),
        ("friction", [0.8, 0.9, 1.0], "friction must"),
        ("friction", [], "friction must"),
        ("friction", True, "friction must"),
        ("ray_dropout", [0.0, 1.5], "ray_dropout must .* <= 1, got"),
        ("ray_noise", float("nan"), "ray_noise must .* m, got nan"),
        ("command_delay", -0.1, "command_delay must .* 1 s, got -0.1"),
        ("steering_offset", [0.0, 9.0], r"steering_offset must be .* 0\.5 rad, got \[0\.0, 9\.0\]"),
    ],
)
def test_ranges_that_no_car_has_are_refused(name: str, value, message: str):
    with pytest.raises(InputError, match=f"^{message}"):
        VariationConfig(**{name: value})
    with pytest.raises(InputError, match=rf"^randomize\.{message}"):
        make_variation({name: value})


def test_what_is_no_key_or_not_in_the_model_is_refused(wavy: Track, kart: Vehicle, rolling_kart, f1tenth_linear):
    with pytest.raises(InputError, match="^randomize has no 'weight', it has mass, friction, .*, noise; correct its"):
        make_variation({"weight": 1.0}, others=["noise"])
    with pytest.raises(InputError, match="^stiffness must be null for kart: its kinematic model has none, got"):
        varied(wavy, rolling_kart, stiffness=[0.9, 1.1])
    with pytest.raises(InputError, match="^drag must be null for f1tenth_linear: its linear model has none, got"):
        varied(wavy, f1tenth_linear, drag=2.0)
    with pytest.raises(InputError, match=r"^steering_offset must stay within the .* rad that kart can steer, got 0\.5"):
        varied(wavy, dataclasses.replace(kart, max_steer=0.4), steering_offset=[-0.5, 0.0])
