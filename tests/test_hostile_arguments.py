"""What an attacker, or a slip, may put where a verb expects a name: refused in one line, and nothing is left.

Those that are legitimate somewhere are left out there (FITS).
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import resource
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from racing.cli import main

HANG = 60  # [s] after which a call is taken for one that hangs
MOST_MEMORY = 1 << 20  # [KiB] that a call may take

# What a value is put into: words, {} is the value.
VERBS = [
    "train debug=fast init_from={}",
    "train debug=fast algo.teacher=[{}]",
    "train debug=fast track={}",
    "train debug=fast vehicle={}",
    "train debug=fast tracking.uri={}",
    "train debug=fast hardware={}",
    "train debug=fast phases.first={}",
    "train --config-dir={} debug=fast",
    "train -m debug=fast tuning=random tuning.study={}",
    "train -m debug=fast launcher={}",
    "evaluate run={}",
    "evaluate run={} backend=torch",
    "compare match=true run=[{},line@0.9]",
    "compare run=[{},optimal]",
    "export run={}",
    "reproduce run={}",
    "runs show {}",
    "runs artifacts {}",
    "runs fetch {}",
    "runs sync {}",
    "runs promote {}",
    "jobs status {}",
    "jobs logs {}",
    "jobs collect {}",
    "jobs cancel {}",
    "tracks show {}",
    "tracks validate {}",
    "tracks import {}",
    "tracks reference {}",
    "tracks preview {}",
    "ui port={}",
    "bench {}",
    "campaign campaign={}",
    "campaign campaign=duel mode={}",
    "campaign campaign=duel launcher={}",
    "campaign campaign=duel campaign.validation.tracks=[{}]",
    "campaign campaign=duel campaign.entries.brief=[{}]",
    "campaign show {}",
    "campaign fetch {}",
    "play open=false port=0 run={}",
    "play open=false port=0 driver=human track={}",
    "play open=false port={}",
    "play open=false port=0 host={} token=long-and-secret",
    "play open=false port=0 driver=human ssl=[{},{}]",
]
VALUES = {
    "outside": "../../../../escaped/here",
    "absolute": "/escaped/here",
    "device": "/dev/zero",
    "pipe": "PIPE",
    "folder": "FOLDER",
    "huge": "HUGE.json",
    "pickle": "PICKLE.zip",
    "text": "TEXT.onnx",
    "nested": "NESTED.json",
    "binary": "BINARY.csv",
    "long": "x" * 5000,
    "NUL": "a\0b",
    "lines": "a\nb",
    "command": "$(touch executed)",
    "ticks": "`touch executed`",
    "interpolation": "${oc.env:HOME}",
    "python": "!!python/object/apply:os.system",
    "target": "{_target_:os.system,command:x}",
    "option": "--output=executed",
    "percent": "%00%2e%2e",
    "registry": "models:/../../x/1",
    "password": "https://me:hunter2@example.invalid/x",
    "letters": "\u202etxt.exe",
}
STUDY = "train -m debug=fast tuning=random tuning.study={}"
FITS = {("train --config-dir={} debug=fast", "folder")}
FITS |= {(STUDY, kind) for kind in ("pipe", "folder", "huge", "pickle", "text", "nested", "binary")}  # names as others


class Bomb:
    def __reduce__(self) -> tuple:
        return os.system, ("touch executed",)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are not what they seem."""
    folder = tmp_path_factory.mktemp("hostile")
    os.mkfifo(folder / "PIPE")
    (folder / "FOLDER").mkdir()
    with (folder / "HUGE.json").open("wb") as file:
        file.truncate(8 << 30)  # takes no room on the disk
    with zipfile.ZipFile(folder / "PICKLE.zip", "w") as archive:
        bomb = {":type:": "x", ":serialized:": base64.b64encode(pickle.dumps(Bomb())).decode()}
        archive.writestr("data", json.dumps(dict.fromkeys(("policy_class", "observation_space", "action_space"), bomb)))
        archive.writestr("policy.pth", pickle.dumps(Bomb()))
    (folder / "TEXT.onnx").write_text("no model")
    (folder / "NESTED.json").write_text("[" * 100_000)
    (folder / "BINARY.csv").write_bytes(bytes(range(256)) * 40)
    return folder


@pytest.fixture
def here(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to stand in that holds nothing but the files; a call that hangs there fails."""

    def hangs(*_: object) -> None:
        raise TimeoutError(f"it takes longer than {HANG} s")

    folder = tmp_path / "here" / "there"
    folder.mkdir(parents=True)
    for file in files.iterdir():
        (folder / file.name).symlink_to(file)
    monkeypatch.chdir(folder)
    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(HANG)
    yield folder
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def rows() -> list[tuple[str, str]]:
    """Every verb with every other value, and every value with every other verb."""
    pairs = [(verb, kind) for n, verb in enumerate(VERBS) for m, kind in enumerate(VALUES) if (n + m) % 2 == 0]
    return [pair for pair in pairs if pair not in FITS]


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "kind"), rows(), ids=lambda part: part)
def test_is_refused(verb: str, kind: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    before, memory = everything(tmp_path), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code = main([word.replace("{}", VALUES[kind]) for word in verb.split()])
    said = capsys.readouterr()
    assert code == 2
    assert said.err.count("\n") == 1
    assert said.err.startswith(f"racing {verb.split()[0]}: ")
    assert "hunter2" not in said.err + said.out
    assert everything(tmp_path) == before
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < MOST_MEMORY


def test_they_are_many():
    assert len(rows()) >= 300
