"""What is searched for, where and how: the keys of conf/tuning, and the study that all workers share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from racing.config import compose, plain
from racing.errors import InputError, require, require_number
from racing.evaluation.evaluators import scored
from racing.naming import word
from racing.renamed_keys import key_of
from racing.runs.identity import differing_keys, identity, listing
from racing.runs.paths import require_name
from racing.training.checks import checked
from racing.tuning.parts import make_pruner, make_sampler, own_arguments
from racing.tuning.score import METRICS, SCORED_METRICS
from racing.tuning.space import example, overrides_of, parse_space
from racing.tuning.storage import find_storage, open_storage

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

KEYS = ("sampler", "pruner", "n_trials", "workers", "worker", "study", "storage", "metric", "overrides", "space")
WHERE = ("launcher", "paths", "tracking", "hardware")  # trials are where their worker is, and recorded as it says


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search as one of its workers sees it."""

    cfg: DictConfig  # of the worker
    overrides: list[str]  # what was typed, without what concerns the search or the launcher
    space: dict[str, BaseDistribution]
    name: str  # of the study
    base: dict[str, Any]  # what is the same in all trials
    n_trials: int
    workers: int
    worker: int
    metric: str
    defaults: list[str]  # overrides of all trials that stand below those: tuning.overrides
    storage: str
    parts: dict[str, Any]  # sampler, pruner: as conf/tuning describes them
    folder: Path  # what workers leave beside the storage: locks, the report

    def trial_overrides(self, params: Mapping[str, Any]) -> list[str]:
        """The overrides of a trial: `racing train OVERRIDES` is the same run."""
        sampled = overrides_of(params)
        taken = {"name", *map(key_of, sampled)}
        typed = [override for override in self.overrides if key_of(override) not in taken]
        taken |= set(map(key_of, self.overrides))
        low = [override for override in self.defaults if key_of(override) not in taken]
        return [*low, *typed, *sampled, f"name={self.cfg.name}"]

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a trial with these overrides. Raises InputError where Hydra refuses one."""
        cfg = compose("train", overrides)
        for key in WHERE:
            cfg[key] = self.cfg[key]
        return cfg

    def sampler(self, done: int) -> Any:
        """The sampler for a worker's next trial. done: trials that it has begun before.

        Its seed follows from the configuration's, the worker and `done`: workers differ, and one that was interrupted
        goes on as if it had not been.
        """
        seed = int(np.random.SeedSequence([self.cfg.seed, self.worker, done]).generate_state(1)[0])
        return make_sampler(self.parts["sampler"], seed)

    def check(self) -> None:
        """Build once what the study needs, and try it; nothing is written. Raises InputError for what does not work."""
        import optuna

        sampler, pruner = self.sampler(0), make_pruner(self.parts["pruner"])
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            optuna.create_study(sampler=sampler, pruner=pruner).ask(self.space)
        except Exception as error:  # a class of anybody's says in its own way what is wrong
            wrong = f"tuning.sampler._target_={self.parts['sampler']['_target_']} cannot draw from tuning.space"
            raise InputError(f"{wrong}: {' '.join(str(error).split())[:200]}; choose another") from error
        finally:
            optuna.logging.set_verbosity(before)
        storage = find_storage(self.storage)
        if storage is not None and self.name in {one.study_name for one in optuna.get_all_study_summaries(storage)}:
            self._require_same(optuna.load_study(study_name=self.name, storage=storage))

    def open(self) -> Study:
        """The study, begun if it is not there.

        Raises InputError if its storage is none, or it was begun with another configuration.
        """
        import optuna

        pruner, sampler = make_pruner(self.parts["pruner"]), self.sampler(0)
        storage = open_storage(self.storage)
        common = {"storage": storage, "sampler": sampler, "pruner": pruner, "study_name": self.name}
        study = optuna.create_study(**common, direction="maximize", load_if_exists=True)
        if study.user_attrs.get("base") is None:
            study.set_user_attr("base", self.base)
        self._require_same(study)
        return study

    def _require_same(self, study: Study) -> None:
        """Raise InputError if the study was begun with another configuration, or another kind of space."""
        before = study.user_attrs.get("base")
        others = differing_keys(before, self.base) if before else []
        rule = f"study {self.name} was begun with another configuration: {listing(others)}"
        require(not others, f"{rule}; its trials cannot be compared with these, set tuning.study to a new name")
        self._check_space(study)

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
                rule = f"tuning.space.{key} does not fit study {self.name}: {' '.join(str(error).split())}"
                raise InputError(f"{rule}; only bounds may change, set tuning.study to a new name") from error


def read_search(cfg: DictConfig, overrides: Sequence[str], place: Path | None) -> Search:
    """The search that a worker's configuration describes.

    overrides: all that were typed.
    place: the sweep's folder, None outside one.
    Raises InputError for values that break a rule, unknown keys in the space included.
    """
    config = plain(cfg)
    tuning = config["tuning"]
    missing = [key for key in KEYS if not isinstance(tuning, dict) or key not in tuning]
    require(not missing, f"tuning must have {listing(missing)}; choose one with tuning=tpe, cmaes or random")
    for key, low, high in (("n_trials", 1, 1 << 20), ("workers", 1, 4096), ("worker", 0, 4095)):
        require_number(f"tuning.{key}", tuning[key], low, high, whole=True)
    metric, defaults = tuning["metric"], tuning["overrides"]
    require(metric in METRICS, f"tuning.metric must be one of {', '.join(METRICS)}, got {metric!r}; score is usual")
    fits = isinstance(defaults, list) and all(isinstance(o, str) and "=" in o for o in defaults)
    require(fits, f"tuning.overrides must be a list of KEY=VALUE, got {defaults!r}; [] for none")
    require(cfg.phases is None, "tuning cannot search over phases; give the overrides of one of them")
    fits = tuning["storage"] is None or (isinstance(tuning["storage"], str) and tuning["storage"] != "")
    require(fits, f"tuning.storage must be a file or modal-dict://NAME, got {tuning['storage']!r}; null is usual")
    space, typed = parse_space(tuning["space"]), set(map(key_of, overrides))
    base = {**identity(checked(cfg)), "search": {"metric": metric, "overrides": defaults}}
    measured = metric in SCORED_METRICS or not scored(config["env"])
    rule = f"tuning.metric={metric} is not measured in this environment"
    require(measured, f"{rule}; choose one of {', '.join(SCORED_METRICS)}")
    text = json.dumps([base, tuning["space"]], sort_keys=True)
    name = f"{cfg.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    if tuning["study"] is not None:
        name = word(tuning["study"])
        require_name("tuning.study", name)  # it is the name of the report's folder, too
    studies = Path(config["paths"]["outputs"]).resolve() / "studies"
    beside = place / "study.journal" if place else studies / f"{name}.journal"
    search = Search(
        cfg=cfg,
        overrides=[o for o in overrides if key_of(o).partition(".")[0] not in ("tuning", "launcher", "fresh")],
        space=space,
        name=name,
        base=base,
        n_trials=tuning["n_trials"],
        workers=tuning["workers"],
        worker=tuning["worker"],
        metric=metric,
        defaults=defaults,
        storage=str(beside if tuning["storage"] is None else tuning["storage"]),
        parts={part: own_arguments(part, tuning[part], overrides, typed) for part in ("sampler", "pruner")},
        folder=(place or studies) / name,
    )
    search.compose(search.trial_overrides(example(space)))  # unknown keys are refused now, not trial by trial
    return search
