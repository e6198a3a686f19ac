"""A job's place in the bucket: commits of one instant, fenced; what is fetched is what was committed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from racing.errors import InputError
from racing.runs.checkpoints import Checkpoints
from racing_launchers.aws_spot.account.objects import Conflict, Objects, split_address
from racing_launchers.aws_spot.instance import uploads
from racing_launchers.aws_spot.instance.uploads import Uploads, instant
from racing_launchers.aws_spot.place import Commit, Entry, Fenced, Place, Writer, read_commit


@pytest.fixture
def place(aws: str, client: Any) -> Place:
    s3 = client("s3")
    s3.create_bucket(Bucket="bkt")
    s3.put_bucket_versioning(Bucket="bkt", VersioningConfiguration={"Status": "Enabled"})
    made = Place(Objects(s3, "bkt"), "sweep-1/0")
    made.make()
    return made


def test_it_is_made_once(place: Place):
    Writer(place, 1, "i-1")
    place.make()
    assert place.latest()[0].attempt == 1  # type: ignore[index]


def test_the_first_instance_of_an_attempt_has_the_job(place: Place):
    first = Writer(place, 1, "i-1")
    with pytest.raises(Fenced, match="attempt 1 on i-1 has the job"):
        Writer(place, 1, "i-2")
    Writer(place, 1, "i-1")  # its program was started again
    with pytest.raises(Fenced, match="i-1 has the job now"):
        first.commit({})


def test_a_later_attempt_takes_it_over_and_an_earlier_one_never_gets_it_back(place: Place):
    first = Writer(place, 1, "i-1")
    second = Writer(place, 2, "i-2")
    with pytest.raises(Fenced, match="i-2 has the job now"):
        first.commit({})
    with pytest.raises(Fenced, match="attempt 2 on i-2 has the job"):
        Writer(place, 1, "i-1")
    second.commit({})


def test_of_many_at_once_one_gets_it(place: Place):
    won: list[str] = []

    def claim(name: str) -> None:
        try:
            Writer(place, 1, name)
            won.append(name)
        except Fenced:
            pass

    threads = [threading.Thread(target=claim, args=[f"i-{number}"]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert place.latest()[0].instance == won[0]  # type: ignore[index]


def test_a_commit_that_was_sent_twice_on_a_bad_line_is_ours(place: Place, monkeypatch: pytest.MonkeyPatch):
    """The first answer is lost, boto3 sends it again, and S3 refuses the second: it was written."""
    writer = Writer(place, 1, "i-1")
    write = Objects.write

    def twice(self: Objects, key: str, content: Any, **condition: Any) -> Any:
        write(self, key, content, **condition)
        return write(self, key, content, **condition)

    monkeypatch.setattr(Objects, "write", twice)
    writer.commit({"a": Entry(1, 2, "x", "v")})
    monkeypatch.undo()
    writer.commit({"b": Entry(1, 2, "x", "v")})
    assert list(place.latest()[0].files) == ["b"]  # type: ignore[index]


def test_what_a_fenced_instance_still_writes_nobody_sees(place: Place, tmp_path: Path):
    first = Writer(place, 1, "i-1")
    (tmp_path / "one").mkdir()
    (tmp_path / "one/journal.jsonl").write_text("first\n")
    Uploads(first, tmp_path / "one", {}).commit()
    second = Writer(place, 2, "i-2")
    snapshot = place.snapshot()
    assert snapshot is not None
    snapshot.restore(tmp_path / "two")
    (tmp_path / "two/journal.jsonl").write_text("first\nsecond\n")
    Uploads(second, tmp_path / "two", second.found.files).commit()
    (tmp_path / "one/journal.jsonl").write_text("first\nghost\n")
    with pytest.raises(Fenced):
        Uploads(first, tmp_path / "one", {}).commit()
    now = place.snapshot()
    assert now is not None
    assert now.read("journal.jsonl") == b"first\nsecond\n"
    now.restore(tmp_path / "three")
    assert (tmp_path / "three/journal.jsonl").read_text() == "first\nsecond\n"


def test_only_what_is_new_is_sent(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    writer = Writer(place, 1, "i-1")
    sent: list[str] = []
    upload = Writer.upload
    monkeypatch.setattr(Writer, "upload", lambda self, path, *rest: sent.append(path) or upload(self, path, *rest))
    (tmp_path / "runs/r").mkdir(parents=True)
    (tmp_path / "runs/r/config.yaml").write_text("a: 1")
    (tmp_path / "runs/r/journal.jsonl").write_text("1\n")
    (tmp_path / "runs/r/.part").write_text("half")
    (tmp_path / "runs/r/run.lock").write_text("me")
    ours = Uploads(writer, tmp_path, {})
    ours.commit()
    assert sent == ["runs/r/config.yaml", "runs/r/journal.jsonl"]
    with (tmp_path / "runs/r/journal.jsonl").open("a") as file:
        file.write("2\n")
    ours.commit()
    ours.commit()
    assert sent[2:] == ["runs/r/journal.jsonl"]
    (tmp_path / "runs/r/config.yaml").unlink()
    ours.commit()
    assert list(place.latest()[0].files) == ["runs/r/journal.jsonl"]  # type: ignore[index]
    assert len(sent) == 3
    assert [path.name for path in tmp_path.parent.glob(".*tmp*")] == []  # no links are left


def test_restored_files_are_not_sent_again(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "one").mkdir()
    (tmp_path / "one/a").write_text("1")
    (tmp_path / "one/log.txt").write_text("1\n")
    Uploads(Writer(place, 1, "i-1"), tmp_path / "one", {}).commit()
    writer = Writer(place, 2, "i-2")
    place.snapshot().restore(tmp_path / "two")  # type: ignore[union-attr]
    monkeypatch.setattr(Writer, "upload", lambda *_: pytest.fail("sent again"))
    Uploads(writer, tmp_path / "two", writer.found.files).commit()


def test_an_instant_holds_whole_checkpoints_and_a_journal_no_older_than_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A checkpoint that is pruned while it is linked is left out; the journal is looked at last."""
    run = tmp_path / "out/runs/r"
    run.mkdir(parents=True)
    checkpoints = Checkpoints(run)
    (run / "journal.jsonl").write_text("begin\n")
    for step in (1, 2):
        checkpoints.save(step, {"policy": {"a": step}}, {"journal": 6})
    hardlink = Path.hardlink_to

    def link(self: Path, target: Path) -> None:
        if "000000002" in str(target) and target.name == "policy.npz" and target.exists():
            target.unlink()  # the training prunes it just now
            (run / "checkpoints/000000001/policy.npz").touch()
            with (run / "journal.jsonl").open("a") as file:
                file.write("pruned 2\n")
        hardlink(self, target)

    monkeypatch.setattr(Path, "hardlink_to", link)
    with instant(tmp_path / "out") as (kept, sizes):
        found = Checkpoints(kept / "runs/r").all()
        assert [one.step for one in found] == [1]
        found[0].check()
        assert not (kept / "runs/r/checkpoints/000000002").exists()
        journal = kept / "runs/r/journal.jsonl"
        assert sizes[journal] == len("begin\npruned 2\n")
        with (run / "journal.jsonl").open("a") as file:
            file.write("later\n")
        assert journal.stat().st_size > sizes[journal]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_journal_is_kept_after_all_that_it_may_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("config.yaml", "journal.jsonl", "summary.json", "replay/0-1.npz", "checkpoints/1/COMPLETE", "zeta/a"):
        (tmp_path / "out/runs/r" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out/runs/r" / name).touch()
    order: list[str] = []
    hardlink = Path.hardlink_to
    monkeypatch.setattr(Path, "hardlink_to", lambda self, to: order.append(to.name) or hardlink(self, to))
    with instant(tmp_path / "out"):
        assert order[:6] == ["COMPLETE", "a", "0-1.npz", "config.yaml", "summary.json", "journal.jsonl"]


def test_a_file_too_large_for_one_request_is_named(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(uploads, "LARGEST", 3)
    (tmp_path / "big").write_text("1234")
    with pytest.raises(InputError, match=r"big has 4 bytes, S3 takes 3 at once"):
        Uploads(Writer(place, 1, "i-1"), tmp_path, {}).commit()


def test_what_was_changed_in_the_bucket_is_refused(place: Place, tmp_path: Path, client: Any):
    """Where versions are not kept, another's write is noticed by the checksum."""
    client("s3").put_bucket_versioning(Bucket="bkt", VersioningConfiguration={"Status": "Suspended"})
    (tmp_path / "a").write_text("1")
    Uploads(Writer(place, 1, "i-1"), tmp_path, {}).commit()
    client("s3").put_object(Bucket="bkt", Key=place.key("a"), Body=b"2")
    snapshot = place.snapshot()
    assert snapshot is not None
    with pytest.raises(InputError, match=r"s3://bkt/runs/sweep-1/0/a is not what was committed"):
        snapshot.restore(tmp_path / "new")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"{", "is damaged"),
        (b"[]", "is damaged"),
        (b'{"format": 2}', "format 2"),
        (b'{"format": 1, "attempt": 1, "instance": "", "nonce": "", "files": {"a": [1, 2]}}', "is damaged"),
        (
            b'{"format": 1, "attempt": 1, "instance": "", "nonce": "", "files": {"../a": [1, 2, "", ""]}}',
            "leads out of it",
        ),
    ],
)
def test_a_damaged_commit(text: bytes, problem: str):
    with pytest.raises(InputError, match=problem):
        read_commit(text, "s3://b/latest.json")


