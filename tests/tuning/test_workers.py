"""Several workers of one search: side by side, killed, come back, or gone for good."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from racing.runs.directory import all_runs
from racing.runs.lock import FileLock
from racing.tuning.trials import all_failed, first_duplicate, left_over, lock_path
from tests.support.processes import points
from tests.training.test_curriculum import tags_of
from tests.tuning.conftest import run_of, search, start, states, study_of

PATIENCE = 300.0  # [s]
LONG = ["tuning=random", "tuning.n_trials=1", "algo.total_timesteps=20480", "checkpoint.every=4096"]


@pytest.mark.slow
def test_two_workers_at_the_same_time(tmp_path: Path):
    both = [
        start(tmp_path, "tuning=tpe", "tuning.n_trials=6", "tuning.workers=2", f"tuning.worker={n}") for n in (0, 1)
    ]
    for process in both:
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, said.decode()
    study = study_of(tmp_path)
    assert 6 <= len(study.trials) <= 7  # one may begin while the other ends its last
    assert set(states(study)) == {"COMPLETE"}
    assert {trial.user_attrs["worker"] for trial in study.trials} == {0, 1}
    assert len({trial.user_attrs["run"] for trial in study.trials}) == len(all_runs(tmp_path)) == len(study.trials)
    assert len({tuple(trial.params.values()) for trial in study.trials}) == len(study.trials)
    rows = (tmp_path / "studies" / study.study_name / "trials.csv").read_text().splitlines()
    assert len(rows) == len(study.trials) + 1  # of the one that reported last


@pytest.mark.slow
def test_a_killed_worker_continues_its_trial(tmp_path: Path):
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    process = start(killed, *LONG)
    deadline = time.monotonic() + PATIENCE
    while not list(killed.glob("runs/*/checkpoints/*/COMPLETE")):
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert states(study_of(killed)) == ["RUNNING"]
    assert all_runs(killed)[0].status == "KILLED"
    assert search(killed, *LONG) == 0
    assert search(calm, *LONG) == 0
    (trial,), (same,) = study_of(killed).trials, study_of(calm).trials
    assert trial.state == TrialState.COMPLETE
    assert (trial.params, trial.value) == (same.params, same.value)
    assert trial.intermediate_values == same.intermediate_values
    assert len(trial.intermediate_values) == 9
    run, other = run_of(killed, trial), run_of(calm, same)
    assert [found.name for found in all_runs(killed)] == [run.name] == [other.name]
    assert points(run) == points(other)
    assert tags_of(run)["racing.final_sha256"] == tags_of(other)["racing.final_sha256"]


@pytest.fixture
def study() -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(direction="maximize")


def add(study: optuna.Study, state: TrialState, x: float = 0.5, **more):
    value = 1.0 if state == TrialState.COMPLETE else None
    space = {"x": FloatDistribution(0, 1)}
    study.add_trial(create_trial(state=state, value=value, params={"x": x}, distributions=space, **more))


def test_who_continues_what_was_left_over(study: optuna.Study, tmp_path: Path):
    for worker in (0, 1, 2, 3, 5):
        add(study, TrialState.RUNNING, user_attrs={"worker": worker})
    add(study, TrialState.COMPLETE, user_attrs={"worker": 0})
    lock = FileLock(lock_path(tmp_path, 3))
    assert lock.acquire()  # at work all the same: as a worker of a larger search

    def numbers(worker: int, workers: int) -> list[int]:
        return [trial.number for trial in left_over(study, worker, workers, tmp_path)]

    assert [numbers(worker, 6) for worker in range(6)] == [[0], [1], [2], [3], [], [4]]
    assert [numbers(worker, 2) for worker in range(2)] == [[0, 2], [1, 4]]
    lock.release()
    assert [numbers(worker, 2) for worker in range(2)] == [[0, 2], [1, 3, 4]]


def test_a_trial_that_lost_its_worker_at_once_is_told_to_have_failed(study: optuna.Study, tmp_path: Path):
    add(study, TrialState.RUNNING)
    assert left_over(study, 0, 1, tmp_path) == []
    assert states(study) == ["RUNNING"]  # its worker may be just about to sign
    study._storage._studies[study._study_id].trials[0].datetime_start = datetime.now() - timedelta(minutes=2)
    assert left_over(study, 0, 1, tmp_path) == []
    assert states(study) == ["FAIL"]


def test_duplicates(study: optuna.Study):
    add(study, TrialState.RUNNING, 0.25)
    add(study, TrialState.RUNNING, 0.5)
    add(study, TrialState.COMPLETE, 0.5)
    add(study, TrialState.RUNNING, 0.5)
    found = [first_duplicate(study, optuna.Trial(study, n)) for n in range(4)]
    assert [trial and trial.number for trial in found] == [None, None, 1, 2]


def test_when_failures_are_no_matter_of_single_trials(study: optuna.Study):
    for _ in range(2):
        add(study, TrialState.FAIL)
    assert not all_failed(study)
    add(study, TrialState.FAIL)
    assert all_failed(study)
    add(study, TrialState.COMPLETE)
    for _ in range(9):
        add(study, TrialState.FAIL)
        assert not all_failed(study)
    add(study, TrialState.FAIL)
    assert all_failed(study)
