"""The matches of a campaign: all of them, once, in whatever way they are driven."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from racing.campaigns import driving
from racing.campaigns.drives import Drive
from racing.campaigns.results import FILES
from tests.campaigns.conftest import ENTRIES, Command, change_policy, folder_of, texts

pytestmark = pytest.mark.slow
MATCHES, ALONE = 6, 6  # of three entries on two tracks


def results(place: Path) -> dict[str, Any]:
    return json.loads((folder_of(place) / "validation/results.json").read_text())


@pytest.fixture
def driven(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What this process drives, in order."""
    noted: list[str] = []
    drive_one = driving.drive_one

    def noting(one: Drive, threads: int = 1) -> None:
        noted.append(one.title)
        drive_one(one, threads)

    monkeypatch.setattr(driving, "drive_one", noting)
    return noted


def test_all_is_driven_once_and_written_down(campaign: Command, place: Path, driven: list[str]):
    code, out, err = campaign("mode=validate", "sequential=true")
    assert (code, len(driven)) == (0, MATCHES + ALONE), err
    assert f"validation: 0 of {MATCHES + ALONE} kept; 6 matches, 24 games, and 6 drives alone: about" in out
    found = results(place)
    assert [entry["name"] for entry in found["entries"]] == list(ENTRIES)
    assert [entry["home"] for entry in found["entries"]] == ["oval", "oval", None]
    assert {entry["algo"] for entry in found["entries"]} == {"ppo"}
    assert len({entry["sha256"] for entry in found["entries"]}) == 3
    assert found["spent"]["games"] == 24
    assert set(found["ratings"]) == {"all", "oval", "karting"}
    pairs = {(pair["track"], pair["a"], pair["b"]): pair for pair in found["pairs"]}
    assert len(pairs) == 2 * MATCHES
    for (track, a, b), pair in pairs.items():  # from the other side it is the same
        other = pairs[track, b, a]
        assert (pair["wins"], pair["draws"], pair["games"]) == (other["losses"], other["draws"], 4)
        assert pair["win_share"] + other["win_share"] == pytest.approx(1)
    folder = folder_of(place) / "validation"
    assert {path.name for path in folder.iterdir()} == set(FILES)
    config = tomllib.loads((folder / "config.toml").read_text())
    assert config["validation"]["tracks"] == ["oval", "karting"]
    assert "track.file=[oval,karting]" in config["entries"]["general"]
    assert (folder / "matrix.csv").read_text().splitlines()[0].startswith("win share of the row,")
    before = texts(place / "outputs/matches") | texts(folder_of(place))
    driven.clear()
    code, out, _ = campaign("mode=validate")
    assert (code, driven) == (0, [])
    assert f"all {MATCHES + ALONE} matches and drives alone are kept" in out
    assert texts(place / "outputs/matches") | texts(folder_of(place)) == before
    # Another number of games: other matches, but who drives alone is known.
    assert campaign("mode=validate", "games=2", "sequential=true")[0] == 0
    assert len(driven) == MATCHES


def test_side_by_side_or_one_after_another_it_is_the_same(campaign: Command, place: Path, matches: Path):
    first, kept = results(matches.parents[1]), texts(matches)
    trap = place / "multiprocessing.py"  # what lies in the current folder is nobody's module
    trap.write_text("1 / 0\n")
    code, out, _ = campaign("mode=validate", "sequential=false", "campaign.validation.tracks=[oval,karting]")
    assert (code, "at a time" in out) == (0, True)
    second = results(place)
    assert second.pop("spent")["processes"] > 1
    assert first.pop("spent")["processes"] == 1
    assert second == first
    assert texts(place / "outputs/matches") == kept


def test_killed_after_some_matches_it_drives_the_others(
    campaign: Command, trained: Path, place: Path, driven: list[str]
):
    said = ["campaign=tiny", "--config-dir", str(trained / "conf"), "tracking=none", "mode=validate"]
    process = subprocess.Popen([sys.executable, "-m", "racing", "campaign", *said, "sequential=true"])
    matches = place / "outputs/matches"
    until = time.monotonic() + 240
    while time.monotonic() < until and len(list(matches.glob("[!.]*.json"))) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in matches.glob("[!.]*.json")}
    assert 3 <= len(kept) < MATCHES + ALONE
    assert not (folder_of(place) / "validation/results.json").exists()
    assert campaign("mode=validate", "sequential=true")[0] == 0
    assert len(driven) == MATCHES + ALONE - len(kept)
    assert {name: (matches / name).stat().st_mtime_ns for name in kept} == kept


@pytest.mark.usefixtures("validated")
def test_of_a_changed_policy_only_its_own_are_driven(campaign: Command, place: Path, driven: list[str]):
    """Two matches on each track, and itself alone."""
    assert campaign("mode=validate", "sequential=true")[0] == 0
    assert driven == []
    change_policy(place, "second")
    assert campaign("mode=validate", "sequential=true")[0] == 0
    assert len(driven) == 2 * (2 + 1)
    assert all("second" in title for title in driven)


def test_one_entry_alone(campaign: Command, place: Path, driven: list[str]):
    code, _, err = campaign("mode=first", "deploy=false", "sequential=true")
    assert code == 0, err
    assert len(driven) == 2 * (2 + 1)
    assert all("first" in title for title in driven)
