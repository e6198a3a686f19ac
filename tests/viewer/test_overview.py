"""What the page of runs is told: each run as its journal has it now, and whose lap is the quickest."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from racing.commands.play.options import parse
from racing.commands.play.stage import make_stages
from racing.errors import InputError
from racing.runs.directory import RunDirectory, open_run
from racing.viewer import overview
from racing.viewer.cars.drivers import Place
from racing.viewer.cars.lap_trace import LapTrace
from racing.viewer.cars.records import Records
from racing.viewer.overview import MOST_LAPS, Overview, leaderboards, listed_run, read_course

SUMMARY = {"tracks": ["wavy"], "vehicle": "kart", "finish_rate": 0.75, "lap_time_s": 21.0, "lap_ratio": 1.05}


@pytest.fixture(autouse=True)
def _ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "FRESH", -1.0)


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., RunDirectory]:
    def make(name: str, **config: Any) -> RunDirectory:
        return open_run(tmp_path, name, {"name": name, "algo": {"total_timesteps": 1000}, **config}, [], {})

    return make


def lap(kind: str, who: str, time_s: float, track: str = "wavy") -> dict[str, Any]:
    place = {"track": track, "vehicle": "kart", "reference_s": 20.0}
    return place | {"kind": kind, "who": who, "time_s": time_s, "finish_rate": None}


def test_a_run_is_shown_as_far_as_it_is(tmp_path: Path, begin: Callable[..., RunDirectory]):
    found = Overview(tmp_path)
    assert found.facts() == {"runs": [], "boards": [], "more": 0}
    with begin("young") as run:
        run.journal.metrics(100, {"validation/finish_rate": 0.25, "validation/score": float("nan"), "time/fps": 50.0})
        (row,) = found.facts()["runs"]
        assert (row["name"], row["status"], row["steps"], row["total"]) == (run.name, "RUNNING", 100, 1000)
        assert (row["finish_rate"], row["lap_ratio"], row["rate"]) == (0.25, None, 50)
        assert row["course"] == [[100, 0.25, None, None]]
        assert not row["opens"]
        run.journal.metrics(200, {"validation/finish_rate": 0.5, "validation/lap_ratio": 1.2})
        run.paths.policy_onnx.write_bytes(b"")
        (row,) = found.facts()["runs"]
        assert row["course"] == [[100, 0.25, None, None], [200, 0.5, 1.2, None]]
        assert row["opens"]
    (row,) = found.facts()["runs"]
    assert row["status"] == "KILLED"  # its lock is free, and it never ended
    with begin("young") as run:
        run.finish({**SUMMARY, "reference_s": [20.0], "lap_time_s_best": 20.5, "lap_limit_s": [19.9]})
    facts = found.facts()
    assert (facts["runs"][0]["status"], facts["runs"][0]["finish_rate"]) == ("FINISHED", 0.75)
    (board,) = facts["boards"]
    assert (board["track"], board["vehicle"], board["reference_s"]) == ("wavy", "kart", 20.0)
    assert [(entry["who"], entry["time_s"], entry["place"]) for entry in board["laps"]] == [
        ("physical limit", 19.9, None),
        (run.name, 20.5, 1),
    ]
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_nothing_is_read_again_of_a_run_that_has_ended(
    tmp_path: Path, begin: Callable[..., RunDirectory], monkeypatch: pytest.MonkeyPatch
):
    with begin("done") as run:
        run.finish(SUMMARY)
    found = Overview(tmp_path)
    before = found.facts()
    monkeypatch.setattr(overview, "read_course", lambda *_: pytest.fail("it was read again"))
    assert found.facts() == before


def test_damaged_runs_are_named_and_hide_nobody(tmp_path: Path, begin: Callable[..., RunDirectory]):
    begin("whole").close()
    with begin("odd") as odd:
        odd.finish({**SUMMARY, "tracks": "x", "reference_s": {"a": 1}, "lap_time_s_best": "fast"})
    odd.paths.summary.write_text("{")
    folder = tmp_path / "runs" / "none-12345678"
    folder.mkdir()
    (folder / "journal.jsonl").write_text("garbage\n")
    rows = {row["name"].split("-")[0]: row for row in Overview(tmp_path).facts()["runs"]}
    assert {name: row["status"] for name, row in rows.items()} == {
        "whole": "KILLED",
        "odd": "DAMAGED",
        "none": "DAMAGED",
    }
    assert "summary.json is damaged" in rows["odd"]["damage"]


def test_a_long_course_keeps_its_last_point(tmp_path: Path, begin: Callable[..., RunDirectory]):
    with begin("long") as run:
        for step in range(500):
            run.journal.metrics(step, {"validation/finish_rate": step / 500})
    step, values, course = read_course(run.paths.journal)
    assert (step, values["validation/finish_rate"]) == (499, 0.998)
    assert len(course) <= overview.MOST_POINTS
    assert course[-1][:2] == [499, 0.998]
    assert [point[0] for point in course] == sorted(point[0] for point in course)
    assert len(read_course(run.paths.journal, tail=300)[2]) < 5


def test_quickest_laps_come_first_and_people_are_never_left_out():
    laps = [lap("run", f"run-{k:02d}", 21 + k) for k in range(MOST_LAPS + 3)]
    laps += [lap("human", "people", 99.0), lap("limit", "limit", 20.1), lap("limit", "limit", 20.1)]
    laps += [lap("limit", "limit", 5.0, "empty"), lap("run", "other", 4.0, "oval")]
    oval, wavy = leaderboards(reversed(laps))
    assert (oval["track"], wavy["track"]) == ("oval", "wavy")
    assert [entry["who"] for entry in wavy["laps"]] == ["limit", *(f"run-{k:02d}" for k in range(MOST_LAPS)), "people"]
    assert wavy["laps"][-1]["place"] == MOST_LAPS + 4


def test_laps_of_people_stand_beside_those_of_runs(tmp_path: Path, place: Place, reference: LapTrace):
    records = Records(tmp_path, place)
    records.keep_best(replace(reference, time_s=33.25))
    other = replace(
        place,
        track=replace(
            place.track, source={**place.track.source, "reverse": True}, left=place.track.left + np.float32(0.1)
        ),
    )
    Records(tmp_path, other).keep_best(replace(reference, time_s=44.5))
    boards = Overview(tmp_path).facts()["boards"]
    assert [(board["track"], board["laps"][0]["kind"], board["laps"][0]["time_s"]) for board in boards] == [
        ("wavy", "human", 33.25),
        ("wavy, reversed", "human", 44.5),
    ]
    assert boards[0]["reference_s"] == round(place.reference_s, 2)


def test_only_the_name_of_a_run_names_one(tmp_path: Path, begin: Callable[..., RunDirectory]):
    begin("here").close()
    (name,) = (path.name for path in (tmp_path / "runs").iterdir())
    found = listed_run(tmp_path, name)
    assert found is not None
    assert found.name == name
    for other in ("", ".", "..", "latest", "here", f"../runs/{name}", str(found.path), f"{name}@a", "models:/a@b"):
        assert listed_run(tmp_path, other) is None, other


@pytest.mark.parametrize("name", ["run.onnx", "run.zip", "run@half"])
def test_a_directory_whose_name_means_something_else_is_not_opened(
    name: str, tmp_path: Path, begin: Callable[..., RunDirectory]
):
    with begin("here") as run:
        run.paths.policy_onnx.write_bytes(b"")
    run.path.rename(run.path.with_name(name))
    (row,) = Overview(tmp_path).facts()["runs"]
    assert (row["name"], row["opens"]) == (name, False)
    assert listed_run(tmp_path, name) is None


def test_without_a_run_the_page_of_runs_is_there_alone(tmp_path: Path, begin: Callable[..., RunDirectory]):
    options = parse([f"paths.outputs={tmp_path}"]) or {}
    stages = make_stages(options)
    assert stages.first is None
    begin("here").close()
    with pytest.raises(InputError, match="'latest' is none of those at /runs"):
        stages._make("latest")
    with pytest.raises(InputError, match="train it to its end first"):
        make_stages(options)
