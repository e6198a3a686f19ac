"""Tracks on a volume: there, the same, found under the name that the configuration gives them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from racing.cli import main
from racing.errors import InputError
from racing.tracks.catalog import load_track, shipped
from racing_launchers.modal.volume import Volume
from racing_launchers.remote.tracks import files_of_config, hashes, provide, read_manifest, required
from tests.launchers.modal_box import Box

TO = ["--to", "modal://racing-tracks"]


@pytest.fixture
def here(box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with tracks of three kinds: imported by name, a folder, a table."""
    monkeypatch.chdir(tmp_path)
    for place in ("tracks/oval2", "maps/oval2"):
        shutil.copytree(shipped()["oval"], place)
        Path(place, "oval.png").rename(Path(place, "oval2.png"))
        gates = Path(place, "checkpoints.json")
        gates.write_text(gates.read_text().replace("oval.png", "oval2.png"))
    track = load_track("oval")
    rows = [
        f"{x:.3f},{y:.3f},{r:.3f},{w:.3f}"
        for (x, y), r, w in zip(track.points[::20], track.right[::20], track.left[::20], strict=True)
    ]
    Path("maps/table.csv").write_text("\n".join(["# x_m,y_m,w_tr_right_m,w_tr_left_m", *rows]) + "\n")
    return tmp_path


def test_pushed_listed_pulled(here: Path, box: Box, capsys: pytest.CaptureFixture[str]):
    assert main(["tracks", "push", "oval2", "maps/table.csv", *TO]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "oval2: sent, modal://racing-tracks/oval2",
        "table: sent, modal://racing-tracks/table",
    ]
    assert main(["tracks", "push", "oval2", *TO]) == 0
    assert "oval2: is the same there" in capsys.readouterr().out
    assert main(["tracks", "list", *TO]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [text.split()[0] for text in listed] == ["oval2", "table"]
    assert main(["tracks", "pull", "--from", "modal://racing-tracks", "--out", "pulled"]) == 0
    for name in ("oval2.png", "checkpoints.json"):
        assert Path("pulled/oval2", name).read_bytes() == Path("tracks/oval2", name).read_bytes()
    assert load_track("pulled/oval2").length == pytest.approx(load_track("oval").length)
    capsys.readouterr()
    assert main(["tracks", "pull", "oval2", *TO, "--out", "pulled"]) == 0  # the same already
    Path("pulled/oval2/oval2.png").write_bytes(b"other")
    assert main(["tracks", "pull", "oval2", *TO, "--out", "pulled"]) == 2
    assert "pulled/oval2 is there already" in capsys.readouterr().err
    assert main(["tracks", "pull", "oval2", *TO, "--out", "pulled", "--force"]) == 0
    (box.volumes.path("racing-tracks") / "oval2/oval2.png").write_bytes(b"damaged")
    assert main(["tracks", "pull", "oval2", *TO, "--out", "elsewhere"]) == 2
    assert "is not what was pushed" in capsys.readouterr().err
    assert not Path("elsewhere/oval2").exists()


def test_a_folder_of_several_is_pushed_at_once(here: Path, box: Box, capsys: pytest.CaptureFixture[str]):
    """Pictures with one file of gates; then folders of a track each."""
    together = Path("together")
    together.mkdir()
    entries = {}
    for name in ("oval", "circuit"):
        shutil.copy(shipped()[name] / f"{name}.png", together)
        entries |= json.loads((shipped()[name] / "checkpoints.json").read_text())
    (together / "checkpoints.json").write_text(json.dumps(entries))
    assert main(["tracks", "push", "together", *TO]) == 0
    assert sorted(line.partition(":")[0] for line in capsys.readouterr().out.splitlines()) == ["circuit", "oval"]
    assert main(["tracks", "pull", *TO, "--out", "pulled"]) == 0
    assert load_track("pulled/circuit/circuit.png").length == pytest.approx(load_track("circuit").length)
    needed = required(["together/oval.png"], Volume("racing-tracks"))
    assert needed["together/oval.png"]["name"] == "oval"
    capsys.readouterr()
    assert main(["tracks", "push", "tracks", *TO]) == 0
    assert capsys.readouterr().out == "oval2: sent, modal://racing-tracks/oval2\n"
    assert main(["tracks", "push", "tracks", "maps/oval2", *TO]) == 2
    assert "is the second track called oval2; push it by itself, with --name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["push", "oval2", "--to", "tracks"], "'tracks' must be modal://VOLUME or s3://BUCKET/FOLDER"),
        (["push", "nowhere", *TO], "track 'nowhere' is neither a known track nor a file"),
        (["push", "oval2", "maps/table.csv", "--name", "x", *TO], "--name is for one track"),
        (["push", "oval2", "--name", "../x", *TO], "--name '../x' must be letters"),
        (["pull", "none", *TO], "volume 'racing-tracks' is not on Modal"),
        (["list", *TO], "volume 'racing-tracks' is not on Modal"),
    ],
)
def test_refused(arguments: list[str], text: str, here: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["tracks", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line


def test_what_a_job_needs_is_there_and_the_same(here: Path, box: Box, monkeypatch: pytest.MonkeyPatch):
    specs = ["oval2", "maps/oval2", "maps/table.csv"]
    target = "racing.tracks.catalog.load_tracks"
    assert files_of_config({"track": {"_target_": target, "file": ["oval", *specs]}}) == specs
    assert files_of_config({"track": {"_target_": "racing.tracks.catalog.generated_tracks", "seed": 1}}) == []
    main(["tracks", "push", "oval2", *TO])
    volume = Volume("racing-tracks")
    with pytest.raises(InputError, match="track 'maps/table.csv' is not on modal://racing-tracks; racing tracks push"):
        required(specs, volume)
    main(["tracks", "push", "maps/table.csv", "--name", "other-name", *TO])
    needed = required(specs, volume)
    assert {spec: about["name"] for spec, about in needed.items()} == {
        "oval2": "oval2",
        "maps/oval2": "oval2",  # the same files under another path
        "maps/table.csv": "other-name",
    }

    mounted = box.volumes.path("racing-tracks")
    container = here / "container"
    container.mkdir()
    monkeypatch.chdir(container)
    provide(needed, mounted)
    for spec in specs:
        assert load_track(spec).length > 100
    assert hashes([container / "maps/table.csv"]) == needed["maps/table.csv"]["files"]
    provide(needed, mounted)  # again, in a container that continues
    (mounted / "oval2/checkpoints.json").write_text("{}")
    with pytest.raises(InputError, match="oval2/checkpoints.json differs from what it was"):
        provide(needed, mounted)
    (mounted / "oval2/checkpoints.json").unlink()
    with pytest.raises(InputError, match="is missing on the volume"):
        provide(needed, mounted)


def test_a_damaged_manifest(here: Path, box: Box):
    box.volumes.write("racing-tracks", {"manifest.json": b"[1"})
    with pytest.raises(InputError, match=r"manifest.json of modal://racing-tracks was damaged"):
        read_manifest(Volume("racing-tracks"))
