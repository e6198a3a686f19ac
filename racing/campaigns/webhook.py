"""Tell a server that a campaign has ended: a POST of JSON, with a bearer token from an environment variable."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from racing.campaigns.deployment import known_deployment
from racing.campaigns.plan import Campaign, Webhook
from racing.campaigns.results import ALL, known_results

TRIES, PAUSE = 3, 2.0  # [s] between two of them
PATIENCE = 10.0  # [s] for an answer


def tell(campaign: Campaign, status: str, error: str = "") -> bool:
    """POST {campaign, status, summary} where the campaign has a webhook; False if nobody took it: that is printed.

    status: done, failed or stopped. error: why it is not done.
    """
    if campaign.webhook is None:
        return True
    content = {"campaign": campaign.name, "status": status, "summary": summary_of(campaign, error)}
    problem = post(campaign.webhook, content)
    if problem is not None:
        print(f"{campaign.name}: webhook {campaign.webhook.url}: {problem}, tried {TRIES} times", file=sys.stderr)
    return problem is None


def summary_of(campaign: Campaign, error: str = "") -> dict[str, Any]:
    """What is told beside the status: the ratings on all tracks, who won, what became of them, what was spent."""
    found = known_results(campaign)
    verdicts = {name: one.get("verdict") for name, one in known_deployment(campaign).items()}
    ratings = {row["name"]: row["value"] for row in (found.get("ratings") or {}).get(ALL, [])}
    winners = [{name: one[name] for name in ("name", "role", "tracks")} for one in found.get("winners", [])]
    told = {"ratings": ratings, "winners": winners, "deployment": verdicts, "spent": found.get("spent", {})}
    return told | ({"error": error} if error else {})


def post(webhook: Webhook, content: Mapping[str, Any]) -> str | None:
    """POST as JSON; returns what went wrong the last time, None if it was taken."""
    headers = {"Content-Type": "application/json", "User-Agent": "racing"}
    if webhook.secret_env is not None:
        headers["Authorization"] = f"Bearer {os.environ.get(webhook.secret_env, '')}"
    request = urllib.request.Request(webhook.url, json.dumps(dict(content)).encode(), headers, method="POST")
    opener = urllib.request.build_opener(_NoRedirect)
    problem = None
    for number in range(TRIES):
        if number:
            time.sleep(PAUSE)
        try:
            with opener.open(request, timeout=PATIENCE):
                return None
        except urllib.error.HTTPError as error:
            problem = f"it answers {error.code}"
        except (OSError, ValueError) as error:
            problem = str(getattr(error, "reason", error))
    return problem


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token is for that address alone."""

    def redirect_request(self, *arguments: Any) -> None:
        """See urllib."""
        return
