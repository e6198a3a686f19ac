"""A training continued from its saved state goes on to the same bytes; no part of that state may be missing."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger

from racing.algos.state import capture, replay_buffers, restore, weights_sha256
from racing.envs.sensors import SensorsTask
from racing.envs.vec_env import RacingVecEnv
from racing.envs.vision import VisionTask
from racing.runs.archive import dump_tree
from racing.runs.checkpoints import Checkpoint, Checkpoints
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.training.checkpoint_callback import PARTS, replay_logs
from racing.training.evaluation_callback import set_loggers
from tests.algos.conftest import TinyEnv

pytestmark = pytest.mark.slow

TOTAL, FROM, EVERY = 96, 48, 16  # steps of each environment: all, before the state is taken, between two checkpoints
STATE = PARTS[:-1]  # without the monitor's
ALGORITHMS: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 16, "batch_size": 128, "n_epochs": 2, "net_arch": [16]},
    "sac": {
        "buffer_size": 300,  # 37 rows: 48 are written before the state is taken, 96 in all
        "learning_starts": 100,
        "batch_size": 32,
        "gradient_steps": 1,
        "policy_delay": 2,
        "n_steps": 2,
        "net_arch": [16],
    },
    "cmaes": {"population": 8, "horizon": {"start": EVERY, "grow": 2.0, "end": 2 * EVERY}},
}
ALGORITHMS["masac"] = ALGORITHMS["sac"] | {"agents": 2, "buffer_size": 150, "learning_starts": 50}


class Written(KVWriter):
    """What Stable-Baselines3's logger wrote, without wall-clock figures."""

    def __init__(self) -> None:
        self.points: list[tuple[int, str, str]] = []

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None:
        self.points += [(step, k, repr(v)) for k, v in sorted(key_values.items()) if not k.startswith("time/")]

    def close(self) -> None:
        pass


class Saver(BaseCallback):
    """Saves between two rollouts; draws from generators that training leaves alone, as other callbacks might."""

    def __init__(self, checkpoints: Checkpoints | None = None) -> None:
        super().__init__()
        self.checkpoints = checkpoints

    def _on_step(self) -> bool:
        return random.random() + np.random.random() + self.model.action_space.sample().sum() < 100

    def _on_rollout_start(self) -> None:
        steps = self.model.num_timesteps // self.training_env.num_envs
        if self.checkpoints is not None and steps and steps % EVERY == 0:
            self.checkpoints.save(steps, capture(self.model), {}, replay_logs(self.model))


