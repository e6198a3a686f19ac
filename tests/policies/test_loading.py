"""A saved policy says which algorithm it is of; whoever loads it takes that one, and no other code."""

from __future__ import annotations

import json
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv

from racing.algos.common import BatchAlgorithm
from racing.algos.ppo import BatchPPO
from racing.algos.sac import BatchSAC
from racing.errors import InputError
from racing.policies.export import export_policy
from racing.policies.loading import load_model, load_policy
from tests.conftest import REPOSITORY
from tests.support.drivers import linear_driver, random_model

OBSERVATIONS = np.linspace(-1, 1, 30, dtype=np.float32).reshape(3, 10)
# Files of racing from before they named their class, made by `racing train env=mlp algo.net_arch=[8]`, and the actions
# that those versions took from OBSERVATIONS.
WITHOUT_TAG = {
    "ppo": (BatchPPO, [[-0.0968705, -0.2008156], [-0.0388487, -0.0491607], [0.0420129, 0.1128179]]),
    "sac": (BatchSAC, [[0.1026164, 0.2378941], [0.0760477, -0.2864809], [-0.1794615, -0.3982551]]),
}


def data_of(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("data"))


def with_tag(source: Path, target: Path, tag: Any) -> Path:
    """A copy of a saved file that names another class."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(
                name, json.dumps({**json.loads(content), "algorithm_class": tag}) if name == "data" else content
            )
    return target


class Trunk(torch.nn.Module):
    """One hidden layer for both heads, named as no policy of Stable-Baselines3 has it."""

    latent_dim_pi = latent_dim_vf = 6

    def __init__(self, size: int) -> None:
        super().__init__()
        self.shared = torch.nn.Sequential(torch.nn.Linear(size, 6), torch.nn.ReLU())

    def forward_actor(self, features: torch.Tensor) -> torch.Tensor:
        return self.shared(features)

    forward_critic = forward_actor

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.shared(features), self.shared(features)


class TrunkPolicy(ActorCriticPolicy):
    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = Trunk(self.features_dim)


class TrunkA2C(BatchAlgorithm, A2C):
    @staticmethod
    def greedy_module(policy: Any) -> torch.nn.Module:
        layers = (policy.mlp_extractor.shared, policy.action_net, torch.nn.Hardtanh())
        return torch.nn.Sequential(policy.features_extractor, *layers)


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch) -> BatchAlgorithm:
    """A model of an algorithm that nothing in racing knows, as if it stood in racing/algos/third.py."""
    module: Any = types.ModuleType("racing.algos.third")
    module.TrunkA2C, module.TrunkPolicy = TrunkA2C, TrunkPolicy
    monkeypatch.setitem(sys.modules, "racing.algos.third", module)
    for ours in (TrunkA2C, TrunkPolicy):
        monkeypatch.setattr(ours, "__module__", "racing.algos.third")

    class Still(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-10, 10, (10,), np.float32)
        action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    model = TrunkA2C(TrunkPolicy, DummyVecEnv([Still]), device="cpu", seed=0)
    with torch.no_grad():
        model.policy.action_net.weight.mul_(300.0)
    return model


@pytest.mark.parametrize("kind", ["ppo", "sac", "cmaes"])
def test_a_file_names_the_class_that_reads_it(kind: str, tmp_path: Path):
    model, path = random_model(kind), tmp_path / "policy.zip"
    model.save(path)
    assert data_of(path)["algorithm_class"] == f"racing.algos.{kind}.Batch{kind.upper()}"
    loaded = load_model(path)
    assert type(loaded) is type(model)
    expected = model.predict(OBSERVATIONS, deterministic=True)[0]
    np.testing.assert_allclose(loaded.predict(OBSERVATIONS, deterministic=True)[0], expected, atol=1e-6)


def test_a_third_algorithm_is_saved_loaded_and_exported(third: BatchAlgorithm, tmp_path: Path):
    third.save(tmp_path / "policy.zip")
    loaded = load_model(tmp_path / "policy.zip")
    assert type(loaded) is TrunkA2C
    recorded = np.random.default_rng(0).uniform(-1, 1, (1000, 10)).astype(np.float32)
    export_policy(loaded, tmp_path / "policy.onnx", metadata={}, observations=recorded)
    actions = [
        load_policy(str(tmp_path / name), tmp_path).predict(OBSERVATIONS) for name in ("policy.zip", "policy.onnx")
    ]
    np.testing.assert_allclose(*actions, atol=1e-5)
    assert len(np.unique(actions[0])) > 2  # not all at a limit


@pytest.mark.parametrize("kind", WITHOUT_TAG)
def test_files_without_a_name_still_load(kind: str, tmp_path: Path):
    path, (algorithm, expected) = REPOSITORY / f"tests/data/{kind}_without_tag.zip", WITHOUT_TAG[kind]
    assert "algorithm_class" not in data_of(path)
    model = load_model(path)
    assert type(model) is algorithm
    np.testing.assert_allclose(model.predict(OBSERVATIONS, deterministic=True)[0], expected, atol=1e-6)
    recorded = np.random.default_rng(0).uniform(-1, 1, (1000, 10)).astype(np.float32)
    export_policy(model, tmp_path / "policy.onnx", metadata={}, observations=recorded)
    model.save(tmp_path / "policy.zip")
    assert data_of(tmp_path / "policy.zip")["algorithm_class"].endswith(algorithm.__name__)


def test_stock_files_load(kart: Any, tmp_path: Path):
    linear_driver(kart, 15.0).save(tmp_path / "policy.zip")  # stable_baselines3.PPO
    assert type(load_model(tmp_path / "policy.zip")) is BatchPPO


@pytest.mark.parametrize(
    "tag",
    [
        "os.path.join",
        "subprocess.Popen",
        "this.Zen",  # not imported before
        "racing.algos.ppo.make_ppo",  # no class
        "racing.algos.ppo.PPO",  # a class, but not ours
        "racing.algos.common.GreedyModule",  # ours, but no algorithm
        "racing.algos.nowhere.BatchPPO",
        "racing.algos.ppo.Missing",
        "racing.algos.common.importlib.import_module",
        "racing.tracking.sender.Sender",
        "tests.policies.test_loading.TrunkA2C",
        "racing.algos.ppo.BatchPPO; import os",
        7,
        None,
        ["racing.algos.ppo.BatchPPO"],
    ],
    ids=str,
)
def test_a_file_does_not_choose_other_code(tag: Any, tmp_path: Path):
    path = with_tag(REPOSITORY / "tests/data/ppo_without_tag.zip", tmp_path / "policy.zip", tag)
    imported = set(sys.modules)
    with pytest.raises(InputError, match="must be a policy saved by Stable-Baselines3, its algorithm_class is"):
        load_model(path)
    own = ("racing.algos", "torch.utils.serialization")  # torch imports the latter when it reads its first file
    assert {name for name in set(sys.modules) - imported if not name.startswith(own)} == set()