def test_a_commit_is_read_as_it_was_written():
    commit = Commit(3, "i-1", {"a/b": Entry(1, 2, "c", "d"), "a": Entry(0, 0, "", "")}, "n")
    assert read_commit(commit.text(), "") == commit


def test_conditions_of_writes(place: Place):
    objects = place.objects
    first = objects.write("k", b"1", if_absent=True)
    with pytest.raises(Conflict):
        objects.write("k", b"2", if_absent=True)
    second = objects.write("k", b"2", if_match=first.etag)
    with pytest.raises(Conflict):
        objects.write("k", b"3", if_match=first.etag)
    assert objects.read("k") == b"2"
    assert objects.read("k", first.version) == b"1"
    assert second.version != first.version
    assert objects.read("none") is None


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("s3://", "must be the name of a bucket"),
        ("s3://B", "must be the name of a bucket"),
        ("s3://a.b.c", "must be the name of a bucket"),
        ("s3://10.0.0.1", "must be the name of a bucket"),
        ("s3://bucket/../x", "must not lead out"),
        ("gs://bucket", "must be s3://BUCKET"),
    ],
)
def test_addresses(address: str, text: str):
    with pytest.raises(InputError, match=text):
        split_address(address)
    assert split_address("s3://my-bucket/runs/a/0/") == ("my-bucket", "runs/a/0")
