"""Every file in conf/ composes, and what it describes can be built."""

import inspect

import pytest
from hydra.utils import get_object
from omegaconf import DictConfig

from racing.config import build, choices, compose, conf_directory, load_group, plain
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle

GROUPS = [folder.name for folder in sorted(conf_directory().iterdir()) if folder.is_dir() and folder.name != "verbs"]
INCOMPLETE = {("track", "file")}  # track.file is missing until it is said
CHOICES = [(group, name) for group in GROUPS for name in choices(group)]


def composed(group: str, name: str) -> DictConfig:
    given = ["track.file=oval"] if (group, name) in INCOMPLETE else []
    return compose("train", [f"{group}={name}", *given])


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_composes_into_a_whole_run(group: str, name: str):
    values = plain(composed(group, name))
    assert set(values) >= {"name", "seed", "fresh", "env", "track", "vehicle", "algo", "eval", "tracking", "paths"}


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_what_a_choice_names_exists(group: str, name: str):
    nodes = [node for node in composed(group, name).values() if isinstance(node, DictConfig) and "_target_" in node]
    assert len(nodes) >= 4  # env, track, vehicle, algo
    for node in nodes:
        accepted = inspect.signature(get_object(node["_target_"])).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
        keys = {key for key in node if not key.startswith("_")} - {"total_timesteps", "n_envs"}  # the trainer's own
        assert takes_any or keys <= set(accepted)


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
    assert hidden == {"_base"}
    assert not hidden & {name for _, name in CHOICES}


def test_debug_wins_over_the_choices_before_it():
    for algo in choices("algo"):
        assert compose("train", [f"algo={algo}", "debug=fast"]).algo.total_timesteps == 4096


def test_the_primary_file_stays_short():
    assert len((conf_directory() / "train.yaml").read_text().splitlines()) <= 50
