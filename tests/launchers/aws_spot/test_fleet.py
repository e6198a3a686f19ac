"""Instances: what is asked for, what is said and done where there is none, what they cost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.responses.fleets import Fleets

from racing.cli import main
from racing.errors import InputError
from racing.files import read_json, write_json
from racing_launchers.aws_spot.account.fleet import FleetRequest, Lack, lack_of, pause, quota_of
from racing_launchers.aws_spot.account.prices import Prices, listed_prices
from racing_launchers.aws_spot.launches import Launches
from racing_launchers.backend import JobState, NoAnswer, make_backend
from racing_launchers.job import JobStatus
from racing_launchers.sweep import Job, Sweep
from tests.launchers.aws_spot.driving import run
from tests.launchers.modal_box.server import free_ports
from tests.launchers.payloads import Act, endings

NO_CAPACITY = """<CreateFleetResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
<requestId>1</requestId><fleetId>fleet-1</fleetId><fleetInstanceSet/><errorSet><item>
<errorCode>{code}</errorCode><errorMessage>{text}</errorMessage><lifecycle>spot</lifecycle>
</item></errorSet></CreateFleetResponse>"""


class FleetService:
    """moto's, which has as many instances as one likes. answers: what it says instead, one a request."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[Fleets] = []
        self.kinds: list[str] = []
        self.tokens: list[str] = []
        self.answers: list[str | EC2ClientError | None] = []
        real, service = Fleets.create_fleet, self

        def create_fleet(fleets: Fleets) -> Any:
            if str(fleets._get_param("DryRun")).lower() == "true":
                return real(fleets)
            service.kinds.append(fleets._get_param("TargetCapacitySpecification.DefaultTargetCapacityType"))
            service.tokens.append(fleets._get_param("ClientToken"))
            answer = service.answers.pop(0) if service.answers else None
            if isinstance(answer, EC2ClientError):
                raise answer
            return answer or real(fleets)

        monkeypatch.setattr(Fleets, "create_fleet", create_fleet)

    def refuse(self, code: str, text: str = "none here", times: int = 1, *, outright: bool = False) -> None:
        refusal = EC2ClientError(code, text) if outright else NO_CAPACITY.format(code=code, text=text)
        self.answers += [refusal] * times


@pytest.fixture
def fleets(stack: str, monkeypatch: pytest.MonkeyPatch) -> FleetService:
    return FleetService(monkeypatch)


def submitted(tmp_path: Path, acts: int = 1, *overrides: str) -> tuple[Sweep, list[Job]]:
    return run(tmp_path, [Act("work")] * acts, "wait=false", *overrides)


def polled(sweep: Sweep, jobs: list[Job], *, watching: bool = True) -> list[str]:
    """What the backend says of each job; it asks for instances if it watches."""
    backend = make_backend(sweep.launcher)
    if watching:
        assert sweep.lock.acquire()
    try:
        unfinished = [job for job in jobs if not job.ended]
        return [info.detail for info in backend.poll(sweep, unfinished).values()]
    finally:
        sweep.lock.release()


def due(job: Job) -> None:
    """The time of the next try has come."""
    path = job.folder.path / "fleet.json"
    write_json(path, read_json(path) | {"next": 0.0})


def test_what_is_asked_for():
    request = FleetRequest(
        template="lt-1",
        version="3",
        types=["g6.xlarge", "g5.xlarge"],
        subnets=["subnet-a", "subnet-b"],
        profile="p",
        user_data="ZGF0YQ==",
        token="t-1",
        tags={"racing:project": "racing"},
        image="ami-1",
    )
    asked = request.arguments()
    assert (asked["Type"], asked["ClientToken"]) == ("instant", "t-1-spot")
    assert asked["TargetCapacitySpecification"] == {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "spot"}
    assert asked["SpotOptions"]["AllocationStrategy"] == "price-capacity-optimized"
    assert asked["SpotOptions"]["InstanceInterruptionBehavior"] == "terminate"
    (config,) = asked["LaunchTemplateConfigs"]
    assert config["LaunchTemplateSpecification"] == {
        "LaunchTemplateId": "lt-1",
        "Version": "3",
        "LaunchTemplateSpecificationUserData": "ZGF0YQ==",
    }
    pools = [(one["InstanceType"], one["SubnetId"]) for one in config["Overrides"]]
    assert pools == [(kind, subnet) for kind in request.types for subnet in request.subnets]
    assert all(one["IamInstanceProfile"] == {"Name": "p"} and one["ImageId"] == "ami-1" for one in config["Overrides"])
    assert {spec["ResourceType"] for spec in asked["TagSpecifications"]} == {"instance", "fleet"}


