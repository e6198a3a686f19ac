"""What a car observes of the others of its race, against values computed by hand on a straight road."""

from __future__ import annotations

import numpy as np
import pytest

from racing.envs.opponents import VALUES, ObservedOpponents
from racing.envs.sensors import SensorsTask
from racing.errors import InputError, read_group
from racing.sim.track import Track, build_track
from racing.sim.vehicle import Vehicle
from tests.envs.conftest import HALF_WIDTH, place

WINDOW, TOP, WIDTH = 40.0, 35.0, 1.8  # of the kart: sensor_range / 3, top speed, reference_width
OBSERVED = {"ahead": 2, "behind": 1}


@pytest.fixture
def make_race(make_task):
    """make_race(cars, **env): one race on the stadium."""

    def make(cars: int, **options) -> SensorsTask:
        return make_task(cars=cars, **{"observed": OBSERVED, **options})

    return make


def stand(task: SensorsTask, i: int, x: float, y: float = 0.0, **values: float) -> None:
    """Put car i on the first straight, where arc length and lateral offset are x and y, and so does its record."""
    values = {"yaw": 0.0, "v": 0.0, "slip": 0.0, **values}
    place(task, i, x=x, y=y, lateral=y, **values)
    task.cars["s"][i] = x % task.tracks[0].length


def blocks(task: SensorsTask, **how) -> np.ndarray:
    """(N, 3, 7) blocks of the two cars ahead and the one behind."""
    return task.observe(**how)[:, task.size_alone :].reshape(-1, 3, len(VALUES))


def by_hand(task: SensorsTask, i: int, k: int) -> list[float]:
    """The seven values that car i has of car k on the first straight, by complex numbers."""
    car, other = task.cars[i], task.cars[k]
    turned = np.exp(-1j * car["yaw"])
    away = (other["x"] - car["x"] + 1j * (other["y"] - car["y"])) * turned / WINDOW
    course = [one["v"] * np.exp(1j * (one["yaw"] + one["slip"])) for one in (car, other)]
    faster = (course[1] - course[0]) * turned / (TOP / 4)
    gap, lateral = (other["x"] - car["x"]) / WINDOW, (other["y"] - car["y"]) / (2 * WIDTH)
    return [gap, away.real, away.imag, faster.real, faster.imag, lateral, 1]


def test_the_seven_values_have_names_in_order(make_race):
    task = make_race(2)
    names = [f"{who}_{value}" for who in ("ahead_1", "ahead_2", "behind_1") for value in VALUES]
    assert VALUES == ("gap", "ahead", "left", "speed_ahead", "speed_left", "lateral", "present")
    assert task.observation_names[-21:] == names
    assert task.observation_names[:-21] == make_race(2, observed=None).observation_names
    assert task.size == task.size_alone + 21 == task.observation_space.shape[0]


def test_each_of_them_on_a_straight(make_race):
    task = make_race(2)
    stand(task, 0, 100, y=-1, v=10)
    stand(task, 1, 110, y=1, v=14)
    mine, theirs = blocks(task)
    np.testing.assert_allclose(mine[0], [10 / 40, 10 / 40, 2 / 40, 4 / 8.75, 0, 2 / 3.6, 1], atol=1e-5)
    assert (mine[1:] == 0).all()
    # Behind, only the gap is in halves of the window.
    np.testing.assert_allclose(theirs[2], [-10 / 40, -10 / 40, -2 / 40, -4 / 8.75, 0, -2 / 3.6, 1], atol=1e-5)
    assert (theirs[:2] == 0).all()


def test_how_it_will_go_on_follows_if_asked_for(make_race):
    """Its acceleration, in that of full braking, and how much faster it is than the line's speed where it is."""
    task = make_race(2, observed={**OBSERVED, "motion": True})
    assert task.size == task.size_alone + 27
    names = task.observation_names[-27:]
    assert names[:9] == [f"ahead_1_{name}" for name in (*VALUES, "acceleration", "speed_error")]
    stand(task, 0, 100, y=-1, v=10, ax=1, line_speed=20)
    stand(task, 1, 110, y=1, v=14, ax=-4.25, line_speed=20)
    seen = task.observe()[:, task.size_alone :].reshape(2, 3, 9)
    np.testing.assert_allclose(seen[0, 0, 7:], [-0.5, -0.3], atol=1e-6)
    np.testing.assert_allclose(seen[1, 2, 7:], [1 / 8.5, -0.5], atol=1e-6)
    assert not seen[0, 1:].any()
    plain = make_race(2)
    stand(plain, 0, 100, y=-1, v=10)
    stand(plain, 1, 110, y=1, v=14)
    np.testing.assert_array_equal(seen[:, :, :7], blocks(plain))


