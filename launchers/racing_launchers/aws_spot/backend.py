"""Jobs of a sweep on spot instances of AWS, one instance for each attempt.

What an attempt shall do lies in the bucket before its instance is asked for; where there is none to be had, whoever
watches the sweep asks again. An instance that is taken away leaves a stopped or a lost attempt, and the watcher submits
the next one, which resumes (launcher.max_resubmits): from this shell or from any other, at any later time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from racing.errors import InputError
from racing.files import read_json
from racing_launchers.aws_spot.account import identity
from racing_launchers.aws_spot.account.client import answered
from racing_launchers.aws_spot.account.fleet import ALIVE
from racing_launchers.aws_spot.checks import check_account, refuse_what_cannot_be
from racing_launchers.aws_spot.launches import Launches
from racing_launchers.aws_spot.launching import Launching
from racing_launchers.aws_spot.place import Snapshot
from racing_launchers.aws_spot.settings import GROUP, KEYS, check_values
from racing_launchers.aws_spot.supervised import Groups
from racing_launchers.backend import Backend, JobInfo, JobState, NoAnswer
from racing_launchers.job import JobStatus
from racing_launchers.remote.sync import fetch_job
from racing_launchers.remote.tracks import files_of_config, tracks_of_command
from racing_launchers.sweep import Job, Sweep

MOST_IN_VAIN = 2  # instances in a row that could not be set up
UNKNOWN = 120.0  # [s] after its launch in which AWS need not know an instance everywhere
KILL_AFTER = 180.0  # [s] after which an instance that was asked to stop, and has not, is ended when asked again


class AwsSpotBackend(Backend):
    """See conf/launcher/aws_spot.yaml."""

    shared = False
    grace = 5.0
    start_s = 300.0

    def __init__(self, **keys: Any) -> None:
        """Raises InputError for values off range; AWS is not asked."""
        self.settings = {key: keys.pop(key) for key in KEYS}
        super().__init__(**keys)
        check_values(self.settings)
        self.cloud = Launching(self.settings, self.name, self.max_resubmits)
        self.groups = Groups(self.cloud)
        self._seen: dict[int, str] = {}  # job -> ETag of the commit that was fetched last

    @property
    def _supervised(self) -> bool:
        """Whether AWS itself launches lost instances again."""
        return bool(self.settings["supervise"] == GROUP)

    # before anything is submitted

    def check(self, jobs: Sequence[Mapping[str, Any]], commands: Sequence[Sequence[str]] = ()) -> None:
        """See Backend: credentials, stack, bucket, types, subnets, quota, rights, secrets, tracks."""
        refuse_what_cannot_be(jobs, commands, self.settings["env"])
        cloud = self.cloud
        check_account(cloud.aws, lambda: cloud.stack, self.settings, lambda: cloud.subnets, jobs)
        tracks = [spec for config in jobs for spec in files_of_config(config)]
        cloud.tracks_there(tracks + [spec for arguments in commands for spec in tracks_of_command(arguments)])
        if self._supervised:
            cloud.lifetime(0.0, len(jobs) + len(commands))
        cloud.dry_run()

    def plan(self, count: int) -> list[str]:
        """See Backend."""
        if not count:
            return []
        settings, prices = self.settings, self.cloud.prices
        hours = count * self.cloud.timeout_s / 3600
        kinds = settings["instance_types"]
        likely, most = prices.dearest(kinds, on_demand=False), prices.dearest(kinds, on_demand=True)
        limit = f" at most {settings['max_instances']} at a time," if settings["max_instances"] else ""
        lines = [
            f"{'spot, else on-demand' if settings['on_demand'] else 'spot'} instances,{limit} each the cheapest likely "
            f"to stay of {', '.join(kinds)} in {len(self.cloud.subnets)} subnets of {self.cloud.aws.region}"
        ]
        if likely is None or most is None:
            lines.append(
                f"the price of one of {', '.join(kinds)} is not known; conf/launcher/prices/aws.yaml lists others"
            )
        else:
            lines.append(
                f"about {hours * likely:,.2f} USD if each job takes its {settings['timeout_min']:g} min once, at most "
                f"{hours * most:,.2f} USD whatever spot prices do, the same for each of up to {self.max_resubmits} "
                f"further attempts; {prices.source}"
            )
        cost = settings["max_cost"]
        if self._supervised:
            lines.append("AWS itself launches lost instances again (launcher.supervise=asg), until their time is over")
        lines.append(f"nothing is launched beyond {cost:,.2f} USD" if cost else "launcher.max_cost=USD sets a limit")
        if self.dry_run:
            lines += self._described()
        return lines

    def price_text(self, hours: float) -> str | None:
        """See Backend: at today's spot prices."""
        hourly = self.cloud.prices.dearest(self.settings["instance_types"], on_demand=False)
        return None if hourly is None else f"{hours * hourly:,.2f} USD"

    def _described(self) -> list[str]:
        """Lines about what would be sent, for a dry run."""
        stack, names = self.cloud.stack, sorted({*self.settings["secrets"], *self.settings["env"]})
        return [
            f"bucket s3://{stack.bucket}, launch template {stack.template} version {stack.version}",
            f"{self.settings['timeout_min']:g} min for an attempt; variables {', '.join(names) or 'none'}",
        ]

    def submit(self, sweep: Sweep, jobs: Sequence[Job]) -> None:
        """See Backend. A job for which there is no instance waits: `poll` asks again."""
        if jobs:
            self.cloud.write_attempts(sweep, jobs)
            self.cloud.launch(sweep, jobs)

    # looking after them

    def poll(self, sweep: Sweep, jobs: Sequence[Job]) -> dict[int, JobInfo]:
        """See Backend. Who holds the sweep's lock also asks for the instances that jobs still wait for.

        Raises NoAnswer also where AWS takes the credentials no longer: signed in again, one goes on.
        """
        try:
            return self._poll(sweep, jobs)
        except InputError as error:
            raise NoAnswer(str(error)) from error

    def _poll(self, sweep: Sweep, jobs: Sequence[Job]) -> dict[int, JobInfo]:
        refused: InputError | None = None
        if sweep.lock.ours and not self.dry_run:
            try:
                self.cloud.launch(sweep, jobs)
            except InputError as error:  # those that have an instance are looked after all the same
                refused = error
        if self._supervised:
            return self.groups.infos(jobs, str(refused or ""), partial(self._give_up, silent=False))
        current = {job.number: Launches(job).current for job in jobs}
        ids = [one["instance"] for one in current.values() if one is not None]
        if refused is not None and not ids:
            raise refused
        known: dict[str, Mapping[str, Any]] = {}
        for first in range(0, len(ids), 100):
            filters = [{"Name": "instance-id", "Values": ids[first : first + 100]}]  # one that is forgotten is no error
            known |= {one["InstanceId"]: one for one in self.cloud.instances(Filters=filters)}
        return {job.number: self._info(job, current[job.number], known, str(refused or "")) for job in jobs}

    def _info(
        self, job: Job, launched: Mapping[str, Any] | None, known: Mapping[str, Mapping[str, Any]], refused: str
    ) -> JobInfo:
        if launched is None:
            if job.cancel_requested:
                return JobInfo(JobState.LOST, "cancelled before it began")
            return JobInfo(
                JobState.PENDING, refused or str(self.cloud.tried(job).get("why") or "waiting for an instance")
            )
        name = launched["instance"]
        found = known.get(name)
        state = found["State"]["Name"] if found else "not known to AWS"
        where = f"{name}, {launched['lifecycle']} {launched['type']} {launched['zone']}".rstrip()
        if state in ALIVE or (found is None and time.time() - float(launched["at"]) < UNKNOWN):
            return JobInfo(JobState.RUNNING if job.folder.started else JobState.PENDING, f"{where}, {state}")
        if state == "shutting-down" and not job.folder.result:
            return JobInfo(JobState.RUNNING if job.folder.started else JobState.PENDING, f"{where}, is shut down")
        why = (found or {}).get("StateReason", {})
        taken = str(why.get("Code") or "").startswith("Server.")  # .SpotInstanceTermination, .InternalError
        Launches(job).end(name, str((found or {}).get("StateTransitionReason") or ""), taken=taken)
        told = str(job.folder.exit_status.get("reason") or why.get("Message") or "nobody said why")
        if not job.folder.started and not job.ended and Launches(job).in_vain >= MOST_IN_VAIN:
            self._give_up(job)
        return JobInfo(JobState.LOST, f"its instance {where} is {state}: {told}")

    def _give_up(self, job: Job, *, silent: bool = True) -> None:
        """End a job whose instances cannot be set up: the next one could not, either. silent: also if none said why."""
        lines = [line.strip() for line in self._boot_log(job) if line.strip()]
        if not (lines or silent):
            return
        said = f": {' | '.join(lines[-2:])[-300:]}" if lines else ", and has said nothing"
        job.end(JobStatus.FAILED, f"its instance could not be set up{said}; racing jobs logs shows all of it")

    def cancel(self, sweep: Sweep, jobs: Sequence[Job]) -> None:
        """See Backend. An instance that does not heed it is ended when asked again some minutes later."""
        for job in jobs:
            place, launched = self.cloud.place_of(job), Launches(job).current
            if place is None:
                continue
            place.objects.write(place.cancel_key, b"")
            asked = read_json(job.folder.path / "cancel_requested.json")
            first = float(asked["at"]) if asked.get("attempt") == job.folder.attempts else time.time()
            job.folder.write("cancel_requested", job.folder.attempts, {"at": first})
            late = time.time() - first > KILL_AFTER
            if self._supervised:
                self.groups.cancel(job, at_once=late)
            elif launched is not None and late:
                with answered(f"the end of {launched['instance']}"):
                    self.cloud.aws.client("ec2").terminate_instances(InstanceIds=[launched["instance"]])

    def fetch_results(self, sweep: Sweep, job: Job, *, last: bool = False) -> None:
        """See Backend."""
        place = self.cloud.place_of(job)
        if place is None:
            return
        found = place.latest()
        if found is None or (not last and self._seen.get(job.number) == found[1]):
            return
        fetch_job(Snapshot(place, found[0]), sweep, job, last=last)
        self._seen[job.number] = found[1]
        if not (last and job.ended):
            return
        if self._supervised:
            self.groups.remove(job)
        launched = Launches(job).current
        if launched is not None:  # it ends itself: nobody looks at it any more
            Launches(job).end(launched["instance"], "")
        if job.ended in (JobStatus.DONE, JobStatus.FAILED, JobStatus.REFUSED) or job.cancel_requested:  # for good
            with contextlib.suppress(InputError):  # racing cloud down removes what is left
                name = identity.role_name(self.settings["stack"], place.name)
                identity.remove_role(self.cloud.aws.client("iam"), name)

    def log(self, sweep: Sweep, job: Job) -> Iterable[str]:
        """See Backend. Where the job has written nothing, what its instance said when it could not be set up."""
        self.fetch_results(sweep, job)
        return list(super().log(sweep, job)) or self._boot_log(job)

    def _boot_log(self, job: Job) -> list[str]:
        """What the instance of the last attempt said when it could not be set up."""
        place = self.cloud.place_of(job)
        boot = place.objects.read(place.key(f"boot-{job.folder.attempts}.log")) if place else None
        return boot.decode(errors="replace").splitlines() if boot else []

    def results(self, sweep: Sweep) -> dict[str, float]:
        """See Backend: what the instances of all jobs have cost, and for how long they ran."""
        launches = [Launches(job) for job in sweep.jobs]
        cost, hours = sum(one.cost() for one in launches), sum(one.hours() for one in launches)
        return {"cost_usd": round(cost, 6), "instance_hours": round(hours, 6)}
