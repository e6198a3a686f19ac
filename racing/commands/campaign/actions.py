"""`racing campaign list | show | fetch`: campaigns that are there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from racing.campaigns.plan import all_campaigns, find_campaign, recorded
from racing.campaigns.results import known_results
from racing.campaigns.training import trained_entries
from racing.errors import ExitCode, InputError, require
from racing.runs.paths import where


def show_list(outputs: Path) -> int:
    """Print the campaigns, newest first."""
    for path in all_campaigns(outputs):
        began = datetime.fromtimestamp((path / "campaign.json").stat().st_mtime, UTC)
        try:
            campaign = recorded(path, outputs)
            trained = len(trained_entries(campaign, campaign.entries))
            winners = ", ".join(winner["name"] for winner in known_results(campaign).get("winners", []))
            state = f"{trained} of {len(campaign.entries)} trained"
            print(f"{began:%Y-%m-%d %H:%M}  {path.name}  {state}{f'; winners: {winners}' if winners else ''}")
        except InputError as error:  # damaged: the others are shown
            print(f"{began:%Y-%m-%d %H:%M}  {error}")
    return ExitCode.DONE


def show(spec: str, outputs: Path) -> int:
    """Print what validation has found. Raises InputError where it has not."""
    path = find_campaign(spec, outputs)
    summary = path / "validation" / "summary.txt"
    remedy = f"racing campaign campaign={recorded(path, outputs).choice}{where(outputs)}"
    require(summary.is_file(), f"campaign {path.name} is not validated yet; {remedy}")
    print(summary.read_text(), end="")
    print(path)
    return ExitCode.DONE


def fetch(spec: str, outputs: Path) -> int:
    """Bring back what the jobs of a campaign have written where they run; `racing jobs collect` does it."""
    from racing.commands import jobs

    path = find_campaign(spec, outputs)
    return jobs.main(["collect", path.name, f"paths.outputs={outputs}"])


def deploy(spec: str, outputs: Path, policies: Path) -> int:
    """Deploy the winners of a campaign that is validated, if they pass the gate. Raises InputError."""
    from racing.commands.campaign.run import deploy_again

    return deploy_again(recorded(find_campaign(spec, outputs), outputs), policies)
