"""Workers of a search: what a trial is, what a search that is continued does, what stops a trial or a worker."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from omegaconf import OmegaConf
from optuna.pruners import ThresholdPruner
from optuna.trial import TrialState

from racing.evaluation.evaluate import Diverged
from racing.runs.directory import RunDirectory, all_runs
from racing.runs.journal import read_journal
from racing.runs.lock import FileLock
from racing.tuning.score import score
from racing.tuning.worker import TrialObserver
from racing_launchers.sweep import all_sweeps
from tests.support.signals import contents, train, train_until
from tests.training.test_curriculum import tags_of
from tests.tuning.conftest import ALL_FIGURES, ALONE, TINY, run_of, search, states, study_of

pytestmark = pytest.mark.slow

RANDOM = ["tuning=random", "tuning.n_trials=3"]
SEARCHED = ("algo.gamma", "algo.learning_rate")
PRUNE_ALL = "tuning.pruner={_target_:optuna.pruners.ThresholdPruner,lower:0.5}"


def points(run: RunDirectory) -> list[tuple[int, str]]:
    records = [line.record for line in read_journal(run.path / "journal.jsonl") if line.record["kind"] == "metrics"]
    return [(record["step"], name) for record in records for name in record["values"]]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outputs = tmp_path_factory.mktemp("search")
    assert search(outputs, *RANDOM) == 0
    return outputs


def test_trials_are_ordinary_runs(searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    study = study_of(searched)
    assert states(study) == ["COMPLETE"] * 3
    assert len({tuple(t.params.values()) for t in study.trials}) == len(all_runs(searched)) == 3
    for trial in study.trials:
        run = run_of(searched, trial)
        assert run.status == "FINISHED"
        assert trial.value == score(run.summary, 1.0)
        assert list(trial.intermediate_values) == [2048]
        tags = tags_of(run)
        assert (tags["racing.study"], tags["racing.trial"]) == (study.study_name, str(trial.number))
        assert run.config["algo"]["gamma"] == trial.params["algo.gamma"]
    best = yaml.safe_load((searched / "studies" / study.study_name / "best.yaml").read_text())
    before = contents(searched / "runs" / best["run"])
    assert train(searched, *best["overrides"]) == 0
    assert "already finished; use fresh=true" in capsys.readouterr().out
    assert contents(searched / "runs" / best["run"]) == before
    assert train(tmp_path, *best["overrides"]) == 0  # elsewhere, not after others in one process
    (alone,) = all_runs(tmp_path)
    assert (
        tags_of(alone)["racing.final_sha256"]
        == tags_of(RunDirectory(searched / "runs" / best["run"]))["racing.final_sha256"]
    )


def test_the_report(searched: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("racing.tuning.report.FIGURES", ALL_FIGURES)
    study = study_of(searched)
    folder = searched / "studies" / study.study_name
    (folder / "trials.csv").unlink()
    assert search(searched, *RANDOM) == 0  # has enough trials: only reports
    assert states(study_of(searched)) == ["COMPLETE"] * 3
    said = capsys.readouterr().out
    assert f"{study.study_name}: 3 complete" in said
    assert f"best     trial {study.best_trial.number}, " in said
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    assert [row["state"] for row in rows] == ["COMPLETE"] * 3
    assert float(rows[2]["algo.gamma"]) == study.trials[2].params["algo.gamma"]
    for name in ("history", "parallel_coordinate", "slice"):
        assert (folder / f"{name}.png").stat().st_size > 5000


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy is the better the nearer algo.gamma is to 0.98."""

    def train(cfg, settings, *, observer, stop, suffix):
        return SimpleNamespace(summary={"finish_rate": 1 - 10 * abs(cfg.algo.gamma - 0.98), "lap_ratio": None})

    def compose(self, settings):
        cfg = self.cfg.copy()
        for setting in settings:
            key, _, value = setting.partition("=")
            if key in SEARCHED:
                OmegaConf.update(cfg, key, float(value))
        return cfg

    monkeypatch.setattr("racing.tuning.worker.train_with_teacher", train)
    monkeypatch.setattr("racing.tuning.search.Search.compose", compose)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_samplers_that_learn_and_go_on_after_an_interruption(sampler: str, tmp_path: Path):
    narrow = ["tuning.space.algo.gae_lambda=null", "tuning.space.algo.ent_coef=null"]
    arguments = [f"tuning={sampler}", "tuning.n_trials=16", "tuning.sampler.n_startup_trials=4", *narrow]
    assert search(tmp_path / "calm", *arguments) == 0
    for number in (1, 6, 16):
        assert search(tmp_path / "often", *arguments, f"tuning.n_trials={number}") == 0
    calm, often = study_of(tmp_path / "calm").trials, study_of(tmp_path / "often").trials
    assert [trial.params for trial in calm] == [trial.params for trial in often]
    assert states(study_of(tmp_path / "calm")) == ["COMPLETE"] * 16
    assert len({tuple(trial.params.values()) for trial in calm}) == 16
    error = [abs(trial.params["algo.gamma"] - 0.98) for trial in calm]
    assert sum(error[-4:]) < sum(error[:4])
    assert any("cma" in name for trial in calm for name in trial.system_attrs) == (sampler == "cmaes")


