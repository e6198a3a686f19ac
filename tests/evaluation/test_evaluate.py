"""Laps of known drivers, statistics worked out by hand, and what an evaluation must not touch."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from racing.envs.sensors import SensorsTask
from racing.envs.vec_env import RacingVecEnv
from racing.evaluation.evaluate import Diverged, evaluate, evaluation_task, smoothness
from racing.evaluation.intervals import mean_interval, wilson
from racing.evaluation.result import Evaluation, flat_metrics, summarise
from racing.evaluation.seeds import TEST_SEEDS
from racing.evaluation.telemetry import COLUMNS
from racing.sim.camera.camera import Randomize
from racing.sim.episodes import EpisodeConfig
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from tests.support.drivers import follower, group

PACE, REFERENCE = 8.0, 60.0  # [m/s], [s]


def make(track: Track, vehicle: Vehicle, races: int = 8, laps: int = 2, seed: int = TEST_SEEDS) -> SensorsTask:
    env = group("env/mlp")
    env["reward"]["off_track"] = -5.0
    return evaluation_task(env, [track], vehicle, [REFERENCE], races=races, laps=laps, seed=seed)


def straight_on(observation: np.ndarray) -> np.ndarray:
    return np.tile(np.array([0.0, 0.3]), (len(observation), 1))


@pytest.fixture(scope="module")
def laps(wavy: Track, kart: Vehicle) -> Evaluation:
    task = make(wavy, kart)
    return evaluate(follower(task, PACE), task, [REFERENCE])


@pytest.fixture(scope="module")
def crashes(wavy: Track, kart: Vehicle) -> Evaluation:
    return evaluate(straight_on, make(wavy, kart, races=32), [REFERENCE])


def test_a_driver_of_known_pace_has_the_lap_time_that_follows(laps: Evaluation, wavy: Track):
    expected = wavy.length / PACE
    for episode in laps.episodes:
        assert (episode["ended"], episode["laps"], episode["flying_lap"]) == ("laps_done", 2, 2)
        assert episode["gates"] == 2 * len(wavy.gates) + 1
        assert episode["lap_time_s"] == episode["lap_times_s"][1] == pytest.approx(expected, rel=0.04)
        assert episode["lap_ratio"] == pytest.approx(episode["lap_time_s"] / REFERENCE, rel=1e-12)
        assert episode["mean_speed"] == pytest.approx(PACE, rel=0.05)
        assert episode["progress_m"] > 2 * wavy.length
        assert episode["off_track_m"] == 0
        whole, lap = laps.telemetry_table(episode["episode"]), laps.lap_table(episode["episode"])
        assert episode["max_lateral_g"] == pytest.approx(np.abs(whole["lateral_g"]).max(), rel=1e-5)
        bend = PACE**2 * np.abs(wavy.curvature).max() / 9.81
        assert 0.7 * bend < np.abs(lap["lateral_g"]).max() < 1.3 * bend
    summary = laps.summary
    assert (summary["finish_rate"], summary["finish_rate_high"], summary["finished"]) == (1.0, 1.0, 8)
    assert summary["lap_ratio_low"] <= summary["lap_ratio"] <= summary["lap_ratio_high"]
    assert summary["lap_ratio_best"] == min(episode["lap_ratio"] for episode in laps.episodes)
    assert (summary["vehicle"], summary["tyre_model"], summary["tracks"]) == ("kart", "saturated", ["wavy"])


def test_a_limit_is_reported_where_it_is_known(laps: Evaluation, wavy: Track, kart: Vehicle):
    assert {episode["limit_ratio"] for episode in laps.episodes} == {None}
    assert laps.summary["limit_ratio"] is None
    assert "eval/limit_ratio" not in flat_metrics(laps)
    task = make(wavy, kart)
    known = evaluate(follower(task, PACE), task, [REFERENCE], [50.0], telemetry=False)
    assert known.summary["lap_limit_s"] == [50.0]
    assert known.summary["limit_ratio"] == pytest.approx(known.summary["lap_time_s"] / 50, rel=1e-12)
    assert flat_metrics(known)["eval/limit_ratio"] == known.summary["limit_ratio"]


def test_how_nervously_it_steers(wavy: Track, kart: Vehicle):
    task, turn = make(wavy, kart), iter(range(10_000))

    def nervous(observation: np.ndarray) -> np.ndarray:
        return np.tile([0.1 * (-1.0) ** next(turn), 0.0], (len(observation), 1))

    for episode in evaluate(nervous, task, [REFERENCE]).episodes:  # from straight ahead to 0.1, then 0.2 at each step
        assert episode["steering_change"] == pytest.approx(
            (0.1 + 0.2 * (episode["steps"] - 1)) / episode["steps"], rel=1e-4
        )


@pytest.mark.parametrize(
    ("steering", "change", "spectrum"),
    [
        ([0.0] * 10, 0.0, 0.0),
        ([0.5] * 10, 0.05, 0.0),
        ([0.1, -0.1] * 5, (0.1 + 9 * 0.2) / 10, 2 * (0.2 * 0.5) / 6),  # 6 frequencies; the last, 1/2, is counted twice
        ([0.0, 0.3, 0.0, -0.3] * 2, 7 * 0.3 / 8, 2 * (0.3 * 0.25) / 5),
    ],
    ids=["straight", "held", "to and fro", "a sine of four steps"],
)
def test_smoothness(steering, change, spectrum):
    found = smoothness(np.array(steering))
    assert found["steering_change"] == pytest.approx(change, abs=1e-12)
    assert found["steering_spectrum"] == pytest.approx(spectrum, abs=1e-12)


def test_a_standing_start_is_not_in_the_flying_lap(wavy: Track, kart: Vehicle):
    env = group("env/mlp")
    env["episodes"]["start_speed"] = [0.0, 0.0]
    for count in (1, 3):
        task = evaluation_task(env, [wavy], kart, [REFERENCE], races=4, laps=count, seed=0)
        for episode in evaluate(follower(task, PACE), task, [REFERENCE], telemetry=False).episodes:
            first, *others = episode["lap_times_s"]
            assert episode["lap_time_s"] == (min(others) if others else first)
            assert episode["flying_lap"] == (1 + int(np.argmin(others)) + 1 if others else 1)


def test_a_car_that_leaves_the_road_has_lost_the_rest_of_its_laps(crashes: Evaluation, wavy: Track):
    for episode in crashes.episodes:
        assert (episode["ended"], episode["lap_time_s"], episode["finished"]) == ("off_track", None, False)
        assert episode["off_track_m"] == pytest.approx(2 * wavy.length - episode["progress_m"])
        assert episode["reward_terms"]["off_track"] == -5.0
        assert episode["reward"] == pytest.approx(sum(episode["reward_terms"].values()), abs=1e-3)
    assert crashes.summary["finish_rate"] == crashes.summary["finish_rate_low"] == 0
    assert (crashes.summary["lap_time_s"], crashes.summary["lap_ratio_best"]) == (None, None)
    metrics = flat_metrics(crashes)
    assert metrics["eval/off_track_rate"] == 1
    assert metrics["eval/reward_terms/off_track"] == -5
    assert "eval/lap_time_s" not in metrics
    furthest = max(range(32), key=lambda i: crashes.episodes[i]["progress_m"])
    assert crashes.best_episode() == furthest


def test_only_the_first_episode_of_a_car_counts(crashes: Evaluation, wavy: Track, kart: Vehicle):
    env = RacingVecEnv(make(wavy, kart, races=32))
    observation = env.reset()
    first: dict[int, dict] = {}
    while len(first) < 32:
        step = env.step_batch(straight_on(observation))
        observation = step.observation
        ended = np.flatnonzero(step.terminated | step.truncated)
        for i, episode in zip(ended, env.take_episodes(), strict=True):
            first.setdefault(int(i), episode)
    assert max(car["episode"] for car in env.task.world.cars[:, 0]) > 0
    for i, episode in first.items():
        other = crashes.episodes[i]
        assert (other["steps"], other["ended"]) == (episode["steps"], episode["ended"])
        assert other["reward"] == pytest.approx(episode["reward"], rel=1e-6)
        assert other["reward_terms"] == pytest.approx(episode["terms"], abs=1e-6)


def test_the_same_task_drives_the_same_starts_and_another_seed_others(crashes: Evaluation, wavy: Track, kart: Vehicle):
    task = make(wavy, kart, races=32)
    task.world.reset()
    again = evaluate(straight_on, task, [REFERENCE])
    third = evaluate(straight_on, task, [REFERENCE], telemetry=False)
    assert again.episodes == third.episodes == crashes.episodes
    other = evaluate(straight_on, make(wavy, kart, races=32, seed=TEST_SEEDS + 1), [REFERENCE])
    assert other.episodes != crashes.episodes


def test_no_random_generator_is_touched(wavy: Track, kart: Vehicle):
    import torch

    task = make(wavy, kart)
    before = random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()
    evaluate(straight_on, task, [REFERENCE])
    assert before == (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes())


def test_starts_are_anywhere_even_if_training_starts_in_one_place(wavy: Track, kart: Vehicle):
    env = group("env/mlp")
    env["episodes"]["random_start"] = False
    task = evaluation_task(env, [wavy], kart, [REFERENCE], races=32, laps=2, seed=0)
    task.reset()
    assert np.ptp(task.world.cars["s"]) > 0.5 * wavy.length


def test_only_who_still_drives_is_asked_where_frames_cost_time(wavy: Track, kart: Vehicle):
    env = group("env/vision", width=16, height=16, line="centre", randomize={"noise": 0.5}, frame_stack=2)
    del env["defaults"]
    task = evaluation_task(env, [wavy], kart, [REFERENCE], races=12, laps=1, seed=0)
    assert task.camera.randomize == Randomize()
    asked = []

    def policy(observation: dict) -> np.ndarray:
        assert observation["vision"].shape[1:] == (16, 16, 6)
        asked.append(len(observation["vision"]))
        return straight_on(observation["telemetry"])

    result = evaluate(policy, task, [REFERENCE])
    driving = [sum(episode["steps"] > n for episode in result.episodes) for n in range(len(asked))]
    assert asked == driving
    assert asked[0] == 12 > asked[-1] > 0
    sensors = evaluation_task(group("env/mlp"), [wavy], kart, [REFERENCE], races=12, laps=1, seed=0)
    same = evaluate(straight_on, sensors, [REFERENCE])
    for one, other in zip(result.episodes, same.episodes, strict=True):
        assert one["steps"] == other["steps"]
        assert one["progress_m"] == other["progress_m"]


def test_an_evaluation_without_a_time_limit_is_refused(wavy: Track, kart: Vehicle):
    endless = SensorsTask([wavy], kart, races=2, episodes=EpisodeConfig(laps=2))
    with pytest.raises(ValueError, match="need a time limit"):
        evaluate(straight_on, endless)


def test_actions_that_are_no_numbers_are_refused(wavy: Track, kart: Vehicle):
    with pytest.raises(Diverged, match="training diverged"):
        evaluate(lambda observation: np.full((len(observation), 2), np.nan), make(wavy, kart))


def test_telemetry_begins_at_the_start_and_ends_with_the_episode(crashes: Evaluation):
    assert crashes.telemetry is not None
    longest = max(episode["steps"] for episode in crashes.episodes)
    assert crashes.telemetry.shape == (longest + 1, 32, len(COLUMNS))
    assert crashes.telemetry.dtype == np.float32
    for i, episode in enumerate(crashes.episodes):
        table = crashes.telemetry_table(i)
        assert len(table["x"]) == episode["steps"] + 1
        assert table["time_s"][-1] == pytest.approx(episode["time_s"])
        assert all(np.isfinite(column).all() for column in table.values())
        assert np.isnan(crashes.telemetry[episode["steps"] + 1 :, i]).all()
        assert table["distance"][0] == 0
        assert table["distance"][-1] == pytest.approx(episode["progress_m"])
        assert table["throttle_command"][1:] == pytest.approx(0.3)


def test_telemetry_tells_where_a_reward_came_from_and_where_the_road_was_left(crashes: Evaluation):
    for i, episode in enumerate(crashes.episodes):
        table = crashes.telemetry_table(i)
        assert table["off_track"].tolist() == [0] * episode["steps"] + [1]
        assert (table["reward"][0], table["reward_off_track"][-1]) == (0, -5.0)
        assert not table["reward_off_track"][:-1].any()
        for name, total in episode["reward_terms"].items():
            assert table[f"reward_{name}"].sum() == pytest.approx(total, abs=1e-4)
        terms = sum(column for name, column in table.items() if name.startswith("reward_"))
        np.testing.assert_allclose(table["reward"], terms, atol=1e-6)
        held = np.diff(table["v"][2:]) / (crashes.step_dt * 9.81)  # what the speed says of the acceleration
        assert table["longitudinal_g"][3:].mean() == pytest.approx(held.mean(), abs=0.05)


def test_the_flying_lap_of_the_telemetry_goes_once_around(laps: Evaluation, wavy: Track):
    i = laps.best_episode()
    lap = laps.lap_table(i)
    duration = float(lap["time_s"][-1] - lap["time_s"][0])
    assert duration == pytest.approx(laps.episodes[i]["lap_time_s"], abs=laps.step_dt)
    assert lap["distance"][-1] == pytest.approx(wavy.length, abs=2 * PACE * laps.step_dt)
    assert set(lap["lap"][:-1]) == {2.0}
    assert laps.episodes[i]["lap_time_s"] == min(episode["lap_time_s"] for episode in laps.episodes)


def test_files_hold_every_episode_and_every_row(laps: Evaluation, tmp_path: Path):
    laps.write_laps(tmp_path / "laps.csv")
    laps.write_telemetry(tmp_path / "telemetry.parquet", tmp_path / "telemetry.csv")
    with (tmp_path / "laps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["lap_2_s"]) for row in rows] == [episode["lap_time_s"] for episode in laps.episodes]
    assert float(rows[0]["reward_progress"]) == laps.episodes[0]["reward_terms"]["progress"]
    table = pyarrow.parquet.read_table(tmp_path / "telemetry.parquet")
    assert table.num_rows == sum(episode["steps"] + 1 for episode in laps.episodes)
    assert table.schema.field("lateral_g").metadata == {b"unit": b"9.81 m/s^2"}
    with (tmp_path / "telemetry.csv").open() as file:
        sheet = list(csv.DictReader(file))
    assert list(sheet[0]) == ["time_s", *COLUMNS]
    best = laps.telemetry_table(laps.best_episode())
    for name in ("x", "v", "reward"):
        np.testing.assert_allclose([float(row[name]) for row in sheet], best[name], rtol=1e-6)
    third = table.filter(pyarrow.compute.field("episode") == 3)
    np.testing.assert_array_equal(third["v"].to_numpy(), laps.telemetry_table(3)["v"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["laps.csv", "telemetry.csv", "telemetry.parquet"]


def test_without_telemetry_there_is_no_table(wavy: Track, kart: Vehicle):
    with pytest.raises(ValueError, match="telemetry=True"):
        evaluate(straight_on, make(wavy, kart), telemetry=False).telemetry_table(0)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(8, 10, 0.4901625, 0.9433178), (0, 10, 0.0, 0.2775328), (10, 10, 0.7224672, 1.0), (50, 100, 0.4038315, 0.5961685)],
)
def test_wilson_interval(successes: int, trials: int, low: float, high: float):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=1e-6)


def test_mean_interval():
    # Student's t for 2 degrees of freedom: 4.302653; standard deviation 1, so +- 4.302653 / sqrt(3)
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, -0.484138, 4.484138), abs=1e-6)
    assert mean_interval([5.0]) == (5.0, None, None)
    assert mean_interval([]) == (None, None, None)


def test_the_summary_tells_tracks_apart(laps: Evaluation, crashes: Evaluation):
    here = [{**episode, "track": "left/turn"} for episode in laps.episodes]
    summary = summarise([*here, *crashes.episodes])
    assert summary["finish_rate"] == 8 / 40
    assert summary["per_track"]["left/turn"]["finish_rate"] == 1
    assert summary["per_track"]["wavy"]["finish_rate"] == 0
    assert summary["endings"] == {"off_track": 32, "laps_done": 8}
    both = Evaluation(episodes=here, summary=summary, telemetry=None, step_dt=0.1)
    metrics = flat_metrics(both, "test/")
    assert metrics["test/per_track/left_turn/finish_rate"] == 1
    assert "test/per_track/wavy/reward" not in metrics
