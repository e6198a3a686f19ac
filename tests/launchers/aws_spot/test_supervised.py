"""launcher.supervise=asg: AWS brings lost instances back while nobody watches, until the job or its time is over."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pytest

from racing.cli import main
from racing.errors import InputError
from racing_launchers.aws_spot.account import group
from racing_launchers.aws_spot.account.identity import job_policy
from racing_launchers.aws_spot.account.objects import Objects
from racing_launchers.aws_spot.account.prices import listed_prices
from racing_launchers.aws_spot.launches import Launches
from racing_launchers.aws_spot.place import Fenced, Place, Writer
from racing_launchers.aws_spot.supervised import group_of
from racing_launchers.backend import launcher_config, make_backend
from racing_launchers.sweep import Job, Sweep
from tests.launchers.aws_spot.driving import run
from tests.launchers.aws_spot.instances.account import IMAGE
from tests.launchers.aws_spot.instances.host import Host, Machine, wait
from tests.launchers.aws_spot.test_backend import begun, place_of
from tests.launchers.payloads import Act, endings

ASG = ("supervise=asg", "wait=false")


def submitted(tmp_path: Path, acts: list[Act], *overrides: str) -> tuple[Sweep, list[Job]]:
    return run(tmp_path, acts, *ASG, *overrides)


def jobs_verb(tmp_path: Path, action: str, *arguments: str) -> int:
    return main(["jobs", action, "acts", *arguments, f"paths.outputs={tmp_path}"])


def groups(client: Any) -> list[dict[str, Any]]:
    return list(client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"])


def wanted(client: Any) -> list[int]:
    return [one["DesiredCapacity"] for one in groups(client)]


def nothing_is_left(client: Any) -> bool:
    """No group, no role of a job, no launch template but the stack's."""
    templates = [one["LaunchTemplateName"] for one in client("ec2").describe_launch_templates()["LaunchTemplates"]]
    return not groups(client) and not client("iam").list_roles(PathPrefix="/racing/")["Roles"] and len(templates) == 1


def machine_of(host: Host, job: Job) -> Machine:
    return next(one for one in host.alive if one.tags["racing:job"] == str(job.number))


def at_work(host: Host, job: Job, client: Any, bucket: str) -> bool:
    """Whether the job is with the instance that runs."""
    snapshot = place_of(job, client, bucket).snapshot()
    return snapshot is not None and [one.id for one in host.alive] == [snapshot.commit.instance]


def test_what_is_asked_for(stack: str, client: Any, tmp_path: Path):
    before = time.time()
    sweep, (job,) = submitted(tmp_path, [Act("work")], "timeout_min=60", "max_resubmits=3")
    (made,) = groups(client)
    assert made["AutoScalingGroupName"] == group_of(job)
    assert (made["MinSize"], made["MaxSize"], made["DesiredCapacity"]) == (0, 1, 1)
    assert made["HealthCheckType"] == "EC2"
    assert len(made["VPCZoneIdentifier"].split(",")) == 2
    policy = made["MixedInstancesPolicy"]
    assert [one["InstanceType"] for one in policy["LaunchTemplate"]["Overrides"]] == ["c7i.xlarge", "c7i.2xlarge"]
    spread = policy["InstancesDistribution"]
    assert (spread["OnDemandBaseCapacity"], spread["OnDemandPercentageAboveBaseCapacity"]) == (0, 0)
    assert spread["SpotAllocationStrategy"] == "price-capacity-optimized"
    tags = {tag["Key"]: (tag["Value"], tag["PropagateAtLaunch"]) for tag in made["Tags"]}
    assert tags["racing:project"] == ("racing", True)
    assert tags["racing:sweep"] == ("acts", True)
    (end,) = client("autoscaling").describe_scheduled_actions()["ScheduledUpdateGroupActions"]
    assert (end["MinSize"], end["MaxSize"], end["DesiredCapacity"]) == (0, 0, 0)
    assert end["StartTime"].timestamp() - before == pytest.approx(4 * 75 * 60, abs=60)  # 15 min to spare for each

    assert policy["LaunchTemplate"]["LaunchTemplateSpecification"]["LaunchTemplateName"] == group_of(job)
    data, common = (
        client("ec2").describe_launch_template_versions(LaunchTemplateName=name)["LaunchTemplateVersions"][0][
            "LaunchTemplateData"
        ]
        for name in (group_of(job), "racing-job")
    )
    assert data["ImageId"] == IMAGE
    assert data["IamInstanceProfile"]["Name"] == group_of(job).rpartition("-")[0]
    for key in ("SecurityGroupIds", "InstanceInitiatedShutdownBehavior", "BlockDeviceMappings"):
        assert data[key] == common[key]
    kinds = [one for one in data["TagSpecifications"] if one["ResourceType"] in ("instance", "volume")]
    assert kinds == common["TagSpecifications"]  # moto adds those of the template itself
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert f"GROUP='{group_of(job)}'" in base64.b64decode(data["UserData"]).decode()
    make_backend(sweep.launcher).poll(sweep, [job])
    assert len(groups(client)) == 1


def test_its_time_is_the_jobs_share_of_max_cost(stack: str, client: Any, tmp_path: Path):
    """At the full price, which a spot instance never exceeds."""
    before = time.time()
    submitted(tmp_path, [Act("work")] * 2, "max_cost=1", "instance_types=[g5.xlarge]")
    ends = [
        one["StartTime"] for one in client("autoscaling").describe_scheduled_actions()["ScheduledUpdateGroupActions"]
    ]
    hours = 0.5 / listed_prices().on_demand["g5.xlarge"]
    assert [(end.timestamp() - before) / 3600 for end in ends] == [pytest.approx(hours, abs=0.02)] * 2


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (["supervise=me"], "launcher.supervise must be watcher or asg, got 'me'; watcher is usual"),
        (["supervise=asg", "on_demand=true"], "launcher.on_demand needs somebody who watches"),
        (["supervise=asg", "max_instances=2"], "launcher.max_instances needs somebody who watches"),
    ],
)
def test_what_does_not_go_together(settings: list[str], text: str):
    with pytest.raises(InputError, match=text):
        make_backend(launcher_config("aws_spot", settings))


