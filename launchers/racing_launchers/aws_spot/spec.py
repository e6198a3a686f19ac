"""What an attempt at a job is told: written by who submits it, read by the instance, known by its sha256."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One attempt.

    sweep, number: whose job it is. call: tells the attempt from all others.
    place: see racing_launchers.aws_spot.place.
    job: job.json. payload: key of what is called. payload_sha256: of it.
    tracks: see racing_launchers.remote.tracks.required. tracks_folder: where they lie in the bucket.
    timeout_s, upload_every_s: [s]
    leave_on_rebalance: leave when AWS says that the instance may be taken away soon.
    group: the Auto Scaling group that launches its instances, one after the other; '' where each attempt has one.
    max_instances: that it may have then.
    env: variables of the job. secrets: more of them, and what they are called in SSM or Secrets Manager.
    """

    sweep: str
    number: int
    attempt: int
    call: str
    place: str
    job: dict[str, Any]
    payload: str
    payload_sha256: str
    tracks: dict[str, Any] = field(default_factory=dict)
    tracks_folder: str = ""
    timeout_s: float = 0.0
    upload_every_s: float = 30.0
    leave_on_rebalance: bool = True
    group: str = ""
    max_instances: int = 1
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    def text(self) -> bytes:
        """As the bucket holds it."""
        return json.dumps(asdict(self), sort_keys=True).encode()
