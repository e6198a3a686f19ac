"""Samplers, pruners and storages: their names and arguments are known to be good before anything is submitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from racing.cli import main
from racing.tuning.parts import make_pruner, make_sampler, own_arguments
from racing.tuning.storage import find_storage

pytestmark = pytest.mark.slow

FAST = ["debug=fast", "tracking=none", "tuning=tpe", "tuning.n_trials=2"]
OPTUNA = "optuna.samplers"


WRONG = [
    ("tuning.storage=sqlite:///study.db", "tuning.storage=sqlite:///study.db must be a file or modal-dict://NAME"),
    ("tuning.storage=postgresql://me@db/x", "must not hold a user or password, got postgresql://...@db/x"),
    ("tuning.storage=postgresql://db/x", "must be a file or modal-dict://NAME"),
    ("tuning.storage=modal-dict://", "must name a modal.Dict; write modal-dict://NAME"),
    ("tuning.storage={here}/file/study", "is none: set tuning.storage=FILE"),
    ("tuning.storage={here}", "must be a writable file"),
    ("tuning.storage=[a]", "tuning.storage must be a file or modal-dict://NAME, got ['a']"),
    ("tuning.storage={here}/file", "must be the file of a study, it is damaged"),
    (f"tuning.sampler._target_={OPTUNA}.TPESamplr", "TPESamplr must be a class that can be imported"),
    ("tuning.sampler._target_=nosuch.Sampler", "must be a class that can be imported"),
    ("tuning.sampler._target_=builtins.dict", "must be a sampler of Optuna"),
    ("tuning.sampler._target_=optuna.pruners.NopPruner", "must be a sampler of Optuna"),
    ("tuning.sampler=null", "tuning.sampler must name a class as _target_, got None"),
    ("tuning.sampler=tpe", "tuning.sampler must name a class as _target_, got 'tpe'"),
    ("tuning.sampler.multivariat=true", "TPESampler has no argument 'multivariat'; did you mean multivariate?"),
    ("tuning.sampler.n_startup_trials=few", "cannot draw from tuning.space"),
    (f"tuning.sampler._target_={OPTUNA}.GridSampler", "missing 1 required positional argument: 'search_space'"),
    ("tuning.pruner.n_startup_trials=-1", "Number of startup trials cannot be negative"),
    ("tuning.pruner.patience=3", "MedianPruner has no argument 'patience'"),
    ("tuning.pruner._target_=optuna.pruners.PatientPruner", "missing 2 required positional arguments"),
    ("tuning.pruner._target_=optuna.samplers.TPESampler", "must be a pruner of Optuna"),
]


@pytest.mark.parametrize(
    ("arguments", "complaint", "alone"),
    [*((*row, False) for row in WRONG), *((*row, True) for row in WRONG[::7])],  # alone: one worker in this process
    ids=lambda text: str(text).rpartition(".")[2][:30],
)
def test_what_is_wrong_is_said_before_anything_is_submitted(
    arguments: str, complaint: str, alone: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("{\n" * 3)
    where = ["hydra.mode=RUN"] if alone else []
    given = arguments.format(here=tmp_path)
    assert main(["train", *FAST, given, *where, f"paths.outputs={tmp_path / 'outputs'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "arguments",
    [
        f"tuning.sampler._target_={OPTUNA}.RandomSampler",
        f"tuning.sampler.qmc_type=halton tuning.sampler._target_={OPTUNA}.QMCSampler",
        f"tuning.sampler._target_={OPTUNA}.BruteForceSampler",
        f"tuning.sampler._target_={OPTUNA}.CmaEsSampler",
        "tuning.pruner._target_=optuna.pruners.HyperbandPruner tuning.pruner.reduction_factor=4",
        f"-m tuning.sampler._target_={OPTUNA}.RandomSampler,{OPTUNA}.TPESampler",
    ],
)
def test_another_class_has_its_own_arguments(
    arguments: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dry = ["launcher.dry_run=true", f"paths.outputs={tmp_path / 'outputs'}"]
    space = "tuning.space={algo.gamma: 'choice(0.9, 0.99)'}" if "BruteForce" in arguments else "seed=0"
    assert main(["train", *FAST, *arguments.split(), space, *dry]) == 0
    assert not list(tmp_path.iterdir())


def test_only_what_another_class_has_left_is_dropped() -> None:
    tpe = {"n_startup_trials": 10, "multivariate": True, "constant_liar": True}
    other = {"_target_": f"{OPTUNA}.GPSampler", **tpe, "deterministic_objective": True}
    kept = {"_target_": f"{OPTUNA}.GPSampler", "deterministic_objective": True}
    assert own_arguments("sampler", other, [], set()) == kept
    typed = {"tuning.sampler.n_startup_trials"}
    assert own_arguments("sampler", other, [], typed) == kept | {"n_startup_trials": 10}
    changed = other | {"n_startup_trials": 11}
    assert own_arguments("sampler", changed, [], set()) == kept | {"n_startup_trials": 11}
    same = {"_target_": f"{OPTUNA}.TPESampler", **tpe, "n_startup_trials": 5}  # as tuning=cmaes has it
    assert own_arguments("sampler", same, [], set()) == same
    assert type(make_sampler(kept, 3)).__name__ == "GPSampler"
    assert type(make_pruner(None)).__name__ == "NopPruner"


def test_a_study_of_another_configuration_is_refused_before_a_sweep_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["env=mlp", "algo.n_steps=16", "eval.every_steps=0", "eval.episodes=2", "algo.total_timesteps=2048"]
    own = ["tuning=random", "tuning.n_trials=1", f"tuning.storage={tmp_path / 'a.journal'}", "tuning.study=mine"]
    assert (
        main(["train", "debug=fast", "tracking=none", *small, *own, "hydra.mode=RUN", f"paths.outputs={tmp_path}"]) == 0
    )
    assert find_storage(str(tmp_path / "a.journal")) is not None
    (tmp_path / "a.journal").rename(tmp_path / "b.journal")
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    own[2] = f"tuning.storage={tmp_path / 'b.journal'}"
    changed = ["debug=fast", "tracking=none", *small, *own, "algo.vf_coef=0.25", f"paths.outputs={tmp_path}"]
    assert main(["train", *changed]) == 2
    assert "study mine was begun with another configuration: algo.vf_coef" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
