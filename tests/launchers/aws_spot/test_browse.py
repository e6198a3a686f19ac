"""`racing runs artifacts | fetch --from s3://...`, `racing tracks push | pull | list --to s3://...`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from racing.cli import main
from racing.runs.directory import open_run
from racing_launchers.aws_spot.account.objects import Objects
from racing_launchers.aws_spot.instance.uploads import Uploads
from racing_launchers.aws_spot.place import Place, Writer


@pytest.fixture
def runs(stack: str, client: Any, tmp_path: Path) -> str:
    """Two jobs have left a run each; the name of the bucket."""
    objects = Objects(client("s3"), stack)
    for number, name in enumerate(("c-11111111", "d-22222222")):
        outputs = tmp_path / f"instance{number}"
        (outputs / "runs" / name / "export").mkdir(parents=True)
        (outputs / "runs" / name / "journal.jsonl").write_text("{}\n")
        (outputs / "runs" / name / "export/policy.onnx").write_text(name)
        for path in outputs.rglob("*"):
            os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
        place = Place(objects, f"s-aa-bb/{number}")
        place.make()
        Uploads(Writer(place, 1, f"i-{number}"), outputs, {}).commit()
    objects.write("runs/s-aa-bb/0/runs/c-11111111/ghost", b"of an instance that was fenced")
    return stack


def test_all_that_lies_there_is_listed(runs: str, capsys: pytest.CaptureFixture[str]):
    assert main(["runs", "artifacts", "--from", f"s3://{runs}", "format=json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    names = ("c-11111111", "d-22222222")
    wanted = [f"runs/{name}/{file}" for name in names for file in ("export/policy.onnx", "journal.jsonl")]
    assert sorted(row["path"] for row in rows) == wanted
    assert main(["runs", "artifacts", "c-1", "--from", f"s3://{runs}"]) == 0
    said = capsys.readouterr().out
    assert "runs/c-11111111/export/policy.onnx" in said
    assert f"2 files in s3://{runs}/runs/c-11111111" in said
    assert main(["runs", "artifacts", "--from", f"s3://{runs}/runs/s-aa-bb/1"]) == 0
    said = capsys.readouterr().out
    assert "d-22222222" in said
    assert "c-11111111" not in said


def test_what_is_whole_here_is_deleted_there(
    runs: str, tmp_path: Path, client: Any, capsys: pytest.CaptureFixture[str]
):
    here = ["--from", f"s3://{runs}", f"paths.outputs={tmp_path}"]
    with open_run(tmp_path, "kart", {"name": "kart"}, [], {}) as run:
        run.finish({"finish_rate": 1.0})
    place = Place(Objects(client("s3"), runs), "s-aa-bb/2")
    place.make()
    shutil.copytree(tmp_path / "runs", tmp_path / "copy/runs")
    Uploads(Writer(place, 1, "i-2"), tmp_path / "copy", {}).commit()
    assert main(["runs", "prune", *here]) == 0
    said = capsys.readouterr().out
    assert "kept     runs/s-aa-bb/0: not here; racing runs fetch c-11111111" in said
    assert "deleted  runs/s-aa-bb/2\n" in said
    assert main(["runs", "artifacts", "--from", f"s3://{runs}"]) == 0
    said = capsys.readouterr().out
    assert run.name not in said
    assert "d-22222222" in said
    assert main(["runs", "prune", "--from", f"s3://{runs}/runs/s-aa-bb/0", f"paths.outputs={tmp_path}"]) == 2


def test_a_run_is_fetched_whole(runs: str, tmp_path: Path, client: Any, capsys: pytest.CaptureFixture[str]):
    assert main(["runs", "fetch", "d-2", "--from", f"s3://{runs}", f"to={tmp_path / 'here'}"]) == 0
    assert (tmp_path / "here/d-22222222/export/policy.onnx").read_text() == "d-22222222"
    assert sorted(path.name for path in (tmp_path / "here/d-22222222").iterdir()) == ["export", "journal.jsonl"]
    assert main(["runs", "fetch", "latest", "--from", f"s3://{runs}", f"to={tmp_path / 'here'}"]) == 2
    assert "is there already" in capsys.readouterr().err
    fetch = ["runs", "fetch", "--from", f"s3://{runs}", "path=runs/c-11111111/export", f"paths.outputs={tmp_path}"]
    assert main(fetch) == 0
    assert (tmp_path / f"fetched/{runs}/export/policy.onnx").read_text() == "c-11111111"
    # Who overwrites a file in a bucket that keeps versions changes nothing.
    key = "runs/s-aa-bb/0/runs/c-11111111/export/policy.onnx"
    client("s3").put_object(Bucket=runs, Key=key, Body=b"bad")
    assert main([*fetch[:-1], f"to={tmp_path / 'again'}"]) == 0
    assert (tmp_path / "again/export/policy.onnx").read_text() == "c-11111111"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["artifacts", "nosuch", "--from", "s3://racing-tests"],
            "run 'nosuch' must be one of those on s3://racing-tests",
        ),
        (["artifacts", "--from", "s3://no-such-bucket"], "AWS refused s3://no-such-bucket/runs/"),
        (["artifacts", "--from", "s3://Wrong"], "must be the name of a bucket"),
        (["artifacts", "--from", "gs://x"], "'gs://x' must be modal://VOLUME or s3://BUCKET/FOLDER"),
        (
            ["artifacts", "--from", "s3://racing-tests/runs/none/0"],
            "s3://racing-tests/runs/none/0 is empty or not there",
        ),
        (["fetch", "--from", "s3://racing-tests"], "name what to fetch from s3://racing-tests"),
        (["fetch", "--from", "s3://racing-tests", "path=../x"], "../x is not on s3://racing-tests"),
    ],
)
def test_wrong_input(arguments: list[str], text: str, runs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["runs", *arguments, f"paths.outputs={tmp_path / 'out'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line
    assert not (tmp_path / "out").exists()


def test_tracks(stack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    to = ["--to", f"s3://{stack}/tracks"]
    assert main(["tracks", "push", "oval", *to]) == 0
    assert f"oval: sent, s3://{stack}/tracks/oval" in capsys.readouterr().out
    assert main(["tracks", "push", "oval", *to]) == 0
    assert "oval: is the same there" in capsys.readouterr().out
    assert main(["tracks", "list", *to]) == 0
    assert "oval.png" in capsys.readouterr().out
    assert main(["tracks", "pull", "oval", *to, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "oval/oval.png").is_file()
    assert main(["tracks", "pull", "none", *to]) == 2
    assert f"track 'none' is not on s3://{stack}/tracks; it has oval" in capsys.readouterr().err
