"""Jobs of this machine: every way to end, continued, cancelled, timed out, abandoned by who started them."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from racing.cli import main
from racing.errors import ExitCode, JobsFailed
from racing_launchers.backend import make_backend
from racing_launchers.local import supervisor as module
from racing_launchers.local.supervisor import main as supervisor
from racing_launchers.local.supervisor import make_slots
from racing_launchers.sweep import Sweep
from racing_launchers.watch import report_failures
from tests.launchers.payloads import Act, endings, run
from tests.support.mlflow_server import wait_until

pytestmark = pytest.mark.slow


def test_every_way_to_end_is_told_and_harms_no_other(tmp_path: Path):
    acts = [Act("work"), Act("fail"), Act("refuse"), Act("leave"), Act("die"), Act("work")]
    sweep, jobs = run(tmp_path, acts)
    assert endings(jobs) == ["DONE", "FAILED", "REFUSED", "FAILED", "LOST", "DONE"]
    assert [job.folder.result.get("value") for job in jobs] == [0.5, None, None, None, None, 0.5]
    with pytest.raises(JobsFailed) as told:
        report_failures(sweep, jobs, max_resubmits=0)
    lines = str(told.value).splitlines()
    assert lines[0] == "racing: 4 of 6 jobs of acts not done:"
    assert lines[1].startswith("  1 act=fail: failed, RuntimeError: the engine; log: ")
    assert "2 act=refuse: refused, fuel must be > 0, got 0; refuel" in lines[2]
    assert "left with exit code 3" in lines[3]
    assert "4 act=die: lost, killed by SIGKILL: out of memory, or by hand" in lines[4]
    assert "is broken" in jobs[1].folder.log.read_text()  # the whole traceback
    assert jobs[0].folder.log.read_text() == "I work\n"


def test_dead_jobs_are_continued_so_often_and_failed_ones_are_not(tmp_path: Path):
    acts = [Act("die", then="work"), Act("die"), Act("fail")]
    _, jobs = run(tmp_path, acts, "max_resubmits=2")
    assert endings(jobs) == ["DONE", "LOST", "FAILED"]
    assert [job.folder.attempts for job in jobs] == [2, 3, 1]


def test_repeated_a_sweep_does_only_what_is_not_done(tmp_path: Path):
    acts = [Act("work"), Act("die", then="work"), Act("fail", then="work")]
    _, jobs = run(tmp_path, acts)
    assert endings(jobs) == ["DONE", "LOST", "FAILED"]
    _, jobs = run(tmp_path, acts)
    assert endings(jobs) == ["DONE"] * 3
    assert [job.folder.attempts for job in jobs] == [1, 2, 2]
    _, jobs = run(tmp_path, acts, fresh=True)
    assert [job.folder.attempts for job in jobs] == [2, 3, 3]


def test_no_more_than_n_jobs_at_a_time(tmp_path: Path):
    _, jobs = run(tmp_path, [Act("work")] * 4, "n_jobs=1")
    spans = [(job.folder.result["began_ms"], job.folder.result["ended_ms"]) for job in jobs]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_a_job_whose_time_is_over_saves_its_state_and_says_so(tmp_path: Path):
    sweep, jobs = run(tmp_path, [Act("last", then="work"), Act("work")], "timeout_min=0.1")
    assert endings(jobs) == ["STOPPED", "DONE"]
    with pytest.raises(JobsFailed, match="time limit reached .launcher.timeout_min.: stopped on SIGTERM, state saved"):
        report_failures(sweep, jobs, max_resubmits=0)
    _, jobs = run(tmp_path, [Act("last", then="work"), Act("work")], "timeout_min=0.1")
    assert endings(jobs) == ["DONE", "DONE"]


def test_gpus_are_dealt_out_and_the_rest_runs_without(monkeypatch: pytest.MonkeyPatch):
    base = {"n_jobs": None, "gpus": [0, 1], "jobs_per_gpu": 1}
    assert [slot.gpu for slot in make_slots(base)] == ["0", "1"]
    assert [slot.gpu for slot in make_slots(base | {"n_jobs": 3})] == ["0", "1", ""]
    assert [slot.gpu for slot in make_slots(base | {"jobs_per_gpu": 2})] == ["0", "1", "0", "1"]
    assert {slot.gpu for slot in make_slots(base | {"gpus": [], "n_jobs": 2})} == {""}
    for found, dealt in ((["0", "1"], ["0", "1", ""]), ([], [None, None, None])):  # None: where nothing is known
        monkeypatch.setattr(module, "all_gpus", lambda found=found: found)
        assert [slot.gpu for slot in make_slots(base | {"gpus": None, "n_jobs": 3})] == dealt


def test_a_supervisor_with_nothing_left_to_do_ends_well(tmp_path: Path):
    sweep, _ = run(tmp_path, [Act("work")])
    assert supervisor([str(sweep.path)]) == 0


def test_the_last_look_at_a_stopped_job_waits_until_its_process_is_seen_to_have_left(tmp_path: Path):
    sweep, (job,) = run(tmp_path, [Act("last")], "wait=false")
    wait_until(lambda: at_work(sweep, 0), "it has begun")
    assert jobs_verb(tmp_path, "cancel", "acts") == 0
    wait_until(lambda: job.ended, "it has stopped")
    make_backend(sweep.launcher).fetch_results(sweep, job, last=True)
    assert job.folder.exit_status["exit_code"] == ExitCode.STOPPED


def at_work(sweep: Sweep, number: int) -> bool:
    """Whether the job has done its first step."""
    return (sweep.job(number).folder.path / "attempts.txt").exists()


def jobs_verb(tmp_path: Path, *arguments: str) -> int:
    return main(["jobs", *arguments, f"paths.outputs={tmp_path}"])


def test_submitted_and_left_a_sweep_is_looked_after_from_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sweep, jobs = run(tmp_path, [Act("work"), Act("last"), Act("last"), Act("work")], "wait=false", "n_jobs=2")
    assert "racing jobs status | logs | collect | cancel acts" in capsys.readouterr().out
    wait_until(lambda: jobs[0].ended and at_work(sweep, 1) and at_work(sweep, 2), "the first is done, the third begun")
    assert jobs_verb(tmp_path, "status") == 0
    said = capsys.readouterr().out
    assert "acts: 1 done, 2 running, 1 waiting" in said
    assert "nobody waits for it" in said
    assert jobs_verb(tmp_path, "logs", "acts", "job=0") == 0
    assert capsys.readouterr().out == "I work\n"
    assert jobs_verb(tmp_path, "collect") == 0
    assert "1 done, 2 running, 1 waiting" in capsys.readouterr().out
    assert jobs_verb(tmp_path, "cancel", "acts", "job=1") == 0
    wait_until(lambda: jobs[1].ended and jobs[3].ended, "the second has stopped and made slot for the last")
    assert jobs_verb(tmp_path, "cancel", "acts") == 0
    wait_until(lambda: jobs[2].ended, "the third has stopped")
    assert jobs_verb(tmp_path, "collect", "acts") == 1
    assert endings(sweep.jobs) == ["DONE", "STOPPED", "STOPPED", "DONE"]
    assert jobs_verb(tmp_path, "list") == 0
    assert "acts: 2 done, 2 stopped" in capsys.readouterr().out


def test_a_job_that_is_cancelled_before_it_begins_does_not_begin(tmp_path: Path):
    sweep, jobs = run(tmp_path, [Act("last"), Act("work")], "wait=false", "n_jobs=1")
    wait_until(lambda: at_work(sweep, 0), "the first has begun")
    assert jobs_verb(tmp_path, "cancel", "acts") == 0
    wait_until(lambda: jobs[0].folder.exit_status, "the first has left")
    assert jobs_verb(tmp_path, "collect", "acts") == 1
    assert endings(sweep.jobs) == ["STOPPED", "STOPPED"]
    assert not jobs[1].folder.started


def submitter(tmp_path: Path, acts: str, *overrides: str) -> subprocess.Popen[bytes]:
    """Another process that makes a sweep and waits for it."""
    command = [sys.executable, "-m", "tests.launchers.payloads", str(tmp_path), *acts.split(), *overrides]
    return subprocess.Popen(command, start_new_session=True)


def test_the_machine_that_submitted_dies_and_the_jobs_go_on(tmp_path: Path):
    """Its process and its supervisor are killed, as one job is at work and another waits."""
    process = submitter(tmp_path, "last work", "n_jobs=1")
    sweep = Sweep(tmp_path / "sweeps" / "acts")
    wait_until(lambda: at_work(sweep, 0), "the first has begun")
    process.kill()
    process.wait()
    (supervisor,) = (
        other
        for other in psutil.process_iter(["cmdline"])
        if {str(sweep.path), "racing_launchers.local.supervisor"} <= set(other.info["cmdline"] or [])
    )
    supervisor.kill()
    os.kill(sweep.job(0).folder.started["pid"], signal.SIGTERM)
    assert jobs_verb(tmp_path, "collect", "acts", "wait=true") == 1
    assert endings(sweep.jobs) == ["STOPPED", "DONE"]


def test_a_sweep_is_watched_by_one_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    process = submitter(tmp_path, "last")
    sweep = Sweep(tmp_path / "sweeps" / "acts")
    wait_until(lambda: at_work(sweep, 0), "the job has begun")
    assert jobs_verb(tmp_path, "collect", "acts") == 2
    assert "is watched by process" in capsys.readouterr().err
    process.send_signal(signal.SIGINT)  # stops the job, too: it belongs to this terminal
    process.wait()
    assert process.returncode != 0
    assert endings(sweep.jobs) == ["STOPPED"]


def test_logs_follow_a_job_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sweep, jobs = run(tmp_path, [Act("last")], "wait=false")
    wait_until(lambda: at_work(sweep, 0), "the job has begun")
    command = [sys.executable, "-m", "racing", "jobs", "logs", "acts", "follow=true", f"paths.outputs={tmp_path}"]
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    assert follower.poll() is None
    os.kill(jobs[0].folder.started["pid"], signal.SIGTERM)
    assert "state saved" in follower.communicate(timeout=60)[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stat"], "did you mean status?"),
        (["status", "nothing"], "is not there, no sweep is under"),
        (["status", "job=1"], "unknown key 'job'; racing jobs status takes "),
        (["logs", "job=one"], "job must be a number, got 'one'"),
        (["collect", "wait=maybe"], "wait must be true or false, got 'maybe'"),
    ],
)
def test_wrong_input(arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert jobs_verb(tmp_path, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_sweep_or_a_job_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run(tmp_path, [Act("work")])
    capsys.readouterr()
    assert jobs_verb(tmp_path, "status", "act") == 2
    assert "did you mean acts?" in capsys.readouterr().err
    assert jobs_verb(tmp_path, "logs", "acts", "job=7") == 2
    assert "job=7 is not in acts; it has 0" in capsys.readouterr().err
