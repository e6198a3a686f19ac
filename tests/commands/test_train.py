"""What users of Hydra expect of `racing train`: its options, its sweeps, folders of their own; and records of these."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from racing.cli import main
from racing.commands import command_line
from racing.commands.train import groups, notes_on
from racing.config import choices, compose_run, conf_directory, default_choices, for_hydra
from racing.naming import sweep_name
from racing.runs.directory import all_runs
from racing.tracks.formats.native import write_native
from racing.tracks.generator import generate
from racing_launchers import preflight

pytestmark = pytest.mark.slow

TINY = ["debug=fast", "env=mlp", "eval.episodes=2", "eval.every_steps=0", "tracking=none"]
TINY += ["algo.n_steps=16", "algo.total_timesteps=2048"]


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """What `racing train` prints: on stdout, or where it refuses the one line on stderr."""
    capsys.readouterr()
    assert main(["train", *arguments]) == code
    out, err = capsys.readouterr()
    if code:
        assert err.count("\n") == 1, err
        return err
    return out


def jobs(capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: str) -> list[str]:
    """What varies in each job of a sweep, which is not run."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preflight, "check_buildable", lambda *_, **__: None)  # see tests/launchers/test_sweep.py
        assert main(["train", *arguments, "launcher.dry_run=true", f"paths.outputs={tmp_path}"]) == 0
    lines = capsys.readouterr().err.splitlines()
    return [line.split(maxsplit=1)[1].removesuffix("new").strip() for line in lines[1:] if line.endswith("  new")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's own files: an experiment, a track on top of the shared keys, hardware, a primary file."""
    files = {
        "experiment/mine.yaml": "# @package _global_\ndefaults: [override /track: home]\nalgo: {gamma: 0.9}\n",
        "experiment/broken.yaml": "# @package _global_\ndefaults: [override /algo: pppo]\n",
        "track/home.yaml": "defaults: [oval, _self_]\nscale: 1.5\n",
        "hardware/lab.yaml": "defaults: [cpu, _self_]\nsim_threads: 2\n",
        "mine.yaml": "defaults: [train, _self_]\nname: my_own\nalgo: {gamma: 0.8}\n",
    }
    root = tmp_path / "my conf"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_cfg_prints_the_job_a_package_or_hydra_itself(capsys: pytest.CaptureFixture[str]) -> None:
    job = yaml.safe_load(said(capsys, "--cfg", "job", "algo=sac"))
    assert job["algo"]["_target_"] == "racing.algos.sac.make_sac"
    assert "hydra" not in job
    package = said(capsys, "--cfg", "job", "--package", "algo")
    assert package.startswith("# @package algo\n")
    assert yaml.safe_load(package)["gamma"] == 0.98
    assert yaml.safe_load(said(capsys, "-c", "hydra"))["hydra"]["job"]["config_name"] == "train"
    assert "${track.count}" in said(capsys, "-c", "job", "experiment=vision_generalist")
    assert "${track.count}" not in said(capsys, "-c", "job", "--resolve", "experiment=vision_generalist")


def test_the_value_of_an_option_is_no_override(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    for group in default_choices():
        if group in ("tuning", "experiment", "debug"):
            continue
        package = {"conditions": "env.conditions"}.get(group, group)
        assert said(capsys, "--cfg", "job", "-p", package) == said(capsys, "--cfg", "job", f"--package={package}")
    assert "0.9" in said(capsys, "--config-dir", str(folder), "experiment=mine", "-c", "job", "-p", "algo.gamma")


def test_options_stand_in_any_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    first = said(capsys, "-p", "algo", "-c", "job", "algo=sac", "algo.gamma=0.5")
    for line in ("algo=sac -c job algo.gamma=0.5 -p algo", "algo=sac algo.gamma=0.5 --package=algo --cfg=job"):
        assert said(capsys, *line.split()) == first
    assert jobs(capsys, tmp_path, "seed=1,2", "-m", "algo=sac") == ["seed=1", "seed=2"]
    assert jobs(capsys, tmp_path, "seed=1,2", "algo=sac", "--multirun") == ["seed=1", "seed=2"]


def test_hydra_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    hydra = said(capsys, "--hydra-help")
    assert "== Flags ==" in hydra
    assert "racing train -sc install=bash" in hydra
    assert said(capsys, "--version").startswith("Hydra 1.")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [("algo=sac -i defaults", "algo/sac"), ("--info searchpath", "/conf |"), ("seed=1 -i", "RacingLauncher")],
)
def test_info(arguments: str, expected: str) -> None:
    """In a process of its own: Hydra turns logging on, for good."""
    command = [sys.executable, "-m", "racing", "train", *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert expected in done.stdout


def test_help_lists_what_can_be_chosen_and_nothing_else(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    lines = said(capsys, "--help").partition("groups (")[2].splitlines()[1:]
    listed = "track vehicle env algo conditions hardware launcher tracking tuning experiment debug"
    assert [line.split()[0] for line in lines] == listed.split()
    assert all(not name.startswith("_") for line in lines for name in line.split())
    added = said(capsys, "--help", "-cd", str(folder))
    assert "| home |" in added
    assert "| mine |" in added
    (folder / "weather").mkdir()
    (folder / "weather" / "rain.yaml").write_text("wet: true\n")
    assert groups(command_line.with_sources(command_line.parse(["-cd", str(folder)]))).endswith("  weather     rain")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("-x", "unrecognized argument '-x'; write key=value"),
        ("--multi", "unrecognized argument '--multi'; did you mean --multirun?"),
        ("--experimental-rerun x", "unrecognized argument '--experimental-rerun'"),
        ("-m --cfg job", "--multirun and --cfg cannot be combined"),
        ("--resolve", "--resolve must come with --cfg"),
        ("-c", "-c must have a value after it; choose one of: job, hydra, all"),
        ("-c jobs", "-c must not be 'jobs'; did you mean job?"),
        ("-m=1 seed=1,2", "'-m=1' must stand without a value"),
        ("-cd /absent", "config directory /absent must be a folder, there is none; correct --config-dir"),
        ("-cp conf", "use --config-dir to add a folder to it"),
        ("-cn absent", "unknown configuration --config-name=absent; the usual one is train"),
        ("-sc", "must be followed by one of install=SHELL, uninstall=SHELL, query=SHELL"),
        ("-sc install=tcsh", "install=tcsh must name a shell"),
        ("-sc query=bash", "use install=SHELL"),
        ("sweep=tpe", "unknown key 'sweep'; it is called tuning now"),
        ("sweep.n_trials=3", "unknown key 'sweep.n_trials'; it is called tuning.n_trials now"),
        ("tuning=tpe sweep.settings=[]", "unknown key 'sweep.settings'; it is called tuning.overrides now"),
        ("eval.from=0.5", "unknown key 'eval.from'; it is called eval.start_fraction now"),
        ("checkpoint.minutes=5", "unknown key 'checkpoint.minutes'; it is called checkpoint.every_minutes now"),
        ("track=glob(o*)", "'track=choice(oval)' is a sweep; add -m"),
        ("-m track=glob(zz*)", "'track=glob(zz*)' matches no choice of track; choose one of: "),
        ("-m algo=null,ppo", "'algo=null,ppo' must name a choice of algo"),
        ("-m seed=interval(0,1)", "does not support sweep type"),
        ("~nosuch", "unknown key 'nosuch'"),
        ("hydra/launcher=absent", "unknown choice hydra/launcher=absent; choose one of: basic, "),
        ("hydra/launcher=null", "override must be a string or a list"),
    ],
)
def test_what_hydra_refuses_is_one_line(
    arguments: str, complaint: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert complaint in said(capsys, *arguments.split(), code=2)
    assert not list(tmp_path.iterdir())


def test_who_sees_by_the_settings_of_who_does_not_is_told_so(folder: Path) -> None:
    def noted(**chosen: str) -> list[str]:
        return notes_on(OmegaConf.create(compose_run([f"{group}={name}" for group, name in chosen.items()])), chosen)

    assert noted(env="vision", algo="ppo_cnn") == noted(env="mlp", algo="ppo") == noted(env="lateral", algo="sac") == []
    for env, algo in (("vision", "ppo"), ("race_vision", "sac")):
        (note,) = noted(env=env, algo=algo)
        assert note.startswith(f"note: env={env} observes frames")
        assert note.endswith(f"; algo={algo}_cnn has those for frames")


def test_a_package_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "package 'nosuch' not found" in said(capsys, "--cfg", "job", "-p", "nosuch", code=2)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["algo=ppo,sac", "seed=range(0,2)"],
            ["algo=ppo seed=0", "algo=ppo seed=1", "algo=sac seed=0", "algo=sac seed=1"],
        ),
        (["algo=choice(ppo,sac)"], ["algo=ppo", "algo=sac"]),
        (["track=glob([o*,c*],exclude=[*i*])"], [""]),
        (["track=glob([o*,c*])"], ["track=circuit", "track=oval"]),
        (["vehicle=glob(f1*)"], ["vehicle=f1tenth", "vehicle=f1tenth_linear"]),
        (["experiment=null,vision_gray4"], ["experiment=[]", "experiment=vision_gray4"]),
        (["debug=choice(null,fast)"], ["debug=[]", "debug=fast"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_sweeps_over_groups(
    arguments: list[str], expected: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert jobs(capsys, tmp_path, "-m", *arguments) == expected
    assert not list(tmp_path.iterdir())


def test_a_sweep_over_many_choices_has_a_short_name() -> None:
    (override,) = for_hydra("experiment=glob(*)", [conf_directory()])
    assert override == f"experiment={','.join(choices('experiment'))}"
    name, _, digest = sweep_name([override]).rpartition("-")
    assert name == "_".join(choices("experiment"))[:40]
    assert len(digest) == 8


def test_tracks_of_a_sweep_may_be_names_or_paths(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    """A name keeps the options of its file, a path has none; several in a list are one job."""
    arguments = command_line.hydra_arguments(command_line.parse(["track=a.yaml,maps/b.yaml", "-m"]))
    assert arguments == ["-m", "track=file", "track.file=a.yaml,maps/b.yaml"]
    write_native(generate(4, "kart", 420, 7, name="mine"), tmp_path)
    path = tmp_path / "mine.png"
    expected = ["track=home", "track=oval", f"track=file track.file={path}"]
    assert jobs(capsys, tmp_path / "o", "-cd", str(folder), "-m", f"track=home,oval,{path}") == expected
    assert jobs(capsys, tmp_path / "o", "-m", f"track=[oval,{path}],mini") == [
        f"track=file track.file=[oval,{path}]",
        "track=mini",
    ]
    assert not (tmp_path / "o").exists()


def test_null_stands_for_no_choice_where_that_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "experiment=null", "-c", "job") == said(capsys, "-c", "job")


def test_own_groups_choices_and_experiments(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    job = OmegaConf.create(said(capsys, "-c", "job", "experiment=mine", "-cd", str(folder)))
    assert (job.algo.gamma, job.track.file, job.track.scale) == (0.9, "oval", 1.5)
    assert OmegaConf.create(said(capsys, "-c", "job", "track=home", "-cd", str(folder))).track.scale == 1.5
    wrong = said(capsys, "experiment=mein", "--config-dir", str(folder), code=2)
    assert "unknown choice experiment=mein; did you mean mine?" in wrong
    wrong = said(capsys, "experiment=broken", "--config-dir", str(folder), code=2)
    assert "unknown choice algo=pppo; did you mean ppo?" in wrong
    job = OmegaConf.create(said(capsys, "-c", "job", "-cn", "mine", "-cd", str(folder)))
    assert (job.name, job.algo.gamma, job.env.preview) == ("my_own", 0.8, 12)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("eval: {every: 1000}", "unknown key 'eval.every'; it is called eval.every_steps now"),
        ("eval: {episods: 3}", "unknown key 'eval.episods'; did you mean eval.episodes?"),
        ("checkpoint: {luck: 1}", "unknown key 'checkpoint.luck'; the keys of checkpoint: every, "),
        ("algo: {teacher_until: 0.5}", "unknown key 'algo.teacher_until'; it is called algo.distillation_fraction now"),
        ("algo: [", "expected the node content"),
    ],
)
def test_wrong_keys_in_own_files_are_found(content: str, complaint: str, folder: Path, capsys, tmp_path: Path) -> None:
    """Hydra itself takes any key from a file."""
    (folder / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{content}\n")
    outputs = tmp_path / "outputs"
    assert complaint in said(capsys, "-cd", str(folder), "experiment=mine", f"paths.outputs={outputs}", code=2)
    assert not outputs.exists()


def test_a_sweep_over_own_choices(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    outputs, own = tmp_path / "outputs", ["-cd", str(folder)]
    assert jobs(capsys, outputs, "-m", "track=glob([ho*,ov*])", *own) == ["track=home", "track=oval"]
    assert jobs(capsys, outputs, *own, "-m", "experiment=null,mine") == ["experiment=[]", "experiment=mine"]


def test_records_are_enough_to_reproduce(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    outputs = [f"paths.outputs={tmp_path / 'outputs'}"]
    own = ["-cd", str(folder), "-cn", "mine", "experiment=mine", "hardware=lab"]
    assert main(["train", *TINY, *own, *outputs]) == 0
    (run,) = all_runs(tmp_path / "outputs")
    overrides = yaml.safe_load((run.path / "overrides.yaml").read_text())
    assert overrides[:2] == ["hydra.job.config_name=mine", f"hydra.searchpath=['file://{folder}']"]
    assert run.name.startswith("my_own-")
    capsys.readouterr()
    assert main(["train", *overrides]) == 0
    assert "finished" in capsys.readouterr().out
    assert [found.name for found in all_runs(tmp_path / "outputs")] == [run.name]
    moved = folder.rename(tmp_path / "moved")
    assert main(["reproduce", f"run={run.name}", *outputs]) == 0
    assert "EQUAL" in capsys.readouterr().out
    vary = ["reproduce", f"run={run.name}", *outputs, "algo.gamma=0.7"]
    assert main(vary) == 2
    assert "config directory" in capsys.readouterr().err
    assert main([*vary, "-cd", str(moved)]) == 0
    variation = next(found for found in all_runs(tmp_path / "outputs") if found.config["algo"]["gamma"] == 0.7)
    assert (variation.config["track"]["scale"], variation.config["hardware"]["sim_threads"]) == (1.5, 2)


def test_runs_of_one_command_compose_from_the_same_folders(folder: Path, tmp_path: Path) -> None:
    """Phases, trials of a search and jobs in processes of their own."""
    (folder / "experiment" / "twice.yaml").write_text(
        "# @package _global_\nphases: {a: [track=home], b: [track=home, seed=1]}\nname: twice\n"
    )
    common = [*TINY, "-cd", str(folder)]
    for number, arguments in enumerate((["experiment=twice"], ["-m", "experiment=twice"])):
        assert main(["train", *common, *arguments, f"paths.outputs={tmp_path / str(number)}"]) == 0
        runs = all_runs(tmp_path / str(number))
        assert sorted(run.name.rpartition("-")[0] for run in runs) == ["twice-a", "twice-b"]
        assert {run.config["track"]["scale"] for run in runs} == {1.5}
    search = ["tuning=random", "tuning.n_trials=1", "tuning.space={track:'choice(home,home)'}", "hydra.mode=RUN"]
    assert main(["train", *common, *search, f"paths.outputs={tmp_path / 'search'}"]) == 0
    assert all_runs(tmp_path / "search")[0].config["track"]["scale"] == 1.5


def test_a_teacher_may_be_of_own_choices(folder: Path, tmp_path: Path) -> None:
    (folder / "env").mkdir()
    (folder / "env" / "plain.yaml").write_text("defaults: [mlp, _self_]\n")
    see = ["env=vision", "env.width=40", "env.height=40", "env.preview=0", "env.line=centre"]
    see += ["env.motion=yaw_rate", "algo=ppo_cnn"]
    student = [
        *see,
        "algo.teacher=['env=plain','algo=ppo_scratch']",
        "seed=3",
        *(argument for argument in TINY if not argument.startswith("env=")),
    ]
    assert main(["train", "-cd", str(folder), *student, "track=home", f"paths.outputs={tmp_path / 'outputs'}"]) == 0
    runs = all_runs(tmp_path / "outputs")
    assert [(run.config["track"]["scale"], run.config["seed"]) for run in runs] == [(1.5, 3)] * 2
