"""Files are whole or not there, with real faults: several writers, errors and kills in the middle, a closed folder."""

from __future__ import annotations

import ast
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from racing.files import (
    aside,
    atomic_path,
    merge,
    move_aside,
    read_json,
    remove_leftovers,
    remove_tree,
    temporary_path,
    write_atomic,
    write_json,
)
from tests.conftest import REPOSITORY

SIZE = 200_000  # [bytes] a write takes some time


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run_python(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], cwd=REPOSITORY)


# what comes out


def test_a_file_is_replaced_and_nothing_else_stays(tmp_path: Path):
    path = tmp_path / "lap.png"
    for content in (b"old", b"new"):
        with atomic_path(path) as temporary:
            assert temporary.parent == tmp_path
            assert temporary.suffix == ".png"  # libraries look at it
            assert temporary.name.startswith(".lap.")
            temporary.write_bytes(content)
            assert path.exists() == (content == b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["lap.png"]


@pytest.mark.parametrize("name", ["000500000", "two.dots.tar.gz", ".hidden", "no suffix"])
def test_any_name_will_do(name: str, tmp_path: Path):
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_text("x")
    assert names(tmp_path) == [name]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path):
    folder = tmp_path / "oval"
    for number in (1, 2):
        with atomic_path(folder, sync_parent=True) as temporary:
            (temporary / "deep").mkdir(parents=True)
            (temporary / "deep" / f"{number}.txt").write_text(str(number))
    assert names(folder / "deep") == ["2.txt"]
    assert names(tmp_path) == ["oval"]


def test_json_comes_back(tmp_path: Path):
    path = tmp_path / "a.json"
    assert read_json(path) == {}
    write_json(path, {"é": [1, None]})
    assert read_json(path) == {"é": [1, None]}
    write_atomic(path, "[1]")
    with pytest.raises(ValueError, match=r"a\.json must hold a JSON object"):
        read_json(path)


def test_content_is_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A power cut cannot be tested; the order of the calls that protect from it can."""
    path, calls = tmp_path / "a.txt", []
    fsync = os.fsync

    def noting(fd: int) -> None:
        calls.append((Path(f"/proc/self/fd/{fd}").readlink().name, path.exists()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noting)
    with atomic_path(path, sync_parent=True) as temporary:
        temporary.write_text("x")
    assert calls == [(temporary.name, False), (tmp_path.name, True)]
    calls.clear()
    with atomic_path(path, sync=False) as temporary:
        temporary.write_text("x")
    assert calls == []


# several at once


def writing(path: Path, letter: str, until: float) -> None:
    while time.time() < until:
        write_atomic(path, letter * SIZE)


@pytest.mark.slow
def test_processes_that_write_the_same_file_never_spoil_it(tmp_path: Path):
    path, until = tmp_path / "shared.txt", time.time() + 2
    write_atomic(path, "a" * SIZE)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=writing, args=(path, letter, until)) for letter in "abc"]
    for writer in writers:
        writer.start()
    seen = set()
    while time.time() < until:
        text = path.read_text()
        assert len(text) == SIZE
        assert len(set(text)) == 1, f"a mixture of {set(text)}"
        seen.add(text[0])
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(seen) > 1
    assert names(tmp_path) == ["shared.txt"]


def test_two_writers_in_one_process_have_names_of_their_own(tmp_path: Path):
    path = tmp_path / "a.txt"
    with atomic_path(path) as one, atomic_path(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"  # the last to finish
    assert names(tmp_path) == ["a.txt"]


# faults


@pytest.mark.parametrize("error", [ValueError("wrong"), OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("kind", ["file", "folder", "nothing"])
def test_an_error_in_the_middle_changes_nothing(error: BaseException, old: bool, kind: str, tmp_path: Path):
    path = tmp_path / "a.txt"
    if old:
        write_atomic(path, "old")
    with pytest.raises(type(error)), atomic_path(path) as temporary:
        if kind == "file":
            temporary.write_text("half")
        elif kind == "folder":
            temporary.mkdir()
            (temporary / "half").write_text("half")
        raise error
    assert names(tmp_path) == (["a.txt"] if old else [])
    assert not old or path.read_text() == "old"


def test_a_rename_that_fails_leaves_what_was_there(tmp_path: Path):
    folder = tmp_path / "taken"
    (folder / "by").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write_atomic(folder, "text")
    assert names(tmp_path) == ["taken"]
    assert names(folder) == ["by"]


def test_a_kill_in_the_middle_leaves_the_old_file_and_a_hidden_rest(tmp_path: Path):
    path = tmp_path / "a.txt"
    write_atomic(path, "old")
    code = """
        import os, signal, sys
        from pathlib import Path
        from racing.files import atomic_path

        with atomic_path(Path(sys.argv[1])) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run_python(code, path).wait() == -signal.SIGKILL
    assert path.read_text() == "old"
    hidden = [name for name in names(tmp_path) if name.startswith(".a.")]
    assert names(tmp_path) == [*hidden, "a.txt"]
    assert len(hidden) == 1
    write_atomic(path, "new")
    assert path.read_text() == "new"
    remove_leftovers(tmp_path, "b")  # of another file
    assert names(tmp_path) == [*hidden, "a.txt"]
    remove_leftovers(tmp_path, "a")
    assert names(tmp_path) == ["a.txt"]


