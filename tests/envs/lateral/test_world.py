"""The world: what is fed to the dynamics, limits, noise, state, batches; PID on fixed routes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from racing.envs.lateral.controllers import REFERENCES, Pid, drive, pid
from racing.envs.lateral.default_model import feed_forward
from racing.envs.lateral.dynamics import Dynamics
from racing.envs.lateral.routes.generator import generate_routes
from racing.envs.lateral.routes.routes import Routes, challenge_noise
from racing.envs.lateral.rules import BINS, costs, encode
from racing.envs.lateral.world import LateralWorld
from tests.envs.lateral.conftest import make_routes


class Recorder:
    """Dynamics that keep what they are fed, and answer with one token."""

    chunk = 64

    def __init__(self, token: int) -> None:
        self.token, self.fed = token, []

    def sample(self, states: Any, tokens: Any, uniforms: Any) -> Any:
        self.fed.append((states.copy(), tokens.copy(), uniforms.copy()))
        return np.full(len(states), self.token)


@pytest.fixture(scope="module")
def dynamics() -> Dynamics:
    return Dynamics()


@pytest.fixture(scope="module")
def routes() -> Routes:
    return generate_routes(range(7), 0)


def test_what_the_dynamics_see():
    routes = make_routes(np.arange(550) / 100)
    routes.plans[0, :, 1], routes.steer[0] = np.arange(550), np.arange(100) / 100
    recorder = Recorder(600)
    world = LateralWorld(routes, recorder, cars=1, fixed=True)
    world.begin()
    world.step(np.array([1.5]))
    world.step(np.array([-9.0]))
    (first, tokens, uniforms), (second, later, _) = recorder.fed
    np.testing.assert_array_equal(first[0, :, 0], np.array([*np.arange(81, 100) / 100, 1.5], np.float32))
    np.testing.assert_array_equal(first[0, :, 1], np.arange(81, 101))  # rows t-19 .. t,
    np.testing.assert_array_equal(first[0, :, 2:], [[20, 0]] * 20)
    np.testing.assert_array_equal(tokens[0], encode(np.arange(80, 100) / 100))  # of t-20 .. t-1
    assert uniforms[0] == challenge_noise("made/0.csv")[0]
    np.testing.assert_array_equal(second[0, -2:, 0], [1.5, -2.0])  # clipped
    assert later[0, -1] == encode(np.array([world.lataccel[0, 100]]))[0]


def test_lateral_acceleration_changes_by_half_a_metre_per_second_squared_at_most():
    world = LateralWorld(make_routes(1.0, 0.0), Recorder(1023), cars=2, fixed=True)
    world.begin()
    world.step(np.zeros(2))
    np.testing.assert_array_equal(world.lataccel[:, 100], [1.5, 0.5])
    world = LateralWorld(make_routes(0.3), Recorder(530), cars=1, fixed=True)
    world.begin()
    world.step(np.zeros(1))
    assert world.lataccel[0, 100] == BINS[530]


def test_pid_by_hand():
    """e = 1 - y: 1 at first; the integral holds the errors of rows 20 .. 99, which are zero but for the step's."""
    target = np.zeros(550)
    target[60:] = 1.0
    world = LateralWorld(make_routes(target), Recorder(512), cars=1, fixed=True)
    world.begin()
    controller = pid()
    controller.begin(world)
    # The log follows the target exactly: in row 60 it is 1 ahead of the row before.
    assert controller.integral == 1.0
    controller.look(world)
    assert controller.command(world) == pytest.approx(0.1 * 1.0)
    world.step(np.zeros(1))
    assert world.lataccel[0, 100] == 0.5
    controller.look(world)
    assert controller.command(world) == pytest.approx(0.195 * 0.5 + 0.1 * 1.5 - 0.053 * 0.5)


def test_preview_and_feed_forward_by_hand():
    target = np.zeros(550)
    target[102:] = 1.0
    world = LateralWorld(make_routes(target), Recorder(512), cars=1, fixed=True)
    world.begin()
    controller = Pid(preview=5, share=0.5)
    controller.begin(world)
    controller.look(world)
    gain = 1.75 * 400 / 409
    assert feed_forward(np.array(0.6), 0.0, 20.0) == pytest.approx(0.6 / gain)
    # The log's last row saw 98 .. 103 of the plan: two rows of five, now three.
    expected = 0.195 * 0.6 + 0.1 * (0.6 + 0.4 + 0.2) - 0.053 * 0.2 + 0.5 * 0.6 / gain
    assert controller.command(world) == pytest.approx(expected)