def test_places_and_speeds_are_in_the_cars_own_frame(make_race):
    """Turned by a right angle, what is ahead on the road is to the right; speed goes where the car slides to."""
    task = make_race(2)
    stand(task, 0, 100, yaw=np.pi / 2)
    stand(task, 1, 120, y=2, yaw=-np.pi / 2, slip=np.pi / 2, v=7)
    np.testing.assert_allclose(blocks(task)[0, 0], [20 / 40, 2 / 40, -20 / 40, 0, -7 / 8.75, 2 / 3.6, 1], atol=1e-5)
    stand(task, 0, 100, y=-2, yaw=0.3, slip=0.1, v=12)
    stand(task, 1, 118, y=1.5, yaw=-0.4, slip=-0.2, v=20)
    mine, theirs = blocks(task)
    np.testing.assert_allclose(mine[0], by_hand(task, 0, 1), atol=1e-5)
    np.testing.assert_allclose(theirs[2], by_hand(task, 1, 0), atol=1e-5)


def test_the_nearest_come_first_and_those_too_many_not_at_all(make_race):
    task = make_race(6)
    for i, x in enumerate((100, 139, 88, 105, 120, 93)):  # three ahead, two behind
        stand(task, i, x, y=i - 2, v=i)
    mine = blocks(task)[0]
    for row, k in enumerate((3, 4, 5)):
        np.testing.assert_allclose(mine[row], by_hand(task, 0, k), atol=1e-5)


def test_the_window_is_half_as_long_behind(make_race):
    task = make_race(2)
    for away, ahead, behind in ((19.9, 1, 1), (20.1, 1, 0), (39.9, 1, 0), (40.1, 0, 0)):
        stand(task, 0, 100)
        stand(task, 1, 100 + away)
        first, second = blocks(task)
        assert (first[:, 6] == [ahead, 0, 0]).all(), away
        assert (second[:, 6] == [0, 0, behind]).all(), away
        assert (first[first[:, 6] == 0] == 0).all()


def test_the_scale_is_the_races_window_if_it_has_one(make_race):
    task = make_race(2, race={"window": 16.0})
    stand(task, 0, 100)
    stand(task, 1, 107.9)
    mine, theirs = blocks(task)
    np.testing.assert_allclose(mine[0, :2], 7.9 / 16, rtol=1e-5)
    assert theirs[2, 0] == pytest.approx(-7.9 / 8 / 2, rel=1e-5)
    stand(task, 1, 116.1)
    assert (blocks(task) == 0).all()


def test_a_lap_has_no_seam(make_race):
    task = make_race(2)
    stand(task, 0, -6)
    stand(task, 1, 9)
    length = task.tracks[0].length
    assert task.cars["s"].tolist() == pytest.approx([length - 6, 9])
    mine, theirs = blocks(task)
    np.testing.assert_allclose(mine[0], by_hand(task, 0, 1), atol=1e-4)
    np.testing.assert_allclose(theirs[2], by_hand(task, 1, 0), atol=1e-4)


def test_a_car_without_others_observes_none(make_task):
    lone = make_task(observed=OBSERVED)
    assert (blocks(lone) == 0).all()
    assert blocks(lone).shape == (1, 3, 7)


def test_what_it_observes_else_is_what_a_lone_car_does(make_race, make_task):
    crowd = make_race(3, motion=["slip", "yaw_rate"], preview=2, race={"rays_see_cars": False})
    lone = make_task(races=3, motion=["slip", "yaw_rate"], preview=2)
    for i, x in enumerate((100, 112, 130)):
        stand(crowd, i, x, y=i, v=5 * i)
    for _ in range(5):
        crowd.step_batch(np.full((3, 2), 0.3))
    lone.world.cars[:, 0], lone.world.ranges[:, 0] = crowd.world.cars[0], crowd.world.ranges[0]
    seen = crowd.observe()
    np.testing.assert_array_equal(seen[:, : crowd.size_alone], lone.observe())
    assert (seen[:, crowd.size_alone + 6] == [1, 1, 0]).all()
    np.testing.assert_array_equal(crowd.observe(np.array([2, 0])), seen[[2, 0]])  # those that were chosen


