"""Wrong input of every kind: exit code 2, one line on stderr with value, rule and remedy, and nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from racing.cli import main
from racing.config import load_group
from racing.tracks.catalog import load_track
from racing.tracks.formats.native import write_native
from racing.tracks.generator import generate
from tests.support.drivers import seeing_model

pytestmark = pytest.mark.slow

SEE = "env=vision env.line=centre algo=ppo_cnn"
# arguments, then what the line must say: the key or value, the rule, the remedy
TRAIN = [
    # keys and choices
    ("algo.nenvs=3", "unknown key 'algo.nenvs'", "did you mean algo.n_envs?"),
    ("sede=3", "unknown key 'sede'", "did you mean seed?"),
    ("learning_rate=1e-3", "unknown key 'learning_rate'", "did you mean algo.learning_rate?"),
    ("flavour=red", "unknown key 'flavour'", "the keys of the configuration: algo, "),
    ("env.decision_repeat=3", "unknown key 'env.decision_repeat'", "it is called env.action_repeat now"),
    ("env.reward.beauty=1", "unknown key 'env.reward.beauty'", "progress"),
    ("+env.reward.beauty=1", "env.reward.beauty is no reward term", "use: progress, off_track"),
    ("+env.episodes.luck=1", "env.episodes.luck is no key", "use: random_start, "),
    ("+env.luck=1", "unknown key 'env.luck'", "remove +env.luck"),
    ("+eval.luck=1", "unknown key 'eval.luck'", "the keys of eval: confirmations, "),
    ("+eval.finish_rate=1", "unknown key 'eval.finish_rate'", "it is called eval.target_finish_rate now"),
    ("+sweep.n_trials=1", "unknown key 'sweep.n_trials'", "it is called tuning.n_trials now"),
    ("+env.decision_repeat=1", "unknown key 'env.decision_repeat'", "it is called env.action_repeat now"),
    ("algo.net_arch.x=3", "'x' must be the number of an element", "key=[1,2]"),
    ("algo.net_arch.7=3", "'algo.net_arch.7=3' must be the number of an element", "key=[1,2]"),
    ("algo=sac algo.n_epochs=64", "unknown key 'algo.n_epochs'", "another choice of algo has it"),
    ("algo=ppp", "unknown choice algo=ppp", "did you mean ppo?"),
    ("vehicle=tractor", "unknown choice vehicle=tractor", "choose one of: f1tenth, "),
    ("conditions=stin", "unknown choice conditions=stin", "did you mean stint?"),
    ("env.conditions.tyres.lif=3", "unknown key 'env.conditions.tyres.lif'", "did you mean env.conditions.tyres.life?"),
    ("conditions.tyres.life=3", "unknown key 'conditions.tyres.life'", "did you mean env.conditions.tyres.life?"),
    ("algo=null", "'algo=null' must name a choice of algo", "choose one of: cmaes, masac, ppo, "),
    ("debug=quick", "unknown choice debug=quick", "choose one of: fast"),
    ("experiment=absent", "unknown choice experiment=absent", "choose one of"),
    ("launcher=moon", "unknown choice launcher=moon", "choose one of"),
    ("~hardware", "hardware=None must be a group of keys", "choose a file of conf/hardware"),
    ("~eval.every_steps", "required key 'every_steps' is missing", "drop the ~ override"),
    ("env", "'env' must name a choice of env", "choose one of: lateral, mlp"),
    ("seed", "'seed' must be key=value", "write lists as"),
    ("algo.gamma=[1", "'algo.gamma=[1' must be key=value", "write lists as"),
    ("seed=1,2", "'seed=1,2' has several values", "add -m"),
    ("--sede", "unrecognized argument '--sede'", "--help"),
    # wrong types
    ("algo.n_envs=abc", "algo.n_envs must be a whole number in [1, 1048576], got 'abc'", "see conf/algo"),
    ("algo.n_envs=true", "algo.n_envs must be a whole number", "got True; see"),
    ("algo.total_timesteps=1e6", "algo.total_timesteps must be a whole number", "got 1000000.0; write 1000000"),
    ("algo.learning_rate=fast", "algo.learning_rate must be a number in [1e-12, 1], got 'fast'", "e.g. 1e-3"),
    ("algo.net_arch=5", "algo.net_arch must be a list of layer sizes, got 5", "e.g. [64, 64]"),
    ("algo.net_arch=[0]", "sizes must be a whole number in [1, 65536], got 0", "e.g. [64, 64]"),
    ("algo.log_std_init=1", "algo.log_std_init must be 2 numbers in [-10, 2], got 1", "give one per action"),
    ("algo.target_kl=low", "algo.target_kl must be a number", "got 'low'; null switches it off"),
    ("algo.activation=[tanh]", "algo.activation must be one of tanh, relu, elu, got ['tanh']", "choose one"),
    ("env.rays=many", "env.rays must be a whole number in [1, 4096], got 'many'", "7 is the default"),
    ("env.action_repeat=1.5", "env.action_repeat must be a whole number", "got 1.5; 2 is the default"),
    ("env.reward=5", "env.reward must be weights by term, got 5", "the terms: progress"),
    ("env.reward.progress=lots", "env.reward.progress must be a finite number, got 'lots'", "0 switches it off"),
    ("env.episodes.start_speed=3", "env.episodes.start_speed must be two numbers, got 3", "e.g. [0.3, 0.9]"),
    ("env.episodes.random_start=often", "env.episodes.random_start must be true or false, got 'often'", "choose one"),
    ("vehicle.mass=heavy", "vehicle.mass must be a number > 0, got 'heavy'", "set a physical value"),
    ("track.scale=big", "scale must be in (0, 10000), got 'big'", "1:10"),
    ("tracking.uri=5", "tracking.uri must be a text, got 5", "write tracking.uri=TEXT"),
    ("tracking.close_timeout=soon", "tracking.close_timeout must be a number", "got 'soon'; see conf/tracking"),
    ("fresh=maybe", "fresh must be true or false, got 'maybe'", "choose one"),
    ("checkpoint.every=often", "checkpoint.every must be a whole number in [0, ", "got 'often'; see conf/checkpoint"),
    (
        "checkpoint.every_minutes=soon",
        "checkpoint.every_minutes must be a number in [0, ",
        "got 'soon'; see conf/checkpoint",
    ),
    ("checkpoint=null", "'checkpoint=null' must name a choice of checkpoint", "choose one of: default"),
    ("~checkpoint.every_minutes", "required key 'every_minutes' is missing", "drop the ~ override"),
    ("init_from=[a,b]", "init_from must be a run, got ['a', 'b']", "see `racing runs list"),
    ("phases=5", "phases must be lists of settings by name, got 5", "e.g. {first: [track=oval]"),
    ("phases=[['seed=1']]", "phases must be lists of settings by name, got [['seed=1']]", "e.g. {first: [track=oval]"),
    ("phases={a:seed}", "phases must be lists of settings by name, got {'a': 'seed'}", "e.g. {first: [track=oval]"),
    ("phases={a:[seed]}", "phases must be lists of settings by name, got {'a': ['seed']}", "e.g. {first: "),
    ("phases={}", "phases must be lists of settings by name, got {}", "e.g. {first: [track=oval]"),
    # out of range
    ("checkpoint.every=-1", "checkpoint.every must be a whole number in [0, ", "got -1; see conf/checkpoint"),
    ("checkpoint.every=1.5", "checkpoint.every must be a whole number in [0, ", "got 1.5; see conf/checkpoint"),
    ("checkpoint.keep_last=0", "checkpoint.keep_last must be a whole number in [1, ", "got 0; see conf/checkpoint"),
    ("checkpoint.milestone_every=-5", "checkpoint.milestone_every must be a whole number in [0, ", "got -5; see conf"),
    ("checkpoint.every_minutes=-1", "checkpoint.every_minutes must be a number in [0, ", "got -1; see conf/checkpoint"),
    ("checkpoint.every_minutes=.nan", "checkpoint.every_minutes must be a number in [0, ", "see conf/checkpoint"),
    ("seed=-1", "seed must be a whole number in [0, 268435455], got -1", "see conf/train.yaml"),
    ("algo.gamma=1.5", "algo.gamma must be a number in [0, 1], got 1.5", "see conf/algo"),
    ("algo.batch_size=1000", "algo.batch_size must divide algo.n_steps * algo.n_envs = ", "; say algo.batch_size=1024"),
    (
        "algo.learning_rate_end=0.9",
        "algo.learning_rate_end must be <= algo.learning_rate",
        "; say algo.learning_rate_end=",
    ),
    ("algo=sac algo.tau=2", "algo.tau must be a number in [1e-06, 1], got 2", "see conf/algo"),
    ("algo=cmaes algo.starts=3", "algo.n_envs must be algo.population * algo.starts = 96, got 128", "algo.n_envs=96"),
    ("algo=cmaes env=vision", "algo=cmaes evolves policies that drive by sensors, alone or", "or algo=ppo"),
    ("algo=sac algo.ent_coef=warm", "algo.ent_coef must be a number in [0, 1000], got 'warm'", "or auto"),
    ("algo=sac algo.ent_coef=auto_0", "algo.ent_coef=auto_0 must start above 0", "e.g. auto_0.1"),
    ("eval.episodes=0", "eval.episodes must be a whole number in [1, 100000], got 0", "see conf/eval"),
    ("eval.start_fraction=2", "eval.start_fraction must be a number in [0, 1], got 2", "it is a share"),
    ("env.rays=0", "env.rays must be a whole number in [1, 4096], got 0", "7 is the default"),
    ("env.range=0", "env.range must be a number in [0.001, 10000] m, got 0", "null: the vehicle's own"),
    ("env.field_of_view=400", "env.field_of_view must be a number in [0.001, 360] degrees", "180 is the default"),
    ("env.motion=up", "env.motion must be one or several of yaw_rate, steering", "got 'up'; choose some"),
    ("vehicle.model=kinematic", "algo.teacher=driver must drive a vehicle with tyres", "algo=ppo_scratch"),
    ("env.motion=[slip,down]", "env.motion must be one or several of yaw_rate, steering", "choose some"),
    (
        "env.episodes.start_lateral_offset=2",
        "env.episodes.start_lateral_offset must be a number in [0, 1], got 2",
        "it is a share",
    ),
    ("env.episodes.start_speed=[0.9,0.3]", "0 <= low <= high <= 1.5, got [0.9, 0.3]", "shares of the safe speed"),
    ("vehicle.mass=-1", "vehicle.mass must be a number > 0, got -1", "set a physical value"),
    ("vehicle.max_steer=27", "vehicle.max_steer must be < 1.5 rad, got 27", "give radians"),
    ("track.scale=0", "scale must be in (0, 10000), got 0", "1:10"),
    ("track=generated track.count=0", "track.count must be a whole number in [1, 100000], got 0", "give the number"),
    ("track=generated track.style=round", "style must be one of oval, ", "got 'round'; choose one"),
    ("name=a/b", "name 'a/b' must be letters, digits", "rename it"),
    # frames
    (f"{SEE} env.frame_stack=0", "env.frame_stack must be a whole number in [1, 16], got 0", "1 is a single frame"),
    (f"{SEE} env.width=7", "env.width must be a whole number in [8, 1024] pixels, got 7", "84 is usual"),
    (f"{SEE} env.width=20", "must be at least 36 for nature, 32 for small, 8 for impala, got 20 x 84", "enlarge them"),
    (f"{SEE} env.grayscale=4", "env.grayscale must be true or false, got 4", "choose one"),
    (f"{SEE} env.texture=marble", "env.texture must be one of drawn, picture, got 'marble'", "drawn is usual"),
    (f"{SEE} env.texture=picture track=generated track.count=1", "has no picture", "use the drawn texture"),
    (f"{SEE} env.camera.pitch=85", "env.camera.pitch must be a number in [-70, 80] degrees, got 85", "is usual"),
    (f"{SEE} env.randomize.noise=2", "env.randomize.noise must be a number in [0, 1], got 2", "0 turns it off"),
    (f"{SEE} algo.cnn=resnet", "algo.cnn must be one of nature, small, impala, got 'resnet'", "choose one"),
    (f"{SEE} algo.precision=half", "algo.precision must be one of auto, float32, bfloat16, got 'half'", "choose one"),
    ("eval.video=4k", "eval.video must be true or false, got '4k'", "choose one"),
    # phases are checked before the first begins
    ("phases={a:['seed=1'],b:['sede=2']}", "unknown key 'sede'", "did you mean seed?"),
    ("phases={a:['seed=1'],b:['algo.gamma=2']}", "algo.gamma must be a number in [0, 1], got 2", "see conf/algo"),
    ("phases={a:['seed=1'],b:['seed=-2']}", "seed must be a whole number", "got -2; see conf/train.yaml"),
    ("phases={a:['seed=1'],b:['track=ovall']}", "track 'ovall' is neither a known track nor a file", "known tracks: "),
    # what is not there
    ("init_from=latest", "init_from=latest must name one run", "take a name of `racing runs list"),
    ("init_from=absent", "run 'absent' must be a run directory, its name", "see `racing runs list"),
    ("init_from=/absent/policy.zip", "init_from=/absent/policy.zip must be an existing file", "`racing runs list"),
    ("track=ovall", "track 'ovall' is neither a known track nor a file", "known tracks: oval, "),
    ("track=/absent/map.yaml", "track '/absent/map.yaml' is neither", "or give a path"),
    ("tracking.uri=nonsense", "tracking.uri 'nonsense' must begin with http://", "use null"),
    ("tracking.uri=http://me:secret@host", "tracking.uri must not hold a user or password", "MLFLOW_TRACKING_USERNAME"),
    ("hardware.prefer=[tpu]", "hardware.prefer may hold gpu, cpu, got 'tpu'", "remove it"),
]
OTHERS = [
    ("fly", "racing: unknown verb 'fly'", "use one of: train, "),
    ("evaluate run=absent", "run 'absent' must be a run directory, its name, an MLflow run id", "racing runs list"),
    ("evaluate format=pdf", "format must be one of table, json, csv, got 'pdf'", "choose one"),
    ("evaluate episodes=0", "episodes must be a whole number in 1..100000, got 0", "--help"),
    ("evaluate sweep=weight", "sweep must name keys of randomize, got 'weight'", "they are mass, friction"),
    ("evaluate sweep=noise", "sweep=noise must come with values=[...]", "name some"),
    ("evaluate sweep=[mass,friction] values=[1]", "values=[1] must come with one parameter", "name one in sweep"),
    (
        "evaluate sweep=friction values=[9]",
        "randomize.friction must be a number or [low, high]",
        "null: the vehicle's own",
    ),
    ("evaluate sweep=friction values=1", "values must be a list of numbers, got 1", "e.g. values=[0.8,0.9,1]"),
    (
        "evaluate sweep=mass randomize.mass=1",
        "sweep=mass must not stand beside randomize.mass=1",
        "leave one of them away",
    ),
    ("evaluate sweep=mass video=true", "video=true must come without sweep", "leave one of them away"),
    (
        "evaluate randomize.mass=[2,1]",
        "randomize.mass must be a number or [low, high]",
        "got [2, 1]; null: the vehicle's own",
    ),
    ("evaluate randomize=3", "randomize must be a group of keys, got 3", "--help"),
    ("evaluate randomize.mas=3", "unknown key 'randomize.mas'", "did you mean randomize.mass?"),
    ("evaluate conditions=snow", "conditions must be damage, drying, none, rain, stint, changes such as", "got 'snow'"),
    ("evaluate video=true telemetry=false", "video=true must come with telemetry=true", "leave telemetry=false away"),
    ("evaluate tracking=none", "unknown key 'tracking'", "it is one of racing train; the keys here: backend, "),
    ("evaluate epsodes=3", "unknown key 'epsodes'", "did you mean episodes?"),
    ("export run=absent", "run 'absent' must be", "racing runs list"),
    ("bench walk", "unknown action 'walk'", "choose one of: sim, "),
]


def refusal(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The one line that the command says on stderr, after it left with 2 and printed nothing."""
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 1, said.err
    assert len(lines[0]) < 400
    return lines[0]


