"""Contacts of cars, computed by hand; and what holds for any: momentum, energy, no order of the cars."""

from __future__ import annotations

import math

import numpy as np
import pytest

from racing.sim.kernels.kernel import in_float64
from racing.sim.packing import pack_vehicle
from racing.sim.vehicle import Vehicle

C = in_float64("race.contact")
LENGTH, WIDTH, MASS, INERTIA = 2.0, 1.0, 200.0, 80.0
GLIDE = {"restitution": 0.0, "friction": 0.0}


@pytest.fixture(scope="module")
def box(kart: Vehicle):
    """A vehicle record, of which body, mass and inertia count."""
    record = pack_vehicle(kart, np.float64)
    record["length"], record["width"] = LENGTH, WIDTH
    record["inv_mass"], record["inv_inertia"] = 1 / MASS, 1 / INERTIA
    return record[()]


def bodies_of(*cars: tuple[float, ...]):
    """Bodies (BODY_ROWS, n) of cars (x, y, yaw, vx, vy, spin), all of the vehicle's mass."""
    bodies = np.zeros((C.BODY_ROWS, len(cars)))
    bodies[C.LIGHTNESS] = 1
    for i, (x, y, yaw, vx, vy, spin) in enumerate(cars):
        bodies[:7, i] = x, y, math.cos(yaw), math.sin(yaw), vx, vy, spin
    return bodies


