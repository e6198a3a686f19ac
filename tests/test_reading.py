"""Files from outside: regular ones only, up to a size, and nothing is waited for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from racing.cli import main
from racing.errors import InputError, read_bytes
from racing.files import is_inside
from racing.reading import read_regular


def make(kind: str, path: Path) -> Path:
    """A link to something that is no file."""
    place = path.with_name("place")
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(place))
    path.symlink_to({"zero": Path("/dev/zero"), "null": Path("/dev/null")}.get(kind, place))
    return path


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "zero", "null"])
def test_only_files_are_read(kind: str, tmp_path: Path):
    path = make(kind, tmp_path / "file")
    with pytest.raises(OSError, match=r"it is a (pipe|folder|socket|device), not a file"):
        read_regular(path, 100)
    with pytest.raises(InputError, match=r"cannot be read: it is a (pipe|folder|socket|device), not a file"):
        read_bytes(path, 100, "a text file")


def test_no_more_than_the_limit_is_read(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_regular(path, 100) == b"x" * 100
    with pytest.raises(OSError, match="it has 100 bytes, at most 99 are read"):
        read_regular(path, 99)
    with pytest.raises(OSError, match="it has more bytes, at most 10 are read"):
        read_regular(Path("/proc/self/status"), 10)  # says that it is empty
    link = tmp_path / "link"
    link.symlink_to(path)
    assert read_regular(link, 100) == b"x" * 100


TRACKS = ["track.csv", "map.yaml", "track.png", "folder/checkpoints.json"]


@pytest.mark.parametrize("kind", ["pipe", "zero"])
@pytest.mark.parametrize("name", TRACKS)
def test_a_track_that_is_a_pipe_is_refused(name: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "folder").mkdir()
    make(kind, tmp_path / name)
    (tmp_path / "folder" / "track.png").write_bytes((Path("tracks/oval/oval.png")).read_bytes())
    for command in (["tracks", "show"], ["tracks", "validate"]):
        assert main([*command, str(tmp_path / name)]) in (1, 2)
        assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["pipe", "zero", "folder"])
@pytest.mark.parametrize("name", ["policy.zip", "policy.onnx"])
def test_a_policy_that_is_a_pipe_is_refused(name: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    make(kind, tmp_path / name)
    assert main(["evaluate", f"run={tmp_path / name}", f"paths.outputs={tmp_path}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_names_of_others_stay_inside():
    assert all(is_inside(name) for name in ("a", "a/b.c", "..a/b..", ".hidden"))
    assert not any(is_inside(name) for name in ("/a", "..", "a/../../b", "..\\a", "a\0b"))
