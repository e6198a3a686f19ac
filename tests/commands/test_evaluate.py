"""The verb: from a run, from a bare file, anywhere; its formats, its files and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from stable_baselines3 import PPO

from racing.cli import main
from racing.commands.evaluate import output_folder, parse
from racing.errors import InputError
from racing.evaluation.evaluate import evaluate
from racing.evaluation.seeds import TEST_SEEDS
from racing.evaluation.tables import episode_line
from racing.policies.foreign_code import refuse_foreign_code
from racing.policies.loading import evaluation_task_for, load_policy, tracks_and_vehicle
from racing.runs.directory import RunDirectory, find_run, open_run
from racing.sim.vehicle import Vehicle
from racing.tracks.catalog import load_track
from tests.support.drivers import group, linear_driver, make_run, seeing_model

pytestmark = pytest.mark.slow

PACE = 15.0  # [m/s]
FILES = {"laps.csv", "telemetry.parquet", "telemetry.csv", "lap.png", "lap_channels.png", "replay.html"}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def run(outputs: Path, kart: Vehicle) -> RunDirectory:
    run = make_run(outputs, linear_driver(kart, PACE))
    assert main(["export", f"run={run.path}"]) == 0
    return run


@pytest.fixture(scope="module")
def bare(run: RunDirectory, outputs: Path) -> Path:
    """A copy of the exported file, far from its run."""
    path = outputs / "elsewhere" / "driver.onnx"
    path.parent.mkdir()
    path.write_bytes((run.path / "export" / "policy.onnx").read_bytes())
    return path


def with_metadata(source: Path, path: Path, **changes: str) -> Path:
    model = onnx.load(source)
    told = {entry.key: entry.value for entry in model.metadata_props} | changes
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, told)
    onnx.save(model, path)
    return path


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    capsys.readouterr()
    assert main(["evaluate", "format=json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.cold
def test_a_run_is_driven_and_its_files_are_kept_with_it(
    run: RunDirectory, outputs: Path, capsys: pytest.CaptureFixture[str]
):
    capsys.readouterr()
    assert main(["evaluate", "run=latest", "episodes=6", f"paths.outputs={outputs}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:6]] == ["0", "1", "2", "3", "4", "5"]
    for line in lines[:6]:
        for word in ("reward", "steps", "gates", "laps  2", "laps_done"):
            assert word in line
    table = "\n".join(lines[6:])
    for word in ("6 starts", "kart (saturated tyres)", "finish_rate", "lap_ratio", "95 % interval", "laps done 6"):
        assert word in table
    folder = run.path / "evaluations" / "oval-kart-seed0-6starts"
    assert {path.name for path in folder.iterdir()} == FILES
    assert all(path.stat().st_size > 10_000 for path in folder.glob("*.png"))  # something is drawn on them
    written = ("laps.csv", "telemetry.parquet", "telemetry.csv", "lap.png", "lap_channels.png", "replay.html")
    assert lines[-6:] == [str(folder / name) for name in written]


def test_json_is_all_there_is_on_stdout(run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    result = evaluated(capsys, f"run={run.path}", "episodes=5", f"out={tmp_path / 'here'}")
    assert len(result["episodes"]) == result["summary"]["episodes"] == 5
    assert {Path(path).name for path in result["files"]} == FILES
    assert all(Path(path).parent == tmp_path / "here" for path in result["files"])
    length, pace = 560, PACE - 0.34  # [m], [m/s]: the driver's throttle is 0.5 * (PACE - v), and 0.17 holds the pace
    for episode in result["episodes"]:
        assert episode["lap_time_s"] == pytest.approx(length / pace, rel=0.03)
    assert result["summary"]["lap_ratio"] > 1


def test_csv_is_laps_csv(run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    arguments = ["run=" + str(run.path), "episodes=4", "telemetry=false", f"out={tmp_path}", "laps=1"]
    assert main(["evaluate", "format=csv", *arguments]) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "laps.csv").read_text()
    assert [row["ended"] for row in csv.DictReader(io.StringIO(printed))] == ["laps_done"] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["laps.csv"]


def test_cars_that_differ_are_driven_and_their_laps_say_how(run: RunDirectory, tmp_path: Path, capsys):
    common = [f"run={run.path}", "episodes=5", "laps=1", "telemetry=false", f"paths.outputs={tmp_path}"]
    plain = evaluated(capsys, *common)
    result = evaluated(capsys, *common, "randomize.power=[0.4,0.6]", "randomize.command_delay=0.05")
    assert result["summary"]["randomize"] == {
        "power": [pytest.approx(0.4), pytest.approx(0.6)],
        "command_delay": [0.05] * 2,
    }
    assert all(0.4 <= episode["randomize_power"] <= 0.6 for episode in result["episodes"])
    assert result["summary"]["lap_time_s"] > plain["summary"]["lap_time_s"]
    (here,), (there,) = result["files"], plain["files"]
    assert Path(here).parent.name.startswith(Path(there).parent.name + "-randomize_")


def test_other_conditions_are_driven_and_name_the_folder(run: RunDirectory, tmp_path: Path, capsys):
    common = [f"run={run.path}", "episodes=4", "laps=1", "telemetry=false", f"paths.outputs={tmp_path}"]
    plain, stint = evaluated(capsys, *common), evaluated(capsys, *common, "conditions=stint")
    changed = evaluated(capsys, *common, "conditions=[stint,{tyres: {start_wear: 0.5}}]")
    assert "tyre_wear" not in plain["summary"]
    assert 0 < stint["summary"]["tyre_wear"] < 0.2
    assert 0.5 < changed["summary"]["tyre_wear"] < 0.7
    names = [Path(result["files"][0]).parent.name for result in (plain, stint, changed)]
    assert names[1] == f"{names[0]}-stint"
    assert names[2].startswith(f"{names[0]}-conditions_")


def test_a_sweep_prints_a_table_and_keeps_it_with_a_picture(run: RunDirectory, tmp_path: Path, capsys):
    """With half the power the kart is slower to reach and to hold its pace."""
    capsys.readouterr()
    arguments = [f"run={run.path}", "episodes=4", "laps=1", "sweep=power", "values=[0.5,1]", f"out={tmp_path}"]
    assert main(["evaluate", *arguments]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split("│")[1].strip() for line in printed if line.startswith("│")] == ["0.5", "1"]
    files = [tmp_path / "sweep_power.csv", tmp_path / "sweep_power.png"]
    assert printed[-2:] == [str(path) for path in files]
    assert sorted(tmp_path.iterdir()) == files
    rows = list(csv.DictReader(files[0].open()))
    assert [(row["parameter"], row["value"], row["episodes"]) for row in rows] == [
        ("power", "0.5", "4"),
        ("power", "1", "4"),
    ]
    assert float(rows[0]["lap_time_s"]) > float(rows[1]["lap_time_s"]) + 0.1
    assert main(["evaluate", *arguments, "format=csv"]) == 0
    assert capsys.readouterr().out == files[0].read_text()
    result = evaluated(capsys, *arguments)
    assert [str(row["value"]) for row in result["sweep"]] == [row["value"] for row in rows]
    assert result["files"] == [str(path) for path in files]


def test_onnx_drives_the_laps_of_torch(run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    common = [f"run={run.path}", "episodes=16", "telemetry=false", f"out={tmp_path}"]
    by_onnx = evaluated(capsys, *common)["episodes"]
    by_torch = evaluated(capsys, *common, "backend=torch")["episodes"]
    assert [e["ended"] for e in by_onnx] == [e["ended"] for e in by_torch]
    for one, other in zip(by_onnx, by_torch, strict=True):
        assert one["lap_time_s"] == pytest.approx(other["lap_time_s"], abs=0.02)


def test_a_bare_file_needs_neither_its_run_nor_torch(bare: Path, run: RunDirectory, tmp_path: Path):
    code = (
        "import sys\n"
        "from racing.cli import main\n"
        f"code = main(['evaluate', 'run={bare}', 'episodes=4', 'format=json', 'paths.outputs={tmp_path}'])\n"
        "print(sorted({'torch', 'stable_baselines3', 'mlflow', 'pandas'} & set(sys.modules)), code, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[] 0"
    result = json.loads(done.stdout)
    assert result["policy"] == "driver"
    assert Path(result["files"][0]).parent == tmp_path / "evaluations" / "driver-oval-kart-seed0-4starts"
    tracks, vehicle = tracks_and_vehicle(load_policy(str(run.path), tmp_path))
    policy = load_policy(str(run.path), tmp_path)
    task = evaluation_task_for(
        policy, tracks, vehicle, [result["summary"]["reference_s"][0]], races=4, laps=2, seed=TEST_SEEDS
    )
    direct = evaluate(policy.predict, task)
    assert [e["lap_time_s"] for e in direct.episodes] == [e["lap_time_s"] for e in result["episodes"]]


def test_other_tracks_other_cars_other_starts(bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    common = [f"run={bare}", "episodes=4", f"paths.outputs={tmp_path}", "telemetry=false"]
    first = evaluated(capsys, *common)
    assert evaluated(capsys, *common)["episodes"] == first["episodes"]
    assert evaluated(capsys, *common, "seed=1")["episodes"] != first["episodes"]
    away = evaluated(capsys, *common, "track=[circuit,oval]")
    assert [e["track"] for e in away["episodes"]] == ["circuit", "oval", "circuit", "oval"]
    assert set(away["summary"]["per_track"]) == {"circuit", "oval"}
    small = evaluated(capsys, *common, "track=circuit", "scale=0.1", "vehicle=f1tenth_linear")
    assert Path(small["files"][0]).parent.name == "driver-circuit-x0.1-f1tenth_linear-seed0-4starts"
    assert (small["summary"]["vehicle"], small["summary"]["tyre_model"]) == ("f1tenth_linear", "linear")
    back = evaluated(capsys, *common, "track=oval", "reverse=true")
    assert back["episodes"] != first["episodes"]
    dry, wet = (evaluated(capsys, *common, "track=oval", f"grip={grip}") for grip in ("dry", "wet"))
    assert Path(wet["files"][0]).parent.name == "driver-oval-grip_wet-kart-seed0-4starts"
    assert wet["summary"]["reference_s"][0] > 1.15 * dry["summary"]["reference_s"][0]


def test_a_torch_file_outside_a_run_cannot_say_what_it_observes(kart: Vehicle, tmp_path: Path):
    linear_driver(kart, PACE).save(tmp_path / "policy.zip")
    policy = load_policy(str(tmp_path / "policy.zip"), tmp_path)
    assert (policy.backend, policy.shapes, isinstance(policy.model, PPO)) == ("torch", {"observation": (26,)}, True)
    with pytest.raises(InputError, match="does not say what it observes"):
        tracks_and_vehicle(policy)


def test_a_policy_of_another_size_is_refused_with_both_shapes(kart: Vehicle, tmp_path: Path):
    run = make_run(tmp_path, linear_driver(kart, PACE, preview=3))
    with pytest.raises(InputError, match=r"reads observations \(N, 16\), its environment gives \(N, 26\)"):
        main_raising(f"run={run.path}", "backend=torch", f"paths.outputs={tmp_path}")


def main_raising(*arguments: str) -> None:
    from racing.commands.evaluate import main as verb

    verb(list(arguments))


@pytest.mark.parametrize(
    "change",
    [
        {"env": {"_target_": "os.system"}},
        {"env": {"_target_": "racing.envs.sensors.np.load"}},
        {"env": {"_target_": "racing.envs.sensors.SensorsTask", "reward": {"_target_": "os.system"}}},
        {"env": {"_target_": "racing.envs.sensors.SensorsTask", "range": "${oc.env:HOME}"}},
        {"track": {"_target_": "shutil.rmtree", "path": "/nowhere"}},
        {"vehicle": {"_target_": "os.system", "command": "true"}},
    ],
)
def test_a_file_cannot_bring_code(change: dict, bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    evil = with_metadata(bare, tmp_path / "evil.onnx", **{k: json.dumps(v) for k, v in change.items()})
    capsys.readouterr()
    assert main(["evaluate", f"run={evil}", f"paths.outputs={tmp_path}"]) == 2
    assert "do not trust this file" in capsys.readouterr().err


def test_a_files_own_words_are_trusted():
    config = {"env": group("env/mlp"), "track": {"_target_": "racing.tracks.catalog.load_tracks", "file": "oval"}}
    refuse_foreign_code(config, "own")


def test_damaged_files_are_refused(bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "no.onnx").write_text("hello")
    (tmp_path / "no.zip").write_text("hello")
    with_metadata(bare, tmp_path / "torn.onnx", env="{")
    with_metadata(bare, tmp_path / "new.onnx", env=json.dumps({**group("env/mlp_preview"), **group("env/mlp", x=1)}))
    with_metadata(bare, tmp_path / "car.onnx", vehicle=json.dumps({"name": "kart", "wheels": 4}))
    with_metadata(bare, tmp_path / "list.onnx", env="[1]")
    with_metadata(bare, tmp_path / "nameless.onnx", env='{"rays": 8}')
    with_metadata(bare, tmp_path / "moved.onnx", env='{"_target_": "racing.envs.elsewhere.Task"}')
    for name, message in (
        ("list.onnx", "env in its metadata must be keys and values, got '[1]'"),
        ("nameless.onnx", "does not say what its environment is"),
        ("moved.onnx", "'racing.envs.elsewhere.Task' must be something that can be imported"),
        ("no.onnx", "must be an ONNX model"),
        ("no.zip", "must be a policy saved by Stable-Baselines3"),
        ("torn.onnx", "its metadata must be JSON"),
        ("car.onnx", "its vehicle does not fit this version"),
    ):
        capsys.readouterr()
        assert main(["evaluate", f"run={tmp_path / name}", f"paths.outputs={tmp_path}"]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("format=xml", "format must be one of table, json, csv, got 'xml'"),
        ("episodes=0", "episodes must be a whole number in 1..100000, got 0"),
        ("episodes=1.5", "episodes must be a whole number"),
        ("laps=true", "laps must be a whole number"),
        ("seed=-1", "seed must be a whole number"),
        ("scale=0", "scale must be a number > 0"),
        ("scale=2", "must come with track="),
        ("metres_per_pixel=0", "metres_per_pixel must be a number > 0"),
        ("grip=wet", "must come with track="),
        ("track=oval grip=3", "must be wet, dry, a picture, or a factor in [0.05, 2.0]"),
        ("track=ovel", "neither a known track nor a file"),
        ("track=[]", "at least one track"),
        ("track=3", "track must be a name, a path or a list"),
        ("vehicle=bike", "is not in conf/vehicle"),
        ("vehicle=3", "vehicle must be a name"),
        ("backend=tf", "backend must be one of onnx, torch"),
        ("telemetry=yes_please", "telemetry must be true or false"),
        ("video=4k", "video must be true or false"),
        ("episode=3", "unknown key 'episode'; did you mean episodes?"),
        ("--help-me", "unrecognized argument"),
        ("out=/dev/null/x", "must be a writable folder"),
        ("run=nothing.onnx", "must be an existing file"),
        ("run=nothing", "must be a run directory"),
    ],
)
def test_wrong_input_is_one_line(
    argument: str, message: str, bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    capsys.readouterr()
    assert main(["evaluate", f"run={bare}", "episodes=2", f"paths.outputs={tmp_path}", *argument.split(" ")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_run_without_its_export_says_so(kart: Vehicle, tmp_path: Path):
    run = make_run(tmp_path, linear_driver(kart, PACE))
    with pytest.raises(InputError, match=r"has no export/policy.onnx; racing export run="):
        load_policy("latest", tmp_path)
    assert load_policy(run.name, tmp_path, "torch").name == run.name


def test_the_latest_run_is_one_that_has_a_policy(kart: Vehicle, tmp_path: Path):
    run = make_run(tmp_path, linear_driver(kart, PACE))
    with open_run(tmp_path, "begun", {"seed": 0}, [], {}) as begun:
        pass
    assert find_run("latest", tmp_path).path == begun.path
    assert load_policy("latest", tmp_path, "torch").name == run.name


def test_help_shows_examples_before_keys(capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", "--help"]) == 0
    text = capsys.readouterr().out
    assert text.index("examples:") < text.index("episodes: 100")


def test_an_episode_without_a_lap_is_a_line_too():
    episode = {"episode": 3, "track": "oval", "reward": -5.0, "steps": 12, "gates": 0, "laps": 0, "lap_time_s": None}
    assert "lap        - s  off_track" in episode_line(episode | {"ended": "off_track"})


def test_loaded_policies_take_any_batch(bare: Path, tmp_path: Path):
    policy = load_policy(str(bare), tmp_path)
    assert policy.predict(np.zeros((3, 26), np.float32)).shape == (3, 2)
    assert policy.predict(np.zeros((1, 26), np.float32)).dtype == np.float32


def test_a_registered_model_is_driven_by_its_alias(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from racing.tracking.mlflow_model import write_mlflow_model
    from racing.tracking.store import connect, embedded_uri

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client, _ = connect(embedded_uri(tmp_path), "racing", tmp_path)
    write_mlflow_model(bare, tmp_path / "model")
    client.create_registered_model("driver")
    version = client.create_model_version("driver", str(tmp_path / "model")).version
    client.set_registered_model_alias("driver", "champion", version)
    policy = load_policy("models:/driver@champion", tmp_path)
    assert (policy.name, policy.shapes, policy.trusted) == ("driver-champion", {"observation": (26,)}, False)
    tracks, vehicle = tracks_and_vehicle(policy)
    assert ([track.name for track in tracks], vehicle.name) == (["oval"], "kart")
    with pytest.raises(InputError, match="models:/driver@nobody must be a model in sqlite"):
        load_policy("models:/driver@nobody", tmp_path)


# policies that see


SEEN = {"width": 40, "height": 40, "line": "centre", "grayscale": True, "frame_stack": 4}


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory, kart: Vehicle) -> RunDirectory:
    """A run whose policy drives by frames: badly, it is untrained."""
    env = group("env/vision", **SEEN, randomize={"noise": 0.5})
    del env["defaults"]
    model = seeing_model(load_track("oval"), kart, **SEEN)
    run = make_run(tmp_path_factory.mktemp("seeing"), model, env=env)
    assert main(["export", f"run={run.path}"]) == 0
    return run


def test_what_a_camera_sees_is_swept_as_well(seeing: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    common = [f"run={seeing.path}", "episodes=3", "laps=1", "telemetry=false", f"out={tmp_path}"]
    result = evaluated(capsys, *common, "sweep=noise", "values=[0,0.4]", "randomize.mass=1.1")
    assert [(row["parameter"], row["value"]) for row in result["sweep"]] == [("noise", 0), ("noise", 0.4)]
    assert [Path(path).name for path in result["files"]] == ["sweep_noise.csv", "sweep_noise.png"]
    quiet, noisy = (evaluated(capsys, *common, f"randomize.noise={noise}", "randomize.mass=1.1") for noise in (0, 0.4))
    assert noisy["summary"]["randomize"] == {"mass": [1.1, 1.1], "noise": 0.4}
    assert [row["reward"] for row in result["sweep"]] == [of["summary"]["reward"] for of in (quiet, noisy)]
    assert result["sweep"][0]["reward"] != result["sweep"][1]["reward"]


def test_a_policy_that_sees_drives_alike_from_every_file(
    seeing: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    common = ["episodes=4", "laps=1", "telemetry=false", f"out={tmp_path}"]
    export = seeing.path / "export"
    specs = (seeing.path, f"{seeing.path} backend=torch", export / "policy.onnx", export / "policy.zip")
    results = [evaluated(capsys, *f"run={spec}".split(), *common)["episodes"] for spec in specs]
    for episodes in results[1:]:
        for one, other in zip(results[0], episodes, strict=True):
            assert (one["steps"], one["ended"]) == (other["steps"], other["ended"])
            assert one["progress_m"] == pytest.approx(other["progress_m"], abs=0.1)


def test_a_file_that_sees_needs_no_torch(seeing: RunDirectory, tmp_path: Path):
    path = tmp_path / "eyes.onnx"
    path.write_bytes((seeing.path / "export" / "policy.onnx").read_bytes())
    code = (
        "import sys\n"
        "from racing.cli import main\n"
        f"code = main(['evaluate', 'run={path}', 'episodes=2', 'laps=1', 'video=true', 'out={tmp_path / 'here'}'])\n"
        "print(sorted({'torch', 'stable_baselines3', 'mlflow', 'pandas'} & set(sys.modules)), code, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[] 0"
    assert {file.name for file in (tmp_path / "here").iterdir()} == FILES | {"lap.mp4"}
    assert done.stdout.splitlines()[-1] == str(tmp_path / "here" / "lap.mp4")


def test_frames_of_another_kind_are_refused_with_both_shapes(seeing: RunDirectory, tmp_path: Path):
    told = {entry.key: entry.value for entry in onnx.load(seeing.path / "export" / "policy.onnx").metadata_props}
    colour = json.dumps({**json.loads(told["env"]), "grayscale": False})
    path = with_metadata(seeing.path / "export" / "policy.onnx", tmp_path / "colour.onnx", env=colour)
    message = (
        r"reads observations vision \(N, 40, 40, 4\) and telemetry \(N, 9\), "
        r"its environment gives vision \(N, 40, 40, 12\) and telemetry \(N, 9\)"
    )
    with pytest.raises(InputError, match=message):
        main_raising(f"run={path}", f"paths.outputs={tmp_path}")


def test_evaluations_of_different_settings_lie_beside_each_other(run: RunDirectory):
    policy = load_policy(str(run.path), run.path)
    usual = parse(["track=oval"])
    table = ["track=oval", "columns={x: ost}"]
    changes = ["episodes=7", "laps=3", "half_width=2", "metres_per_pixel=0.1", "scale=2", "reverse=true", "grip=wet"]
    changes += ["seed=1", "backend=torch"]
    found = [usual, parse(table), *(parse(["track=oval", change]) for change in changes)]
    folders = [output_folder(policy, ["oval"], "kart", options) for options in found]
    assert folders[0].name == "oval-kart-seed0"
    assert len(set(folders)) == len(found)
    many = [output_folder(policy, [*"abcd", last], "kart", usual).name for last in "ef"]
    assert many[0] != many[1]
    assert all(name.startswith("5-tracks-") for name in many)


def test_several_runs_on_several_tracks_end_in_one_table(
    run: RunDirectory, bare: Path, outputs: Path, capsys: pytest.CaptureFixture[str]
):
    capsys.readouterr()
    where = ["track=oval,technical", "episodes=4", "telemetry=false", f"paths.outputs={outputs}"]
    assert main(["evaluate", f"run={run.name},{bare}", *where]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    rows = [line.split("│") for line in lines[lines.index("all") :] if "│" in line]
    cells = [[cell.strip() for cell in row[1:-1]] for row in rows]
    assert [row[:2] for row in cells] == [[n, t] for n in (run.name, "driver") for t in ("all", "oval", "technical")]
    finished = [float(row[2]) for row in cells]
    assert finished[:3] == finished[3:]
    assert finished[0] == pytest.approx((finished[1] + finished[2]) / 2)
    assert finished[1] == 1.0  # the driver of the oval


def test_several_runs_are_driven_one_after_another(
    run: RunDirectory, bare: Path, outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    common = ["episodes=2", "format=json", f"paths.outputs={outputs}"]
    capsys.readouterr()
    assert main(["evaluate", "laps=1,2", *common]) == 2
    assert "'laps=1,2' has several values; give the command once for each of them" in capsys.readouterr().err
    assert parse([f"run={run.name},{bare}"]) == parse([f"run=[{run.name},{bare}]"])
    assert main(["evaluate", f"run={run.name},{bare}", *common]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["policy"] for one in said] == [run.name, "driver"]
    assert said[0]["episodes"] == said[1]["episodes"]
    assert said[0]["files"] != said[1]["files"]
    for wrong, says in (
        ([f"run=[{run.name},nosuch]"], "run 'nosuch' must be"),
        (["run=[]"], "run must be a run, a file or a list of them, got []"),
        (["run=[a,b]", f"out={tmp_path}"], "is for one run, got 2"),
        (["run=[a,b]", "launcher=local"], "launcher=local takes one run"),
    ):
        assert main(["evaluate", *wrong, *common]) == 2
        said = capsys.readouterr()
        assert says in said.err
        assert said.out == ""  # before one has driven


def test_the_optimal_driver_drives_without_any_run(tmp_path: Path, capsys):
    command = ["evaluate", "driver=optimal", "track=oval", "episodes=10", f"paths.outputs={tmp_path}", "format=json"]
    assert main(command) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["summary"]["finish_rate"] == 1.0
    assert said["summary"]["limit_ratio_best"] < 1.002
    (folder,) = (tmp_path / "evaluations").iterdir()
    assert folder.name == "driver-oval-kart-seed0-10starts-optimal-pace1"
    assert {path.name for path in folder.iterdir()} == FILES


def test_the_drivers_of_another_environment_drive_without_any_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """env says whose drivers: those of lateral by costs, with settings of its own."""
    few = "settings={holdout_routes:2,mpc:{samples:2,horizon:2,iterations:1}}"
    common = ["evaluate", "env=lateral", few, "episodes=2", f"paths.outputs={tmp_path}", "format=json"]
    found = {}
    for driver in ("pid", "mpc"):
        assert main([*common, f"driver={driver}"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["policy"] == driver
        assert Path(said["files"][0]).parent.name.startswith(f"driver-2-episodes-{driver}-")
        found[driver] = said["summary"]
    assert found["pid"]["total_cost"] == found["mpc"]["references"]["pid"]["total_cost"]
    assert found["mpc"]["total_cost"] != found["pid"]["total_cost"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["env=lateral", "driver=optimal"], "driver must be one of policy, feed_forward, pid, preview_pid, mpc, got"),
        (["env=mlp", "driver=mpc"], "driver must be one of policy, optimal, got 'mpc'"),
        (["env=lateral"], "env must be null or race, got 'lateral'; choose one, or name a driver= and no run"),
        (["env=lateral", "driver=pid", "run=some"], "env must be null or race, got 'lateral'"),
        (["env=moon", "driver=pid"], "env must be a name in conf/env, got 'moon'; null, or one of lateral, mlp, "),
        (["env=lateral", "driver=mpc", "pace=0.9"], "pace=0.9 is of cars on tracks"),
        (["env=lateral", "driver=mpc", "settings={mpc:{samples:3}}"], "mpc.samples must be even, got 3"),
    ],
)
def test_drivers_that_do_not_fit_are_one_line(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["evaluate", *arguments, f"paths.outputs={tmp_path}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert expected in line
    assert list(tmp_path.iterdir()) == []


def test_the_optimal_driver_takes_the_place_of_a_policy(run: RunDirectory, outputs: Path, capsys):
    command = ["evaluate", "driver=optimal", "pace=0.7", f"run={run.path}", "episodes=2", "laps=1", "format=json"]
    assert main([*command, f"paths.outputs={outputs}"]) == 0
    summary = json.loads(capsys.readouterr().out)["summary"]
    assert summary["finish_rate"] == 1.0
    assert main(["evaluate", "driver=optimal", "pace=0.2", "track=oval"]) == 2
    assert "pace must be a number in [0.3, 1], got 0.2" in capsys.readouterr().err
    assert main(["evaluate", "driver=perfect", "track=oval"]) == 2
    assert "driver must be one of policy, optimal, got 'perfect'" in capsys.readouterr().err
    assert main(["evaluate", "pace=0.8", f"run={run.path}"]) == 2
    assert "pace=0.8 must come with driver=optimal" in capsys.readouterr().err