def test_it_does_not_matter_how_the_road_lies(stadium: Track, kart: Vehicle):
    """The same race on the same road, turned and moved."""
    turn = np.exp(0.7j)
    points = (stadium.points @ [1, 1j]) * turn + (300 - 200j)
    points = np.stack([points.real, points.imag], axis=1)
    half = np.full(len(points), HALF_WIDTH)
    tracks = [stadium, build_track("turned", points, half, half)]
    here, there = (SensorsTask([track], kart, races=1, cars=4, observed=OBSERVED) for track in tracks)
    for task in (here, there):
        task.reset()
    for i, x in enumerate((100, 109, 131, 90)):
        stand(here, i, x, y=1.5 - i, v=3 * i, yaw=0.2 * i, slip=0.1)
    cars = here.cars.copy()
    moved = (cars["x"] + 1j * cars["y"]) * turn + (300 - 200j)
    cars["x"], cars["y"], cars["yaw"] = moved.real, moved.imag, cars["yaw"] + 0.7
    there.cars[:] = cars
    assert blocks(here)[:, :, 6].sum() > 5
    np.testing.assert_allclose(blocks(there), blocks(here), atol=2e-5)


def test_cars_that_swap_slots_swap_rows(make_race):
    one, other = make_race(5), make_race(5)
    for i, x in enumerate((100, 104, 91, 117, 132)):
        stand(one, i, x, y=i - 2, v=7 * i, yaw=0.1 * i)
    order = np.array([3, 1, 4, 0, 2])
    other.cars[:] = one.cars[order]
    np.testing.assert_array_equal(blocks(other), blocks(one)[order])


def test_in_the_step_that_ends_it_a_car_sees_what_was_then_and_others_what_is_now(make_race):
    task = make_race(3, race={"near": 0.0}, seed=3)
    stand(task, 0, 100, y=HALF_WIDTH + 0.5, v=10)
    stand(task, 1, 110, v=10)
    stand(task, 2, 95, v=10)
    step = task.step_batch(np.zeros((3, 2)))
    assert step.terminated.tolist() == [True, False, False]
    last = step.final_observation[0, task.size_alone :].reshape(3, 7)
    final = task.final_cars
    gaps = (final["x"][1:] - final["x"][0]) / WINDOW
    np.testing.assert_allclose(last[[0, 2], 0], gaps, atol=1e-4)
    np.testing.assert_allclose(last[[0, 2], 5], (final["y"][1:] - final["y"][0]) / (2 * WIDTH), atol=1e-4)
    assert last[:, 6].tolist() == [1, 0, 1]
    assert abs(task.cars["s"][0] - 100) > 2 * WINDOW  # it is elsewhere now
    now = step.observation[:, task.size_alone :].reshape(3, 3, 7)
    np.testing.assert_array_equal(now, blocks(task))
    assert (now[0] == 0).all()
    assert now[1, :, 6].tolist() == [0, 0, 1]
    np.testing.assert_array_equal(step.final_observation[1:], step.observation[1:])


def test_who_is_gone_observes_nobody_and_is_not_observed_and_a_wreck_is(make_race):
    for wreck, seen in (("remove", 0), ("obstacle", 1)):
        task = make_race(3, race={"wreck": wreck})
        stand(task, 0, 100, y=HALF_WIDTH + 0.5, v=5)
        stand(task, 1, 90, v=5)
        stand(task, 2, 75, v=5)
        first = task.step_batch(np.zeros((3, 2)))
        assert first.final_observation[0, task.size_alone + 20] == 1  # it had the second behind it
        for observed in (first.observation, task.step_batch(np.zeros((3, 2))).observation):
            present = observed[:, task.size_alone :].reshape(3, 3, 7)[:, :, 6]
            assert present[0].any() == (wreck == "obstacle")
            assert present[1].tolist() == [seen, 0, 1]
            assert present[2].tolist() == [1, seen, 0]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"ahead": 16}, r"ahead must be a whole number in \[0, 15\], got 16; 2 ahead and 1 behind are usual"),
        ({"behind": -1}, r"behind must be a whole number in \[0, 15\], got -1"),
        ({"ahead": 1.5}, r"ahead must be a whole number in \[0, 15\], got 1.5"),
        ({"motion": 1}, "motion must be true or false, got 1; choose one"),
        ({"beside": 1}, "observed.beside is no key; use: ahead, behind, motion"),
    ],
)
def test_how_many_are_observed_has_a_range(wrong, says: str):
    with pytest.raises(InputError, match=says):
        read_group("observed", wrong, ObservedOpponents)
