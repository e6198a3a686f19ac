"""A policy is promoted, found by its alias, and driven, on this machine and on another; prune and fetch beside it."""

import json
import os
import shutil

import numpy as np
import pytest

from racing.cli import main
from racing.commands.runs.main import sync
from racing.errors import InputError
from racing.policies.loading import load_policy, tracks_and_vehicle
from racing.runs.directory import open_run
from racing.runs.journal import read_journal
from racing.tracking.model_registry import promote
from racing.tracking.run_record import find_record, local_run
from tests.support.drivers import linear_driver, make_run

pytestmark = pytest.mark.slow

RESULTS = {"eval/finish_rate": 0.97, "eval/lap_time_s": 41.5, "eval/lap_ratio": 1.25, "export/max_difference": 2e-7}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, kart):
    """Config of a drivable run and its exported files."""
    run = make_run(tmp_path_factory.mktemp("trained"), linear_driver(kart, 15.0))
    assert main(["export", f"run={run.path}"]) == 0
    return run


@pytest.fixture
def drivable(trained, begin, tmp_path):
    """drivable(seed=0, **results): a finished run that drives, in tmp_path/outputs; results of None are missing."""

    def make(seed=0, finish=True, **results):
        with open_run(tmp_path / "outputs", "drive", trained.config | {"seed": seed}, [f"seed={seed}"], {}) as run:
            for name in ("policy.zip", "policy.onnx"):
                shutil.copy(trained.path / "export" / name, run.path / "export")
                run.journal.artifact(f"export/{name}", "export")
            run.journal.tags({"racing.tracks": "oval", "racing.vehicle": "kart"})
            run.journal.model("export/policy.onnx", "policy")
            run.journal.metrics(100, {name: value for name, value in (RESULTS | results).items() if value is not None})
            if finish:
                run.finish({"finish_rate": 0.97})
            else:
                run.journal.end("STOPPED")
        return run

    return make


def test_champion_is_driven_on_this_machine_and_on_another(drivable, server, tmp_path, monkeypatch, capsys):
    outputs, away = tmp_path / "outputs", tmp_path / "away"
    run = drivable()
    assert sync(run, server.uri) == 0
    name = f"kart-{tmp_path.name}"
    capsys.readouterr()
    assert main(["runs", "promote", run.name, f"name={name}", f"paths.outputs={outputs}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"models:/{name}@champion  version 1"
    told = dict(line.split(maxsplit=1) for line in lines[1:])
    assert told == {
        "run": run.name,
        "finish_rate": "0.97",
        "lap_time_s": "41.5",
        "lap_ratio": "1.25",
        "track": "oval",
        "vehicle": "kart",
    }
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    champion = f"models:/{name}@champion"
    here, there = load_policy(champion, outputs), load_policy(champion, away)
    assert here.run.path == run.path
    assert there.run.path == away / "fetched" / run.mlflow["run_id"] / run.name
    observation = np.linspace(-1, 1, 2 * 26, dtype=np.float32).reshape(2, 26)
    assert (here.predict(observation) == there.predict(observation)).all()
    tracks, vehicle = tracks_and_vehicle(there)
    assert ([track.name for track in tracks], vehicle.name) == (["oval"], "kart")
    assert find_record(champion, outputs).name == find_record(f"models:/{name}/1", away).name == run.name
    capsys.readouterr()
    assert main(["evaluate", f"run={champion}", "episodes=2", "telemetry=false", f"paths.outputs={away}"]) == 0
    assert main(["export", f"run={run.mlflow['run_id']}", f"paths.outputs={away}", f"out={tmp_path / 'x.onnx'}"]) == 0
    assert (tmp_path / "x.onnx").is_file()


def test_a_better_run_takes_the_alias_and_promoting_twice_makes_no_second_version(drivable, tmp_path):
    outputs = tmp_path / "outputs"
    first, second = drivable(0), drivable(1, **{"eval/lap_time_s": 40.0})
    assert [sync(run) for run in (first, second)] == [0, 0]
    made = [promote(run.name, "kart", "champion", outputs) for run in (first, second, second, first)]
    assert [(p.version, p.before) for p in made] == [("1", None), ("2", "1"), ("2", "2"), ("1", "2")]
    assert find_record("models:/kart@champion", outputs).name == first.name
    assert find_record("models:/kart/2", outputs).name == second.name
    promote(second.name, "kart", "challenger", outputs)
    assert find_record("models:/kart@challenger", outputs).name == second.name


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"export/max_difference": None}, "was not compared with torch"),
        ({"export/max_difference": 2e-5}, "differs from torch by 2e-05"),
        ({"export/max_difference": float("nan")}, "differs from torch by nan"),
        ({"eval/finish_rate": None}, "was not evaluated"),
        ({"finish": False}, "is STOPPED, only a finished run"),
    ],
)
def test_what_is_not_proven_is_not_promoted(drivable, tmp_path, results, message):
    run = drivable(**results)
    assert sync(run) == 0
    with pytest.raises(InputError, match=message):
        promote(run.name, "kart", "champion", tmp_path / "outputs")
    with pytest.raises(InputError, match="it is not there"):
        find_record("models:/kart@champion", tmp_path / "outputs")


