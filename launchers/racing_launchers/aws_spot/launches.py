"""The instances that a job has had, in its folder: which, since when, until when, at what price."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from racing.files import read_json, write_json
from racing_launchers.remote.usage import usage_of
from racing_launchers.sweep import Job

FILE = "launches.json"
SPARE = 60.0  # [s] that an instance is paid for after the last that was heard of it, where nobody saw its end
ENDED = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) GMT\)")  # in StateTransitionReason


class Launches:
    """A view of the file."""

    def __init__(self, job: Job) -> None:
        """Nothing is created."""
        self.job, self.path = job, job.folder.path / FILE

    @property
    def all(self) -> list[dict[str, Any]]:
        """Every instance, the newest last."""
        return list(read_json(self.path).get("launches", []))

    @property
    def current(self) -> dict[str, Any] | None:
        """The instance of the last attempt; None before there is one."""
        call = self.job.folder.attempt.get("handle", {}).get("call")
        return next((one for one in reversed(self.all) if one["call"] == call), None)

    def add(self, **about: Any) -> None:
        """Note an instance that was started for the last attempt."""
        call = self.job.folder.attempt["handle"]["call"]
        known = [one for one in self.all if one["instance"] != about["instance"]]
        write_json(self.path, {"launches": [*known, {"call": call, "at": time.time(), "ended": None, **about}]})

    def end(self, instance: str, reason: str, *, taken: bool = False) -> None:
        """Note that an instance is gone. reason: AWS's, which may say when. taken: AWS ended it, not it itself."""
        found = ENDED.search(reason)
        known = self.all
        for one in known:
            if one["instance"] == instance and one["ended"] is None:
                when = (
                    datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp() if found else 0.0
                )
                one["ended"] = max(one["at"], when or self._last_heard(one))
                one["in_vain"] = not taken and not self.job.folder.started
                write_json(self.path, {"launches": known})

    @property
    def in_vain(self) -> int:
        """How many instances in a row, up to now, have ended before the job began, though AWS did not end them."""
        count = 0
        for one in reversed(self.all):
            if not one.get("in_vain"):
                break
            count += 1
        return count

    def _last_heard(self, launch: Mapping[str, Any]) -> float:
        """When the instance was last known to work [s since 1970]: its own note, else now."""
        for used in usage_of(self.job.folder.path):
            its = used.get("instance", launch["instance"]) == launch["instance"]
            if its and used.get("attempt") == launch["attempt"] and float(used["until"]) >= launch["at"]:
                return min(time.time(), float(used["until"]) + SPARE)
        return time.time()

    def hours(self) -> float:
        """That all of them have run."""
        return sum(map(_hours, self.all))

    def cost(self) -> float:
        """[USD] of all of them so far; what has no known price counts for nothing."""
        return sum(_hours(one) * float(one["price"] or 0.0) for one in self.all)


def _hours(launch: Mapping[str, Any]) -> float:
    return max(0.0, float(launch["ended"] or time.time()) - float(launch["at"])) / 3600
