"""A job's folder says how far it is, whoever asks: what is shown, counted and done about it follows from that."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from racing.errors import ExitCode, JobsFailed, Stopped
from racing.files import write_json
from racing.runs.directory import RunDirectory
from racing.runs.lock import FileLock
from racing_launchers import watch as watching
from racing_launchers import worker
from racing_launchers.backend import Backend, JobInfo, JobState, NoAnswer, begin_attempt, make_backend
from racing_launchers.job import JobFolder, JobObserver, JobStatus
from racing_launchers.job_progress import Progress
from racing_launchers.local import backend as local_backend
from racing_launchers.local.supervisor import LOCK
from racing_launchers.slurm import job as slurm_job
from racing_launchers.slurm.backend import slurm_log
from racing_launchers.sweep import Job, Sweep
from racing_launchers.table import jobs_table
from racing_launchers.watch import SweepWatcher, report_failures, watch
from tests.launchers.payloads import Act, local, run


def test_a_process_is_told_by_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RACING_JOB", raising=False)
    assert JobFolder.current() is None
    code = "from racing_launchers.job import JobFolder; print(JobFolder.current().path)"
    with JobFolder(tmp_path / "outer").as_current():
        with JobFolder(tmp_path / "inner").as_current():
            told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            assert told.stdout.strip() == str(tmp_path / "inner")
        assert JobFolder.current().path == tmp_path / "outer"
    assert JobFolder.current() is None


def test_a_worker_is_the_job_that_it_does(tmp_path: Path):
    _, jobs = run(tmp_path, [Act("who"), Act("who")])
    assert [job.folder.result["value"] for job in jobs] == [str(job.folder.path) for job in jobs]


def test_how_a_job_ended_is_one_of_a_few_words(tmp_path: Path):
    job = Job(0, JobFolder(tmp_path))
    write_json(tmp_path / "attempt.json", {"number": 1})
    for written, status in (("DONE", JobStatus.DONE), ("LOST", JobStatus.LOST), ("DEAD", JobStatus.LOST)):
        write_json(tmp_path / "result.json", {"attempt": 1, "status": written})  # DEAD: by an earlier version
        assert job.ended is status
    write_json(tmp_path / "result.json", {"attempt": 1, "status": "ASLEEP"})
    with pytest.raises(ValueError, match="ASLEEP"):
        job.ended  # noqa: B018
    assert [status for status in JobStatus if not status.ended] == ["NEW", "WAITING", "RUNNING"]


def test_a_training_tells_its_job_what_it_opens(tmp_path: Path):
    job = JobFolder(tmp_path / "sweeps/s/jobs/0")
    job.path.mkdir(parents=True)
    write_json(job.path / "job.json", {"tags": {"racing.sweep": "s"}})
    observer = JobObserver(job, tmp_path)
    assert observer.tags() == {"racing.sweep": "s"}
    first, second = tmp_path / "runs/a-1", tmp_path / "runs/b-2"
    assert not observer.resumes(first)
    for path in (first, second, first):
        observer.opened(RunDirectory(path))
    assert job.runs == ["runs/b-2", "runs/a-1"]
    assert observer.resumes(first)
    job.forget()
    assert not observer.resumes(first)


@pytest.fixture
def submitted(tmp_path: Path) -> Sweep:
    """A sweep of two jobs that nobody has begun."""
    sweep = Sweep(tmp_path / "outputs" / "sweeps" / "s")
    sweep.write_manifest(outputs=str(tmp_path / "outputs"), axes={}, launcher=local())
    for number in (0, 1):
        job = sweep.job(number)
        job.folder.path.mkdir(parents=True)
        write_json(job.folder.path / "job.json", {"number": number, "label": f"seed={number} algo.learning_rate=0.001"})
        begin_attempt(job, "local")
    return sweep


@pytest.mark.parametrize(
    ("ended", "remedy"),
    [
        (JobStatus.LOST, "launcher.max_resubmits=1 submits lost jobs again"),
        (JobStatus.STOPPED, "launcher.max_resubmits=1 submits lost jobs again"),
        (JobStatus.FAILED, "racing jobs logs s paths.outputs={} job=N shows the log of one"),
        (JobStatus.REFUSED, "racing jobs logs s paths.outputs={} job=N shows the log of one"),
    ],
)
def test_who_hears_of_a_failure_hears_what_helps(ended: JobStatus, remedy: str, submitted: Sweep):
    submitted.job(0).end(JobStatus.DONE, "")
    submitted.job(1).end(ended, "why")
    with pytest.raises(JobsFailed) as told:
        report_failures(submitted, submitted.jobs, max_resubmits=0)
    last = str(told.value).splitlines()[-1]
    assert last == f"run the same command to resume; the others are kept; {remedy.format(submitted.outputs)}"


class Distant(Backend):
    """Its only machine is gone; what a job has left is brought here when all of it is asked for."""

    grace = 0.0

    def __init__(self, left: JobStatus | None) -> None:
        self.left, self.max_resubmits = left, 0

    def poll(self, sweep: Sweep, jobs: Any) -> dict[int, JobInfo]:
        return {job.number: JobInfo(JobState.LOST, "its machine is gone") for job in jobs}

    def fetch_results(self, sweep: Sweep, job: Job, *, last: bool = False) -> None:
        if last and self.left and not job.ended:
            job.end(self.left, "")

    submit = cancel = poll


@pytest.mark.parametrize(("left", "ended"), [(JobStatus.DONE, JobStatus.DONE), (None, JobStatus.LOST)])
def test_before_a_job_counts_as_lost_all_that_it_has_left_is_fetched(
    left: JobStatus | None, ended: JobStatus, submitted: Sweep
):
    ignored = SimpleNamespace(event=lambda *_, **__: None, count=lambda _: None)
    watcher = SweepWatcher(submitted, Distant(left), submitted.jobs, ignored)
    watcher.poll()
    assert watcher.unfinished == []
    assert [job.ended for job in submitted.jobs] == [ended, ended]


class Away(Distant):
    """It does not answer so many times: when it is asked where jobs are, and then when one is submitted again."""

    name, stops_with_us, poll_interval_s = "away", False, 0.01

    def __init__(self, polls: int, submissions: int = 0) -> None:
        super().__init__(JobStatus.LOST)
        self.polls, self.submissions, self.max_resubmits = polls, submissions, bool(submissions)

    def poll(self, sweep: Sweep, jobs: Any) -> dict[int, JobInfo]:
        self.polls -= 1
        if self.polls >= 0:
            raise NoAnswer("nobody is at home")
        return super().poll(sweep, jobs)

    def submit(self, sweep: Sweep, jobs: Any) -> None:
        self.submissions -= 1
        if self.submissions >= 0:
            raise NoAnswer("nobody is at home")
        for job in jobs:
            begin_attempt(job, self.name)

    def fetch_results(self, sweep: Sweep, job: Job, *, last: bool = False) -> None:
        if last and not job.ended:
            job.end(JobStatus.DONE if job.folder.attempts > 1 else JobStatus.LOST, "")


def recorded() -> Any:
    """A sweep's run that keeps names of events and is complete."""
    events: list[str] = []
    run = SimpleNamespace(events=events, wanted=False, count=lambda _: None, end=lambda *_, **__: None)
    run.event = lambda name, **_: events.append(name)
    return run


