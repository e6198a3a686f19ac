"""Every file in conf/ composes, and what it describes can be built."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import InstantiationException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from racing.config import (
    NOT_GROUPS,
    build,
    choices,
    compose,
    conf_directory,
    default_choices,
    load_group,
    plain,
    searchpath,
)
from racing.errors import InputError
from racing.renamed_keys import renamed, upgraded
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing_launchers.backend import make_backend
from tests.support.made_once.composed_once import really_composed

FILES = [path.relative_to(conf_directory()) for path in sorted(conf_directory().rglob("*.yaml"))]
GROUPS = sorted({path.parent.as_posix() for path in FILES} - {".", *NOT_GROUPS})
INCOMPLETE = {("track", "file")}  # track.file is missing until it is said
CHOICES = [(group, name) for group in GROUPS for name in choices(group)]
# Keys of algo that are not the algorithm's.
TRAINERS_OWN = {"total_timesteps", "n_envs", "teacher_pace", "teacher_reach"}


def composed(group: str, name: str) -> DictConfig:
    given = ["track.file=oval"] if (group, name) in INCOMPLETE else []
    return compose("train", [f"{group}={name}", *given])


def taken(constructor: Callable[..., Any]) -> set[str]:
    """Names of the arguments that a function or class takes; `**rest` is followed to the one that it is handed to."""
    names = set()
    for parameter in inspect.signature(constructor).parameters.values():
        if parameter.kind is not parameter.VAR_KEYWORD:
            names.add(parameter.name)
            continue
        function = constructor.__init__ if inspect.isclass(constructor) else constructor
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        (call,) = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            for keyword in node.keywords
            if keyword.arg is None and isinstance(keyword.value, ast.Name) and keyword.value.id == parameter.name
        ]
        inherits = isinstance(call.func, ast.Attribute)  # super().__init__(**rest)
        if isinstance(call.func, ast.Subscript):  # one of several, chosen by a key
            several = function.__globals__[call.func.value.id].values()
        else:
            several = [constructor.__bases__[0] if inherits else function.__globals__[call.func.id]]
        names |= set().union(*map(taken, several))
    return names


def unknown_keys(node: DictConfig) -> set[str]:
    """Keys of a node with a _target_ that its constructor does not take."""
    keys = {str(key) for key in node if not str(key).startswith("_")}
    return keys - TRAINERS_OWN - taken(get_object(node["_target_"]))


def test_every_file_is_a_choice_or_a_part_of_one():
    parts = {path for path in FILES if path.stem.startswith("_")}
    used = set()
    for path in FILES:
        defaults = OmegaConf.load(conf_directory() / path).get("defaults", [])
        used |= {path.parent / f"{name}.yaml" for name in defaults if isinstance(name, str)}
        chosen = [pair for entry in defaults if OmegaConf.is_dict(entry) for pair in entry.items()]
        groups = {key: key.partition("/")[2].partition("@")[0] for key, _ in chosen}  # override /track@_global_.track
        used |= {Path(groups[key]) / f"{name}.yaml" for key, name in chosen if groups[key]}
    assert parts <= used
    named = {Path(group) / f"{name}.yaml" for group, name in CHOICES}
    verbs = {path for path in FILES if path.parent.as_posix() in NOT_GROUPS}
    assert set(FILES) == named | parts | verbs | {Path("train.yaml")}
    assert set(default_choices()) == set(GROUPS) - {"local"}


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_composes_into_a_whole_run(group: str, name: str):
    values = plain(composed(group, name))
    assert set(values) >= {"name", "seed", "fresh", "env", "track", "vehicle", "algo", "eval", "tracking", "paths"}


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_key_is_one_that_a_constructor_takes(group: str, name: str):
    cfg = composed(group, name)
    groups = [key for key, node in cfg.items() if isinstance(node, DictConfig) and "_target_" in node]
    assert set(groups) >= {"env", "algo"}
    assert {"track", "vehicle"} <= set(groups) or not (cfg.track or cfg.vehicle)  # environments that have none
    groups.remove("launcher")  # see below
    assert {key: unknown_keys(cfg[key]) for key in groups} == {key: set() for key in groups}


@pytest.mark.parametrize("name", choices("launcher"))
def test_launchers_are_built_of_all_their_keys(name: str):
    """They take their keys one by one: what is left over is refused."""
    settings = plain(composed("launcher", name))["launcher"]
    assert make_backend(settings).name == name
    with pytest.raises((TypeError, InstantiationException), match="unexpected keyword argument"):
        make_backend({**settings, "luck": 1})


@pytest.mark.parametrize(
    ("choice", "old", "new"),
    [
        ("env=vision", "env.frame_stack", "env.frames"),
        ("env=vision", "env.rays", "env.beams"),
        ("algo=ppo", "algo.gae_lambda", "algo.lam"),
        ("algo=sac", "algo.tau", "algo.polyak"),
        ("vehicle=kart", "vehicle.mass", "vehicle.weight"),
    ],
)
def test_a_key_that_is_renamed_in_conf_alone_is_found(choice: str, old: str, new: str):
    group, _, name = new.partition(".")
    assert unknown_keys(compose("train", [choice, f"~{old}", f"+{new}=1"])[group]) == {name}


def test_keys_of_earlier_versions_are_known():
    recorded = {"seed": 1, "eval": {"from": 0.4, "episodes": 9}, "sweep": {"settings": [], "n_trials": 3}}
    expected = {"seed": 1, "eval": {"start_fraction": 0.4, "episodes": 9}, "tuning": {"overrides": [], "n_trials": 3}}
    assert upgraded(recorded) == expected
    assert renamed("sweep.space.algo.gamma") == "tuning.space.algo.gamma"
    assert (renamed("sweep.settings"), renamed("sweep"), renamed("sweeps.n")) == ("tuning.overrides", "tuning", None)


@pytest.mark.parametrize("name", [name for name in choices("track") if name != "generated"])
def test_tracks_are_built(name: str):
    tracks = build(composed("track", name).track)
    assert [type(track) for track in tracks] == [Track]
    assert tracks[0].name == ("oval" if name == "file" else name)


def test_generated_tracks_are_built():
    tracks = build(compose("train", ["track=generated", "track.count=2"]).track)
    assert len(tracks) == 2
    assert tracks[0].length == pytest.approx(950, rel=0.1)
    assert not (tracks[0].points[:50] == tracks[1].points[:50]).all()


@pytest.mark.parametrize("name", choices("vehicle"))
def test_vehicles_are_built_and_bear_their_name(name: str):
    vehicle = load_group("vehicle", name)
    assert isinstance(vehicle, Vehicle)
    assert vehicle.name == name


@pytest.mark.parametrize("verb", choices("verbs"))
def test_options_of_verbs_compose(verb: str):
    assert plain(compose(verb, [], folder="verbs"))["paths"] == {"outputs": "outputs"}


def test_files_that_others_are_derived_from_are_no_choices():
    hidden = {path.stem for path in conf_directory().glob("*/_*.yaml")}
    assert hidden == {"_base", "_none"}
    assert not hidden & {name for _, name in CHOICES}


def test_debug_wins_over_the_choices_before_it():
    for algo in choices("algo"):
        assert compose("train", [f"algo={algo}", "debug=fast"]).algo.total_timesteps == 4096


def test_the_primary_file_stays_short():
    assert len((conf_directory() / "train.yaml").read_text().splitlines()) <= 50


def test_composed_once_or_anew_it_is_the_same(tmp_path: Path):
    """All tests rely on it: tests/support/made_once/composed_once.py."""
    (tmp_path / "experiment").mkdir()
    own = tmp_path / "experiment" / "mine.yaml"

    def outcome(*overrides: str) -> str:
        try:
            return OmegaConf.to_yaml(compose("train", [searchpath([tmp_path]), *overrides], hydra_too=True))
        except InputError as error:
            return str(error)

    seen = set()
    for seed in (3, 4):
        own.write_text(f"# @package _global_\ndefaults: [override /track: oval]\nseed: {seed}\n")
        for overrides in (["experiment=mine"], ["experiment=mine", "seed=7"], ["~debug"], ["algo=sac", "algo.none=1"]):
            with really_composed():
                anew = outcome(*overrides)
            assert [outcome(*overrides), outcome(*overrides)] == [anew, anew]
            seen.add(anew)
    own.unlink()
    assert outcome("experiment=mine").startswith("unknown choice experiment=mine")
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("overrides", "line", "fraction"),
    [
        ([], "best", 0.8),
        (["algo.teacher=driver@optimal"], "best", 0.8),
        (["env.line=optimal"], "optimal", 0.8),
        (["env.line=reference"], "reference", 0.7),
        (["env.preview=0"], "best", 0.7),
        (["algo.teacher=a-run-1a2b3c4d"], "reference", 0.7),
        (["algo.teacher=null"], "reference", 0.7),
        (["env=mlp"], "centre", 0.7),
        (["env=race"], "reference", 0.7),
        (["env=race", "env.line=best"], "best", 0.7),
        (["env=vision"], "reference", 0.7),
        (["env=lateral"], None, 0.7),
        (["algo.distillation_fraction=0.2"], "best", 0.2),
        (["algo=sac"], "reference", None),
        (["algo=cmaes"], "reference", None),
    ],
)
def test_a_driver_is_imitated_for_longer_where_the_policy_sees_its_line(
    overrides: list[str], line: str | None, fraction: float | None
):
    cfg = plain(compose("train", overrides))
    assert (cfg["env"].get("line"), cfg["algo"].get("distillation_fraction")) == (line, fraction)
