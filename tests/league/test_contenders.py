"""Who can meet whom: by what they observe, their car, their track, the rules they know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, save

from racing.errors import InputError
from racing.evaluation.race.suites import Place
from racing.league.contenders import canonical, find_contenders, pace_of
from racing.league.match import Contender
from tests.support.drivers import PREVIEW, group

ALONE = 10 + 2 * PREVIEW  # numbers of env=mlp_preview
OPPONENTS = 2  # that are observed, seven numbers each


def policy_file(path: Path, size: int, **groups: Any) -> Path:
    """An ONNX policy that always does the same, with what it remembers of its training."""
    import json

    weights = helper.make_tensor("weights", TensorProto.FLOAT, [size, 2], np.zeros(2 * size, np.float32))
    seen = helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["N", size])
    done = helper.make_tensor_value_info("action", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["observation", "weights"], ["action"])], "policy", [seen], [done], [weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    for name, content in groups.items():
        model.metadata_props.add(key=name, value=json.dumps(content))
    save(model, path)
    return path


def env_of(**changes: Any) -> dict[str, Any]:
    return group("env/mlp", preview=PREVIEW, preview_spacing=12.0) | changes


def race_env(**changes: Any) -> dict[str, Any]:
    rules = {"_target_": "racing.envs.race.RaceTask", "senses": "sensors", "cars": 4, "mix": {"self": 1.0}}
    return env_of(**rules, observed={"ahead": 1, "behind": 1}, race={"near": 0.9}) | changes


OVAL = {"_target_": "racing.tracks.catalog.load_tracks", "file": "oval"}


@pytest.fixture
def policies(tmp_path: Path) -> Any:
    """policies(name=(size, changes), ...): files that remember env, track and vehicle, as changes say."""

    def make(**wanted: tuple[int, dict[str, Any]]) -> list[str]:
        paths = []
        for name, (size, changes) in wanted.items():
            usual = {"env": env_of(), "track": OVAL, "vehicle": group("vehicle/kart")}
            paths.append(str(policy_file(tmp_path / f"{name}.onnx", size, **{**usual, **changes})))
        return paths

    return make


def found(specs: list[str], **options: Any) -> tuple[list[Contender], Place]:
    return find_contenders(specs, Path("outputs"), **options)


def test_names_and_identities_say_who_it_is(policies: Any):
    first, second = policies(first=(ALONE, {}), second=(ALONE, {"env": env_of(reward={"progress": 9})}))
    contenders, place = found([first, second, first, "line@.85", "line@0.850"])
    assert [one.name for one in contenders] == ["first", "second", "first #2", "line@0.85", "line@0.85 #2"]
    identities = [one.identity for one in contenders]
    assert identities[0] == identities[2] != identities[1]
    assert identities[3] == identities[4] == "line@0.85"
    assert len(identities[0]) == 64
    assert (place.track.name, place.vehicle.name) == ("oval", "kart")


def test_they_meet_where_most_is_observed_wherever_that_one_is_named(policies: Any):
    racer, lone = policies(racer=(ALONE + 7 * OPPONENTS, {"env": race_env()}), lone=(ALONE, {}))
    for specs in ([racer, lone], [lone, racer]):
        assert found(specs)[1].env["observed"] == {"ahead": 1, "behind": 1, "motion": False}


def test_an_environment_that_one_trained_in_with_other_mixes_and_rewards_is_the_same(policies: Any):
    size = ALONE + 7 * OPPONENTS
    other = race_env(
        cars=8, mix={"line": 1.0}, pace=[0.5, 0.6], race={"near": 0.1, "disqualify": 1.0}, reward={"passing": 2}
    )
    assert len(found(policies(a=(size, {"env": race_env()}), b=(size, {"env": other})))[0]) == 2


KART = group("vehicle/kart")
RACER = ALONE + 7 * OPPONENTS


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ((ALONE - 1, {}), r"b must observe what a does, \(N, 26\), or its sensors alone, \(N, 26\), got \(N, 25\)"),
        ((ALONE + 1, {}), r"policy b reads observations \(N, 27\), its environment gives \(N, 26\); export it again"),
        ((ALONE, {"env": env_of(action_repeat=4)}), "its env.action_repeat is 4, not 2; compare policies"),
        ((ALONE, {"env": env_of(preview_spacing=6.0)}), "its env.preview_spacing is 6.0, not 12.0"),
        (
            (ALONE, {"vehicle": KART | {"mass": 200.0}}),
            r"b must have the car and .* its vehicle.mass is 200.0, not 165",
        ),
        ((ALONE, {"track": OVAL | {"file": "circuit"}}), "b and a have tracks of their own; name the one to race on"),
        ((ALONE, {"env": {"_target_": "os.system"}}), "b must name racing's own env only"),
    ],
)
def test_who_cannot_meet_is_refused_in_a_line(policies: Any, other: tuple[int, dict[str, Any]], says: str):
    with pytest.raises(InputError, match=says) as refused:
        found(policies(a=(ALONE, {}), b=other))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ((RACER, {"env": race_env(race={"restitution": 0.9})}), "its env.race.restitution is 0.1, not 0.9"),
        ((RACER, {"env": race_env(new_key=1)}), "policy b: its env does not fit this version, .*new_key"),
        ((RACER, {"env": race_env(observed={"ahead": 2, "behind": 0})}), r"its env.observed is .*, not .*"),
        ((ALONE, {"env": env_of(action_repeat=4)}), "its env.action_repeat is 4, not 2"),
    ],
)
def test_nor_are_other_rules_and_other_sensors_of_racers(policies: Any, other: tuple[int, dict[str, Any]], says: str):
    with pytest.raises(InputError, match=says):
        found(policies(b=other, a=(RACER, {"env": race_env()})))


def test_a_track_that_is_named_is_for_all(policies: Any):
    specs = policies(a=(ALONE, {}), b=(ALONE, {"track": OVAL | {"file": "circuit"}}))
    assert found(specs, track="technical")[1].track.name == "technical"


def test_a_policy_that_remembers_nothing_can_take_part_if_another_says_where(policies: Any, tmp_path: Path):
    (known,) = policies(known=(ALONE, {}))
    bare = str(policy_file(tmp_path / "bare.onnx", ALONE))
    assert [one.name for one in found([bare, known])[0]] == ["bare", "known"]
    with pytest.raises(InputError, match="policy bare does not say what it observes"):
        found([bare, "line@0.9"])


def test_line_followers_alone_say_nothing_of_policies():
    with pytest.raises(InputError, match=r"run must name a policy, got line@0.9, line@0.8; add a run or a file"):
        found(["line@0.9", "line@0.8"])


@pytest.mark.parametrize("spec", ["line@", "line@x", "line@0.2", "line@1.01", "line@0.9 ", "line@-1"])
def test_a_pace_that_no_follower_has_is_refused(spec: str):
    with pytest.raises(InputError, match="must (be line@PACE|have a pace in)"):
        pace_of(spec)


def test_specs_are_written_in_one_way():
    assert [canonical(spec) for spec in ("line@1", "line@1.0", "line@.90", "my-run")] == [
        *("line@1", "line@1", "line@0.9", "my-run")
    ]