class Bench:
    """Makes trainings that differ in nothing, each in its own environment."""

    def __init__(self, make, name: str, track: Track, vehicle: Vehicle) -> None:
        self.make, self.name, self.track, self.vehicle = make, name, track, vehicle
        self.races, self.threads, self.vision = 8, 1, False

    def model(self) -> tuple[BaseAlgorithm, Written]:
        episodes = {"time_limit": 2.0}  # short: many end
        options = {"races": self.races, "seed": 3, "threads": self.threads, "episodes": episodes}
        task: Any = SensorsTask([self.track], self.vehicle, **options)
        if self.vision:
            frames = {"width": 36, "height": 36, "grayscale": True, "frame_stack": 3}
            task = VisionTask([self.track], self.vehicle, **options, **frames, randomize={"noise": 0.1})
        network = {"cnn": "small", "features_dim": 16} if self.vision else {}
        network |= {"starts": self.races // 8} if self.name == "cmaes" else {}
        # seed: of those with which an episode ends in the step after FROM, so that SAC writes what was pending
        made = self.make(RacingVecEnv(task), seed=6, **ALGORITHMS[self.name], **network)
        written = Written()
        set_loggers(made, Logger(None, [written]))
        return made, written

    def undisturbed(self, folder: Path) -> tuple[dict[str, Any], list[tuple[int, str, str]], Checkpoint]:
        """The state at the end, the points after step FROM, and the checkpoint made there."""
        disturb_generators(1)
        model, written = self.model()
        checkpoints = Checkpoints(folder)
        model.learn(TOTAL * self.races, callback=Saver(checkpoints), log_interval=1)
        (checkpoint,) = [c for c in checkpoints.all() if c.step == FROM]
        return end_of(model), [point for point in written.points if point[0] > FROM * self.races], checkpoint

    def continued(self, checkpoint: Checkpoint, without: str = "") -> tuple[dict[str, Any], list[tuple[int, str, str]]]:
        """The state at the end and the points of a training that continues. without: part/key/... left as it is new."""
        disturb_generators(2)
        model, written = self.model()
        fresh = copy.deepcopy(capture(model))
        state = {part: checkpoint.load(part) for part in STATE}
        *place, last = without.split("/")
        if without and without != "replay":
            target, source = state, fresh
            for key in place:
                target, source = target[key], source[key]
            assert last in target
            target[last] = source[last]
        restore(model, state)
        buffers = replay_buffers(model)
        assert buffers.keys() == checkpoint.logs.keys()
        for name, buffer in buffers.items():
            if without != "replay":
                buffer.restore(*checkpoint.load_log(name))
        left = TOTAL * self.races - model.num_timesteps
        model.learn(left, callback=Saver(), log_interval=1, reset_num_timesteps=False)
        return end_of(model), written.points


def disturb_generators(seed: int) -> None:
    """Every process begins with other global generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def end_of(model: BaseAlgorithm) -> dict[str, Any]:
    """Every part of the state as bytes, and of replay buffers all rows."""
    parts = {name: dump_tree(state) for name, state in capture(model).items()}
    for name, buffer in replay_buffers(model).items():
        rows = {"rows": buffer.rows(0, buffer.buffer_size), "place": [buffer.pos, buffer.full]}
        parts[f"replay {name}"] = dump_tree(rows)
    return parts


@pytest.fixture(params=ALGORITHMS)
def bench(request, wavy: Track, kart: Vehicle) -> Bench:
    return Bench(request.getfixturevalue(request.param), request.param, wavy, kart)


@pytest.fixture
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


def test_a_continued_training_ends_with_the_same_bytes(bench: Bench, tmp_path: Path):
    end, points, checkpoint = bench.undisturbed(tmp_path)
    again, written = bench.continued(checkpoint)
    assert again == end
    assert written == points
    assert len({step for step, _, _ in points}) >= 2


def test_with_threads_too(bench: Bench, threads: int, tmp_path: Path):
    bench.races, bench.threads = 128, threads  # fewer cars are not split
    end, points, checkpoint = bench.undisturbed(tmp_path)
    assert bench.continued(checkpoint) == (end, points)


@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_with_frames_too(name: str, request, wavy: Track, kart: Vehicle, tmp_path: Path):
    bench = Bench(request.getfixturevalue(name), name, wavy, kart)
    bench.vision = True
    end, points, checkpoint = bench.undisturbed(tmp_path)
    assert bench.continued(checkpoint) == (end, points)
    assert bench.continued(checkpoint, "world/frames") != (end, points)


def test_a_state_can_be_continued_more_than_once(bench: Bench, tmp_path: Path):
    """Training goes on in its own memory, not in the checkpoint's."""
    end, points, checkpoint = bench.undisturbed(tmp_path)
    assert bench.continued(checkpoint) == bench.continued(checkpoint) == (end, points)


EVERYWHERE = [
    "policy",
    "optimizer/modules",
    "rng",
    "rng/python",
    "rng/numpy",
    "rng/torch",
    "rng/action_space",
    "world",
    "world/world",
    "world/returns",
    "world/terms",
    "world/episodes",
    "counters",
    "counters/num_timesteps",
    "counters/_n_updates",
    "counters/_last_obs",
    "counters/ep_info_buffer",
]
ONE = {
    "ppo": ["optimizer/modules/policy.optimizer"],
    "sac": [
        "replay",
        "optimizer/variables",
        "optimizer/variables/log_ent_coef",
        "optimizer/modules/actor.optimizer",
        "optimizer/modules/critic.optimizer",
        "optimizer/modules/ent_coef_optimizer",
        "counters/_episode_num",
        "counters/pending",
    ],
    "cmaes": ["optimizer/modules/evolution", "optimizer/variables/horizon"],
    "masac": [
        "replay",
        "counters/num_timesteps",
        "policy/agent_1",
        "optimizer/agent_1/variables/log_ent_coef",
        "optimizer/agent_1/modules/critic.optimizer",
        "rng/agents/agent_0/numpy",
        "rng/agents/agent_1/torch",
        "rng/action_space/agent_1",
        "counters/agents/agent_0/num_timesteps",
        "counters/agents/agent_1/_n_updates",
    ],
}
# Each generation of CMA-ES begins with new episodes and draws of its own, and ends with a new mean.
NEW_EACH_TIME = {"cmaes": ["policy", "rng/torch", "world/world", "world/returns", "world/terms"]}
NEW_EACH_TIME["cmaes"] += ["counters/_last_obs", "counters/ep_info_buffer"]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_part_is_needed(name: str, request, wavy: Track, kart: Vehicle, tmp_path: Path):
    bench = Bench(request.getfixturevalue(name), name, wavy, kart)
    end, points, checkpoint = bench.undisturbed(tmp_path)
    parts = ONE[name] + (EVERYWHERE if name != "masac" else [])  # what agents share is as for a single learner
    needless = [part for part in parts if bench.continued(checkpoint, part) == (end, points)]
    assert needless == NEW_EACH_TIME.get(name, [])


def test_capture_changes_nothing(bench: Bench, tmp_path: Path):
    model, _ = bench.model()
    model.learn(256)
    before = end_of(model)
    capture(model)
    assert end_of(model) == before


# the replay buffer


@pytest.mark.parametrize("written", [0, 1, 5, 36, 37, 38, 74, 90])
def test_a_replay_buffer_comes_back_from_its_chunks(written: int, sac, wavy: Track, kart: Vehicle):
    """37 rows; chunks as checkpoints make them, the first one partly overwritten."""

    def new() -> Any:
        task = SensorsTask([wavy], kart, races=8)
        return sac(RacingVecEnv(task), **ALGORITHMS["sac"]).replay_buffer

    buffer, rng = new(), np.random.default_rng(1)
    assert buffer.buffer_size == 37
    chunks: list[tuple[int, int, dict[str, Any]]] = []
    for row in range(written):
        observations = rng.normal(size=(2, 8, 10)).astype(np.float32)
        done = rng.random(8) < 0.3
        infos = [{"TimeLimit.truncated": bool(limit)} for limit in rng.random(8) < 0.5]
        buffer.add(*observations, rng.uniform(-1, 1, (8, 2)), rng.normal(size=8), done, infos)
        if row % 7 == 6 or row == written - 1:
            begin = chunks[-1][1] if chunks else 0
            chunks.append((begin, row + 1, buffer.rows(begin, row + 1)))
    other = new()
    other.restore(written, [chunk for chunk in chunks if chunk[1] > written - 37])
    assert (
        (other.added, other.pos, other.full)
        == (buffer.added, buffer.pos, buffer.full)
        == (
            written,
            written % 37,
            written >= 37,
        )
    )
    for name, array in buffer.fields.items():
        np.testing.assert_array_equal(other.fields[name], array, err_msg=name)
    assert other.fields["timeouts"].any() == (written > 0)
    assert dump_tree({"last": other.last, "following": other.following}) == dump_tree(
        {"last": buffer.last, "following": buffer.following}
    )


def test_a_replay_buffer_that_cannot_be_saved_is_refused(sac, ppo):
    """Left out of checkpoints, it would be empty when a training goes on."""
    model = sac(TinyEnv(), **ALGORITHMS["sac"])
    assert replay_buffers(model) == {"": model.replay_buffer}
    assert replay_buffers(ppo(TinyEnv(), batch_size=32)) == {}
    model.replay_buffer = ReplayBuffer(10, model.observation_space, model.action_space)
    with pytest.raises(TypeError, match="ReplayBuffer cannot be saved by rows"):
        replay_buffers(model)


# the checksum


def test_the_checksum_is_of_values_wherever_they_lie():
    weights = {"a": torch.arange(4.0), "b": {"c": torch.ones(2, 2), "lr": 0.1}}
    turned = {"b": {"lr": 0.1, "c": torch.ones(2, 4)[:, ::2]}, "a": torch.nn.Parameter(torch.arange(4.0))}
    assert weights_sha256(weights) == weights_sha256(turned)
    for changed in (
        {**weights, "a": torch.tensor([0.0, 1.0, 2.0, 3.0000002])},
        {**weights, "d": torch.zeros(0)},
        {"a": weights["a"], "b": {"c": torch.ones(2, 2), "lr": 0.2}},
        {"b": torch.arange(4.0), "a": weights["b"]},
    ):
        assert weights_sha256(changed) != weights_sha256(weights)
