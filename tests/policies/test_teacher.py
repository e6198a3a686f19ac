"""The driver of the reference lap as a teacher: what it says of every car, wherever a student has brought it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from racing.config import compose
from racing.envs import drivers
from racing.envs.lateral.task import LateralTask
from racing.envs.sensors import SensorsTask
from racing.envs.vec_env import RacingVecEnv
from racing.errors import InputError
from racing.policies.teacher import DriverTeacher, PolicyTeacher, find_teacher
from racing.sim.vehicle import Vehicle
from racing.tracks.catalog import load_track
from racing.training.build import build_experiment
from racing.training.resolve import resolve

ALGO = {"teacher": "driver", "teacher_pace": 0.8, "teacher_reach": 0.2}


@pytest.mark.slow
@pytest.mark.parametrize("margin", [0.0, 0.6])
def test_it_drives_every_track_of_a_world(kart: Vehicle, margin: float):
    """Cars that do as it says keep to the road; what it says depends on where they are, and on nothing before."""
    tracks, episodes = [load_track("oval"), load_track("figure_eight")], {"edge_margin": margin}
    env = RacingVecEnv(SensorsTask(tracks, kart, races=20, seed=1, episodes=episodes))
    teach = DriverTeacher(spec="driver", pace=0.8, reach=(0.2, 0.2)).teach(env)
    env.reset()
    first = teach(env, 0.0)
    assert first.shape == (20, 2)
    assert first.dtype == np.float32
    assert (np.abs(first) <= 1).all()
    lost = sum(int(env.step_batch(teach(env, 0.0)).terminated.sum()) for _ in range(300))
    assert lost <= 2  # a start may be too fast for the bend that follows
    fresh = DriverTeacher(spec="driver@optimal", pace=0.8, reach=(0.2, 0.2)).teach(env)
    np.testing.assert_array_equal(fresh(env, 0.0), teach(env, 0.0))
    assert env.task.world.cars["laps"].max() >= 1


@pytest.mark.slow
def test_its_reach_is_another_one_at_first(kart: Vehicle):
    """So that more cars are told the calm pace in the first tenth of the imitation."""
    env = RacingVecEnv(SensorsTask([load_track("oval")], kart, races=200, seed=1))
    reaches = [(0.1, 0.5), (0.1, 0.1), (0.5, 0.5)]
    both, near, far = (DriverTeacher(spec="driver", pace=1.0, reach=reach).teach(env) for reach in reaches)
    env.reset()
    for _ in range(150):  # till some are as fast as they are to be
        env.step_batch(far(env, 0.0))
    for taught, same in [(0.0, near), (0.09, near), (0.1, far), (1.0, far)]:
        np.testing.assert_array_equal(both(env, taught), same(env, 0.7), err_msg=str(taught))
    changed = (near(env, 0.0) != far(env, 0.0)).any(axis=1)
    assert 0 < changed.sum() < 200
    assert (far(env, 0.0)[changed, 1] >= near(env, 0.0)[changed, 1]).mean() > 0.5  # most are told to be faster


@pytest.mark.slow
@pytest.mark.parametrize(("solved", "lap"), [(1, "1 of optimal 34."), (0, "0.95 of reference 34.")])
def test_which_lap_it_drives_is_a_fact_of_a_run(solved: int, lap: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(drivers, "MOST_SOLVED", solved)
    experiment = build_experiment(resolve(compose("train", ["debug=fast", "hardware=cpu"])))
    assert experiment.facts["driver of circuit"].startswith(lap)


@pytest.mark.parametrize("spec", ["driver", "driver@mpc"])
def test_it_is_named_driver_and_has_a_pace(spec: str, tmp_path: Path):
    found = find_teacher({**ALGO, "teacher": spec}, tmp_path, None, {})
    assert found == DriverTeacher(spec=spec, pace=0.8, reach=(0.2, 0.2))
    found = find_teacher({**ALGO, "teacher": spec, "teacher_reach": [0.05, 0.3]}, tmp_path, None, {})
    assert found == DriverTeacher(spec=spec, pace=0.8, reach=(0.05, 0.3))


def test_a_task_s_drivers_are_asked_for_by_name():
    """The first one where none is named; each says what it would do, and no other task's can be had."""
    env = RacingVecEnv(LateralTask(races=2, route_count=3))
    env.reset()
    told = {}
    for spec in ("driver", "driver@feed_forward", "driver@pid", "driver@mpc"):
        teach = DriverTeacher(spec=spec, pace=1.0, reach=(0.2, 0.2)).teach(env)
        env.task.reseed(1)
        env.reset()
        told[spec] = teach(env, 0.0).ravel().tolist()
    assert told["driver"] == told["driver@feed_forward"]
    assert len({tuple(actions) for actions in told.values()}) == 3
    with pytest.raises(InputError, match="NAME in algo.teacher=driver@NAME must be one of feed_forward, pid, "):
        DriverTeacher(spec="driver@optimal", pace=1.0, reach=(0.2, 0.2)).teach(env)
    with pytest.raises(InputError, match="pace is a share of a lap's speed, mpc drives none"):
        DriverTeacher(spec="driver@mpc", pace=0.9, reach=(0.2, 0.2)).teach(env)


@pytest.mark.parametrize("pace", [1.01, 0.2, "fast"])
def test_its_pace_has_a_range(pace, tmp_path: Path):
    with pytest.raises(InputError, match=r"algo.teacher_pace must be a number in \[0.3, 1\], got"):
        find_teacher({**ALGO, "teacher_pace": pace}, tmp_path, None, {"action_repeat": 2})
    for reach in ([0.1, 0.2, 0.3], []):
        with pytest.raises(InputError, match=r"algo.teacher_reach must be a number, or \[at first, later\], got"):
            find_teacher({**ALGO, "teacher_reach": reach}, tmp_path, None, {"action_repeat": 2})
    with pytest.raises(InputError, match=r"algo.teacher_reach must be a number in \[0.01, 1\], got"):
        find_teacher({**ALGO, "teacher_reach": 10 if pace == "fast" else 0}, tmp_path, None, {"action_repeat": 2})


def test_a_policy_needs_sensors_to_drive_by(kart: Vehicle):
    env = RacingVecEnv(SensorsTask([load_track("oval")], kart, races=2))
    policy = PolicyTeacher(spec="run@policy#1", path=Path("policy.zip"), observation="(10,)")
    with pytest.raises(InputError, match="needs an environment that has sensors beside what is observed; choose env="):
        policy.teach(env)