def test_missing_capacity_is_waited_for_with_longer_and_longer_pauses(fleets: FleetService, tmp_path: Path):
    fleets.refuse("InsufficientInstanceCapacity", "no g5 in us-east-1a", times=3)
    sweep, jobs = submitted(tmp_path)
    (job,) = jobs
    (said,) = polled(sweep, jobs)
    assert said.startswith(
        "no spot capacity of c7i.xlarge, c7i.2xlarge in 2 subnets (no g5 in us-east-1a); it is tried"
    )
    assert len(fleets.kinds) == 1  # the next try is not due yet
    for tries in (2, 3):
        due(job)
        polled(sweep, jobs)
        assert len(fleets.kinds) == tries
    due(job)
    (said,) = polled(sweep, jobs)
    assert said.endswith("us-east-1a, running")
    assert len(set(fleets.tokens)) == 4
    assert fleets.kinds == ["spot"] * 4
    assert [pause(Lack.CAPACITY, tries) for tries in (1, 2, 3, 5, 6, 100)] == [30, 60, 120, 480, 600, 600]


def test_who_only_looks_launches_nothing(fleets: FleetService, tmp_path: Path):
    fleets.refuse("UnfulfillableCapacity")
    sweep, jobs = submitted(tmp_path)
    due(jobs[0])
    polled(sweep, jobs, watching=False)
    assert main(["jobs", "status", "acts", f"paths.outputs={tmp_path}"]) == 0
    assert len(fleets.kinds) == 1


def test_on_demand_only_where_it_was_asked_for(fleets: FleetService, tmp_path: Path):
    fleets.refuse("InsufficientInstanceCapacity")
    _, jobs = submitted(tmp_path, 1, "on_demand=true", "instance_types=[g5.xlarge]")
    assert fleets.kinds == ["spot", "on-demand"]
    launch = Launches(jobs[0]).current
    assert launch is not None
    assert (launch["lifecycle"], launch["price"]) == ("on-demand", listed_prices().on_demand["g5.xlarge"])


@pytest.mark.parametrize("outright", [True, False])
def test_a_quota_is_told_in_words_and_the_others_wait(outright: bool, fleets: FleetService, tmp_path: Path):
    fleets.answers.append(None)
    fleets.refuse("MaxSpotInstanceCountExceeded", outright=outright)
    sweep, jobs = submitted(tmp_path, 3, "instance_types=[g5.xlarge]")
    assert len(fleets.kinds) == 2  # the third would be refused, too
    one, two, three = polled(sweep, jobs)
    assert one.endswith("running")
    words = (
        "the account may have no more vCPUs of 'All G and VT Spot Instance Requests' (quota L-3819A6DF; new accounts"
    )
    assert two.startswith(words)
    assert three.endswith("running")  # it was not tried before


def test_an_error_that_no_other_try_mends_ends_the_command(fleets: FleetService, tmp_path: Path):
    fleets.refuse("InvalidSubnetID.NotFound", "The subnet ID 'subnet-1' does not exist")
    with pytest.raises(InputError, match=r"AWS refused an instance: The subnet ID 'subnet-1' does not exist \(Invalid"):
        submitted(tmp_path)


def test_a_job_that_is_refused_while_others_run_does_not_hide_how_they_are(
    fleets: FleetService, tmp_path: Path, client: Any
):
    sweep, jobs = submitted(tmp_path, 2, "max_instances=1")
    (launch,) = Launches(jobs[0]).all
    client("ec2").terminate_instances(InstanceIds=[launch["instance"]])
    Launches(jobs[0]).end(launch["instance"], "")  # the second one's turn
    fleets.refuse("InvalidSubnetID.NotFound", "The subnet ID 'subnet-1' does not exist", times=2)
    first, second = polled(sweep, jobs)
    assert "is terminated" in first
    assert second.startswith("AWS refused an instance: The subnet ID 'subnet-1' does not exist (Invalid")
    with pytest.raises(NoAnswer, match=r"^AWS refused an instance: The subnet ID 'subnet-1' does not exist \(Invalid"):
        polled(sweep, jobs[1:])  # nobody else is there who could be looked after


