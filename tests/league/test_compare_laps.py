"""`racing compare` without match=true: whose laps it finds, what it prints, writes and logs, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from racing.cli import main
from racing.commands.compare import drivers
from racing.config import load_group
from racing.runs.directory import RunDirectory
from racing.runs.paths import ComparisonPaths
from racing.sim.vehicle import Vehicle
from racing.tracking.store import embedded_uri
from racing.tracks.catalog import load_track
from racing.tracks.reference_lap import reference_lap
from racing.viewer.cars.alone import AloneSession
from racing.viewer.cars.drivers import Hands, Place, human_driver, human_env
from racing.viewer.cars.lap_trace import trace_of_reference
from racing.viewer.cars.records import Records, drives_at
from tests.support.drivers import follow, group, linear_driver, make_run

pytestmark = pytest.mark.slow

STEP = 4096
Compare = Callable[..., tuple[int, str, str]]


@pytest.fixture
def compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Compare:
    """compare(spec, spec, ..., options): exit code, what was printed, and to stderr."""

    def call(*specs: Any, options: tuple[str, ...] = ()) -> tuple[int, str, str]:
        capsys.readouterr()
        named = ",".join(str(spec.path if isinstance(spec, RunDirectory) else spec) for spec in specs)
        usual = [f"run=[{named}]", "episodes=2", f"paths.outputs={tmp_path}", f"out={tmp_path / 'out'}"]
        code = main(["compare", *usual, *options])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture(scope="module")
def evaluated(racers: list[RunDirectory], tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A copy of the fast one that has the telemetry of a final evaluation."""
    folder = tmp_path_factory.mktemp("evaluated") / "runs" / "mine-1a2b3c4d"
    shutil.copytree(racers[1].path, folder)
    run = RunDirectory(folder)
    run.paths.summary.write_text(json.dumps({"finish_rate": 1.0, "total_steps": STEP}))
    out = f"out={run.paths.evaluation(STEP)}"
    assert main(["evaluate", f"run={racers[1].path}", "episodes=3", out]) == 0
    return run


def altered(source: RunDirectory, outputs: Path, model: Any, **changes: Any) -> RunDirectory:
    """A run of another configuration, with the policy of `source`."""
    run = make_run(outputs, model, **changes)
    shutil.copy(source.paths.policy_onnx, run.paths.policy_onnx)
    return run


def results(tmp_path: Path) -> dict[str, Any]:
    return json.loads(ComparisonPaths(tmp_path / "out").results.read_text())


def test_the_best_laps_of_two_runs_are_laid_on_each_other(compare: Compare, racers: list[RunDirectory], tmp_path: Path):
    slow, fast = racers
    code, out, _ = compare(slow, fast)
    assert code == 0
    found = results(tmp_path)
    assert (found["track"], found["vehicle"], found["schema_version"]) == ("oval", "kart", 1)
    first, second = found["drivers"]
    assert (first["name"], second["name"]) == (slow.name, fast.name)
    length = load_track("oval").length
    assert first["lap_time_s"] == pytest.approx(length / 10, rel=0.1)  # at 10 and 16 m/s
    assert second["lap_time_s"] == pytest.approx(length / 16, rel=0.1)
    assert second["gap_s"] == pytest.approx(second["lap_time_s"] - first["lap_time_s"], abs=1e-9)
    assert (first["fastest_in"], second["fastest_in"]) == (0, 20)
    assert first["lap_from"] == "2 starts, driven now"
    assert sum(found["sectors_s"][fast.name]) == pytest.approx(second["lap_time_s"], abs=1e-9)
    assert found["config"] == {"seed": {slow.name: "10", fast.name: "16"}}
    # A screen says the same.
    assert len(out.splitlines()) <= 42
    for text in (
        "lap [s]",
        "from [m]",
        f"{second['lap_time_s']:.3f}",
        f"{second['gap_s']:+.3f}",
        "20 of 20",
        "mini-sectors",
        "seed",
    ):
        assert text in out
    assert f"B is {-second['gap_s']:.3f} s faster than A: " in out
    paths = ComparisonPaths(tmp_path / "out")
    written = [paths.results, paths.channels, paths.sectors]
    written += [paths.channels_picture, paths.map_picture, paths.forces_picture, paths.replay]
    assert out.splitlines()[-7:] == [str(path) for path in written]
    assert sorted(paths.folder.iterdir()) == sorted(written)
    assert all(f'"name":"{run.name}"' in paths.replay.read_text() for run in racers)
    assert {row["driver"] for row in csv.DictReader(paths.channels.open())} == {slow.name, fast.name}


