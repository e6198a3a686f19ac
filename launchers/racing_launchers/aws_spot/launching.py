"""Brings an attempt to the bucket, and asks AWS for its instance: again and again, where there is none."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from racing.errors import require
from racing.files import read_json
from racing_launchers.aws_spot.account import group, identity
from racing_launchers.aws_spot.account.bucket import partition_of
from racing_launchers.aws_spot.account.client import Aws, answered, code_of
from racing_launchers.aws_spot.account.fleet import (
    CALL,
    JOB,
    PROJECT,
    SWEEP,
    FleetRequest,
    Lack,
    Launched,
    Refusal,
    instances,
    launch,
    lifecycle_of,
    pause,
    tagged,
)
from racing_launchers.aws_spot.account.objects import BucketFiles, Objects
from racing_launchers.aws_spot.account.prices import Prices, listed_prices, live_prices
from racing_launchers.aws_spot.account.stack import Stack, read_stack
from racing_launchers.aws_spot.code import archive
from racing_launchers.aws_spot.inputs import Inputs, Sent, files_of_payload, lately
from racing_launchers.aws_spot.instance.user_data import SPARE, encoded, user_data
from racing_launchers.aws_spot.launches import Launches
from racing_launchers.aws_spot.place import Place
from racing_launchers.aws_spot.settings import GROUP
from racing_launchers.aws_spot.spec import Spec
from racing_launchers.backend import begin_attempt
from racing_launchers.job import JobStatus
from racing_launchers.payload import HydraJob, Payload
from racing_launchers.remote.needs import extra_packages
from racing_launchers.remote.tracks import required, track_specs
from racing_launchers.sweep import Job, Sweep
from racing_launchers.worker import payload_content, read_payload

TRACKS = "tracks"  # folder of the bucket: racing tracks push ... --to s3://BUCKET/tracks
SHORTEST_LIFE, LONGEST_LIFE = 600.0, 360 * 86_400.0  # [s] of a group: what an instance needs to begin; AWS's limit
FLEET = "fleet"  # fleet.json: when the next try is, and why the last one was in vain


class Launching:
    """The account, as the settings of a launcher name it."""

    def __init__(self, settings: Mapping[str, Any], launcher: str, max_resubmits: int) -> None:
        """settings: conf/launcher/aws_spot.yaml, checked; AWS is not asked. launcher: its name."""
        self.settings, self.launcher, self.max_resubmits = settings, launcher, max_resubmits
        self.timeout_s = 60.0 * float(settings["timeout_min"])

    @cached_property
    def aws(self) -> Aws:
        """The account."""
        return Aws(self.settings["region"], self.settings["profile"])

    @cached_property
    def stack(self) -> Stack:
        """What `racing cloud up` has made."""
        return read_stack(self.aws, self.settings["stack"])

    @cached_property
    def objects(self) -> Objects:
        """The bucket."""
        return Objects(self.aws.client("s3"), self.stack.bucket)

    @cached_property
    def prices(self) -> Prices:
        """Today's, as far as AWS tells them."""
        return live_prices(self.aws.client("ec2"), self.settings["instance_types"], listed_prices())

    @property
    def subnets(self) -> Sequence[str]:
        """Where instances may be."""
        return tuple(self.settings["subnets"] or self.stack.subnets)

    def dry_run(self) -> None:
        """Show AWS the request, which says whether this user may make it. Raises InputError where not."""
        from botocore.exceptions import ClientError

        request = self._request("0" * 16, f"{self.stack.name}-none", "", {PROJECT: self.stack.name}, on_demand=False)
        with answered("create_fleet"):
            try:
                self.aws.client("ec2").create_fleet(**request.arguments(dry_run=True))
            except ClientError as error:
                if code_of(error) != "DryRunOperation":
                    raise

    def write_attempts(self, sweep: Sweep, jobs: Sequence[Job]) -> None:
        """Bring to the bucket what the next attempts at jobs shall do, and note them."""
        payloads = [read_payload(job.folder) for job in jobs]  # jobs may be submitted again by another process
        more = extra_packages([payload.config for payload in payloads if isinstance(payload, HydraJob)])
        content, digest = archive([*self.settings["packages"], *more])
        code = f"code/{digest}.tar.gz"
        if not lately(self.objects, code):
            self.objects.write(code, content)
        inputs = Inputs(self.objects)
        for job, payload in zip(jobs, payloads, strict=True):
            self._write_attempt(sweep, job, payload, inputs, {"code": code, "code_sha256": digest})

    def _place_for(self, sweep: Sweep, job: Job, payload: Payload, inputs: Inputs) -> tuple[Place, Sent]:
        """Where the next attempt at a job works, and what was brought there of this machine."""
        number, before = job.folder.attempts + 1, job.folder.attempt.get("handle", {})
        again = number > int(job.folder.spec.get("first_attempt", number))
        goes_on = "place" in before and (again or job.folder.runs)
        # What an earlier attempt of the same command was given stays what it is, whatever has become of it here.
        given = again or goes_on
        sent = before.get("inputs", {}) if given else inputs.bring(files_of_payload(payload, self.settings["env"]))
        place = Place(self.objects, before["place"] if goes_on else f"{sweep.name}-{secrets.token_hex(4)}/{job.number}")
        place.make({} if goes_on else inputs.place(place, sent))
        self.objects.remove(place.cancel_key)
        return place, sent

    def _write_attempt(self, sweep: Sweep, job: Job, payload: Payload, inputs: Inputs, code: Mapping[str, str]) -> None:
        """Bring to the bucket what the next attempt shall do, and note it."""
        number, call = job.folder.attempts + 1, secrets.token_hex(8)
        tracks = self.tracks_there(track_specs(payload))
        place, sent = self._place_for(sweep, job, payload, inputs)
        name = place.name
        content, before = payload_content(job.folder), job.folder.attempt.get("handle", {}).get("group", "")
        own = f"{identity.role_name(self.stack.name, name)}-{number}" if self.settings["supervise"] == GROUP else ""
        spec = Spec(
            sweep=sweep.name,
            number=job.number,
            attempt=number,
            call=call,
            place=name,
            job=job.folder.spec,
            payload=f"code/{name}/{number}.pkl",
            payload_sha256=hashlib.sha256(content).hexdigest(),
            tracks=tracks,
            tracks_folder=TRACKS if tracks else "",
            timeout_s=self.timeout_s,
            upload_every_s=self.settings["upload_every"],
            leave_on_rebalance=self.settings["leave_on_rebalance"],
            group=own,
            max_instances=self.max_resubmits + 1,
            env={str(key): str(value) for key, value in self.settings["env"].items()},
            secrets={str(key): str(value) for key, value in self.settings["secrets"].items()},
        )
        key = f"code/{name}/{number}.json"
        self.objects.write(spec.payload, content)
        self.objects.write(key, spec.text())
        about = {"spec": key, "spec_sha256": hashlib.sha256(spec.text()).hexdigest(), "tracks": bool(tracks), **code}
        about |= ({"inputs": sent} if sent else {}) | ({"group": own, "group_before": before} if own else {})
        begin_attempt(job, self.launcher, {"call": call, "place": name, "bucket": self.stack.bucket, **about})

    def place_of(self, job: Job) -> Place | None:
        """Where the last attempt at a job works, also after the stack was removed; None before the first."""
        handle = job.folder.attempt.get("handle", {})
        return Place(Objects(self.aws.client("s3"), handle["bucket"]), handle["place"]) if "place" in handle else None

    def tracks_there(self, specs: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What must be in the bucket. Raises InputError if it is not."""
        return required(list(dict.fromkeys(specs)), BucketFiles(self.objects, TRACKS)) if specs else {}

    def launch(self, sweep: Sweep, jobs: Sequence[Job]) -> None:
        """Ask for the instances of jobs that have none and whose time has come, as far as limits allow."""
        waiting = [job for job in jobs if job.ended is None and Launches(job).current is None]
        waiting = [job for job in waiting if not self.tried(job).get("group")]  # which looks after it
        ready = [job for job in waiting if not job.cancel_requested and self._next_try(job) <= time.time()]
        if not ready:
            return
        cost, most = self.settings["max_cost"], self.settings["max_instances"] or len(sweep.jobs)
        free = most - sum(1 for job in sweep.jobs if (one := Launches(job).current) and one["ended"] is None)
        for job in ready[: max(0, free)]:
            spent = self._spent(sweep)
            if cost is not None and spent >= cost:
                rule = f"launcher.max_cost={cost:g} USD is reached, the sweep has cost {spent:.2f}"
                job.end(JobStatus.REFUSED, f"{rule}; raise it and run the same command")
                continue
            refusal = self._launch_one(sweep, job)
            if refusal is not None and refusal.lack is not Lack.PROPAGATION:
                break  # what one is refused the next will be, too

    def _spent(self, sweep: Sweep) -> float:
        """[USD]"""
        return sum(Launches(one).cost() for one in sweep.jobs)

    def lifetime(self, spent: float, jobs: int) -> float:
        """[s] after which AWS ends the group of a job: all its attempts, and no more than its share of max_cost.

        A spot instance never costs more than the full price. Raises InputError where that is not known, or too little
        is left.

        spent: [USD] by the sweep. jobs: that have not ended.
        """
        longest = min(LONGEST_LIFE, (self.timeout_s + 60.0 * SPARE) * (self.max_resubmits + 1))
        cost, kinds = self.settings["max_cost"], self.settings["instance_types"]
        if cost is None:
            return longest
        dearest = self.prices.dearest(kinds, on_demand=True)
        rule = f"launcher.max_cost needs the price of {', '.join(kinds)} where launcher.supervise={GROUP}"
        require(dearest is not None, f"{rule}; conf/launcher/prices/aws.yaml lists others")
        assert dearest is not None
        share = (float(cost) - spent) / max(1, jobs) / dearest * 3600
        minutes = max(0.0, share) / 60
        rule = f"launcher.max_cost={cost:g} USD leaves each of {jobs} jobs {minutes:.0f} min at the full price"
        require(share >= SHORTEST_LIFE, f"{rule}; raise it, or submit fewer jobs")
        return min(longest, share)

    def _next_try(self, job: Job) -> float:
        return float(self.tried(job).get("next", 0.0))

    def tried(self, job: Job) -> dict[str, Any]:
        """What is known of the tries to get an instance for the last attempt."""
        found = read_json(job.folder.path / f"{FLEET}.json")
        return found if found.get("attempt") == job.folder.attempts else {}

    def _launch_one(self, sweep: Sweep, job: Job) -> Refusal | None:
        """Ask for an instance; returns why there is none."""
        handle, number = job.folder.attempt["handle"], job.folder.attempts
        known = self.tried(job)
        # Where nobody noted the answer the same is asked again, with the same token: AWS starts no second one.
        tries = int(known.get("tries", 0)) + (not known.get("asked"))
        script = user_data(
            setup=self.settings["setup"],
            timeout_s=self.timeout_s,
            bucket=self.stack.bucket,
            region=self.aws.region,
            boot_log=f"runs/{handle['place']}/boot-{number}.log",
            group=handle.get("group", ""),
            **{key: handle[key] for key in ("spec", "spec_sha256", "code", "code_sha256")},
        )
        tags = {PROJECT: self.stack.name, SWEEP: sweep.name, JOB: str(job.number), CALL: handle["call"]}
        tags["Name"] = f"racing {sweep.name} {job.number}"
        if known and not handle.get("group"):  # whoever asked before may have died before it noted the answer
            found = self._find(handle["call"])
            if found is not None:
                self._note(job, found)
                return None
        job.folder.write(FLEET, number, {"tries": tries, "asked": True, "why": "an instance is asked for"})
        profile = self._role(handle["place"], tracks=bool(handle.get("tracks")), group=handle.get("group", ""))
        wanted = self._request(f"{handle['call']}-{tries}", profile, encoded(script), tags, on_demand=False)
        answer = self._ask(sweep, job, wanted)
        if answer is None:
            job.folder.write(FLEET, number, {"tries": tries, "group": handle["group"]})
            return None
        if isinstance(answer, Refusal) and self.settings["on_demand"] and answer.lack in (Lack.CAPACITY, Lack.QUOTA):
            wanted = self._request(f"{handle['call']}-{tries}", profile, encoded(script), tags, on_demand=True)
            answer = launch(self.aws.client("ec2"), wanted)
        if isinstance(answer, Launched):
            self._note(job, answer)
            return None
        wait = pause(answer.lack, tries)
        job.folder.write(FLEET, number, {"tries": tries, "next": time.time() + wait, "why": answer.why})
        return answer

    def _ask(self, sweep: Sweep, job: Job, wanted: FleetRequest) -> Launched | Refusal | None:
        """Ask for an instance, or for a group that launches them: then None, unless that is refused."""
        handle, ec2 = job.folder.attempt["handle"], self.aws.client("ec2")
        if not handle.get("group"):
            return launch(ec2, wanted)
        scaling = self.aws.client("autoscaling")
        if handle.get("group_before"):
            group.remove(scaling, ec2, handle["group_before"])
        left = sum(1 for one in sweep.jobs if not one.ended)
        until = datetime.fromtimestamp(time.time() + self.lifetime(self._spent(sweep), left), UTC)
        return group.start(scaling, ec2, handle["group"], wanted, until.replace(microsecond=0))

    def _request(
        self, token: str, profile: str, script: str, tags: Mapping[str, str], *, on_demand: bool
    ) -> FleetRequest:
        return FleetRequest(
            template=self.stack.template,
            version=self.stack.version,
            types=self.settings["instance_types"],
            subnets=self.subnets,
            profile=profile,
            user_data=script,
            token=token,
            tags=tags,
            image=self.settings["image"],
            on_demand=on_demand,
        )

    def _role(self, place: str, *, tracks: bool, group: str) -> str:
        """Make the job's own role; returns the name of its profile."""
        policy = identity.job_policy(
            self.stack.bucket,
            place,
            TRACKS if tracks else "",
            self.settings["secrets"],
            group,
            partition=partition_of(self.aws),
            region=self.aws.region,
            account=self.aws.account,
        )
        name = identity.role_name(self.stack.name, place)
        iam = self.aws.client("iam")
        return identity.make_role(iam, name, policy, boundary=self.stack.boundary, stack=self.stack.name)

    def _note(self, job: Job, launched: Launched) -> None:
        """Note the instance that a job has got."""
        zone = self._zones.get(launched.subnet, "")
        Launches(job).add(
            instance=launched.instance,
            type=launched.type,
            zone=zone,
            lifecycle=launched.lifecycle,
            price=self.prices.hour(launched.type, zone, launched.lifecycle),
            attempt=job.folder.attempts,
        )

    @cached_property
    def _zones(self) -> dict[str, str]:
        """Subnet -> its availability zone."""
        with answered("the subnets"):
            found = self.aws.client("ec2").describe_subnets(SubnetIds=list(self.subnets))["Subnets"]
        return {one["SubnetId"]: one["AvailabilityZone"] for one in found}

    def _find(self, call: str) -> Launched | None:
        """The instance that was started for an attempt, whoever did it."""
        for one in self.instances(**tagged(CALL, call)):
            return Launched(one["InstanceId"], one["InstanceType"], one.get("SubnetId", ""), lifecycle_of(one))
        return None

    def instances(self, **which: Any) -> Iterable[Mapping[str, Any]]:
        """See racing_launchers.aws_spot.account.fleet.instances."""
        return instances(self.aws.client("ec2"), **which)
