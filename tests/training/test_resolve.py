"""A configuration is resolved once, then frozen; who follows a training is told by one observer."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig
from omegaconf.errors import ReadonlyConfigError

from racing.config import compose
from racing.errors import InputError
from racing.runs.directory import RunDirectory
from racing.training.build import build_experiment
from racing.training.observer import Observers, TrainingObserver
from racing.training.resolve import resolve
from racing.training.trainer import train

SHORT = ["debug=fast", "name=r", "tracking=none", "hardware=cpu", "algo.total_timesteps=8192", "algo.n_steps=16"]


def composed(outputs: Path, *overrides: str) -> DictConfig:
    return compose("train", [*SHORT, f"paths.outputs={outputs}", *overrides])


def test_nothing_writes_into_it(tmp_path: Path):
    config = resolve(composed(tmp_path))
    before = config.values
    build_experiment(config)
    assert config.values == before
    with pytest.raises(ReadonlyConfigError):
        config.tree.algo.gamma = 0.5
    with pytest.raises(ReadonlyConfigError):
        config.tree.eval["episodes"] = 1
    with pytest.raises(AttributeError):
        config.teacher = None


def test_what_is_composed_stays_as_it_was(tmp_path: Path):
    cfg = composed(tmp_path)
    before = cfg.copy()
    resolve(cfg)
    assert cfg == before


def test_wrong_values_are_refused_before_anything_is_built(tmp_path: Path):
    with pytest.raises(InputError, match="eval.episodes must be"):
        resolve(composed(tmp_path, "eval.episodes=0"))
    with pytest.raises(InputError, match="run"):
        resolve(composed(tmp_path, "init_from=nothing"))


class Diary(TrainingObserver):
    def __init__(self, name: str, diary: list, tags: dict[str, str]) -> None:
        super().__init__(tags)
        self.name, self.diary = name, diary

    def opened(self, run: RunDirectory) -> None:
        self.diary.append((self.name, "opened", run.name))

    def best(self, step: int, evaluation) -> None:
        self.diary.append((self.name, "best", step))

    def evaluated(self, step: int, evaluation) -> None:
        assert len(evaluation.episodes) == 4
        self.diary.append((self.name, "evaluated", step))


@pytest.mark.slow
def test_observers_follow_a_training_in_their_order(tmp_path: Path):
    diary: list = []
    both = Observers(Diary("a", diary, {"x": "1", "y": "1"}), Diary("b", diary, {"y": "2"}))
    assert both.tags() == {"x": "1", "y": "2"}
    arguments = ["eval.every_steps=2048", "eval.start_fraction=0"]
    run = train(composed(tmp_path, *arguments), observer=both)
    assert diary[:2] == [("a", "opened", run.name), ("b", "opened", run.name)]
    told = [entry for entry in diary if entry[1] == "evaluated" and entry[0] == "a"]
    assert [step for *_, step in told] == [2048, 4096, 6144]  # not the last one, of the finished policy
    assert diary[2:4] == [("a", "best", 2048), ("b", "best", 2048)]
    assert diary[4:6] == [("a", "evaluated", 2048), ("b", "evaluated", 2048)]


@pytest.mark.slow
def test_fresh_leaves_what_the_observer_resumes(tmp_path: Path):
    run = train(composed(tmp_path))

    class Again(TrainingObserver):
        def resumes(self, path: Path) -> bool:
            return path == run.path

    train(composed(tmp_path, "fresh=true"), observer=Again())
    assert [path.name for path in run.path.parent.iterdir()] == [run.name]
    train(composed(tmp_path, "fresh=true"))
    assert sorted(path.name for path in run.path.parent.iterdir()) == [run.name, f"{run.name}.1"]