def test_a_role_that_is_not_known_everywhere_yet_is_tried_again_soon(fleets: FleetService, tmp_path: Path):
    fleets.refuse("InvalidParameterValue", "Value (x) for parameter iamInstanceProfile.name is invalid")
    sweep, jobs = submitted(tmp_path, 2)
    first, second = polled(sweep, jobs)
    assert first == "the job's role is not known everywhere yet"
    assert second.endswith("running")  # its own role may be known
    assert float(make_backend(sweep.launcher).cloud.tried(jobs[0])["next"]) < time.time() + 11


def test_who_dies_between_asking_and_noting_does_not_start_a_second_one(
    fleets: FleetService, tmp_path: Path, client: Any
):
    sweep, jobs = submitted(tmp_path)
    before = Launches(jobs[0]).current
    assert before is not None
    (jobs[0].folder.path / "launches.json").unlink()  # it was never noted
    polled(sweep, jobs)
    after = Launches(jobs[0]).current
    assert after is not None
    assert after["instance"] == before["instance"]
    assert len(fleets.kinds) == 1
    client("ec2").terminate_instances(InstanceIds=[before["instance"]])
    client("ec2").delete_tags(Resources=[before["instance"]], Tags=[{"Key": "racing:call"}])  # it is not found by them
    (jobs[0].folder.path / "launches.json").unlink()
    polled(sweep, jobs)
    assert len(fleets.tokens) == 2
    assert len(set(fleets.tokens)) == 1  # AWS answers with what it has started before


def test_nothing_is_launched_beyond_max_cost(fleets: FleetService, tmp_path: Path):
    sweep, jobs = submitted(tmp_path, 2, "max_cost=1", "max_instances=1", "instance_types=[g5.xlarge]")
    launch = Launches(jobs[0])
    (one,) = launch.all
    launch.add(**one | {"at": time.time() - 3600, "ended": time.time(), "price": 1.5, "attempt": 1})
    launch.end(one["instance"], "")
    polled(sweep, jobs)
    assert endings(jobs) == [None, "REFUSED"]
    assert jobs[1].folder.result["error"].startswith("launcher.max_cost=1 USD is reached, the sweep has cost 1.50;")
    assert len(fleets.kinds) == 1


def test_costs_are_those_of_all_instances_that_a_job_has_had(fleets: FleetService, tmp_path: Path, client: Any):
    sweep, jobs = submitted(tmp_path)
    launches = Launches(jobs[0])
    began = time.time() - 7200
    launches.add(**launches.all[0] | {"at": began, "price": 0.5, "attempt": 1})
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(began + 3600))
    launches.end(launches.all[0]["instance"], f"Server.SpotInstanceTermination ({stamp} GMT)")
    assert launches.hours() == pytest.approx(1.0, abs=0.001)
    assert launches.cost() == pytest.approx(0.5, abs=0.001)
    figures = make_backend(sweep.launcher).results(sweep)
    assert figures == {"cost_usd": pytest.approx(0.5, abs=0.001), "instance_hours": pytest.approx(1.0, abs=0.001)}


