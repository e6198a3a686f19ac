"""Observations and rewards against values computed by hand on a straight road."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from racing.envs.rewards import REWARD_TERMS
from racing.envs.sensors import SensorsTask
from racing.envs.task import StepResult
from racing.errors import InputError, read_group
from racing.sim.episodes import EpisodeConfig
from racing.sim.track import Track
from racing.sim.vehicle import GRAVITY, Vehicle
from tests.envs.conftest import HALF_WIDTH, place

STILL = np.zeros((1, 2), np.float32)
RANGE, TOP = 120.0, 35.0  # of the kart


def terms_of(step: StepResult, i: int = 0) -> dict[str, float]:
    return dict(zip(REWARD_TERMS, step.terms[i].tolist(), strict=True))


def standing(task: SensorsTask, **where: float) -> np.ndarray:
    """The observation of a car that stands somewhere, after a step in which nothing moves."""
    place(task, v=0.0, **where)
    return task.step_batch(STILL).observation[0]


def test_the_ten_values_have_names_in_order(make_task):
    names = [*(f"ray_{k}" for k in range(7)), "speed", "heading_error", "yaw_rate"]
    assert make_task().observation_names == names
    more = make_task(motion="steering", preview=2)
    assert more.observation_names[:10] == [*names[:9], "steering"]
    assert len(more.observation_names) == more.size == more.reset()[0].shape[1]


@pytest.mark.parametrize(("y", "yaw"), [(0.0, 0.0), (2.0, 0.0), (-3.0, 0.2), (1.0, -0.4)])
def test_rays_are_distances_to_the_edge_under_a_square_root(make_task, y: float, yaw: float):
    rays = standing(make_task(), x=0.0, y=y, yaw=yaw)[:7]
    angles = yaw + np.radians([90, 60, 30, 0, -30, -60, -90])  # left to right
    sin = np.sin(angles)
    with np.errstate(divide="ignore"):
        distance = np.where(sin > 0, (HALF_WIDTH - y) / sin, (HALF_WIDTH + y) / -sin)
    expected = np.minimum(np.where(np.abs(sin) < 1e-9, RANGE, distance), RANGE)
    np.testing.assert_allclose(RANGE * ((rays + 1) / 2) ** 2, expected, rtol=0.02, atol=0.05)


def test_a_ray_reaches_the_end_of_the_straight_or_its_range(make_task):
    assert standing(make_task(), x=0.0, y=0.0, yaw=0.0)[3] == 1.0
    ahead = standing(make_task(range=300.0), x=200.0, y=0.0, yaw=0.0)[3]
    # The outer edge of the bend has radius 86 m about (400, 80): it meets y = 0 at 400 + sqrt(86^2 - 80^2).
    assert 300 * ((ahead + 1) / 2) ** 2 == pytest.approx(200 + np.sqrt(86**2 - 80**2), rel=0.02)


def test_field_of_view_and_number_of_rays(make_task):
    task = make_task(rays=3, field_of_view=360.0)
    observation = standing(task, x=0.0, y=2.0, yaw=np.pi / 2)
    assert len(observation) == 6
    distances = RANGE * ((observation[:3] + 1) / 2) ** 2
    np.testing.assert_allclose(distances, [8.0, 4.0, 8.0], atol=0.1)  # behind, ahead, behind


def test_speed_is_a_share_of_top_speed(make_task):
    task = make_task()
    place(task, x=0.0, y=0.0, yaw=0.0, v=20.0)
    step = task.step_batch(STILL)
    # 0.1 s of drag and rolling: (0.42 * 20^2 / 165 + 0.02 * 9.81) m/s^2
    slower = 20.0 - 0.1 * (0.42 * 400 / 165 + 0.02 * GRAVITY)
    assert step.observation[0, 7] == pytest.approx(slower / TOP, rel=1e-3)


@pytest.mark.parametrize(("yaw", "expected"), [(0.1, 0.1), (-0.3, -0.3), (1.5, 1.0), (-2.5, -1.0)])
def test_heading_error_is_positive_to_the_left_and_clipped(make_task, yaw: float, expected: float):
    assert standing(make_task(), x=0.0, y=0.0, yaw=yaw)[8] == pytest.approx(expected, abs=2e-3)
    back = standing(make_task(), x=0.0, y=160.0, yaw=np.pi + yaw - (2 * np.pi if yaw > 0 else 0))
    assert back[8] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_yaw_rate_and_steering_are_positive_to_the_left(make_task, kart: Vehicle, side: float):
    for motion, scale in (("yaw_rate", TOP / (4 * 1.5 * GRAVITY)), ("steering", 1 / 0.4834)):
        task = make_task(motion=motion)
        place(task, x=0.0, y=0.0, yaw=0.0, v=15.0)
        value = task.step_batch(np.array([[0.2 * side, 0.0]], np.float32)).observation[0, 9]
        car = task.world.cars[0, 0]
        assert np.sign(value) == side
        assert value == pytest.approx(car["yaw_rate" if motion == "yaw_rate" else "steer"] * scale, rel=1e-5)
    assert car["steer"] == pytest.approx(side * 0.2 * 0.4834, rel=0.02)  # 0.1 s at 2.5 rad/s are enough


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_car_senses_its_motion_in_the_order_that_is_asked_for(make_task, kart: Vehicle, side: float):
    motion = ["slip", "line_offset", "acceleration", "steering", "yaw_rate"]
    task = make_task(motion=motion, preview=2)
    assert task.observation_names[7:14] == ["speed", "heading_error", *motion]
    assert task.size == 7 + 2 + 5 + 4
    place(task, x=0.0, y=-1.5 * side, yaw=0.0, v=15.0)
    step = task.step_batch(np.array([[0.2 * side, -0.5]], np.float32))
    seen, car = dict(zip(motion, step.observation[0, 9:14].tolist(), strict=True)), task.world.cars[0, 0]
    assert seen["slip"] == pytest.approx(car["slip"] / 0.2, rel=1e-5)
    assert seen["acceleration"] == pytest.approx(car["ax"] / (1.5 * GRAVITY), rel=1e-5)
    assert seen["acceleration"] < -0.2
    left = -car["y"] * np.cos(car["yaw"])  # [m] of the centreline, along y = 0, in the car's frame
    assert seen["line_offset"] == pytest.approx(left / (2 * kart.reference_width), rel=5e-3)  # the point is near
    assert np.sign([seen["line_offset"], seen["steering"], seen["yaw_rate"]]).tolist() == [side] * 3


def test_a_car_senses_how_long_it_stands(make_task):
    task = make_task(motion=["standing_time"])
    place(task, x=-50.0, y=0.0, v=0.0)
    rest, go = np.array([[0.0, -1.0]], np.float32), np.array([[0.0, 1.0]], np.float32)
    seen = [task.step_batch(rest).observation[0, 9] for _ in range(30)]
    np.testing.assert_allclose(seen, np.minimum(0.1 * np.arange(1, 31), 2.0), rtol=1e-5)  # [s]
    while task.world.cars["v"][0, 0] < 0.5:
        step = task.step_batch(go)
    assert step.observation[0, 9] == 0.0


def test_preview_is_the_bearing_of_points_on_the_centreline(make_task):
    task = make_task(preview=3, preview_spacing=30.0)
    ahead = np.array([30.0, 60.0, 90.0])
    seen = standing(task, x=0.0, y=2.0, yaw=0.0)[10:13]
    np.testing.assert_allclose(seen, -2 / np.hypot(ahead, 2.0), atol=0.01)  # to the right
    turned = standing(task, x=0.0, y=0.0, yaw=-0.2)[10:13]
    np.testing.assert_allclose(turned, np.sin(0.2), atol=2e-3)  # to the left
    np.testing.assert_allclose(standing(task, x=0.0, y=160.0, yaw=np.pi - 0.2)[10:13], np.sin(0.2), atol=2e-3)


def test_preview_of_the_speeds_of_the_line(make_task):
    task = make_task(preview=2, preview_spacing=150.0)
    speeds = standing(task, x=200.0, y=0.0, yaw=0.0)[12:]
    bend = np.sqrt(1.5 * GRAVITY * 80)  # [m/s] radius 80 m at the grip of the kart; the second point lies in it
    assert speeds[0] > speeds[1]
    assert speeds[1] * TOP == pytest.approx(bend, rel=0.05)  # some grip holds the speed against drag


def test_preview_of_the_reference_line(make_task, stadium: Track, kart: Vehicle):
    from racing.tracks.reference_lap import reference_lap

    task = make_task(preview=8, line="reference")
    seen = standing(task, x=280.0, y=0.0, yaw=0.0)[10:18]
    line = reference_lap(stadium, kart).points
    there = line[line[:, 1] < 60]  # not the way back
    beside = np.array([there[np.argmin(np.abs(there[:, 0] - x))] for x in 280 + 8 * np.arange(1, 9)])
    np.testing.assert_allclose(
        seen, beside[:, 1] / np.hypot(beside[:, 0] - 280, beside[:, 1]), atol=0.03
    )  # the line's points stand a metre apart
    assert seen[-1] < -0.02  # before a left bend the line swings to the right


def test_preview_of_the_optimal_line(kart: Vehicle):
    from racing.tracks.catalog import load_track
    from racing.tracks.optimal_lap.lap import optimal_lap

    circuit = load_track("circuit")  # its optimal lap ships
    task = SensorsTask([circuit], kart, races=1, preview=1, line="optimal")
    points, lap = task.world.points, optimal_lap(circuit, kart)
    line = np.stack([points["line_x"], points["line_y"]], axis=1).astype(float)
    away = np.array([np.hypot(*(lap.points - point).T).min() for point in line[::20]])
    assert away.max() < 0.6 * lap.length_m / len(lap.points)
    at = int(np.argmin(np.hypot(*(line - lap.points[50]).T)))
    assert points["line_speed"][at] == pytest.approx(lap.speed[50], abs=0.5)


def test_a_lap_that_is_not_solved_for_is_no_line(make_task, monkeypatch):
    from racing.tracks.optimal_lap import lap

    def fail(*_: object) -> None:
        raise lap.NotSolved("IPOPT ended with Maximum_Iterations_Exceeded after 300 iterations")

    monkeypatch.setattr(lap, "optimal_lap", fail)
    with pytest.raises(
        InputError, match="line=optimal must be a lap that is solved for, stadium: IPOPT ended .* take reference"
    ):
        make_task(line="optimal")


def test_the_best_line_is_the_optimal_one_where_that_can_be_had(
    make_task, kart: Vehicle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from racing.tracks.catalog import load_track
    from racing.tracks.optimal_lap import lap

    def line(task: SensorsTask) -> list:
        return task.world.points[["line_x", "line_y", "line_speed"]].tolist()

    circuit = [load_track("circuit")]  # its optimal lap ships
    tasks = [SensorsTask(circuit, kart, races=1, line=name) for name in ("best", "optimal", "reference")]
    assert line(tasks[0]) == line(tasks[1]) != line(tasks[2])
    kinematic = replace(kart, model="kinematic")
    tasks = [SensorsTask(circuit, kinematic, races=1, line=name) for name in ("best", "reference")]
    assert line(tasks[0]) == line(tasks[1])
    assert capsys.readouterr().err == ""

    def fail(*_: object) -> None:
        capsys.readouterr()
        raise ModuleNotFoundError("No module named 'casadi'", name="casadi")

    monkeypatch.setattr(lap, "optimal_lap", fail)
    assert line(make_task(line="best")) == line(make_task(line="reference"))
    assert capsys.readouterr().err.startswith("warning: no optimal lap of stadium, the package casadi must be there")


def test_a_car_senses_how_much_slower_it_is_than_the_line(make_task):
    task = make_task(motion=["speed_error"], line="reference")
    at = task.world.cars[0, 0]
    for slower, seen in ((1.0, 10 / TOP), (-2.0, -20 / TOP), (1e3, 2.0), (-1e3, -2.0)):
        place(task, x=0.0, y=0.0, yaw=0.0, v=15.0)
        task.step_batch(np.zeros((1, 2), np.float32))
        task.world.points["line_speed"][at["nearest"]] = at["v"] + slower  # of the only track
        assert task.observe()[0, 9] == pytest.approx(seen, rel=1e-4)


def test_without_weights_progress_counts_and_the_road_is_not_left(make_task):
    task = make_task(reward=None)
    weights = dict(zip(REWARD_TERMS, task.weights.tolist(), strict=True))
    assert {name: weight for name, weight in weights.items() if weight} == pytest.approx(
        {"progress": 0.1, "off_track": -5.0}
    )


def test_progress_and_its_weight(make_task):
    task = make_task(reward={"progress": 2.0})
    place(task, x=0.0, y=0.0, yaw=0.0, v=20.0)
    task.step_batch(STILL)
    step = task.step_batch(STILL)
    share = terms_of(step)["progress"]
    assert share == pytest.approx(task.world.cars["v"][0, 0] / TOP, rel=0.01)
    assert step.reward[0] == pytest.approx(2.0 * share)


def test_driving_backwards_costs(make_task):
    task = make_task()
    place(task, x=0.0, y=0.0, yaw=np.pi, v=20.0)
    task.step_batch(STILL)
    assert terms_of(task.step_batch(STILL))["progress"] == pytest.approx(-task.world.cars["v"][0, 0] / TOP, rel=0.01)


def test_steering_change_and_slip(make_task):
    task = make_task(reward={"steering_change": -0.5, "slip": -3.0})
    place(task, x=0.0, y=0.0, yaw=0.0, v=15.0)
    for command, change in ((0.5, 0.5), (-0.25, 0.75), (-0.25, 0.0)):
        step = task.step_batch(np.array([[command, 0.0]], np.float32))
        terms, slip = terms_of(step), abs(float(task.world.cars["slip"][0, 0]))
        assert terms["steering_change"] == pytest.approx(change)
        assert terms["slip"] == pytest.approx(slip)
        assert slip > 1e-4
        assert step.reward[0] == pytest.approx(-0.5 * change - 3.0 * slip, rel=1e-5)


def test_overspeed_is_what_exceeds_the_speed_of_the_line(make_task):
    task = make_task(reward={"overspeed": -1.0})
    index = int(np.argmin(np.abs(task.world.points["x"] - 400) + task.world.points["y"]))  # where the bend begins
    safe = float(task.world.points["line_speed"][index])
    for speed, excess in ((1.5 * safe, 0.5), (0.5 * safe, 0.0)):
        place(task, x=395.0, y=0.0, yaw=0.0, v=speed)
        step = task.step_batch(STILL)
        car = task.world.final_cars[0, 0]
        assert terms_of(step)["overspeed"] == pytest.approx(max(car["v"] / car["line_speed"] - 1, 0.0), abs=1e-6)
        assert terms_of(step)["overspeed"] == pytest.approx(excess, abs=0.08)


def test_the_reward_is_every_term_times_its_own_weight(make_task):
    weights = dict(zip(REWARD_TERMS, (0.1, -5.0, -3.0, -0.7, -0.3, -0.2, 4.0), strict=True))
    task = make_task(races=2, reward=weights)
    place(task, 0, x=395.0, y=0.0, yaw=0.1, v=30.0)  # too fast for the bend
    place(task, 1, x=0.0, y=5.0, yaw=0.5, v=20.0)  # leaves the road
    step = task.step_batch(np.array([[0.5, 0.0], [0.2, 0.0]], np.float32))
    for i in (0, 1):
        parts = [weights[name] * value for name, value in terms_of(step, i).items()]
        assert step.reward[i] == pytest.approx(sum(parts), rel=1e-5)
        assert sum(part != 0 for part in parts) >= 3
    for name, weight in weights.items():
        alone = make_task(reward={name: weight})
        place(alone, x=395.0, y=0.0, yaw=0.1, v=30.0)
        one = alone.step_batch(np.array([[0.5, 0.0]], np.float32))
        assert one.reward[0] == pytest.approx(weight * terms_of(one)[name], rel=1e-5)


def test_leaving_the_road_terminates_and_costs_once(make_task):
    task = make_task(reward={"off_track": -7.0})
    place(task, x=0.0, y=5.0, yaw=0.5, v=20.0)
    step = task.step_batch(STILL)
    assert terms_of(step)["off_track"] == 1.0
    assert step.reward[0] == -7.0
    assert step.terminated[0]
    assert not step.truncated[0]
    assert step.final_observation[0, 8] == pytest.approx(0.5, abs=0.05)  # of the episode that ended
    assert not np.array_equal(step.final_observation[0], step.observation[0])
    assert terms_of(task.step_batch(STILL))["off_track"] == 0.0


@pytest.mark.parametrize(("margin", "leaves"), [(0.0, False), (0.25, False), (0.35, True)])
def test_the_road_ends_so_far_before_its_edge(make_task, kart: Vehicle, margin: float, leaves: bool):
    task = make_task(episodes={"edge_margin": margin})
    place(task, x=0.0, y=HALF_WIDTH - kart.width / 2 - 0.3, yaw=0.0, v=10.0)
    assert task.step_batch(STILL).terminated[0] == leaves


def test_standing_too_long_and_turning_back_terminate(make_task):
    task = make_task(reward={"stalled": -3.0}, episodes={"stall_time": 0.5})
    place(task, x=0.0, y=0.0, yaw=0.0, v=0.0)
    ends = [bool(task.step_batch(STILL).terminated[0]) for _ in range(4)]
    assert not any(ends)
    step = task.step_batch(STILL)
    assert (step.terminated[0], terms_of(step)["stalled"], step.reward[0]) == (True, 1.0, -3.0)
    assert terms_of(step)["off_track"] == 0.0  # it is one thing or the other
    place(task, x=0.0, y=0.0, yaw=np.pi, v=20.0, furthest=150.0, progress=100.0)
    step = task.step_batch(STILL)
    assert (step.terminated[0], terms_of(step)["stalled"]) == (True, 1.0)


def test_a_time_limit_and_done_laps_truncate(make_task):
    task = make_task(reward={"lap": 4.0}, episodes={"time_limit": 0.3, "laps": 2})
    place(task, x=0.0, y=0.0, yaw=0.0, v=20.0)
    steps = [task.step_batch(STILL) for _ in range(3)]
    assert [bool(step.truncated[0]) for step in steps] == [False, False, True]
    assert not steps[-1].terminated[0]
    assert steps[-1].reward[0] == 0.0
    place(task, x=0.0, y=0.0, yaw=0.0, v=20.0, laps=2)
    step = task.step_batch(STILL)
    assert (step.truncated[0], step.terminated[0], step.reward[0]) == (True, False, 4.0)


def test_a_step_lasts_as_many_control_periods_as_asked(make_task):
    for repeat in (1, 4):
        task = make_task(action_repeat=repeat)
        place(task, x=0.0, y=0.0, yaw=0.0, v=20.0)
        task.step_batch(STILL)
        assert task.world.cars["x"][0, 0] == pytest.approx(20 * 0.05 * repeat, rel=0.02)


def test_starts_keep_their_limits(make_task, kart: Vehicle):
    task = make_task(
        races=500, episodes={"start_lateral_offset": 0.5, "start_heading_error": 0.2, "start_speed": [0.4, 0.6]}
    )
    cars = task.world.cars.reshape(-1)
    room = HALF_WIDTH - kart.width / 2
    assert 0.4 * room < np.abs(cars["lateral"]).max() < 0.52 * room
    assert 0.19 < np.abs(cars["heading_error"]).max() < 0.21
    share = cars["v"] / task.world.points["speed"][cars["nearest"]]
    assert 0.39 < share.min() < share.max() < 0.61
    assert np.ptp(cars["s"]) > 0.9 * task.tracks[0].length
    line = make_task(races=5, episodes={"random_start": False}).world.cars.reshape(-1)
    assert np.ptp(line["s"]) == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"reward": {"speed": 1.0}}, r"^reward\.speed is no reward term; use: progress"),
        ({"rays": 0}, r"^rays must be a whole number in \[1, 4096\], got 0"),
        ({"range": 0}, r"^range must be a number in \[0\.001, 10000\] m, got 0"),
        ({"field_of_view": "wide"}, r"^field_of_view must be a number of degrees, got 'wide'"),
        ({"field_of_view": 361}, r"^field_of_view must be a number in \[0\.001, 360\] degrees, got 361\.0"),
        ({"line": "left"}, r"^line must be centre or reference or optimal or best, got 'left'"),
        ({"motion": "x"}, r"^motion must be one or several of yaw_rate, .*, got 'x'"),
        ({"motion": ["slip", "slip"]}, r"^motion must be one or several of .*, got \['slip', 'slip'\]"),
        ({"motion": 3}, "^motion must be one or several of .*, got 3"),
        ({"preview_spacing": 0}, r"^preview_spacing must be a number in \[0\.001, 10000\] m, got 0"),
        ({"action_repeat": 0}, r"^action_repeat must be a whole number in \[1, 1000\], got 0"),
        ({"episodes": 3}, r"^episodes must be a group of keys, got 3"),
        ({"episodes": {"luck": 1}}, r"^episodes\.luck is no key; use: random_start, "),
        ({"episodes": {"time_limit_min": 9.0}}, r"^episodes\.time_limit_min must be <= time_limit 0\.0, got 9\.0"),
    ],
)
def test_wrong_options_are_refused_by_the_parameters_name(make_task, options: dict, says: str):
    with pytest.raises(InputError, match=says):
        make_task(**options)


def test_episodes_take_their_defaults_from_the_class():
    assert read_group("episodes", {"laps": 3}, EpisodeConfig).laps == 3
    assert read_group("episodes", {}, EpisodeConfig).random_start is True
