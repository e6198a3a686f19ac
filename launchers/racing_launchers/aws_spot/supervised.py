"""launcher.supervise=asg: each job has an Auto Scaling group, which launches its instances one after the other.

All do the same attempt: each takes the job over from the one before (place.py), and the last one ends the group.
Nobody needs to watch. AWS ends the group when its time is over (Launching.lifetime).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from racing_launchers.aws_spot.account import group
from racing_launchers.aws_spot.account.fleet import ALIVE, lifecycle_of
from racing_launchers.aws_spot.account.group import Group
from racing_launchers.aws_spot.launches import Launches
from racing_launchers.aws_spot.launching import Launching
from racing_launchers.backend import JobInfo, JobState
from racing_launchers.remote.usage import usage_of
from racing_launchers.sweep import Job

SETTLES = 60.0  # [s] that an instance needs to end after its group was told to


class Groups:
    """Of jobs, made by Launching."""

    def __init__(self, cloud: Launching) -> None:
        """AWS is not asked yet."""
        self.cloud = cloud

    @property
    def _scaling(self) -> Any:
        return self.cloud.aws.client("autoscaling")

    @property
    def _ec2(self) -> Any:
        return self.cloud.aws.client("ec2")

    def infos(self, jobs: Sequence[Job], refused: str, give_up: Callable[[Job], None]) -> dict[int, JobInfo]:
        """By number, where the last attempts of jobs are.

        refused: why no group could be made. give_up: ends a job whose instances have said that they cannot be set up.
        """
        found = group.describe(self._scaling, [group_of(job) for job in jobs if self._asked(job)])
        ids = [one for job in jobs if (own := found.get(group_of(job))) for one in own.instances]
        known = {one["InstanceId"]: one for one in self._known(ids)}
        return {job.number: self._info(job, found.get(group_of(job)), known, refused, give_up) for job in jobs}

    def _known(self, ids: Sequence[str]) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        for first in range(0, len(ids), 100):
            found += self.cloud.instances(Filters=[{"Name": "instance-id", "Values": list(ids[first : first + 100])}])
        return found

    def _asked(self, job: Job) -> bool:
        """Whether the group was made."""
        return bool(self.cloud.tried(job).get("group"))

    def _info(
        self,
        job: Job,
        own: Group | None,
        known: Mapping[str, Mapping[str, Any]],
        refused: str,
        give_up: Callable[[Job], None],
    ) -> JobInfo:
        state = JobState.RUNNING if job.folder.started else JobState.PENDING
        if not self._asked(job):
            if job.cancel_requested:
                return JobInfo(JobState.LOST, "cancelled before it began")
            why = refused or str(self.cloud.tried(job).get("why") or "waiting for its group")
            return JobInfo(JobState.PENDING, why)
        launched = [known[one] for one in (own.instances if own else ()) if one in known]
        alive = [one for one in launched if one["State"]["Name"] in ALIVE]
        self._note(job, alive)
        for one in alive:
            where = f"{one['InstanceId']}, {lifecycle_of(one)} {one['InstanceType']} {_zone(one)}".rstrip()
            return JobInfo(state, f"{where}, {one['State']['Name']}, of {group_of(job)}")
        if own is not None and own.wanted:
            return JobInfo(state, f"{group_of(job)} waits for an instance")
        if job.folder.started and self._ends(job):
            return JobInfo(state, f"{group_of(job)} has ended, its last files are uploaded")
        if not job.folder.started and not job.ended and not job.cancel_requested:
            give_up(job)
        return JobInfo(JobState.LOST, f"{group_of(job)} has ended: its time is over (launcher.max_cost, timeout_min)")

    def _ends(self, job: Job) -> bool:
        """Whether an instance that was noted has been gone for less than a minute."""
        ended = [float(one["ended"]) for one in Launches(job).all if one["ended"]]
        return time.time() - max(ended, default=0.0) < SETTLES

    def _note(self, job: Job, alive: Sequence[Mapping[str, Any]]) -> None:
        """Note the instances that the job has, had, and had while nobody watched: they are paid for."""
        launches, now = Launches(job), [str(one["InstanceId"]) for one in alive]
        attempt, hour = job.folder.attempts, self.cloud.prices.hour
        for one in launches.all:
            if one["ended"] is None and one["instance"] not in now:
                launches.end(one["instance"], "", taken=True)
        noted = {one["instance"] for one in launches.all}
        for used in usage_of(job.folder.path):
            name = str(used.get("instance", ""))
            if name and name not in noted and name not in now:
                about = {"type": used["type"], "zone": "", "lifecycle": "spot", "attempt": used["attempt"]}
                launches.add(instance=name, price=hour(str(used["type"])), at=float(used["began"]), **about)
                launches.end(name, "", taken=True)
        for found in alive:
            if found["InstanceId"] not in noted:
                kind, zone, lifecycle = str(found["InstanceType"]), _zone(found), lifecycle_of(found)
                price = hour(kind, zone, lifecycle)
                where = {"type": kind, "zone": zone, "lifecycle": lifecycle, "attempt": attempt}
                launches.add(instance=found["InstanceId"], price=price, **where)

    def cancel(self, job: Job, *, at_once: bool) -> None:
        """Have it launch nothing more where nothing runs that would save its state, or at once."""
        if not self._asked(job):
            return
        own = group.describe(self._scaling, [group_of(job)]).get(group_of(job))
        if own is not None and (at_once or not own.instances):
            group.end(self._scaling, own.name)

    def remove(self, job: Job) -> None:
        """Remove the group of a job whose attempt has ended, all of whose files are here."""
        if self._asked(job):
            self._note(job, [])
            group.remove(self._scaling, self._ec2, group_of(job))


def group_of(job: Job) -> str:
    """The name of the group of a job's last attempt; '' before it is decided."""
    return str(job.folder.attempt.get("handle", {}).get("group", ""))


def _zone(instance: Mapping[str, Any]) -> str:
    return str(instance.get("Placement", {}).get("AvailabilityZone", ""))