def test_a_final_evaluation_is_not_driven_again(
    compare: Compare,
    racers: list[RunDirectory],
    evaluated: RunDirectory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    (row,) = [
        row
        for row in csv.DictReader((evaluated.paths.evaluation(STEP) / "laps.csv").open())
        if row["episode"] == str(_best(evaluated))
    ]
    driven: list[str] = []
    now = drivers._now
    monkeypatch.setattr(drivers, "_now", lambda policy, *rest: driven.append(policy.name) or now(policy, *rest))
    assert compare(evaluated, racers[0], options=("sectors=5",))[0] == 0
    assert driven == [racers[0].name]
    first, _ = results(tmp_path)["drivers"]
    assert first["lap_from"] == "3 starts of its final evaluation"
    assert first["lap_time_s"] == pytest.approx(float(row["lap_time_s"]), abs=1e-4)
    # Elsewhere it has to drive.
    driven.clear()
    assert compare(evaluated, racers[0], options=("track=speedway", "laps=1"))[0] == 0
    assert driven == [evaluated.name, racers[0].name]
    assert results(tmp_path)["track"] == "speedway"


def _best(run: RunDirectory) -> int:
    rows = list(csv.DictReader((run.paths.evaluation(STEP) / "laps.csv").open()))
    return min(range(len(rows)), key=lambda k: float(rows[k]["lap_time_s"] or "inf"))


def test_the_optimal_driver_and_a_file_take_part(
    compare: Compare, racers: list[RunDirectory], evaluated: RunDirectory, tmp_path: Path
):
    file = evaluated.paths.evaluation(STEP) / "telemetry.parquet"
    code, out, _ = compare(racers[1], "optimal", file, racers[1])
    assert code == 0
    mine, optimal, recorded, again = results(tmp_path)["drivers"]
    assert [row["name"] for row in (mine, optimal, recorded, again)] == [
        racers[1].name,
        "optimal",
        f"mine-1a2b3c4d/{STEP:09d}",
        f"{racers[1].name} #2",
    ]
    assert optimal["lap_time_s"] < mine["lap_time_s"]
    assert recorded["lap_from"] == "3 drives in the file"
    assert recorded["lap_time_s"] == pytest.approx(mine["lap_time_s"], rel=0.01)
    assert again["gap_s"] == 0
    assert "configurations differ" not in out  # there is only one


def drive_by_hand(outputs: Path, seconds: float) -> list[Path]:
    """What a person does on the oval at 14 m/s, by an axis, and what is left of it."""
    track, kart = load_track("oval"), load_group("vehicle", "kart")
    lap = reference_lap(track, kart)
    place = Place(track=track, vehicle=kart, reference_s=lap.time_s)
    hands, records = Hands(), Records(outputs, place)
    person = human_driver(place, human_env(None), hands)
    session = AloneSession([person], place, trace_of_reference(track, lap), hands=hands, records=records)
    session.drive(True)
    for _ in range(round(seconds / session.tick)):
        steer, throttle = follow(session.cars[0].task.world, 14.0)[0].tolist()
        hands.ask(steer, throttle, keys=False)
        session.try_out()
    write = session.unkept(at_end=True)
    assert write is not None
    write()
    return drives_at(outputs, track, kart)


def test_a_person_takes_part(compare: Compare, racers: list[RunDirectory], tmp_path: Path):
    nobody = "run: human:latest must be a drive on oval with kart, there is none"
    assert nobody in refused(compare, racers[1], "human:latest")
    (short,) = drive_by_hand(tmp_path, 20)
    said = refused(compare, racers[1], "human:latest")
    assert "run: human must have a complete lap on oval, it has none in 1 drives" in said
    (drive, _) = sorted(drive_by_hand(tmp_path, 90), key=lambda path: path == short)
    shutil.move(short.parent, short.parent.with_name(f"99990101T000000-{short.parent.name[-4:]}"))  # a newer one
    assert compare(racers[1], "human:latest", drive, options=("episodes=1",))[0] == 0
    mine, person, file = results(tmp_path)["drivers"]
    assert (person["name"], person["lap_from"]) == ("human", f"the drive {drive.parent.name}")
    assert person["lap_time_s"] == pytest.approx(load_track("oval").length / 14, rel=0.05)
    assert mine["lap_time_s"] < person["lap_time_s"] == file["lap_time_s"]
    assert "human:monday must be human:latest" in refused(compare, racers[1], "human:monday")
    assert "human:latest races nobody" in refused(compare, racers[1], "human:latest", options=("match=true",))


def test_the_result_goes_to_mlflow_once(compare: Compare, racers: list[RunDirectory], tmp_path: Path):
    first = compare(*racers, options=("log=true",))
    second = compare(*racers, options=("log=true",))
    assert first[0] == second[0] == 0
    client = MlflowClient(embedded_uri(tmp_path))
    experiment = client.get_experiment_by_name("racing").experiment_id
    (run,) = client.search_runs([experiment])
    assert f"run {run.info.run_id}" in first[1]
    assert f"run {run.info.run_id}" in second[1]
    assert (run.info.status, run.data.tags["racing.kind"]) == ("FINISHED", "comparison")
    assert run.data.tags["racing.compared"] == f"{racers[0].name}, {racers[1].name}"
    fast = results(tmp_path)["drivers"][1]
    assert run.data.metrics[f"lap_time_s/{racers[1].name}"] == fast["lap_time_s"]
    assert f"| {fast['lap_time_s']:.3f} |" in run.data.tags["mlflow.note.content"]
    there = {entry.path for entry in client.list_artifacts(run.info.run_id)}
    assert there == {path.name for path in (tmp_path / "out").iterdir()}
    assert main(["runs", "list", f"paths.outputs={tmp_path}"]) == 0  # no training: not among them


def test_a_store_that_is_away_costs_no_result(
    compare: Compare, racers: list[RunDirectory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    code, out, said = compare(*racers, options=("log=true", "episodes=1"))
    assert code == 2
    assert said.count("\n") == 1
    assert "http://127.0.0.1:9 must answer" in said
    assert str(ComparisonPaths(tmp_path / "out").replay) in out
    assert len(results(tmp_path)["drivers"]) == 2


def refused(compare: Compare, *specs: Any, options: tuple[str, ...] = ()) -> str:
    code, _, said = compare(*specs, options=options)
    assert code == 2
    assert said.count("\n") == 1
    return said


def test_drivers_that_cannot_be_compared_are_refused_in_a_line(
    compare: Compare, racers: list[RunDirectory], kart: Vehicle, tmp_path: Path
):
    model, mine = linear_driver(kart, 10.0), racers[0]
    circuit = {"_target_": "racing.tracks.catalog.load_tracks", "file": "circuit"}
    elsewhere = altered(mine, tmp_path / "a", model, track=circuit)
    said = refused(compare, mine, elsewhere)
    assert f"run: {elsewhere.name} and {mine.name} have tracks of their own; name the one to compare on by" in said
    heavy = altered(mine, tmp_path / "b", model, vehicle=group("vehicle/kart", mass=300.0))
    rule = f"run: {heavy.name} must have the car of {mine.name}, its vehicle.mass is 300.0, not"
    assert rule in refused(compare, mine, heavy)
    lateral = altered(mine, tmp_path / "c", model, env=group("env/lateral"))
    assert f"run: {lateral.name} drives no laps" in refused(compare, mine, lateral)
    several = altered(mine, tmp_path / "d", model, track={**circuit, "file": ["oval", "circuit"]})
    assert f"run: {several.name} has 2 tracks; name the one" in refused(compare, several, mine)
    assert "run must name a policy, got optimal, optimal" in refused(compare, "optimal", "optimal")
    assert "must be telemetry of a drive, No such file" in refused(compare, mine, "absent.parquet")
    assert not (tmp_path / "out").exists()


def test_who_has_no_complete_lap_is_named(compare: Compare, racers: list[RunDirectory], kart: Vehicle, tmp_path: Path):
    blind = make_run(tmp_path / "a", linear_driver(kart, 60.0))  # it cannot take the bends
    assert main(["export", f"run={blind.path}"]) == 0
    said = refused(compare, racers[0], blind)
    rule = f"run: {blind.name} must have a complete lap on oval, it has none in 2 starts, driven now; train it longer"
    assert rule in said