def test_what_mlflow_has_not_is_not_promoted(drivable, server, tmp_path):
    outputs = tmp_path / "outputs"
    run = drivable()
    with pytest.raises(
        InputError, match=f"no store does not have it; racing runs sync run={run.name} paths.outputs={outputs}$"
    ):
        promote(run.name, "kart", "champion", outputs)
    assert sync(run) == 0
    with pytest.raises(
        InputError, match=f"does not have it; racing runs sync run={run.name} tracking.uri={server.uri}"
    ):
        promote(run.name, "kart", "champion", outputs, server.uri)
    with (run.path / "journal.jsonl").open("a") as file:
        file.write('{"ts":1,"kind":"event","name":"late"}\n')
    with pytest.raises(InputError, match="bytes are; racing runs sync"):
        promote(run.name, "kart", "champion", outputs)
    for name, alias in (("a/b", "champion"), ("", "champion"), ("kart", "v2"), ("kart", "Latest"), ("kart", "a b")):
        with pytest.raises(InputError, match="must be letters"):
            promote(run.name, name, alias, outputs)


def test_a_model_whose_run_is_gone_still_drives(drivable, tmp_path):
    from racing.tracking.store import connect

    outputs = tmp_path / "outputs"
    run = drivable()
    assert sync(run) == 0
    promote(run.name, "kart", "champion", outputs)
    client, _ = connect(run.mlflow["uri"], "racing", outputs)
    client.delete_run(run.mlflow["run_id"])
    shutil.rmtree(run.path)
    policy = load_policy("models:/kart@champion", outputs)
    assert (policy.name, policy.run, policy.trusted) == ("kart-champion", None, False)
    with pytest.raises(InputError, match="was deleted"):
        load_policy("models:/kart@champion", outputs, "torch")