@pytest.fixture
def closed_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written, with a file: for root, too, whom no permission keeps away."""
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "a.txt").write_text("old")
    if os.geteuid():
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    commands = [["mount", "--bind", folder, folder], ["mount", "-o", "remount,ro,bind", folder]]
    if not shutil.which("mount") or any(
        subprocess.run(command, capture_output=True).returncode for command in commands
    ):
        pytest.skip("cannot mount a folder for reading only here: needs root with the right to mount")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_folder_that_cannot_be_written_says_so(closed_folder: Path):
    with pytest.raises(OSError, match="Permission denied|Read-only file system"):
        write_atomic(closed_folder / "a.txt", "new")
    assert (closed_folder / "a.txt").read_text() == "old"
    assert names(closed_folder) == ["a.txt"]


# out of the way


def test_the_first_free_name_is_found(tmp_path: Path):
    path = tmp_path / "run"
    assert aside(path) == path
    path.mkdir()
    assert aside(path) == tmp_path / "run.1"
    (tmp_path / "run.1").write_text("a file counts, too")
    assert move_aside(path) == tmp_path / "run.2"
    path.mkdir()
    assert [move_aside(path, ".damaged"), path.mkdir(), move_aside(path, ".damaged")] == [
        tmp_path / "run.damaged",
        None,
        tmp_path / "run.damaged.1",
    ]
    assert names(tmp_path) == ["run.1", "run.2", "run.damaged", "run.damaged.1"]


def test_merging_replaces_what_is_there_and_keeps_the_rest(tmp_path: Path):
    for place, files in {"new": ["a", "deep/b", "more/c"], "old": ["a", "deep/d"]}.items():
        for file in files:
            (tmp_path / place / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place / file).write_text(place)
    merge(tmp_path / "new", tmp_path / "old")
    found = {str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {"old/a": "new", "old/deep/b": "new", "old/more/c": "new", "old/deep/d": "old"}
    merge(tmp_path / "old" / "a", tmp_path / "far" / "away")
    assert (tmp_path / "far" / "away").read_text() == "new"


def test_a_removed_folder_is_gone_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "000001000"
    folder.mkdir()
    for name in "abc":
        (folder / name).write_text(name)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        remove_tree(folder)
    assert not folder.exists()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == []


def test_temporary_names_differ(tmp_path: Path):
    assert len({temporary_path(tmp_path / "a.txt") for _ in range(100)}) == 100


# the only place

SOURCES = [*(REPOSITORY / "racing").rglob("*.py"), *(REPOSITORY / "launchers").rglob("*.py")]
RENAMES = {"os.replace", "os.rename", "os.renames", "shutil.move"}
TEMPORARY = re.compile(r"\.(tmp|temp|part|partial|new)(\W|$)")


def own_renames(code: str) -> list[str]:
    """What of `code` renames files, or looks like the name of a temporary one."""
    tree = ast.parse(code)
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            # str.replace has two arguments, dataclasses.replace keywords
            path_method = node.func.attr in ("rename", "replace") and len(node.args) == 1 and not node.keywords
            if path_method or ast.unparse(node.func) in RENAMES:
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts
        if is_text and TEMPORARY.search(node.value):
            found.append(f"line {node.lineno}: {node.value!r}")
    return found


def test_nobody_else_writes_under_a_temporary_name():
    found = {path.relative_to(REPOSITORY).as_posix(): own_renames(path.read_text()) for path in SOURCES}
    assert found.pop("racing/files.py"), "the search finds nothing"
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "code",
    [
        "part.replace(path)",
        "Path('a').rename('b')",
        "os.replace(a, b)",
        "shutil.move(a, b)",
        "path.with_name(f'.{path.name}.{os.getpid()}.tmp')",
        "name + '.part'",
        "f'.{name}.new'",
    ],
)
def test_the_search_finds_every_dialect(code: str):
    assert len(own_renames(code)) == 1
    assert own_renames("text.replace('a', 'b'); replace(track, name='a'); dataclasses.replace(lap, a=1); '.news'") == []
