"""`racing campaign campaign=NAME`: from training to deployment, as far as `mode` says; nothing is done twice."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from racing.campaigns.deployment import deploy_winners, known_deployment
from racing.campaigns.drives import read_track
from racing.campaigns.plan import CAMPAIGNS, MODES, Campaign, Entry, read_campaign
from racing.campaigns.record import record
from racing.campaigns.results import known_results, write_results
from racing.campaigns.training import (
    Trained,
    count_text,
    require_trained,
    spent_on_training,
    train_entries,
    trained_entries,
)
from racing.campaigns.validation import Validated, validate
from racing.campaigns.webhook import summary_of, tell
from racing.campaigns.winners import Winner, find_winners
from racing.commands.train import _job  # sweeps on disk name it so
from racing.config import hint
from racing.errors import ExitCode, InputError, Stopped, require
from racing.runs.lock import FileLock
from racing.runs.paths import where
from racing_launchers.job import JobFolder


@dataclass(frozen=True, kw_only=True)
class Order:
    """What one command is to do. only: the entry that it is about, None: all."""

    campaign: Campaign
    only: Entry | None
    trains: bool
    validates: bool
    deploys: bool
    sequential: bool | str
    policies: Path

    @property
    def entries(self) -> Sequence[Entry]:
        """Those that are trained."""
        return self.campaign.entries if self.only is None else [self.only]


def run_campaign(
    options: Mapping[str, Any], sources: Sequence[str], own: Mapping[str, Sequence[str]], command: str
) -> int:
    """Do what the command says; returns the exit code.

    options: of conf/verbs/campaign.yaml. sources: hydra.searchpath, if there are other folders. own: overrides of the
    groups campaign, launcher, tracking, hardware. Raises InputError before anything is written, JobsFailed, Stopped.
    """
    order = order_of(options, sources, own)
    job = JobFolder.current()
    if job is not None:
        job.note(f"{CAMPAIGNS}/{order.campaign.name}")
    try:
        done = carry_out(order, own["launcher"], command)
    except (Stopped, KeyboardInterrupt) as stopped:
        tell(order.campaign, "stopped", str(stopped))
        raise
    except BaseException as error:
        tell(order.campaign, "failed", str(error))
        raise
    if done:
        tell(order.campaign, "done")
        if job is not None:
            job.leave(summary_of(order.campaign))
    return ExitCode.DONE


def carry_out(order: Order, launcher: Sequence[str], command: str) -> bool:
    """Do it; False if jobs were only submitted, or only shown. launcher: overrides. See `run_campaign`."""
    campaign = order.campaign
    print(overview(order), flush=True)
    if order.trains:
        began = time.time()
        finished = train_entries(campaign, order.entries, _job, launcher or ["launcher=local"], command)
        if (campaign.path / "sweep.json").exists():
            campaign.write()
        if not finished:
            return False
        print(f"trained in {time.time() - began:.0f} s", flush=True)
    if order.validates:
        validate_and_record(order)
    return True


def overview(order: Order) -> str:
    """What the command is about, in one line, before anything of it is known to be done."""
    campaign, count = order.campaign, len(order.campaign.entries)
    rules = campaign.validation
    others = count - 1 + (rules.line is not None)
    met = count * (count - 1) // 2 + count * (rules.line is not None) if order.only is None else others
    matches = met * len(rules.tracks)
    about = count_text(len(order.entries), "entry", "entries")
    games = f"{count_text(matches, 'match', 'matches')}, {matches * rules.games:,} games, on "
    return f"{campaign.name}: {about}; {games}{count_text(len(rules.tracks), 'track', 'tracks')}"


def order_of(options: Mapping[str, Any], sources: Sequence[str], own: Mapping[str, Sequence[str]]) -> Order:
    """Read and check all of it. Raises InputError."""
    outputs = Path(options["paths"]["outputs"]).resolve()
    games = [] if options["games"] is None else [f"campaign.validation.games={options['games']}"]
    more = [*own["tracking"], *own["hardware"]]
    campaign = read_campaign(options["campaign"], [*sources, *own["campaign"], *games], outputs, more)
    mode = options["mode"]
    named = {entry.name: entry for entry in campaign.entries}
    require(mode in (*MODES, *named), f"unknown mode={mode}; {hint(mode, [*MODES, *named])}")
    only = named.get(mode)
    for track in campaign.validation.tracks:
        try:
            read_track(track)
        except InputError as error:
            raise InputError(f"campaign.validation.tracks: {error}") from error.__cause__
    return Order(
        campaign=campaign,
        only=only,
        trains=mode != "validate",
        validates=mode != "train",
        deploys=options["deploy"] and mode not in ("train", "validate"),
        sequential=options["sequential"],
        policies=Path(options["policies"]),
    )


def validate_and_record(order: Order) -> None:
    """Drive what is missing, write and record what was found. Raises InputError if another command does."""
    campaign = order.campaign
    require_trained(campaign, order.entries)
    trained = trained_entries(campaign, campaign.entries)
    lock = FileLock(campaign.path / "validation.lock")
    try:
        free = lock.acquire()
    except OSError as error:
        raise InputError(f"{lock.path}: {error.strerror}; set paths.outputs=FOLDER to a writable one") from error
    require(free, f"campaign {campaign.name} is being validated by {lock.owner}; wait for it")
    try:
        only = None if order.only is None else order.only.name
        validated = validate(campaign, trained, order.sequential, only)
        changed = write_results(campaign, trained, validated, spent_on_training(campaign) | validated.spent)
        if changed:
            print((campaign.results / "summary.txt").read_text())
        if order.deploys:
            winners = find_winners(trained, validated, campaign.validation.line)
            chosen = [winner for winner in winners if only in (None, winner.name)]
            if not chosen:
                print(f"{only} is not the best entry of its track: it is not deployed")
            changed = deploy_and_note(campaign, chosen, trained, validated, order.policies) or changed
        if changed and not record(campaign, known_results(campaign), known_deployment(campaign)):
            later = f"racing jobs collect {campaign.name}{where(campaign.outputs)}"
            print(f"{campaign.name}: upload to mlflow incomplete: {later}")
        print(campaign.results)
    finally:
        lock.release()


def deploy_and_note(
    campaign: Campaign, winners: Sequence[Winner], trained: Sequence[Trained], validated: Validated, policies: Path
) -> bool:
    """Deploy winners; False if all is as it was. Raises InputError where nothing can be written."""
    before = known_deployment(campaign)
    deploy_winners(campaign, winners, trained, validated, policies)
    verdicts = [{name: one["verdict"] for name, one in told.items()} for told in (before, known_deployment(campaign))]
    return verdicts[0] != verdicts[1]


def deploy_again(campaign: Campaign, policies: Path) -> int:
    """Deploy the winners of a campaign that is validated. Raises InputError where it is not."""
    remedy = f"racing campaign campaign={campaign.choice}{where(campaign.outputs)}"
    require(bool(known_results(campaign)), f"campaign {campaign.name} is not validated yet; {remedy}")
    order = Order(
        campaign=campaign, only=None, trains=False, validates=True, deploys=True, sequential="auto", policies=policies
    )
    validate_and_record(order)
    return ExitCode.DONE