@pytest.mark.parametrize("at", ["server", "embedded"])
def test_a_model_of_another_program_drives(trained, begin, server, tmp_path, at, monkeypatch):
    """As `mlflow.onnx.log_model(..., registered_model_name=...)` leaves it: its run is none of racing."""
    import mlflow
    import onnx

    from racing.tracking.store import connect, embedded_uri

    uri = server.uri if at == "server" else embedded_uri(tmp_path / "outputs")
    name = f"foreign-{tmp_path.name}"
    client, experiment = connect(uri, "other", tmp_path / "outputs")
    mlflow.set_tracking_uri(uri)
    with mlflow.start_run(experiment_id=experiment):
        model = onnx.load(trained.path / "export/policy.onnx")
        mlflow.onnx.log_model(model, name="m", pip_requirements=[], registered_model_name=name)
    mlflow.set_tracking_uri(None)
    client.set_registered_model_alias(name, "best", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for spec in (f"models:/{name}@best", f"models:/{name}/1"):
        policy = load_policy(spec, tmp_path / "away")
        assert (policy.shapes, policy.run, policy.trusted) == ({"observation": (26,)}, None, False)
    assert os.environ["MLFLOW_TRACKING_URI"] == uri
    with pytest.raises(InputError, match="another program made it"):
        find_record(f"models:/{name}@best", tmp_path / "away")


def test_a_fetched_run_may_name_no_code_of_others(drivable, tmp_path):
    run = drivable()
    config = run.path / "config.yaml"
    config.write_text(config.read_text().replace("racing.sim.vehicle.Vehicle", "os.system"))
    assert sync(run) == 0
    fetched = load_policy(str(local_run(run.mlflow["run_id"], tmp_path / "away", run.mlflow["uri"]).path), tmp_path)
    with pytest.raises(InputError, match="do not trust this file"):
        tracks_and_vehicle(fetched)


def test_list_show_and_artifacts_of_a_server(drivable, server, tmp_path, capsys):
    outputs, uri = tmp_path / "outputs", f"tracking.uri={server.uri}"
    first, second = drivable(0), drivable(1)
    assert [sync(run, server.uri) for run in (first, second)] == [0, 0]
    place = f"paths.outputs={tmp_path / 'away'}"
    capsys.readouterr()
    assert main(["runs", "list", uri, place, "format=json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows[:2]] == [second.name, first.name]
    assert (rows[0]["steps"], rows[0]["lap_time_s"], rows[0]["status"]) == (100, 41.5, "FINISHED")
    assert main(["runs", "list", f"paths.outputs={outputs}", "format=json"]) == 0
    here = json.loads(capsys.readouterr().out)
    for key in ("name", "status", "steps", "lap_time_s", "run_id"):
        assert [row[key] for row in here] == [row[key] for row in rows[:2]]
    assert main(["runs", "show", first.mlflow["run_id"], uri, place, "format=json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["directory"], shown["config"]["seed"], shown["results"]["eval/lap_ratio"]) == (None, 0, 1.25)
    assert main(["runs", "show", first.mlflow["run_id"], uri, place, "format=full"]) == 0
    assert "eval/lap_ratio" in capsys.readouterr().out
    assert main(["runs", "artifacts", first.name, f"paths.outputs={outputs}", "format=json"]) == 0
    sizes = {row["path"]: (row["here"], row["mlflow"]) for row in json.loads(capsys.readouterr().out)}
    size = (first.path / "export/policy.onnx").stat().st_size
    assert sizes["export/policy.onnx"] == (size, size)
    assert sizes["run.lock"][1] is None
    assert [here for path, (here, _) in sizes.items() if path.startswith("models:/")][:1] == [None]
    assert main(["runs", "artifacts", first.mlflow["run_id"], uri, place]) == 0
    assert "export/policy.onnx" in capsys.readouterr().out


def test_fetch_copies_a_part_or_the_whole_and_replaces_nothing(drivable, server, tmp_path, capsys):
    run = drivable()
    assert sync(run, server.uri) == 0
    uri, run_id = f"tracking.uri={server.uri}", run.mlflow["run_id"]
    common = ["runs", "fetch", run_id, uri, f"paths.outputs={tmp_path / 'away'}"]
    here = f"to={tmp_path / 'here'}"
    capsys.readouterr()
    assert main([*common, "path=export", here]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'here/export'}\n"
    assert sorted(path.name for path in (tmp_path / "here/export").iterdir()) == ["policy.onnx", "policy.zip"]
    (tmp_path / "here/export/policy.onnx").write_text("mine")
    for path, message in {
        "export": "is there already",
        "export/policy.onnx": "is there already",
        "nothing": "nothing",
        "../up": "must name an artifact",
        "/": "must name an artifact",
    }.items():
        assert main([*common, f"path={path}", here]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
    assert (tmp_path / "here/export/policy.onnx").read_text() == "mine"
    assert main([*common, "path=export/policy.zip", f"to={tmp_path / 'there'}"]) == 0
    assert (tmp_path / "there/export/policy.zip").is_file()
    assert main([*common, here]) == 0
    assert find_record(str(tmp_path / "here" / run.name), tmp_path).run_id == run_id
    (tmp_path / "taken" / run.name).mkdir(parents=True)
    (tmp_path / "taken" / run.name / "note").write_text("mine")
    assert main([*common, f"to={tmp_path / 'taken'}"]) == 2
    assert "is no fetched copy" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "taken" / run.name).iterdir()] == ["note"]
    assert main(["runs", "sync", str(tmp_path / "here" / run.name)]) == 2


@pytest.mark.parametrize("remote", [False, True])
def test_prune_thins_checkpoints_here_and_in_mlflow(begin, server, tmp_path, remote, capsys):
    from racing.runs.checkpoints import Checkpoints

    run = begin(checkpoint={"milestone_every": 300})
    for step in (100, 200, 300, 400, 500, 600, 700):
        saved = Checkpoints(run.path).save(step, {"policy": {"weights": np.full(3, step, np.float32)}}, {})
        run.journal.artifact(saved.path, f"checkpoints/{saved.path.name}")
    run.finish({"best_step": 200})
    assert sync(run, server.uri) == 0
    names = [f"{step:09d}" for step in (100, 200, 300, 400, 500, 600, 700)]

    def here():
        return sorted(path.name for path in (run.path / "checkpoints").iterdir())

    def there():
        rows = find_remote(run, server)
        return sorted({path.split("/")[1] for path in rows if path.startswith("checkpoints/")})

    place = f"paths.outputs={tmp_path / 'outputs'}"
    assert main(["runs", "prune", run.name, place]) == 2  # it is still open
    assert "is in use by" in capsys.readouterr().err
    run.close()
    assert main(["runs", "prune", run.name, place, "dry=true"]) == 0
    assert "3 checkpoints would be deleted" in capsys.readouterr().out
    assert here() == there() == names
    assert main(["runs", "prune", run.name, place, f"remote={str(remote).lower()}"]) == 0
    stay = [names[1], names[2], names[5], names[6]]  # the best, two milestones, the last
    assert here() == stay
    assert there() == (stay if remote else names)
    assert main(["runs", "prune", run.name, place, "milestones=false"]) == 0
    assert here() == [names[1], names[6]]
    events = [line.record for line in read_journal(run.path / "journal.jsonl") if line.record["kind"] == "event"]
    assert [event["step"] for event in events] == [100, 400, 500, 300, 600]
    capsys.readouterr()
    assert main(["runs", "prune", run.name, place]) == 0
    assert "nothing to delete; 2 kept" in capsys.readouterr().out
    assert sync(run) == 0
    assert find_record(run.name, tmp_path / "outputs").status == "FINISHED"


def find_remote(run, server):
    from racing.tracking.client import Store

    return [path for path, _ in Store(server.uri, run.path).files(run.mlflow["run_id"])]