def test_a_place_that_does_not_answer_for_a_while_is_asked_again(
    submitted: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(Sweep, "require_ours", lambda _: None)
    run = recorded()
    watch(submitted, Away(3, submissions=2), submitted.jobs, run)
    assert [job.ended for job in submitted.jobs] == [JobStatus.DONE, JobStatus.DONE]
    assert [job.folder.attempts for job in submitted.jobs] == [2, 2]
    assert run.events == ["job ended", "job resubmitted", "job ended", "job resubmitted", "job ended", "job ended"]
    lines = [line for line in capsys.readouterr().err.splitlines() if "home" in line or "answers" in line]
    assert lines[0] == "nobody is at home; the jobs go on, asked again until it answers"
    assert lines.count("away answers again") == lines.count(lines[0])


def test_a_place_that_never_answers_leaves_the_command_that_collects(submitted: Sweep, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watching, "PATIENCE_S", 0.05)
    with pytest.raises(Stopped) as told:
        watch(submitted, Away(1000), submitted.jobs, recorded())
    assert "away has not answered for " in str(told.value)
    assert str(told.value).endswith(f"when it answers: racing jobs collect {submitted.named} wait=true")
    assert [job.ended for job in submitted.jobs] == [None, None]


def test_a_supervisor_is_replaced_that_is_gone_when_it_should_have_begun(
    submitted: Sweep, monkeypatch: pytest.MonkeyPatch
):
    started: list[Sweep] = []
    monkeypatch.setattr(local_backend, "supervise", started.append)
    backend, now = make_backend(local()), time.time()
    for later, replaced in ((0.0, 0), (local_backend.FIRST + 1, 1)):
        monkeypatch.setattr(local_backend, "time", SimpleNamespace(time=lambda later=later: now + later))
        assert backend.poll(submitted, submitted.jobs)[0].state == JobState.PENDING
        assert len(started) == replaced
    lock = FileLock(submitted.path / LOCK)
    assert lock.acquire()  # it is at work
    backend.poll(submitted, submitted.jobs)
    lock.release()
    assert len(started) == 1


def test_how_long_a_training_goes_on_follows_from_its_speed():
    assert Progress(step=25, total=100, rate=5.0).remaining_s == 15.0
    assert Progress(step=120, total=100, rate=5.0).remaining_s == 0.0
    assert Progress(step=0, total=100, rate=5.0).remaining_s == 20.0
    for unknown in (Progress(), Progress(step=25, total=100), Progress(step=25, rate=5.0), Progress(total=1, rate=5.0)):
        assert unknown.remaining_s is None


def test_a_job_has_one_line_however_narrow_the_terminal_is(submitted: Sweep):
    text = io.StringIO()
    Console(file=text, width=60).print(jobs_table(submitted, submitted.jobs, {}))
    title, _, *lines = text.getvalue().splitlines()
    assert title.strip() == "s"
    assert [line.split()[0] for line in lines] == ["0", "1"]


def test_in_a_narrow_terminal_columns_are_left_away_and_reasons_stay_readable(submitted: Sweep):
    submitted.job(1).end(JobStatus.LOST, "its machine is gone, and nobody knows why")

    def lines(width: int) -> list[str]:
        text = io.StringIO()
        Console(file=text, width=width).print(jobs_table(submitted, submitted.jobs, {}, width=width))
        return text.getvalue().splitlines()

    assert "steps/s" in lines(160)[1]
    _, head, first, second, *rest = lines(66)
    assert "steps/s" not in head
    assert submitted.jobs[0].label in first
    assert submitted.jobs[1].label in second
    column = second.index("its machine")
    folded = " ".join([second[column:].strip(), *(line[column:].strip() for line in rest)])
    assert folded == "its machine is gone, and nobody knows why"
    assert len(rest) <= 3


def test_slurms_own_log_of_a_job_is_named_by_the_id_of_its_last_attempt(submitted: Sweep):
    job = submitted.job(1)
    assert slurm_log(submitted, job) is None
    begin_attempt(job, "slurm", {"slurm": "12_1"})
    assert slurm_log(submitted, job) == submitted.path / "slurm" / "12_1_0_log.out"


@pytest.mark.parametrize(("state", "requeued", "status"), [("RUNNING", 1, None), ("CANCELLED", 0, JobStatus.STOPPED)])
def test_a_signal_that_no_training_hears_is_obeyed_at_once(
    state: str, requeued: int, status: JobStatus | None, submitted: Sweep, monkeypatch: pytest.MonkeyPatch
):
    """Of SLURM, before the training has begun; a second one changes nothing."""
    known = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGCONT)}
    asked: list[int] = []
    left: list[int] = []
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    monkeypatch.setattr(slurm_job, "show_job", lambda _: {"JobState": state})
    monkeypatch.setattr(os, "_exit", left.append)
    try:
        signal.signal(signal.SIGUSR2, lambda number, _: asked.append(number))  # as submitit does
        slurm_job.JobAttempt(submitted.job(0).folder, 1)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        for number, handler in known.items():
            signal.signal(number, handler)
    assert (len(asked), left, submitted.job(0).ended) == (requeued, [ExitCode.STOPPED], status)


def test_what_it_prints_is_in_its_log_before_its_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Who finds the result brings the log home, and looks no more; the process may not have left then."""
    folder, log = JobFolder(tmp_path / "job"), tmp_path / "log.txt"
    folder.path.mkdir()
    with log.open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        result = worker.run(folder, 1, lambda: Act("work"))
        assert (result["status"], log.read_text()) == (JobStatus.DONE.value, "I work\n")
