"""Each benchmark runs and writes what it measured. How fast it was is not judged here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from racing.cli import main
from racing.commands.bench import camera, races
from racing.commands.bench.learning import RESULTS
from racing.commands.bench.report import make_folder, print_table, show
from racing.commands.bench.simulator import make_task, record_drive, vehicle_called
from racing.commands.bench.tracking import compared
from racing.errors import InputError
from racing.processes import usable_cores

pytestmark = pytest.mark.slow

TINY = "['debug=fast','eval.episodes=2','tracking=none']"


def measured(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict, str]:
    """The JSON that the benchmark wrote, and what it printed."""
    capsys.readouterr()
    assert main(["bench", name, "repeats=2", f"paths.outputs={tmp_path}", *arguments]) == 0
    said = capsys.readouterr()
    path = Path(said.out.splitlines()[-1])
    assert path.parent == tmp_path / "bench"
    assert path.name.startswith(f"{name}-2")
    content = json.loads(path.read_text())
    assert content["benchmark"] == name
    for key in ("created", "cpu", "cores", "platform", "python", "packages", "commit", "load_average", "options"):
        assert key in content
    assert content["packages"]["numba"]
    assert said.err  # progress
    return content, said.out


def test_sim(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sizes = ["num_cars=[4,128]", "threads=[1,2]", "vehicles=[kart,kart_kinematic]", "drive_steps=20", "seconds=0.01"]
    content, table = measured("sim", tmp_path, capsys, *sizes)
    rows = content["rows"]
    assert [(r["vehicle"], r["num_cars"], r["threads"]) for r in rows][:4] == [
        ("kart", 4, 1),
        ("kart", 4, 2),
        ("kart", 128, 1),
        ("kart", 128, 2),
    ]
    assert [r["model"] for r in rows[3:5]] == ["saturated", "kinematic"]
    assert all(r["steps_per_s"] > 0 and len(r["rates"]) == 2 and r["rays"] == 9 for r in rows)
    cars = {"ns_randomize", "ns_conditions"}
    assert set(content["summary"]) == {"ns_per_ray", "ns_without_rays", "ns_observation_and_reward", *cars}
    assert "kart_kinematic" in table


def test_lateral(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    content, table = measured("lateral", tmp_path, capsys, "num_cars=[2,8]", "seconds=0.01")
    rows = content["rows"]
    assert [(row["num_cars"], row["processes"]) for row in rows[:2]] == [(2, 1), (8, 1)]
    assert (rows[2]["num_cars"] in (2, 8), rows[2]["processes"]) == (True, usable_cores())
    assert all(row["steps_per_s"] > 0 and row["per_cpu_s"] > 0 and len(row["rates"]) == 2 for row in rows)
    assert "processes" in table


def test_races(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(races, "RANDOM_STEPS", 40)
    content, table = measured("races", tmp_path, capsys, "races=60", "num_cars=[64]", "threads=[1]", "track=oval")
    assert [row["cars"] for row in content["rows"]] == [1, 2, 4, 8, 16]
    assert content["rows"][0]["of_one_alone"] == 1
    assert all(row["steps_per_s"] > 0 and len(row["rates"]) == 2 for row in content["rows"])
    summary = content["summary"]
    assert (summary["races"], summary["numbers_lost"], summary["cars_lost"]) == (60, 0, 0)
    assert summary["steps_in_contact"] > 0
    assert summary["deepest_overlap_m"] < 0.1
    assert "of one alone" in table


def test_overlaps_are_measured_along_the_axis_that_parts_two_boxes():
    cars = np.zeros((1, 3), [(name, float) for name in ("x", "y", "yaw")])
    cars["x"], cars["y"] = [[0, 1.5, 10]], [[0, 0.2, 0]]
    expected = np.zeros((3, 3))
    expected[0, 1] = expected[1, 0] = 0.5  # 2 m long, 1.5 m apart
    np.testing.assert_allclose(races.overlaps(cars, 2, 1)[0], expected)
    cars["yaw"][0, 1], cars["x"][0, 1], cars["y"][0, 1] = np.pi / 2, 0.0, 1.2
    expected[0, 1] = expected[1, 0] = 0.5 + 1 - 1.2  # across: its length stands against the width
    np.testing.assert_allclose(races.overlaps(cars, 2, 1)[0], expected)
    cars["y"][0, 1] = 1.6
    assert not races.overlaps(cars, 2, 1).any()


def test_tracks(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    content, table = measured("tracks", tmp_path, capsys, "circuits=9", "scales=[0.6]")
    rows = {row["what"]: row for row in content["rows"]}
    assert len(rows) == 10
    assert all(row["invalid"] == 0 and row["driven"] == 1 for what, row in rows.items() if what.startswith("generated"))
    assert rows["colour pictures, 0.6 m/px"]["mean_m"] < 0.25
    assert content["summary"] == {"generated": 9, "invalid": 0, "completed_share": 1.0}
    assert "generated street" in table


def test_the_recorded_drive_is_a_drive_and_repeats_itself():
    options = {"track": "circuit", "rays": 9, "range": 120.0}
    task = make_task(options, vehicle_called("kart"), 64, 1)
    commands = record_drive(task.world, 150)
    cars = task.world.cars.copy()
    assert (cars["progress"] > 100).mean() > 0.6  # [m] most keep driving
    assert cars["episode"].sum() > 0  # some do not: restarts are part of it
    task.world.reseed(0)
    task.world.reset()
    for command in commands:
        task.world.step(command)
    assert task.world.cars.tobytes() == cars.tobytes()
    assert np.abs(np.diff(commands, axis=0)).mean() < 0.2  # no random thrashing


@pytest.mark.parametrize("installed", [True, False])
def test_camera(installed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    if installed:
        pytest.importorskip("Box2D", reason="CarRacing needs Box2D: pip install 'gymnasium[box2d]'")
    else:
        monkeypatch.setattr(camera, "car_racing", lambda options: None)
    sizes = ["cameras=8", "threads=[1,2]", "pixels=32", "seconds=0.02", "vehicles=[f1tenth]", "track=mini"]
    content, _ = measured("camera", tmp_path, capsys, *sizes)
    rows = content["rows"]
    names = ["RGB 32 x 32", "RGB 32 x 32", "gray 32 x 32", "gray 32 x 32"]
    assert [row["name"] for row in rows] == names + ["CarRacing-v3 96 x 96"] * installed
    assert all(row["pictures_per_s"] > 0 and row["cpu_us"] > 0 for row in rows)
    ratio = rows[0]["pictures_per_s"] / rows[-1]["pictures_per_s"] if installed else None
    assert rows[0]["to_car_racing"] == ratio
    assert ("least_to_car_racing" in content["summary"]) == installed
    assert ("car_racing" in content["summary"]) != installed


def test_ppo(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    content, _ = measured("ppo", tmp_path, capsys, "steps=4096", "stock_steps=1", "train=['algo.n_epochs=1']")
    rows = content["rows"]
    assert [row["name"] for row in rows] == ["racing", "stock PPO, our settings", "stock PPO, near its defaults"]
    assert [row["batch_size"] for row in rows] == [1024, 1024, 64]
    assert rows[0]["ours_to_it"] == 1.0
    assert all(row["steps_per_s"] > 0 and len(row["rates"]) == 2 for row in rows)
    assert content["summary"]["torch_threads"] == 1


@pytest.mark.cold
def test_startup(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    content, _ = measured("startup", tmp_path, capsys, "repeats=1", "imports=[racing]", f"train={TINY}")
    seconds = {row["name"]: row["seconds"] for row in content["rows"]}
    first, whole = seconds["racing train debug=fast: first update"], seconds["the whole of it"]
    assert 0 < first < whole
    assert content["summary"]["to_first_update_s"] == first
    assert {"racing --help", "import racing", "python, nothing"} <= set(seconds)


def test_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    content, _ = measured("sweep", tmp_path, capsys, "repeats=1", "jobs=1", f"train={TINY}")
    one, two = content["rows"]
    assert one["seconds"] > 0 and two["seconds"] > 0
    assert one["launcher_s_per_job"] >= 0
    assert content["summary"]["throughput"] == one["seconds"] / two["seconds"]


def test_tracking(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    settings = "['debug=fast','eval.episodes=2','track=oval']"
    sizes = ["repeats=1", "windows=6", "window=0.2", f"train={settings}"]
    content, _ = measured("tracking", tmp_path, capsys, *sizes)
    rows = {row["name"]: row for row in content["rows"]}
    assert list(rows) == ["embedded store", "server", "server killed"]
    assert all(0 < row["low"] <= row["ratio"] <= row["high"] and row["pairs"] >= 2 for row in rows.values())
    assert all(row["sender_cpu_share"] > 0 and row["steps_per_s"] > 0 for row in rows.values())
    assert [row["complete"] for row in rows.values()] == [True, True, False]
    assert content["summary"]["us_per_journal_line"] > 0


def test_windows_are_compared_with_those_beside_them():
    """1000 steps/s with the sender frozen, 900 at work; the machine becomes twice as slow on the way."""
    windows = [(float(begin), begin + 1.0, begin % 2 == 0) for begin in range(8)]
    records, step = [], 0.0
    for tenth in range(80):
        slow = 0.5 if tenth >= 40 else 1.0
        records.append((tenth / 10 + 0.05, round(step)))
        step += slow * (100 if tenth // 10 % 2 == 0 else 90)
    ratios = compared(windows, records)
    assert len(ratios) == 3
    assert ratios[0] == pytest.approx(0.9, abs=0.01)
    assert ratios[2] == pytest.approx(0.9, abs=0.01)


REACHED = ("first_lap_steps", "first_lap_s", "all_finished_s", "near_limit_s")


def test_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    content, _ = measured("seeds", tmp_path, capsys, "seeds=[0,1]", f"train={TINY}")
    assert [row["seed"] for row in content["rows"]] == [0, 1]
    for key in ("finish_rate", "lap_ratio", "learning_s", "steps_per_s", "steering_spectrum", *REACHED):
        assert key in content["rows"][0]
        assert f"median_{key}" in content["summary"]
    runs = sorted((Path(content["summary"]["runs"]) / "runs").iterdir())
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sim", "num_cars=5"], "num_cars must be a list, got 5"),
        (["sim", "num_cars=[0]"], "num_cars must be a whole number in [1, 1048576], got 0"),
        (["sim", "repeats=0"], "repeats must be a whole number in [1, 100], got 0"),
        (["camera", "pixels=7"], "pixels must be a whole number in [8, 1024], got 7"),
        (["sim", "vehicles=[cart]"], "vehicle 'cart' is not in conf/vehicle; did you mean kart?"),
        (["sim", "track=ovall"], "track 'ovall' is neither a known track nor a file"),
        (["ppo", "train=['algo=sac']"], "compares PPO, got BatchSAC"),
        (["ppo", "train=['algo.gamma=2']"], "algo.gamma must be a number in [0, 1], got 2"),
        (["startup", "train=5"], "train must be a list of texts, got 5"),
        (["seeds", "seeds=[-1]"], "seeds must be a whole number in"),
        (
            [],
            "missing action; one of sim, races, lateral, camera, ppo, vision, startup, tracking, tracks, sweep, seeds",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_options(arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["bench", *arguments, *([f"paths.outputs={tmp_path / 'out'}"] if arguments else [])]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1


def test_a_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"set paths\.outputs=FOLDER"):
        make_folder(tmp_path / "file" / "bench")


def test_help(capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "--help"]) == 0
    said = capsys.readouterr().out
    assert "examples:" in said
    assert "num_cars:" in said


@pytest.mark.parametrize("width", [80, 60, 200])
def test_a_table_is_read_in_narrow_terminals(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """All that `racing bench seeds` measures, whole: nothing is cut, what does not fit stands below."""
    names = [*RESULTS, "first_lap_s", "all_finish_s", "near_limit_s", "first_lap_steps"]
    rows = [{"seed": seed} | {name: 1000.5 * seed + number for number, name in enumerate(names)} for seed in (1, 2)]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    print_table("racing bench seeds", rows)
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= width
    for row in rows:
        assert all(said.count(show(value)) for value in row.values())
    assert all(said.count(name.replace("_", " ")) for name in names)
    assert said.count("racing bench seeds") == 1
    assert len(re.findall(r"┃ seed ", said)) == said.count("┏") >= (1 if width == 200 else 3)