def contacts_of(bodies):
    count = bodies.shape[1]
    contacts = np.zeros((max(1, count * (count - 1) // 2), C.CONTACT_COLUMNS))
    found = C.find_contacts(bodies, count, LENGTH, WIDTH, contacts)
    return contacts[:found]


def resolved(bodies, box, restitution=0.1, friction=0.3):
    after = bodies.copy()
    contacts = contacts_of(after)
    C.resolve(after, after.shape[1], contacts, len(contacts), box, restitution, friction)
    return after, contacts


def energy(bodies):
    return (0.5 * MASS * (bodies[C.VX] ** 2 + bodies[C.VY] ** 2) + 0.5 * INERTIA * bodies[C.SPIN] ** 2).sum()


def angular_momentum(velocities, places):
    """About the origin; of velocities where the cars were before they were pushed apart."""
    moment = places[C.X] * velocities[C.VY] - places[C.Y] * velocities[C.VX]
    return (MASS * moment + INERTIA * velocities[C.SPIN]).sum()


def crowd(rng, count, spread):
    """Cars strewn about, fast and turning."""
    cars = np.column_stack(
        [
            rng.uniform(-spread, spread, (count, 2)),
            rng.uniform(-np.pi, np.pi, count),
            rng.normal(0, 10, (count, 2)),
            rng.normal(0, 2, count),
        ]
    )
    return bodies_of(*map(tuple, cars))


def test_elastic_cars_of_equal_mass_that_meet_head_on_swap_velocities(box):
    before = bodies_of((0, 0, 0, 10, 0, 0), (1.99, 0, math.pi, -4, 0, 0))
    after, contacts = resolved(before, box, restitution=1.0, friction=0.0)
    assert contacts[0, C.CLOSING] == pytest.approx(14)
    np.testing.assert_allclose(after[C.VX], [-4, 10], atol=1e-12)
    np.testing.assert_allclose(after[[C.VY, C.SPIN]], 0, atol=1e-12)


def test_dead_cars_go_on_together(box):
    after, _ = resolved(bodies_of((0, 0, 0, 10, 0, 0), (1.99, 0, 0, 4, 0, 0)), box, **GLIDE)
    np.testing.assert_allclose(after[C.VX], [7, 7], atol=1e-12)


def test_a_blow_to_the_corner_turns_both_cars_as_the_lever_says(box):
    # The second stands across half of the first one's nose: what they share has its middle at y = 0.25.
    after, contacts = resolved(bodies_of((0, 0, 0, 8, 0, 0), (1.9, 0.5, 0, 0, 0, 0)), box, **GLIDE)
    assert contacts[0, [C.NORMAL_X, C.NORMAL_Y, C.DEPTH]].tolist() == pytest.approx([1, 0, 0.1])
    assert contacts[0, [C.AT_X, C.AT_Y]].tolist() == pytest.approx([0.95, 0.25])
    push = 8 / (2 / MASS + (0.25**2 + 0.25**2) / INERTIA)
    np.testing.assert_allclose(after[C.VX], [8 - push / MASS, push / MASS])
    np.testing.assert_allclose(after[C.SPIN], [0.25 * push / INERTIA, 0.25 * push / INERTIA])
    assert (after[C.SPIN] > 0).all()  # the first is held on its left, the second hit on its right


def test_a_car_hit_amidships_is_dragged_along_by_no_more_than_friction_allows(box):
    # The first drives into the side of the second, which crosses at 6 m/s.
    before = bodies_of((0, 0, 0, 5, 0, 0), (1.49, 0, math.pi / 2, 0, 6, 0))
    after, contacts = resolved(before, box, restitution=0.0, friction=0.3)
    assert contacts[0, [C.NORMAL_X, C.NORMAL_Y]].tolist() == pytest.approx([1, 0])
    push = 5 / (2 / MASS)  # at the middle of both: no lever
    np.testing.assert_allclose(after[C.VX], [2.5, 2.5])
    np.testing.assert_allclose(after[C.VY], [0.3 * push / MASS, 6 - 0.3 * push / MASS])
    at = contacts[0, C.AT_X]
    np.testing.assert_allclose(after[C.SPIN], [at * 0.3 * push / INERTIA, (1.49 - at) * 0.3 * push / INERTIA])


def test_little_sliding_is_stopped_by_friction(box):
    after, contacts = resolved(bodies_of((0, 0, 0, 5, 0, 0), (1.99, 0, 0, 0, 0.2, 0)), box, 0.0, 10.0)
    at = contacts[0, C.AT_X]
    slides = (after[C.VY, 1] + after[C.SPIN, 1] * (at - 1.99)) - (after[C.VY, 0] + after[C.SPIN, 0] * at)
    assert slides == pytest.approx(0, abs=1e-12)


def test_cars_that_part_are_pushed_apart_and_no_more(box):
    before = bodies_of((0, 0, 0, 1, 0, 0), (1.9, 0, 0, 3, 0, 0))
    after, contacts = resolved(before, box)
    assert contacts[0, C.CLOSING] == pytest.approx(-2)
    np.testing.assert_array_equal(after[C.COS : C.SPIN + 1], before[C.COS : C.SPIN + 1])
    push = 0.5 * 0.3 * (0.1 - 0.005 * LENGTH)
    np.testing.assert_allclose(after[C.X] - before[C.X], [-push, push])


@pytest.mark.parametrize(
    ("second", "touch"),
    [
        ((2.01, 0, 0), False),  # in front
        ((0, 1.01, 0), False),  # beside
        ((0, 0.99, 0), True),
        ((1.6, 0, math.pi / 2), False),  # across, half a length and half a width away
        ((1.4, 0, math.pi / 2), True),
        (
            (1.7, 1.25, math.pi / 4),
            False,
        ),  # no side of the first parts them, one of the second does
        ((1.2, 0.9, math.pi / 4), True),
        ((1.9, -0.9, 0), True),  # corner to corner
        ((1.9, -0.9, 0.6), False),
    ],
)
def test_which_boxes_overlap(second, touch):
    for mirror in (1, -1):
        x, y, yaw = second
        bodies = bodies_of((3, -2, 0, 0, 0, 0), (3 + x, -2 + mirror * y, mirror * yaw, 0, 0, 0))
        assert len(contacts_of(bodies)) == touch
        assert len(contacts_of(bodies[:, ::-1])) == touch


def test_the_normal_points_from_the_first_to_the_second_and_moving_apart_by_the_depth_parts_them():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(2000):
        bodies = crowd(rng, 2, 1.2)
        for row in contacts_of(bodies):
            found += 1
            normal = row[[C.NORMAL_X, C.NORMAL_Y]]
            between = bodies[[C.X, C.Y], 1] - bodies[[C.X, C.Y], 0]
            assert normal @ between >= 0
            bodies[[C.X, C.Y], 1] += normal * (row[C.DEPTH] + 1e-9)
            assert len(contacts_of(bodies)) == 0
            bodies[[C.X, C.Y], 1] -= normal * 2e-9
            assert len(contacts_of(bodies)) == 1
            for i in (0, 1):  # where they touch lies within both, as they were
                at = row[[C.AT_X, C.AT_Y]] + bodies[[C.X, C.Y], 0] - bodies[[C.X, C.Y], i]
                if i == 1:
                    at = at + normal * (row[C.DEPTH] - 1e-9)
                along = at @ bodies[[C.COS, C.SIN], i]
                across = at @ (bodies[[C.SIN, C.COS], i] * [-1, 1])
                assert abs(along) <= LENGTH / 2 + 1e-8
                assert abs(across) <= WIDTH / 2 + 1e-8
    assert found > 500


@pytest.mark.parametrize("count", [2, 3, 5, 8, 16])
@pytest.mark.parametrize("restitution", [0.0, 0.1, 1.0])
def test_momentum_is_kept_and_energy_never_won(box, count: int, restitution: float):
    rng = np.random.default_rng(count)
    pairs = 0
    for _ in range(400):
        before = crowd(rng, count, 0.6 * math.sqrt(count))
        after, contacts = resolved(before, box, restitution, friction=rng.choice([0.0, 0.3, 2.0]))
        pairs += len(contacts)
        np.testing.assert_allclose(after[[C.VX, C.VY]].sum(1), before[[C.VX, C.VY]].sum(1), atol=1e-9)
        assert angular_momentum(after, before) == pytest.approx(angular_momentum(before, before), abs=1e-6)
        assert energy(after) <= energy(before) * (1 + 1e-12)
    assert pairs > 200


def test_cars_that_drive_into_one_at_the_same_time_win_no_energy(box):
    # Undivided, four impulses at once would: each stops its car, and together they push the fifth at four times that.
    above = [(x, 1.49, math.pi / 2, 0, -9, 0) for x in (-0.505, 0.505)]
    around = [(1.99, -0.2, 0, -9, 0, 0), (-1.99, -0.2, 0, 9, 0, 0), *above]
    before = bodies_of((0, 0, 0, 0, 0, 0), *around)
    after, contacts = resolved(before, box, **GLIDE)
    assert len(contacts) == 4
    assert energy(after) < energy(before)
    assert 0 > after[C.VY, 0] > -9


def test_results_do_not_depend_on_the_order_of_the_cars(box):
    rng = np.random.default_rng(1)
    for _ in range(200):
        before = crowd(rng, 6, 1.5)
        order = rng.permutation(6)
        one, _ = resolved(before, box)
        other, _ = resolved(before[:, order], box)
        np.testing.assert_allclose(other[:7], one[:7, order], atol=1e-9)


def test_a_turned_and_moved_world_gives_turned_and_moved_results(box):
    rng = np.random.default_rng(2)
    angle, shift = 0.7, np.array([[30.0], [-12.0]])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    for mirror in (np.eye(2), np.diag([1.0, -1.0])):
        for _ in range(100):
            before = crowd(rng, 4, 1.2)
            moved = before.copy()
            for rows in ([C.X, C.Y], [C.COS, C.SIN], [C.VX, C.VY]):
                moved[rows] = turn @ mirror @ before[rows]
            moved[[C.X, C.Y]] += shift
            moved[C.SPIN] = before[C.SPIN] * np.linalg.det(mirror)
            one, other = resolved(before, box)[0], resolved(moved, box)[0]
            np.testing.assert_allclose(other[[C.X, C.Y]], turn @ mirror @ one[[C.X, C.Y]] + shift, atol=1e-9)
            np.testing.assert_allclose(other[[C.VX, C.VY]], turn @ mirror @ one[[C.VX, C.VY]], atol=1e-9)
            np.testing.assert_allclose(other[C.SPIN], one[C.SPIN] * np.linalg.det(mirror), atol=1e-9)


@pytest.mark.parametrize(("cars", "left"), [("pairs", 0.006), ("row", 0.015)])
def test_cars_that_overlap_at_rest_come_apart_within_a_second_and_stay(box, cars: str, left: float):
    rng = np.random.default_rng(3)
    row = bodies_of(*[(0.1 * i, 0.9 * i, 0.05 * i, 0, 0, 0) for i in range(5)])
    for _ in range(100 if cars == "pairs" else 1):
        bodies = crowd(rng, 2, 0.7) if cars == "pairs" else row
        bodies[C.VX : C.SPIN + 1] = 0
        for _ in range(40):  # physics steps of 25 ms
            bodies, contacts = resolved(bodies, box)
        assert contacts[:, C.DEPTH].max(initial=0) < left * LENGTH
        for _ in range(40):
            rest = bodies.copy()
            bodies, _ = resolved(bodies, box)
        assert np.abs(bodies[[C.X, C.Y]] - rest[[C.X, C.Y]]).max() < 2e-4  # they don't tremble
        np.testing.assert_array_equal(bodies[C.VX : C.SPIN + 1], 0)


def test_a_heavy_car_pushes_a_light_one_along(box):
    """1 and 3 times the mass, dead blow from behind at 8 m/s: both go on at (3 * 8 + 1 * 0) / 4 = 6 m/s."""
    bodies = bodies_of((LENGTH * 0.99, 0, 0, 0, 0, 0), (0, 0, 0, 8, 0, 0))
    bodies[C.LIGHTNESS] = 1, 1 / 3
    after, _ = resolved(bodies, box, restitution=0)
    np.testing.assert_allclose(after[C.VX], 6.0)
    bodies[C.LIGHTNESS] = 1, 1
    np.testing.assert_allclose(resolved(bodies, box, restitution=0)[0][C.VX], 4.0)
