"""driver=mpc: plans whose optimum is known by hand, what it may know, the same bits in any batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from racing.envs.lateral import mpc
from racing.envs.lateral.controllers import Controller, drive, feed_forward_pid
from racing.envs.lateral.dynamics import Dynamics
from racing.envs.lateral.kernels import expect_rows
from racing.envs.lateral.mpc import Mpc, MpcConfig
from racing.envs.lateral.routes.generator import generate_routes
from racing.envs.lateral.rules import BINS, costs
from racing.envs.lateral.world import LateralWorld
from racing.errors import InputError
from tests.envs.lateral.conftest import make_routes

THOROUGH = MpcConfig(samples=200, iterations=4)
QUICK = MpcConfig(samples=8, horizon=5, iterations=1)


@pytest.fixture(scope="module")
def obedient(tmp_path_factory: pytest.TempPathFactory) -> Dynamics:
    """Dynamics whose lateral acceleration [m/s^2] is the steering command, at once."""
    constants = {
        "bins": BINS.astype(np.float32),
        "column": np.array([0], np.int64),
        "sharpness": np.array([-3000.0], np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["states", "column"], ["steer"], axis=2),
        helper.make_node("Sub", ["bins", "steer"], ["off"]),
        helper.make_node("Mul", ["off", "off"], ["squared"]),
        helper.make_node("Mul", ["squared", "sharpness"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "obedient",
        [
            helper.make_tensor_value_info("states", TensorProto.FLOAT, ["b", 20, 4]),
            helper.make_tensor_value_info("tokens", TensorProto.INT64, ["b", 20]),
        ],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["b", 20, 1024])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    path = tmp_path_factory.mktemp("dynamics") / "obedient.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=7), path)
    return Dynamics(str(path))


@pytest.fixture(scope="module")
def default() -> Dynamics:
    return Dynamics()


def planned(world: LateralWorld, config: MpcConfig) -> np.ndarray:
    controller = Mpc(config)
    controller.begin(world)
    controller.look(world)
    return controller.command(world)


def test_the_mean_of_the_tokens_by_hand():
    """Logits of 0.8 ln 2 and 0.8 ln 1 at temperature 0.8: two thirds and one third; what is e^-20 less is nothing."""
    logits = np.array([[0.8 * np.log(2), 0, -100], [5, -60, -60]], np.float32)
    out = np.empty(2)
    expect_rows(logits, np.array([3.0, 6.0, 1e9]), 0.8, out)
    np.testing.assert_allclose(out, [4.0, 3.0], rtol=1e-6)
    expect_rows(np.array([[0.0, np.nan, 1.0]], np.float32), np.array([3.0, 6.0, 9.0]), 0.8, out[:1])
    assert np.isnan(out[0])


def test_dynamics_that_expect_nothing_are_refused(make_model: Callable[..., Path]):
    model = Dynamics(str(make_model()))
    states, tokens = np.full((1, 20, 4), np.nan, np.float32), np.zeros((1, 20), np.int64)
    with pytest.raises(InputError, match="must give numbers, it gave NaN or infinity"):
        model.expect(states, tokens)


def test_a_plan_whose_optimum_is_known_by_hand(obedient: Dynamics):
    """Of 5000 e^2 + 10000 (change)^2 with the target at 0.4 the least sum leaves half of the error in each step.

    In y[k+1] - 2 y[k] + y[k-1] = (y[k] - 0.4) / 2 the error is multiplied by q with q^2 - 2.5 q + 1 = 0. In an
    episode's first step the change costs nothing: the best is to be at the target at once.
    """
    world = LateralWorld(make_routes(0.4, speed=3.6), obedient, cars=1, fixed=True)  # the first guess is 0.387
    world.begin()
    world.lataccel[:, :100] = 0.0
    controller = Mpc(THOROUGH)
    controller.begin(world)
    assert controller.command(world) == pytest.approx(0.4, abs=0.01)
    for _ in range(4):  # nobody heeds it: each time it plans from the same place, and begins with its last plan
        world.step(np.zeros(1))
        world.lataccel[:, world.now - 1] = 0.0
        command = controller.command(world)
    assert command == pytest.approx(0.2, abs=0.015)


def test_it_costs_less_than_any_other_controller(default: Dynamics):
    routes, totals = generate_routes(range(3), 1), {}
    controllers: dict[str, Controller] = {"feed_forward": feed_forward_pid(), "mpc": Mpc(MpcConfig(samples=16))}
    for name, controller in controllers.items():
        world = LateralWorld(routes, default, cars=3, fixed=True)
        world.restart_all(steps=120)
        drive(controller, world)
        rows = slice(100, 220)
        totals[name] = costs(routes.plans[:, rows, 0], world.lataccel[:, rows])["total_cost"].mean()
    assert totals["mpc"] < 0.85 * totals["feed_forward"]


def test_a_car_s_plan_does_not_depend_on_the_batch_but_on_the_seed(default: Dynamics):
    routes = generate_routes(range(3), 1)

    def commands(first: int, cars: int, seed: int = 0) -> np.ndarray:
        world = LateralWorld(routes, default, cars=cars, first_car=first, fixed=True)
        world.begin()
        controller, out = Mpc(replace(QUICK, seed=seed)), []
        controller.begin(world)
        for _ in range(4):
            controller.look(world)
            out.append(controller.command(world))
            np.testing.assert_array_equal(controller.command(world), out[-1])  # asked again it says the same
            world.step(out[-1])
        return np.stack(out, axis=1)

    together = commands(0, 3)
    np.testing.assert_array_equal(together, commands(0, 3))
    np.testing.assert_array_equal(together[1:2], commands(1, 1))
    assert (together != commands(0, 3, seed=1)).any()


def test_it_knows_neither_what_the_log_commanded_nor_the_noise(default: Dynamics):
    routes = generate_routes(range(2), 1)
    first = LateralWorld(routes, default, cars=2, fixed=True)
    other = LateralWorld(replace(routes, steer=routes.steer + 0.1, names=("a", "b")), default, cars=2, fixed=True)
    for world in (first, other):
        world.begin()
    np.testing.assert_array_equal(planned(first, QUICK), planned(other, QUICK))


def test_it_plans_to_the_end_of_an_episode(default: Dynamics):
    """Fewer rows than the horizon are left: they are all that counts."""
    world = LateralWorld(generate_routes(range(1), 1), default, cars=1, fixed=True)
    world.begin()
    world.now = 499
    assert np.isfinite(planned(world, MpcConfig(samples=4, horizon=40))).all()


def test_it_begins_with_its_last_plan_moved_on(default: Dynamics, monkeypatch: pytest.MonkeyPatch):
    """Where nothing is tried, that is what it commands; what the plan did not reach is as its end."""
    monkeypatch.setattr(mpc, "SPREAD", 0.0)
    world = LateralWorld(make_routes(0.5), default, cars=1, fixed=True)
    world.begin()
    held = 0.5 / (1.75 * 400 / 409)  # the first guess: what holds the target
    for rows, command in ((2, 0.3), (4, 0.5), (5, held), (60, held)):
        controller = Mpc(QUICK)
        controller.set_state({"plan": np.array([[0.1, 0.2, 0.3, 0.4, 0.5]]), "row": 100})
        world.now = 100 + rows
        assert controller.command(world) == pytest.approx(command)
        assert controller.get_state()["row"] == world.now
        assert controller.plan[0, -1] == pytest.approx(0.5 if command != held else held)