def test_stopped_by_a_signal_and_continued(searched: Path, tmp_path: Path):
    assert train_until(1000, tmp_path, *TINY, *ALONE, *RANDOM) == 75
    assert states(study_of(tmp_path)) == ["RUNNING"]
    (run,) = all_runs(tmp_path)
    assert run.status == "STOPPED"
    assert "racing.pruned" not in tags_of(run)
    assert search(tmp_path, *RANDOM, "tuning.n_trials=1") == 0
    (trial,) = study_of(tmp_path).trials
    assert (trial.state, run.status) == (TrialState.COMPLETE, "FINISHED")
    calm = study_of(searched).trials[0]
    assert (trial.value, trial.intermediate_values) == (calm.value, calm.intermediate_values)
    assert points(run) == points(run_of(searched, calm))


def test_pruning_stops_the_run_and_records_it(tmp_path: Path):
    assert search(tmp_path, *RANDOM, PRUNE_ALL, "tuning.n_trials=2") == 0
    study = study_of(tmp_path)
    assert states(study) == ["PRUNED", "PRUNED"]
    for trial in study.trials:
        run = run_of(tmp_path, trial)
        assert (run.status, tags_of(run)["racing.pruned"]) == ("STOPPED", "true")
        assert max(step for step, _ in points(run)) == 2048
        assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["000002048"]
        assert trial.intermediate_values == {2048: 0.0}


