"""Snapshots of a learner as its opponents: what they compute, and a training against them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from racing.policies.snapshots import reviver, weights_of
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from tests.policies.test_opponents import TINY
from tests.support.drivers import random_model, seeing_model
from tests.support.processes import points, state_bytes
from tests.support.signals import stopped_run, train, trained_run


@pytest.mark.parametrize("kind", ["ppo", "sac", "cmaes"])
def test_it_drives_as_the_learner_did(kind: str):
    model = random_model(kind)
    seen = np.random.default_rng(0).normal(0, 1, (50, 10)).astype(np.float32)
    then = model.predict(seen, deterministic=True)[0]
    revive, weights = reviver(model), weights_of(model)
    for parameter in model.policy.parameters():
        parameter.data.mul_(0.5)  # it goes on learning
    assert np.abs(model.predict(seen, deterministic=True)[0] - then).max() > 0.1
    np.testing.assert_allclose(np.clip(revive(weights)(seen), -1, 1), then, atol=1e-5)
    now = model.predict(seen, deterministic=True)[0]
    np.testing.assert_allclose(np.clip(revive(weights_of(model))(seen), -1, 1), now, atol=1e-5)
    np.testing.assert_allclose(np.clip(revive(weights)(seen), -1, 1), then, atol=1e-5)


def test_one_that_sees_pictures_drives_as_the_learner_did(eight: Track, kart: Vehicle):
    model = seeing_model(eight, kart)
    seen = model.env.reset()
    then = model.predict(seen, deterministic=True)[0]
    np.testing.assert_allclose(np.clip(reviver(model)(weights_of(model))(seen), -1, 1), then, atol=1e-5)


LEAGUE = [*TINY, "env=race", "track=oval", "env.line=centre", "env.cars=2", "name=racer", "algo.total_timesteps=12800"]
LEAGUE += ["env.mix.alone=0", "env.mix.line=0", "env.mix.self=0", "env.mix.pool=1", "checkpoint.every=512"]
LEAGUE += ["env.league.choice=even", "env.league.snapshots=0.3", "env.league.joins_above=0"]


def joined(path: Path) -> list[tuple[int, dict[str, float]]]:
    lines: list[Any] = [json.loads(line) for line in (path / "journal.jsonl").read_text().splitlines()]
    return [(line["step"], line["win_shares"]) for line in lines if line.get("name") == "snapshot joined the pool"]


@pytest.mark.slow
def test_a_training_against_its_own_snapshots_continues_exactly(tmp_path: Path):
    calm = trained_run(tmp_path / "calm", *LEAGUE)
    found = joined(calm.path)
    assert found[0] == (0, {"snapshot 0": 0.5})
    assert len(found) > 2
    assert list(found[-1][1]) == [f"snapshot {step}" for step, _ in found]
    stopped = stopped_run(10_000, tmp_path / "stopped", *LEAGUE)
    assert len(joined(stopped.path)) > 1  # it comes back with one that has joined on the way
    assert train(tmp_path / "stopped", *LEAGUE) == 0
    assert state_bytes(stopped, 12800) == state_bytes(calm, 12800)
    assert points(stopped) == points(calm)
    assert joined(stopped.path) == found
    assert (stopped.path / "export/policy.onnx").read_bytes() == (calm.path / "export/policy.onnx").read_bytes()
