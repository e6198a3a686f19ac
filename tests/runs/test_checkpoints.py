"""Checkpoints on disk: whole or not there, damage found and passed over, thinned by rule, replay rows stored once."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from racing.errors import InputError
from racing.runs.checkpoints import MARKER, Checkpoints, Log, milestones, read_checkpoint, seal
from tests.runs.test_full_disk import fill, small_disk  # noqa: F401  # a fixture

NOTES = {"config": {"seed": 0, "algo": {"gamma": 0.99}}, "journal": 123}


def state(step: int) -> dict:
    return {"policy": {"weight": np.full(50, step)}, "counters": {"num_timesteps": step}}


def rows(begin: int, end: int) -> dict:
    return {"rewards": np.arange(begin, end)}


def saved(run: Path, *steps: int, logs: Mapping[str, Log] | None = None) -> Checkpoints:
    checkpoints = Checkpoints(run)
    for step in steps:
        checkpoints.save(step, state(step), NOTES, logs)
    return checkpoints


def steps(checkpoints: Checkpoints) -> list[int]:
    return [checkpoint.step for checkpoint in checkpoints.all()]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_what_was_saved_is_loaded(tmp_path: Path):
    made = saved(tmp_path, 4096).save(8192, state(8192), NOTES)
    newest, problems = Checkpoints(tmp_path).newest()
    assert problems == []
    assert newest == made
    assert newest.step == 8192
    assert newest.path == tmp_path / "checkpoints" / "000008192"
    assert newest.load("counters") == {"num_timesteps": 8192}
    assert (newest.load("policy")["weight"] == 8192).all()
    assert newest.logs == {}
    assert newest.notes["config"] == NOTES["config"]
    assert {path.name for path in newest.path.iterdir()} == {"policy.npz", "counters.npz", MARKER}
    with pytest.raises(InputError, match=r"rng\.npz: No such file"):
        newest.load("rng")


def test_without_any_there_is_none(tmp_path: Path):
    assert Checkpoints(tmp_path).newest() == (None, [])
    assert Checkpoints(tmp_path).all() == []


def test_order_is_that_of_steps_not_of_names(tmp_path: Path):
    checkpoints = saved(tmp_path, 999_999_999, 1_000_000_000)
    assert steps(checkpoints) == [999_999_999, 1_000_000_000]
    assert checkpoints.newest()[0].step == 1_000_000_000


# damage


@pytest.mark.parametrize("name", ["policy.npz", "counters.npz", MARKER])
def test_any_flipped_byte_is_found(name: str, tmp_path: Path):
    checkpoints = saved(tmp_path, 4096, 8192)
    path = tmp_path / "checkpoints" / "000008192" / name
    whole = path.read_bytes()
    text_only = [i for i, byte in enumerate(whole) if not chr(byte).isspace()] if name == MARKER else range(len(whole))
    for place in list(text_only)[:: max(1, len(whole) // 60)]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        newest, problems = checkpoints.newest()
        assert newest.step == 4096, place
        assert len(problems) == 1
        assert str(path) in problems[0]
        (tmp_path / "checkpoints" / "000008192.damaged").rename(path.parent)


def no_policy(folder: Path) -> None:
    (folder / "policy.npz").unlink()


def no_marker(folder: Path) -> None:
    (folder / MARKER).unlink()


def half_a_marker(folder: Path) -> None:
    (folder / MARKER).write_text((folder / MARKER).read_text()[:100])


def a_list_for_a_marker(folder: Path) -> None:
    (folder / MARKER).write_text("[1, 2]")


def a_folder_for_a_marker(folder: Path) -> None:
    (folder / MARKER).unlink()
    (folder / MARKER).mkdir()


def a_file_for_the_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("in the way")


def another_step(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name("000004096"), folder)


DAMAGES = [
    no_policy,
    no_marker,
    half_a_marker,
    a_list_for_a_marker,
    a_folder_for_a_marker,
    a_file_for_the_folder,
    another_step,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_told_kept_and_passed_over(damage, tmp_path: Path):
    checkpoints = saved(tmp_path, 4096, 8192)
    folder = tmp_path / "checkpoints" / "000008192"
    damage(folder)
    newest, problems = checkpoints.newest()
    assert newest.step == 4096
    assert len(problems) == 1
    assert str(folder) in problems[0]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["000004096", "000008192.damaged"]
    checkpoints.save(8192, state(8192), NOTES)  # training comes here again
    assert checkpoints.newest()[0].step == 8192
    damage(folder)
    checkpoints.newest()
    names = sorted(path.name for path in folder.parent.iterdir())
    assert names == ["000004096", "000008192.damaged", "000008192.damaged.1"]


def test_all_damaged_is_refused_and_nothing_is_touched(tmp_path: Path):
    checkpoints = saved(tmp_path, 4096, 8192)
    for step in ("000004096", "000008192"):
        no_policy(tmp_path / "checkpoints" / step)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"000008192/policy\.npz: .*no checkpoint of the run is whole: restore one"):
        checkpoints.newest()
    assert contents(tmp_path) == before


def test_a_marker_can_be_written_by_hand_only_with_its_checksum(tmp_path: Path):
    saved(tmp_path, 4096)
    folder = tmp_path / "checkpoints" / "000004096"
    about = json.loads((folder / MARKER).read_text())
    about["journal"] = 7
    (folder / MARKER).write_text(json.dumps(about))
    with pytest.raises(InputError, match=r"COMPLETE is missing or damaged; use another checkpoint"):
        read_checkpoint(folder)
    del about["sha256"]
    (folder / MARKER).write_bytes(seal(about))
    assert read_checkpoint(folder).notes["journal"] == 7


# a save that does not come to its end


def test_what_a_kill_left_is_no_checkpoint_and_goes_with_the_next_save(tmp_path: Path):
    checkpoints = saved(tmp_path, 4096, logs={"": Log(10, 100, rows)})
    whole = tmp_path / "checkpoints" / "000004096"
    shutil.copytree(whole, whole.with_name(".000008192.99.tmp"))
    (tmp_path / "replay" / ".000000010-000000020.npz.tmp").write_bytes(b"half")
    assert steps(checkpoints) == [4096]
    assert checkpoints.newest()[0].step == 4096
    checkpoints.save(12288, state(12288), NOTES, {"": Log(30, 100, rows)})
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["000004096", "000012288"]
    assert sorted(p.name for p in (tmp_path / "replay").iterdir()) == [
        "000000000-000000010.npz",
        "000000010-000000030.npz",
    ]


@pytest.mark.parametrize("kilobytes", [0, 64, 300])
def test_a_full_disk_leaves_the_older_checkpoints_and_says_where(small_disk: Path, kilobytes: int):  # noqa: F811
    """kilobytes: space that is left. A save takes some 420: policy and log; 300 are enough for one of them."""
    run = small_disk / "run"
    run.mkdir()
    checkpoints = saved(run, 4096, logs={"": Log(10, 100_000, rows)})
    before = contents(run)
    (small_disk / "reserve").write_bytes(bytes(kilobytes << 10))
    fill(small_disk / "rest")
    (small_disk / "reserve").unlink()
    big = {"policy": {"weight": np.zeros(20_000)}}
    with pytest.raises(OSError, match="000008192: No space left on device; .* free space, run the command") as caught:
        checkpoints.save(8192, big, NOTES, {"": Log(25_000, 100_000, rows)})
    assert caught.value.errno == errno.ENOSPC
    kept = contents(run)
    assert kept.items() >= before.items()
    assert not [name for name in kept if "tmp" in name]
    assert checkpoints.newest()[0].step == 4096
    checkpoints.newest()[0].load_log()

    (small_disk / "rest").unlink()
    checkpoints.save(8192, big, NOTES, {"": Log(25_000, 100_000, rows)})
    newest, problems = checkpoints.newest()
    assert (newest.step, problems) == (8192, [])
    added, chunks = newest.load_log()
    assert added == 25_000
    assert np.concatenate([arrays["rewards"] for _, _, arrays in chunks]).tolist() == list(range(25_000))


# keeping


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [
        ([4, 8, 12, 16, 20], 0, set()),
        ([4, 8, 12, 16, 20], 8, {8, 16}),
        ([3, 6, 9, 12, 15, 18], 5, {6, 12, 15}),  # the first at or after 5, 10, 15
        ([4, 40, 44], 8, {40}),  # one may stand for several multiples
        ([1, 2, 3], 100, set()),
        ([], 5, set()),
    ],
)
def test_milestones(steps: list[int], every: int, expected: set[int]):
    assert milestones(steps, every) == expected


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({"keep_last": 1, "milestone_every": 0}, [24]),
        ({"keep_last": 3, "milestone_every": 0}, [16, 20, 24]),
        ({"keep_last": 9, "milestone_every": 0}, [4, 8, 12, 16, 20, 24]),
        ({"keep_last": 1, "milestone_every": 10}, [12, 20, 24]),
        ({"keep_last": 2, "milestone_every": 0, "keep": (4, 999)}, [4, 20, 24]),
    ],
)
def test_what_is_kept(rules: dict, kept: list[int], tmp_path: Path):
    checkpoints = saved(tmp_path, 4, 8, 12, 16, 20, 24)
    surplus = [checkpoint.step for checkpoint in checkpoints.surplus(**rules)]
    assert steps(checkpoints) == [4, 8, 12, 16, 20, 24]  # to ask removes nothing
    assert checkpoints.prune(**rules) == surplus == [n for n in (4, 8, 12, 16, 20, 24) if n not in kept]
    assert steps(checkpoints) == kept
    assert sorted(path.name for path in checkpoints.paths.checkpoints.iterdir()) == [f"{step:09d}" for step in kept]
    assert checkpoints.prune(**rules) == []


# the replay buffer


def ring(checkpoint, capacity: int) -> list[int]:
    """The rows that the log of `checkpoint` gives back, oldest first."""
    added, chunks = checkpoint.load_log()
    found = [row for begin, end, arrays in chunks for row in zip(range(begin, end), arrays["rewards"], strict=True)]
    assert all(place == value for place, value in found)
    return [int(value) for place, value in found if place >= added - capacity]


def test_each_row_is_stored_once(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    asked = []

    def read(begin: int, end: int) -> dict:
        asked.append((begin, end))
        return rows(begin, end)

    for added in (10, 25, 25, 40):
        checkpoints.save(added * 100 + len(asked), state(added), NOTES, {"": Log(added, 1000, read)})
    assert asked == [(0, 10), (10, 25), (25, 40)]
    assert ring(checkpoints.newest()[0], 1000) == list(range(40))
    assert ring(checkpoints.all()[1], 1000) == list(range(25))


def test_an_empty_log_needs_no_file(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state(1), NOTES, {"": Log(0, 30, rows)})
    assert checkpoints.newest()[0].load_log() == (0, [])
    assert not (tmp_path / "replay").exists()


def test_chunks_go_when_nobody_needs_them_and_stay_as_long_as_somebody_does(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    for step, added in enumerate((20, 40, 60, 80, 200), 1):
        checkpoints.save(step, state(step), NOTES, {"": Log(added, 30, rows)})
    for checkpoint in checkpoints.all():
        added = checkpoint.load_log()[0]
        assert ring(checkpoint, 30) == list(range(max(0, added - 30), added))
    checkpoints.prune(keep_last=1, milestone_every=0, keep=(3,))
    assert steps(checkpoints) == [3, 5]
    files = sorted(path.name for path in (tmp_path / "replay").iterdir())
    # 60 - 30 = 30: the chunk 20..40 is half overwritten, and needed; 170..200 is all that counts of the last 120.
    assert files == ["000000020-000000040.npz", "000000040-000000060.npz", "000000170-000000200.npz"]
    for checkpoint in checkpoints.all():
        added = checkpoint.load_log()[0]
        assert ring(checkpoint, 30) == list(range(added - 30, added))


def test_a_damaged_chunk_damages_those_that_need_it(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    for step, added in ((1, 10), (2, 20), (3, 30)):
        checkpoints.save(step, state(step), NOTES, {"": Log(added, 100, rows)})
    path = tmp_path / "replay" / "000000010-000000020.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    newest, problems = checkpoints.newest()
    assert newest.step == 1
    assert [str(path) in problem for problem in problems] == [True, True]
    assert ring(newest, 100) == list(range(10))
    checkpoints.save(2, state(2), NOTES, {"": Log(20, 100, rows)})  # the same rows again, in the same place
    assert path.read_bytes() == whole
    assert ring(checkpoints.newest()[0], 100) == list(range(20))