def test_an_instance_ends_its_own_group_only():
    """moto looks at the resources of S3 alone."""
    where = {"partition": "aws", "region": "us-east-1", "account": "123456789012"}
    (own,) = [one for one in job_policy("b", "s-1/0", "", {}, "mine", **where)["Statement"] if one["Sid"] == "EndGroup"]
    assert own["Action"] == ["autoscaling:SetDesiredCapacity"]  # a group has at most one instance
    name = "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:*:autoScalingGroupName/mine"
    assert own["Resource"] == [name]


def test_each_instance_of_a_group_takes_the_job_from_the_one_before(stack: str, client: Any):
    place = Place(Objects(client("s3"), stack), "s-1/0")
    place.make()
    first = Writer(place, 1, "i-1", succeeds=True)
    second = Writer(place, 1, "i-2", succeeds=True)
    assert (first.passed, second.passed) == ((), ("i-1",))
    with pytest.raises(Fenced, match="i-2 has the job now"):
        first.commit({})
    with pytest.raises(Fenced, match="attempt 1 on i-2 has the job"):  # its program is started again, say
        Writer(place, 1, "i-1", succeeds=True)
    assert Writer(place, 1, "i-2", succeeds=True).passed == ("i-1",)
    assert Writer(place, 1, "i-3", succeeds=True).passed == ("i-1", "i-2")
    assert Writer(place, 2, "i-1").passed == ()


@pytest.mark.slow
def test_nobody_watches_and_jobs_go_on(
    host: Host, stack: str, client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sweep, jobs = submitted(tmp_path, [Act("last", then="work")] * 2 + [Act("last")])
    cut, told, cancelled = jobs
    wait(lambda: all(begun(job, client, stack) for job in jobs), "all have begun")
    assert jobs_verb(tmp_path, "status") == 0
    assert f"running, of {group_of(cut)}" in capsys.readouterr().out
    host.cut_power(machine_of(host, cut))
    machine_of(host, told).metadata.notice()
    wait(lambda: len(host.machines) == 5, "both have another instance")
    wait(lambda: sum(wanted(client)) == 1, "both have ended their groups")
    assert jobs_verb(tmp_path, "cancel", f"job={cancelled.number}") == 0
    wait(lambda: sum(wanted(client)) == 0, "the third, too")
    wait(lambda: not host.alive, "all have ended themselves")
    assert jobs_verb(tmp_path, "collect", "wait=true") == 1  # one was cancelled
    assert endings(jobs) == ["DONE", "DONE", "STOPPED"]
    assert [job.folder.attempts for job in jobs] == [1, 1, 1]
    assert (cut.folder.path / "attempts.txt").read_text() == "last\nlast\n"
    assert sorted(len(Launches(job).all) for job in jobs) == [1, 2, 2]  # also those that nobody saw come
    assert make_backend(sweep.launcher).results(sweep)["cost_usd"] > 0
    assert nothing_is_left(client)


@pytest.mark.slow
def test_what_cannot_be_set_up_and_what_is_lost_too_often_ends(host: Host, stack: str, client: Any, tmp_path: Path):
    """No instance is launched for ever, and none is paid for again and again."""
    _, (broken,) = submitted(tmp_path / "setup", [Act("work")], "setup=[exit 1]")
    wait(lambda: wanted(client) == [0], "its group has ended")
    wait(lambda: not host.alive, "both have ended themselves")
    assert len(host.machines) == 2
    jobs_verb(tmp_path / "setup", "collect")
    assert broken.ended == "FAILED"
    assert "its instance could not be set up: " in broken.folder.result["error"]
    assert nothing_is_left(client)

    _, (lost,) = submitted(tmp_path / "lost", [Act("last")], "max_resubmits=1")
    for number in (3, 4):
        wait(lambda number=number: len(host.machines) == number and at_work(host, lost, client, stack), "it has begun")
        host.cut_power(host.alive[0])
    wait(lambda: wanted(client) == [0], "the third has ended its group")
    jobs_verb(tmp_path / "lost", "collect")
    assert lost.ended == "FAILED"
    assert "2 instances were taken away (launcher.max_resubmits)" in lost.folder.result["error"]


def test_racing_cloud_knows_them(stack: str, client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    _, (job,) = submitted(tmp_path, [Act("work")])
    assert main(["cloud", "ls", f"paths.outputs={tmp_path}"]) == 0
    line = f"group {group_of(job)} of acts job 0 launches its instance again when it is lost"
    assert line in capsys.readouterr().out
    assert main(["cloud", "down"]) == 2
    assert "1 instance at work, and 1 groups that launch them again" in capsys.readouterr().err
    assert len(groups(client)) == 1
    assert main(["cloud", "down", "force=true"]) == 0
    assert groups(client) == []
    assert client("ec2").describe_launch_templates()["LaunchTemplates"] == []
    assert client("iam").list_roles(PathPrefix="/racing/")["Roles"] == []


def test_what_is_gone_is_no_error(stack: str, client: Any):
    group.end(client("autoscaling"), "none")
    group.remove(client("autoscaling"), client("ec2"), "none")
    assert group.groups_of(client("autoscaling"), "racing") == []
