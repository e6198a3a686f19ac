"""The entries of a campaign are trained: jobs of one sweep, on any launcher, whose folder is the campaign's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from racing.campaigns.plan import Campaign, Entry, home_among, home_of
from racing.config import config_directories, explain, for_hydra, hydra_at, plain
from racing.errors import InputError, require
from racing.evaluation.evaluators import scored
from racing.runs.directory import RunDirectory
from racing.runs.paths import where
from racing_launchers.backend import make_backend
from racing_launchers.hydra_jobs import plan_job, training_request
from racing_launchers.job import JobStatus
from racing_launchers.launch import Decision, PlannedJob, decide, launch
from racing_launchers.sweep import Sweep
from racing_launchers.sweep_record import last_run
from racing_launchers.watch import report_failures

Task = Callable[[DictConfig], float | None]  # what trains: racing.commands.train's


@dataclass(frozen=True, kw_only=True)
class Trained:
    """An entry that is trained. runs: of its job, the last one is what counts."""

    entry: Entry
    run: RunDirectory
    runs: Sequence[str]

    @property
    def policy(self) -> Path:
        """Its ONNX file."""
        return self.run.paths.policy_onnx


def plan_entries(campaign: Campaign, entries: Sequence[Entry], task: Task, launcher: Sequence[str]) -> list[PlannedJob]:
    """Compose each entry. launcher: overrides. Raises InputError for an entry that cannot be composed."""
    jobs = []
    for entry in entries:
        directories = config_directories(entry.overrides)
        try:
            with hydra_at(directories) as own:
                overrides = [*entry.overrides, *launcher, f"paths.outputs={campaign.outputs}"]
                jobs.append(_planned(own, campaign, entry, task, overrides, directories))
        except InputError as error:
            raise InputError(f"{entry.name}: {error}") from error
        except Exception as error:
            raise InputError(f"{entry.name}: {explain(error, directories, sweeps=False)}") from error
    return jobs


def _planned(
    own: Any, campaign: Campaign, entry: Entry, task: Task, overrides: Sequence[str], directories: Sequence[Any]
) -> PlannedJob:
    from hydra._internal.callbacks import Callbacks
    from hydra.types import HydraContext, RunMode

    written = [part for override in overrides for part in for_hydra(override, directories)]
    sources = [override for override in written if override.startswith("hydra.")]
    master = own.compose_config("train", [*sources, "hydra.mode=MULTIRUN"], run_mode=RunMode.MULTIRUN, from_shell=False)
    context = HydraContext(own.config_loader, Callbacks(master))
    own_words = [override for override in written if override not in sources]
    return plan_job(context, task, master, Sweep(campaign.path), entry.number, own_words, entry.name)


def train_entries(
    campaign: Campaign, entries: Sequence[Entry], task: Task, launcher: Sequence[str], command: str
) -> bool:
    """Train the entries that are not trained yet; False if their jobs were only submitted, or only shown.

    launcher: overrides, launcher=NAME and its keys. command: as typed. Raises InputError before anything is written,
    JobsFailed, Stopped.
    """
    planned_jobs = plan_entries(campaign, entries, task, launcher)
    check_alike(campaign, planned_jobs)
    config = planned_jobs[0].payload.config  # type: ignore[attr-defined]
    settings = plain(config.launcher)
    backend = make_backend(settings)
    sweep = Sweep(campaign.path)
    request = training_request(config, settings, sweep, backend, planned_jobs, command)
    request = replace(request, axes={"entry": [entry.name for entry in campaign.entries]})
    if sweep.exists:
        decisions = decide(sweep, backend, planned_jobs, fresh=False)
        if set(decisions.values()) == {Decision.ALREADY_DONE}:
            backend.close()
            print(f"{campaign.name}: {count_text(len(entries), 'entry', 'entries')} trained before")
            return True
    jobs = launch(sweep, backend, planned_jobs, request)
    if backend.wait:
        report_failures(sweep, jobs, max_resubmits=backend.max_resubmits)
    return backend.wait and not backend.dry_run


def check_alike(campaign: Campaign, planned_jobs: Sequence[PlannedJob]) -> None:
    """Raise InputError for entries that could not meet once they are trained, or drive where they are not validated.

    Who drives no track races nobody.

    Of an entry with phases only those know.
    """
    tracks = campaign.validation.tracks
    groups = ["phases", "vehicle", "track", "env"]
    configs = [plain(OmegaConf.masked_copy(job.payload.config, groups)) for job in planned_jobs]  # type: ignore[attr-defined]
    whole = [(job.label, config) for job, config in zip(planned_jobs, configs, strict=True) if config["phases"] is None]
    for name, config in whole:
        rule = f"{name}: entries race each other on tracks, its env has none and is evaluated by what episodes cost"
        require(not scored(config["env"]), f"{rule}; leave it away, racing train -m and racing runs list compare it")
        home = home_of(config)
        known = home is None or home_among(config, tracks) is not None
        rule = (
            f"{name}: it drives {home} alone, which campaign.validation.tracks must have, they are {', '.join(tracks)}"
        )
        require(known, f"{rule}; add it")
        first, reference = whole[0]
        alike = config["vehicle"] == reference["vehicle"]
        cars = f"it drives {config['vehicle']['name']}, {first} drives {reference['vehicle']['name']}"
        require(alike, f"{name}: all entries must have the same car, {cars}; make another campaign of it")


def trained_entries(campaign: Campaign, entries: Sequence[Entry]) -> list[Trained]:
    """Those entries that are trained to their end, and exported."""
    sweep = Sweep(campaign.path)
    found = []
    for entry in entries:
        job = sweep.job(entry.number)
        run = last_run(sweep, job) if sweep.exists and job.ended == JobStatus.DONE else None
        if run is not None and run.damage is None and run.finished and run.paths.policy_onnx.is_file():
            found.append(Trained(entry=entry, run=run, runs=job.folder.runs))
    return found


def spent_on_training(campaign: Campaign) -> dict[str, float]:
    """How long the jobs took, all together [s], and what they cost where that is known [US dollars]."""
    sweep = Sweep(campaign.path)
    results = [job.folder.result for job in sweep.jobs]
    took = sum(one.get("ended_ms", 0) - one.get("began_ms", one.get("ended_ms", 0)) for one in results) / 1000
    backend = make_backend(sweep.launcher)
    try:
        figures = backend.results(sweep)
    finally:
        backend.close()
    return {"training_s": round(took, 1), "cost_usd": figures.get("cost_usd", 0.0)}


def require_trained(campaign: Campaign, entries: Sequence[Entry]) -> list[Trained]:
    """As `trained_entries`. Raises InputError unless all are."""
    found = trained_entries(campaign, entries)
    known = {one.entry.name for one in found}
    missing = ", ".join(entry.name for entry in entries if entry.name not in known)
    remedy = f"racing campaign campaign={campaign.choice} mode=train{where(campaign.outputs)}"
    require(not missing, f"campaign {campaign.name}: not trained yet: {missing}; {remedy}")
    return found


def count_text(count: int, one: str, several: str) -> str:
    """`1 entry`, `2 entries`."""
    return f"{count} {one if count == 1 else several}"