@pytest.mark.parametrize(("arguments", "rule", "remedy"), TRAIN, ids=[row[0] for row in TRAIN])
def test_train_refuses(
    arguments: str, rule: str, remedy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = tmp_path / "outputs"
    words = ["debug=fast"] if "debug" not in arguments else []
    line = refusal(capsys, ["train", *words, f"paths.outputs={outputs}", *arguments.split(" ")])
    assert line.startswith("racing train: ")
    assert rule in line
    assert remedy in line[line.index(rule) + 1 :]
    assert not outputs.exists()


@pytest.mark.parametrize(("arguments", "rule", "remedy"), OTHERS, ids=[row[0] for row in OTHERS])
def test_other_verbs_refuse(
    arguments: str,
    rule: str,
    remedy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refusal(capsys, arguments.split(" "))
    assert rule in line
    assert remedy in line
    assert not list(tmp_path.iterdir())


def test_frames_that_weights_were_not_made_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kart = load_group("vehicle", "kart")
    model = seeing_model(load_track("oval"), kart, grayscale=True, frame_stack=4)
    model.save(tmp_path / "gray.zip")
    settings = [*SEE.split(), "algo.cnn=small", "env.width=40", "env.height=40", "algo.features_dim=32"]
    settings += [f"init_from={tmp_path / 'gray.zip'}", f"paths.outputs={tmp_path / 'outputs'}"]
    line = refusal(capsys, ["train", "debug=fast", *settings])
    assert (
        "has observations of shape telemetry (9,), vision (40, 40, 4), this run telemetry (9,), vision (40, 40, 3)"
        in line
    )
    assert "choose the env that it was trained with" in line
    assert not (tmp_path / "outputs").exists()


def self_touching() -> str:
    """A round trip whose way back runs 3 m beside the way there."""
    there = [(x, 0.0) for x in range(0, 200, 4)]
    turn = [(200 + 30 * np.sin(a), 30 - 30 * np.cos(a)) for a in np.linspace(0, np.pi * 0.9, 20)]
    back = [(x, 3.0 if 60 < x < 140 else 40.0) for x in range(180, 0, -4)]
    ends = [(-30 * np.sin(a), 20 + 20 * np.cos(a)) for a in np.linspace(0, np.pi, 20)[:-1]]
    return "\n".join(f"{x},{y},5,5" for x, y in [*there, *turn, *back, *ends])


TRACK_FILES = {
    "text.png": ("hello", "text.png cannot be read as a picture", "give a PNG"),
    "few/track.png": ({"checkpoints": [[[100, 100], [110, 100]]] * 3}, "3 gates, at least 4", ""),
    "syntax/track.png": ("{", "line 1 column 2", ""),
    "gates/track.png": ({"checkpoints": [[[50, 50], [60, 50]]] * 4}, "gate", ""),
    "start/track.png": ({"start_position": [2, 2]}, "start_position (2, 2) px lies off the road", ""),
    "nan.csv": ("0,0,1,1\n1,nan,1,1\n", "nan.csv line 2 holds NaN", "correct or remove it"),
    "touching.csv": (self_touching(), "the road touches itself", "m into the lap"),
}


@pytest.fixture(scope="module")
def track_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of TRACK_FILES; those in folders are one good track whose JSON is spoilt."""
    folder = tmp_path_factory.mktemp("tracks")
    for name, (content, _, _) in TRACK_FILES.items():
        path = folder / name
        if path.parent == folder:
            path.write_text(content)
            continue
        path.parent.mkdir()
        if not (folder / "good").exists():
            (folder / "good").mkdir()
            write_native(generate(4, "kart", 420, 7, name="track"), folder / "good")
        path.write_bytes((folder / "good" / "track.png").read_bytes())
        entries = json.loads((folder / "good" / "checkpoints.json").read_text())
        if isinstance(content, dict):
            content = json.dumps({"track.png": entries["track.png"] | content})
        (path.parent / "checkpoints.json").write_text(content)
    return folder


@pytest.mark.parametrize("name", TRACK_FILES)
def test_wrong_track_files(name: str, track_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = tmp_path / "outputs"
    line = refusal(capsys, ["train", "debug=fast", f"track={track_files / name}", f"paths.outputs={outputs}"])
    _, rule, remedy = TRACK_FILES[name]
    assert rule in line
    assert remedy in line
    assert not outputs.exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    line = refusal(capsys, ["train", "debug=fast", f"paths.outputs={tmp_path / 'file' / 'outputs'}"])
    assert "Not a directory" in line
    assert "set paths.outputs=FOLDER" in line
    sweep = refusal(capsys, ["train", "debug=fast", "-m", "seed=1,2", f"paths.outputs={tmp_path / 'file' / 'outputs'}"])
    assert "set paths.outputs=FOLDER" in sweep


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here: nothing to refuse")
def test_a_device_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = tmp_path / "outputs"
    arguments = ["train", "hardware=gpu", "hardware.fallback=false", f"paths.outputs={outputs}"]
    line = refusal(capsys, arguments)
    assert "hardware.prefer=['gpu'] must be usable without fallback" in line
    assert "use hardware=cpu" in line
    assert not outputs.exists()


def test_a_wrong_value_stops_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "debug=fast", "-m", "seed=-1,-2", f"paths.outputs={tmp_path / 'outputs'}"]
    assert "got -1" in refusal(capsys, arguments)
    assert not (tmp_path / "outputs" / "runs").exists()


def test_no_arguments_show_the_usage_and_leave_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "verbs:" in capsys.readouterr().out


@pytest.mark.parametrize("debug", [False, True])
def test_in_a_process_of_its_own(debug: bool, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "racing", "train", "algo.gamma=1.5", f"paths.outputs={tmp_path / 'outputs'}"]
    environment = {"RACING_DEBUG": "1"} if debug else {}
    import os

    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert ("Traceback" in done.stderr) == debug
    assert "algo.gamma must be a number in [0, 1], got 1.5" in done.stderr
    assert done.returncode == (1 if debug else 2)
    assert not (tmp_path / "outputs").exists()