def test_the_controllers_follow_generated_routes(dynamics: Dynamics):
    """PID costs about 130 there; a preview and feed-forward make it better."""
    routes, totals = generate_routes(range(16), 1), {}
    for name, make in REFERENCES.items():
        world = LateralWorld(routes, dynamics, cars=16, fixed=True)
        drive(make(), world)
        totals[name] = costs(routes.plans[:, 100:500, 0], world.lataccel[:, 100:])["total_cost"].mean()
    assert 100 < totals["pid"] < 170
    assert totals["feed_forward"] < totals["preview_pid"] < totals["pid"]


def commands(cars: int, steps: int = 400) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.5, (steps, cars))


def test_any_split_of_the_batch_and_any_threads_give_the_same_bits(dynamics: Dynamics, routes: Routes):
    steer = commands(150, 40)

    def driven(first: int, last: int, threads: int = 1) -> np.ndarray:
        world = LateralWorld(routes, dynamics, cars=last - first, seed=5, first_car=first, threads=threads)
        for _ in range(2):
            world.begin()
            for row in steer:
                world.step(row[first:last])
        return world.lataccel

    whole = driven(0, 150)
    assert len(np.unique(whole[:, 120])) > 20
    parts = np.concatenate([driven(0, 1), driven(1, 66), driven(66, 150)])
    assert parts.tobytes() == whole.tobytes() == driven(0, 150, threads=3).tobytes()


def test_noise_and_routes_follow_from_seed_car_and_episode(dynamics: Dynamics, routes: Routes):
    def drawn(seed: int = 0, first: int = 0) -> tuple[bytes, bytes]:
        world = LateralWorld(routes, dynamics, cars=40, seed=seed, first_car=first)
        world.begin()
        return world.chosen.tobytes(), world._uniforms.tobytes()

    world = LateralWorld(routes, dynamics, cars=40)
    world.begin()
    first, noise = world.chosen.copy(), world._uniforms.copy()
    assert set(first) == set(range(7))
    assert (noise.min() >= 0) & (noise.max() < 1) & (abs(noise.mean() - 0.5) < 0.01)
    world.begin()
    assert not np.array_equal(world.chosen, first)
    assert not np.array_equal(world._uniforms, noise)
    world.reseed(0)
    world.begin()
    assert drawn() == (world.chosen.tobytes(), world._uniforms.tobytes()) == (first.tobytes(), noise.tobytes())
    assert drawn(1) != drawn()
    assert drawn(first=8)[0] == drawn()[0][64:] + drawn(first=40)[0][:64]


def test_fixed_routes_are_driven_in_order_and_again_with_other_noise(dynamics: Dynamics, routes: Routes):
    world = LateralWorld(routes, dynamics, cars=9, fixed=True)
    for _ in range(2):
        world.begin()
        assert world.chosen.tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1]
        np.testing.assert_array_equal(world._uniforms[3], challenge_noise(routes.names[3]))
        np.testing.assert_array_equal(world._uniforms[8], challenge_noise(routes.names[1], 1))


def test_cars_start_as_others_do(dynamics: Dynamics, routes: Routes):
    whole = LateralWorld(routes, dynamics, cars=6, seed=2)
    whole.begin()
    alike = LateralWorld(routes, dynamics, cars=4, seed=2)
    alike.restart_all(first=3, distinct=2, steps=10)
    alike.begin()
    assert alike.chosen.tolist() == whole.chosen[[3, 4, 3, 4]].tolist()
    assert alike._uniforms[2].tobytes() == whole._uniforms[3].tobytes()
    for row in commands(4, 10):
        assert not alike.over
        alike.step(row)
    assert alike.over


def test_the_state_is_complete(dynamics: Dynamics, routes: Routes):
    steer = commands(5)
    world = LateralWorld(routes, dynamics, cars=5, seed=3)
    world.begin()
    world.begin()
    for row in steer[:33]:
        world.step(row)
    state = world.get_state()
    other = LateralWorld(routes, dynamics, cars=5, seed=9)
    other.set_state(state)
    for row in steer[33:]:
        world.step(row)
        other.step(row)
    assert world.over
    assert other.over
    assert world.lataccel.tobytes() == other.lataccel.tobytes()
    world.begin()
    other.begin()
    assert world.chosen.tolist() == other.chosen.tolist()
    assert state["now"] == 133
    with pytest.raises(ValueError, match="does not fit a world of 4"):
        LateralWorld(routes, dynamics, cars=4).set_state(state)
