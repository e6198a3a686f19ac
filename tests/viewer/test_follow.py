"""A run that is being trained drives as its newest checkpoint says, and as each after it."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from omegaconf import OmegaConf

from racing.commands.play import follow
from racing.commands.play.follow import Follower
from racing.commands.play.options import parse
from racing.commands.play.stage import make_stage, unfinished
from racing.config import compose_run
from racing.errors import InputError
from racing.runs.checkpoints import Checkpoints
from racing.runs.directory import RunDirectory, open_run
from racing.training.build import check_buildable


class Training:
    """A run in the middle of its training. model: what it learns."""

    def __init__(self, outputs: Path) -> None:
        config = compose_run(
            ["debug=fast", "track=oval", "algo=ppo_scratch", "algo.n_envs=64", f"paths.outputs={outputs}"]
        )
        self.model = check_buildable(OmegaConf.create(config))
        self.writing = open_run(outputs, "young", config, [], {})
        self.run = RunDirectory(self.writing.path)

    def save(self, step: int, bias: float | None = None) -> None:
        """A checkpoint. bias: that the last layer of the policy gets first."""
        if bias is not None:
            with th.no_grad():
                self.model.policy.action_net.bias.fill_(bias)
        Checkpoints(self.run.path).save(step, {"policy": self.model.policy.state_dict()}, {})

    def greedy(self, seen: Any) -> Any:
        return np.clip(self.model.predict(seen, deterministic=True)[0], -1, 1)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    young = Training(tmp_path_factory.mktemp("outputs"))
    yield young
    young.writing.close()


@pytest.mark.slow
def test_the_newest_checkpoint_drives_and_each_after_it(training: Training):
    outputs, name = training.run.paths.outputs, training.run.name
    assert unfinished(name, outputs) is None
    with pytest.raises(InputError, match=r"\(RUNNING\) has no checkpoint yet"):
        Follower(training.run, print, trust=False)
    training.save(4096, bias=0.2)
    assert unfinished(name, outputs) is not None
    assert unfinished("latest", outputs) is not None
    said: list[str] = []
    follower = Follower(training.run, said.append, trust=False)
    policy = follower.policy(trust=False)
    seen = np.random.default_rng(0).normal(0, 0.3, (5, *policy.shapes["observation"])).astype(np.float32)
    assert policy.predict(seen) == pytest.approx(training.greedy(seen), abs=1e-5)
    assert not follower.look()
    training.save(8192, bias=-0.4)
    (training.run.paths.checkpoint(9000)).mkdir()  # of which only a part is written
    before = policy.predict(seen)
    assert follower.look()
    assert said == [f"{name}: the policy after 8,192 steps drives now"]
    assert policy.predict(seen) == pytest.approx(training.greedy(seen), abs=1e-5)
    assert abs(policy.predict(seen) - before).max() > 0.3
    stage = make_stage(parse([f"run={name}", f"paths.outputs={outputs}"]) or {})
    assert [driver.name for driver in stage.drivers] == [name]
    assert stage.place.track.name == "oval"


@pytest.mark.slow
def test_nobody_looks_after_a_run_that_no_page_shows_any_more(training: Training, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(follow, "OFTEN", 0.01)
    training.save(4096)
    before = set(threading.enumerate())
    follower = Follower(training.run, print, trust=False)
    policy = follower.policy(trust=False)
    follower.keep_looking()
    (looking,) = set(threading.enumerate()) - before
    del follower
    looking.join(0.2)
    assert looking.is_alive()  # the policy drives
    del policy
    gc.collect()
    looking.join(60)
    assert not looking.is_alive()


@pytest.mark.slow
def test_a_run_that_names_foreign_code_is_not_built(training: Training, tmp_path: Path):
    training.save(4096)
    foreign = training.run.config
    foreign["algo"] = {**foreign["algo"], "_target_": "os.system"}
    with open_run(tmp_path, "foreign", foreign, [], {}) as writing:
        run = RunDirectory(writing.path)
        Checkpoints(run.path).save(1, {"policy": {}}, {})
        with pytest.raises(InputError, match="must name racing's own algo only"):
            Follower(run, print, trust=False)
