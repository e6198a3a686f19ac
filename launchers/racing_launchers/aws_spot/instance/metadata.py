"""What AWS tells an instance of itself: the metadata service (IMDSv2), and the notices that it is taken away."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime

ADDRESS = "http://169.254.169.254"
TIMEOUT = 2.0  # [s]
TOKEN_LIFE = 21_600  # [s] the longest that there is
GRACE = 120.0  # [s] from a notice to the end, where the notice does not say when that is
INTERRUPTION, REBALANCE = "spot/instance-action", "events/recommendations/rebalance"


@dataclass(frozen=True)
class Notice:
    """The instance goes. why: for people. until: [s since 1970] when it is gone; None: soon perhaps."""

    why: str
    until: float | None


class Metadata:
    """The service; a token is taken when one is needed."""

    def __init__(self) -> None:
        """Nothing is asked yet."""
        self.address = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", ADDRESS).rstrip("/")
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self._token, self._until = "", 0.0

    def get(self, path: str) -> str | None:
        """The text at `latest/meta-data/<path>`; None where there is nothing, or nobody answers."""
        try:
            if time.monotonic() > self._until:
                head = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_LIFE)}
                self._token = self._ask("api/token", "PUT", head)
                self._until = time.monotonic() + TOKEN_LIFE / 2
            return self._ask(f"meta-data/{path}", "GET", {"X-aws-ec2-metadata-token": self._token})
        except urllib.error.HTTPError as error:
            if error.code == 401:  # the token is none any more
                self._until = 0.0
            return None
        except OSError:
            return None

    def _ask(self, path: str, method: str, head: dict[str, str]) -> str:
        request = urllib.request.Request(f"{self.address}/latest/{path}", method=method, headers=head)
        with self._open(request, timeout=TIMEOUT) as answer:
            return str(answer.read().decode())

    def notice(self, *, rebalance: bool) -> Notice | None:
        """Whether the instance is taken away. rebalance: also whether that has become likely."""
        text = self.get(INTERRUPTION)
        if text:
            return Notice("AWS takes the spot instance away", _time_of(text, "time"))
        if rebalance and self.get(REBALANCE):
            return Notice("AWS recommends to leave the spot instance", None)
        return None


def _time_of(text: str, key: str) -> float:
    """[s since 1970] of a time in JSON; GRACE from now where there is none."""
    try:
        when = datetime.fromisoformat(str(json.loads(text)[key]).replace("Z", "+00:00"))
    except (ValueError, KeyError, TypeError):
        return time.time() + GRACE
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
