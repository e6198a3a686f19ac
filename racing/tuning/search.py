"""What is searched for, where and how: the keys of conf/sweep, and the study that all workers share."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from racing.config import build, compose, explain, key_of, plain, track_by_path
from racing.errors import InputError, require, require_number
from racing.runs.identity import differing_keys, identity, listing
from racing.training.checks import checked
from racing.tuning.score import METRICS
from racing.tuning.space import example, parse_space, settings_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

KEYS = ("sampler", "pruner", "n_trials", "workers", "worker", "study", "storage", "metric", "settings", "space")
WHERE = ("launcher", "paths", "tracking", "hardware")  # trials are where their worker is, and recorded as it says


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search as one of its workers sees it."""

    cfg: DictConfig  # of the worker
    typed: list[str]  # what was typed, without what concerns the search or the launcher
    space: dict[str, BaseDistribution]
    name: str  # of the study
    base: dict[str, Any]  # what is the same in all trials
    n_trials: int
    workers: int
    worker: int
    metric: str
    settings: list[str]
    storage: str
    folder: Path  # what workers leave beside the storage: locks, the report

    def trial_settings(self, params: Mapping[str, Any]) -> list[str]:
        """The settings of a trial: `racing train SETTINGS` is the same run."""
        own = settings_of(params)
        above = {key_of(setting) for setting in (*self.typed, *own)}
        low = [part for s in self.settings if key_of(s) not in above for part in track_by_path(s)]
        mid = [setting for setting in self.typed if key_of(setting) not in {key_of(s) for s in own}]
        return [*low, *(s for s in mid if key_of(s) != "name"), *own, f"name={self.cfg.name}"]

    def compose(self, settings: Sequence[str]) -> DictConfig:
        """The configuration of a trial with these settings. Raises InputError where Hydra refuses one."""
        cfg = compose("train", settings)
        for key in WHERE:
            cfg[key] = self.cfg[key]
        return cfg

    def sampler(self, done: int) -> Any:
        """The sampler for a worker's next trial. done: trials that it has begun before.

        Its seed follows from the configuration's, the worker and `done`: workers differ, and one that was interrupted
        goes on as if it had not been.
        """
        from optuna.exceptions import ExperimentalWarning

        seed = int(np.random.SeedSequence([self.cfg.seed, self.worker, done]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return _build("sampler", self.cfg.sweep.sampler, seed=seed)

    def open(self) -> Study:
        """The study, begun if it is not there.

        Raises InputError if its storage is none, or it was begun with another configuration.
        """
        import optuna

        from racing.tuning.storage import open_storage

        node = self.cfg.sweep.pruner
        pruner = _build("pruner", node) if node is not None else optuna.pruners.NopPruner()
        storage, sampler = open_storage(self.storage), self.sampler(0)
        common = {"storage": storage, "sampler": sampler, "pruner": pruner, "study_name": self.name}
        study = optuna.create_study(**common, direction="maximize", load_if_exists=True)
        before = study.user_attrs.get("base")
        if before is None:
            study.set_user_attr("base", self.base)
        others = differing_keys(before, self.base) if before else []
        rule = f"study {self.name} was begun with another configuration: {listing(others)}"
        require(not others, f"{rule}; its trials cannot be compared with these, set sweep.study to a new name")
        self._check_space(study)
        return study

    def _check_space(self, study: Study) -> None:
        """Raise InputError if an older space of the study, of the same keys, is one of another kind."""
        from optuna.distributions import check_distribution_compatibility

        known: dict[str, BaseDistribution] = {}
        for trial in study.get_trials(deepcopy=False):
            known |= trial.distributions
        for key in self.space.keys() & known.keys():
            try:
                check_distribution_compatibility(known[key], self.space[key])
            except ValueError as error:
                rule = f"sweep.space.{key} does not fit study {self.name}: {' '.join(str(error).split())}"
                raise InputError(f"{rule}; only bounds may change, set sweep.study to a new name") from error


def read_search(cfg: DictConfig, typed: Sequence[str], place: Path | None) -> Search:
    """The search that a worker's configuration describes.

    typed: all settings. place: the sweep's folder, None outside one. Raises InputError for values that break a rule,
    unknown keys in the space included.
    """
    config = plain(cfg)
    sweep = config["sweep"]
    missing = [key for key in KEYS if not isinstance(sweep, dict) or key not in sweep]
    require(not missing, f"sweep must have {listing(missing)}; choose one with sweep=tpe, cmaes or random")
    for key, low, high in (("n_trials", 1, 1 << 20), ("workers", 1, 4096), ("worker", 0, 4095)):
        require_number(f"sweep.{key}", sweep[key], low, high, whole=True)
    metric, settings = sweep["metric"], sweep["settings"]
    require(metric in METRICS, f"sweep.metric must be one of {', '.join(METRICS)}, got {metric!r}; score is usual")
    fits = isinstance(settings, list) and all(isinstance(s, str) and "=" in s for s in settings)
    require(fits, f"sweep.settings must be a list of KEY=VALUE, got {settings!r}; [] for none")
    require(cfg.phases is None, "sweep cannot search over phases; give the settings of one of them")
    space = parse_space(sweep["space"])
    base = {**identity(checked(cfg)), "search": {"metric": metric, "settings": settings}}
    text = json.dumps([base, sweep["space"]], sort_keys=True)
    name = sweep["study"] or f"{cfg.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    studies = Path(config["paths"]["outputs"]).resolve() / "studies"
    beside = place / "study.journal" if place else studies / f"{name}.journal"
    search = Search(
        cfg=cfg,
        typed=[s for s in typed if key_of(s).partition(".")[0] not in ("sweep", "launcher", "hydra", "fresh")],
        space=space,
        name=name,
        base=base,
        n_trials=sweep["n_trials"],
        workers=sweep["workers"],
        worker=sweep["worker"],
        metric=metric,
        settings=settings,
        storage=str(sweep["storage"] or beside),
        folder=(place or studies) / name,
    )
    search.compose(search.trial_settings(example(space)))  # unknown keys are said now, not trial by trial
    return search


def _build(key: str, node: Any, **arguments: Any) -> Any:
    from hydra.errors import InstantiationException

    try:
        return build(node, **arguments)
    except InstantiationException as error:
        raise InputError(f"sweep.{key}: {explain(error)}") from error