def test_killed_after_the_decision_to_prune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It stays pruned, although the pruner would say otherwise now."""

    class Killed(BaseException):
        pass

    def tell(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("optuna.Study.tell", tell)
        with pytest.raises(Killed):
            search(tmp_path, *RANDOM, PRUNE_ALL, "tuning.n_trials=1")
    assert states(study_of(tmp_path)) == ["RUNNING"]
    assert search(tmp_path, *RANDOM, "tuning.n_trials=1") == 0
    (trial,) = study_of(tmp_path).trials
    run = run_of(tmp_path, trial)
    assert (trial.state, run.status) == (TrialState.PRUNED, "STOPPED")
    assert max(step for step, _ in points(run)) == 2048


@pytest.mark.filterwarnings("error")
def test_a_judgement_that_is_repeated_is_reported_once():
    import optuna

    study = optuna.create_study(direction="maximize", pruner=ThresholdPruner(lower=0.3))
    judging = {"every_steps": 100, "target_finish_rate": 1.0}
    stop = SimpleNamespace(pruned=False)

    def result(rate):
        return SimpleNamespace(summary={"finish_rate": rate, "lap_ratio": None})

    study.ask()
    TrialObserver(stop, optuna.Trial(study, 0), "s", "score", judging).evaluated(120, result(0.5))
    again = TrialObserver(stop, optuna.Trial(study, 0), "s", "score", judging)
    again.evaluated(120, result(0.1))  # not what the first one said: it is not looked at
    again.evaluated(190, result(0.6))
    assert study.trials[0].intermediate_values == {100: 0.5, 200: 0.6}
    assert not stop.pruned
    again.evaluated(300, result(0.1))
    assert stop.pruned


def test_a_trial_whose_settings_are_refused_fails_and_the_search_goes_on(tmp_path: Path, capsys):
    only = "tuning.space={algo.batch_size:'choice(1000,512)'}"
    assert search(tmp_path, "tuning=random", "tuning.n_trials=3", only) == 0
    trials = study_of(tmp_path).trials
    assert [t.state.name for t in trials if t.params["algo.batch_size"] == "512"] == ["COMPLETE"] * 3
    failed = [t for t in trials if t.params["algo.batch_size"] == "1000"]
    assert failed
    assert all(t.state == TrialState.FAIL and "algo.batch_size" in t.user_attrs["reason"] for t in failed)
    assert len(all_runs(tmp_path)) == 1  # the same values are not trained twice
    assert "failed: algo.batch_size" in capsys.readouterr().err


def test_a_search_whose_first_trials_all_fail_stops(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert search(tmp_path, "tuning=random", "tuning.space={algo.batch_size:'choice(1000,999)'}") == 2
    assert states(study_of(tmp_path)) == ["FAIL"] * 3
    assert capsys.readouterr().err.splitlines()[-1].startswith("racing train: algo.batch_size")


def test_a_training_that_raises_or_diverges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    errors = iter([RuntimeError("out of memory"), Diverged("not numbers"), None])

    def train(cfg, settings, *, observer, stop, suffix):
        error = next(errors)
        if error is not None:
            raise error
        return SimpleNamespace(summary={"finish_rate": 0.5, "lap_ratio": None})

    monkeypatch.setattr("racing.tuning.worker.train_with_teacher", train)
    assert search(tmp_path, *RANDOM, "tuning.n_trials=2") == 0
    trials = study_of(tmp_path).trials
    assert [t.state.name for t in trials] == ["FAIL", "PRUNED", "COMPLETE"]
    assert [t.user_attrs.get("reason") for t in trials] == ["RuntimeError: out of memory", "not numbers", None]
    assert "Traceback" in capsys.readouterr().err


def test_through_a_launcher(tmp_path: Path):
    """Jobs of a sweep: the study lies in its folder, runs are noted in the job's, the number of workers makes jobs."""
    assert train(tmp_path, *TINY, *RANDOM, "tuning.workers=2", "tuning.n_trials=1") == 0
    (sweep,) = all_sweeps(tmp_path)
    assert len(sweep.jobs) == 2
    noted = {path for job in sweep.jobs for path in job.folder.runs}
    assert noted == {f"runs/{path.name}" for path in (tmp_path / "runs").iterdir()}
    assert (sweep.path / "study.journal").exists()
    assert list(sweep.path.glob("*/trials.csv"))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["tuning.n_trials=0"], "tuning.n_trials must be a whole number"),
        (["tuning.workers=0"], "tuning.workers=0 must be a whole number, at least 1"),
        (["tuning.metric=lap_time_s"], "tuning.metric must be one of score, finish_rate, reward, mean_speed"),
        (["env=lateral", "tuning.metric=finish_rate"], "tuning.metric=finish_rate is not measured in this environment"),
        (["tuning.overrides=[3]"], "tuning.overrides must be a list of KEY=VALUE"),
        (["tuning.overrides=['algo.nosuch=3']"], "unknown key 'algo.nosuch'"),
        (["tuning.space.algo.nosuch=interval(0, 1)"], "unknown key 'algo.nosuch'"),
        (["tuning.space.algo.gamma=0.9"], "tuning.space.algo.gamma=0.9 must be a space of values"),
        (["tuning.sampler={_target_:optuna.samplers.RandomSampler,n:3}"], "tuning.sampler: "),
        (["tuning.sampler={_target_:optuna.samplers.NoSampler}"], "tuning.sampler: "),
        (["tuning.storage=sqlite:///x.db"], "must be a file or modal-dict://NAME"),
        (["experiment=progressive"], "tuning cannot search over phases"),
        (["seed=-1"], "seed must be a whole number"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_input(arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert search(tmp_path, "tuning=random", *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert not all_runs(tmp_path)


def test_a_space_without_a_sampler(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert train(tmp_path, "tuning.space.algo.gamma=interval(0, 1)") == 2
    assert "choose one with tuning=tpe, cmaes or random" in capsys.readouterr().err


def test_a_study_of_another_configuration_or_space(searched: Path, capsys: pytest.CaptureFixture[str]):
    name = f"tuning.study={study_of(searched).study_name}"
    before = contents(searched / "runs")
    assert search(searched, *RANDOM, name, "algo.vf_coef=0.25") == 2
    assert "was begun with another configuration: algo.vf_coef is 0.5, not 0.25; its trials" in capsys.readouterr().err
    assert contents(searched / "runs") == before
    assert search(searched, *RANDOM, name, "tuning.space.algo.gamma=choice(0.9, 0.99)", "tuning.n_trials=4") == 2
    assert "tuning.space.algo.gamma does not fit study" in capsys.readouterr().err
    assert states(study_of(searched)) == ["COMPLETE"] * 3


def test_the_same_worker_twice(searched: Path, capsys: pytest.CaptureFixture[str]):
    name = study_of(searched).study_name
    lock = FileLock(searched / "studies" / name / "worker-0.lock")
    assert lock.acquire()
    try:
        assert search(searched, *RANDOM, "tuning.n_trials=9") == 2
    finally:
        lock.release()
    assert f"worker 0 of {name} is at work already (process " in capsys.readouterr().err