def test_who_collects_launches_what_was_taken_away_while_nobody_watched(
    fleets: FleetService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sweep, (one, two) = submitted(tmp_path, 2, "max_resubmits=1")
    collect = ["jobs", "collect", "acts", f"paths.outputs={tmp_path}"]
    one.end(JobStatus.STOPPED, "AWS takes the spot instance away: stopped on SIGTERM, state saved")
    two.end(JobStatus.FAILED, "RuntimeError")
    assert main(collect) == 1  # one has failed
    assert "1 waiting, 1 failed; run the command again later" in capsys.readouterr().out
    assert (one.folder.attempts, two.folder.attempts) == (2, 1)
    assert len(fleets.kinds) == 3
    place = one.folder.attempt["handle"]["place"]
    one.end(JobStatus.LOST, "its instance is gone")
    assert main(collect) == 1  # no second time: max_resubmits counts from the command that launched it
    assert one.folder.attempts == 2
    _, (one, _) = submitted(tmp_path, 2, "max_resubmits=1")  # the same command again
    assert one.folder.attempts == 3
    assert one.folder.attempt["handle"]["place"] != place  # it had opened no run that could go on
    one.end(JobStatus.LOST, "its instance is gone")
    main(collect)
    assert one.folder.attempts == 4
    assert one.folder.attempt["handle"]["place"] != place
    assert sweep.manifest["launcher"]["max_resubmits"] == 1


def test_while_aws_does_not_answer_jobs_are_where_they_were(
    fleets: FleetService, tmp_path: Path, aws: str, monkeypatch: pytest.MonkeyPatch
):
    sweep, jobs = submitted(tmp_path)
    (port,) = free_ports(1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setattr("racing_launchers.aws_spot.account.client.ATTEMPTS", 1)
    backend = make_backend(sweep.launcher)
    with pytest.raises(NoAnswer, match="AWS cannot be reached for "):
        backend.poll(sweep, jobs)
    with pytest.raises(InputError, match="AWS cannot be reached"):
        backend.cancel(sweep, jobs)
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    backend = make_backend(sweep.launcher)
    assert backend.poll(sweep, jobs)[0].detail.endswith("running")


def test_an_instance_that_aws_does_not_know_everywhere_yet_is_not_lost(
    fleets: FleetService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sweep, jobs = submitted(tmp_path)
    backend = make_backend(sweep.launcher)
    monkeypatch.setattr(backend.cloud, "instances", lambda **_: [])
    assert backend.poll(sweep, jobs)[0].state == JobState.PENDING
    launches = Launches(jobs[0])
    launches.add(**launches.all[0] | {"at": time.time() - 121})
    info = backend.poll(sweep, jobs)[0]
    assert info.state == JobState.LOST
    assert "is not known to AWS: nobody said why" in info.detail


@pytest.mark.parametrize(
    ("code", "in_vain"),
    [("Server.SpotInstanceTermination", 0), ("Server.InternalError", 0), ("Client.InstanceInitiatedShutdown", 1)],
)
def test_an_instance_that_aws_took_before_the_job_began_is_no_failure(
    code: str, in_vain: int, fleets: FleetService, tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch
):
    sweep, jobs = submitted(tmp_path)
    launch = Launches(jobs[0])
    client("ec2").terminate_instances(InstanceIds=[launch.all[0]["instance"]])
    backend = make_backend(sweep.launcher)
    instances = backend.cloud.instances
    taken = {"Code": code, "Message": code}
    monkeypatch.setattr(
        backend.cloud, "instances", lambda **which: [{**one, "StateReason": taken} for one in instances(**which)]
    )
    info = backend.poll(sweep, jobs)[0]
    assert info.state == JobState.LOST
    assert info.detail.endswith(code)
    assert launch.in_vain == in_vain


@pytest.mark.parametrize(
    ("kind", "spot", "regular"),
    [
        ("g5.xlarge", "L-3819A6DF", "L-DB2E81BA"),
        ("vt1.3xlarge", "L-3819A6DF", "L-DB2E81BA"),
        ("p4d.24xlarge", "L-7212CCBC", "L-417A185B"),
        ("p5.48xlarge", "L-C4BD4855", "L-417A185B"),
        ("c7i.xlarge", "L-34B43A08", "L-1216C47A"),
    ],
)
def test_quotas_by_kind(kind: str, spot: str, regular: str):
    assert quota_of(kind, on_demand=False)[0] == spot
    assert quota_of(kind, on_demand=True)[0] == regular


def test_what_another_try_may_mend():
    assert lack_of("InsufficientInstanceCapacity", "") is Lack.CAPACITY
    assert lack_of("VcpuLimitExceeded", "") is Lack.QUOTA
    assert lack_of("RequestLimitExceeded", "") is Lack.THROTTLED
    assert lack_of("UnauthorizedOperation", "") is None


def test_prices():
    prices = Prices({"a": 1.0, "b": 2.0}, {"a": 0.4}, {("a", "z1"): 0.3}, "x")
    assert prices.hour("a", "z1") == 0.3
    assert prices.hour("a", "z2") == 0.4
    assert prices.hour("a", "z1", "on-demand") == 1.0
    assert prices.hour("b") == 2.0  # a spot price is never more
    assert prices.hour("c") is None
    assert prices.dearest(["a", "b"], on_demand=True) == 2.0
    assert prices.dearest(["a", "c"], on_demand=False) is None
    assert all(spot < listed_prices().on_demand[kind] for kind, spot in listed_prices().spot.items())
