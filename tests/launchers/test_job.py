"""A process knows which job it does, and its training tells the job's folder which run it has opened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from racing.files import write_json
from racing.runs.directory import RunDirectory
from racing_launchers.job import JobFolder, JobObserver, JobStatus
from racing_launchers.sweep import Job
from tests.launchers.payloads import Act, run


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
