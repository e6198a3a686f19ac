"""Who holds a run: nobody, this process through another object, or nobody any more."""

from __future__ import annotations

from pathlib import Path

from racing.runs.lock import FileLock


def test_a_lock_is_held_from_acquire_to_release(tmp_path: Path):
    path = tmp_path / "lock"
    own, other = FileLock(path), FileLock(path)
    assert not own.held  # there is no file yet
    assert own.acquire()
    assert own.held
    assert other.held
    assert not other.acquire()
    own.release()
    own.release()  # once more does no harm
    assert not other.held
    assert other.acquire()
    other.release()
