"""Drivers whose laps are known beforehand, and runs that hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from racing.config import build, compose, conf_directory, register_resolvers
from racing.envs.sensors import SensorsTask
from racing.envs.vec_env import RacingVecEnv
from racing.runs.directory import RunDirectory, open_run
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.sim.world import World

PREVIEW = 8


def group(name: str, **changes: Any) -> dict[str, Any]:
    """A file of conf/ as plain data; values of `racing.by_...` as without any other group."""
    register_resolvers()
    found = OmegaConf.load(conf_directory() / f"{name}.yaml")
    plain = OmegaConf.to_container(found)
    return {key: found[key] if "${racing.by_" in str(value) else value for key, value in plain.items()} | changes


def follow(world: World, pace: float) -> np.ndarray:
    """Commands (N, 2) of a plain driver: steer at the centreline ahead, hold `pace` [m/s]."""
    track, cars = world.tracks[0], world.cars.reshape(-1)
    ahead = np.maximum(3.0, 0.6 * np.abs(cars["v"]))
    index = (cars["nearest"] + np.round(ahead / track.spacing).astype(int)) % len(track.points)
    aim = track.points[index] - np.stack([cars["x"], cars["y"]], axis=1)
    angle = np.arctan2(aim[:, 1], aim[:, 0]) - cars["yaw"]
    curvature = 2 * np.sin(angle) / np.linalg.norm(aim, axis=1)
    steer = np.arctan(world.vehicle.wheelbase * curvature) / world.vehicle.max_steer
    return np.stack([steer, 0.5 * (pace - cars["v"])], axis=1)


def follower(task: SensorsTask, pace: float):
    """`follow` as a policy; it looks at the world, not at the observation."""

    def policy(observation: np.ndarray) -> np.ndarray:
        assert len(observation) == task.num_cars
        return follow(task.world, pace)

    return policy


def linear_driver(vehicle: Vehicle, pace: float, preview: int = PREVIEW):
    """A PPO model without hidden layers whose weights are set by hand: it aims at the second preview point."""
    import gymnasium
    from stable_baselines3 import PPO

    space = gymnasium.spaces.Box(-10, 10, (10 + 2 * preview,), np.float32)
    model = PPO("MlpPolicy", _Still(space), policy_kwargs={"net_arch": []}, device="cpu", n_steps=2, batch_size=2)
    weights = np.zeros((2, 10 + 2 * preview))
    distance = 2 * vehicle.sensor_range / 10  # of the second point, conf/env/mlp.yaml
    weights[0, 11] = 2 * vehicle.wheelbase / distance / vehicle.max_steer  # pure pursuit
    weights[1, 7] = -0.5 * vehicle.max_speed  # the speed is observed as share of top speed
    import torch

    with torch.no_grad():
        model.policy.action_net.weight.copy_(torch.as_tensor(weights))
        model.policy.action_net.bias.copy_(torch.as_tensor([0.0, 0.5 * pace]))
    return model


def random_model(kind: str, size: int = 10):
    """An untrained PPO, SAC or CMA-ES whose actions reach their limits."""
    import gymnasium
    import torch
    from stable_baselines3.common.vec_env import DummyVecEnv

    from racing.algos.cmaes import BatchCMAES
    from racing.algos.ppo import BatchPPO
    from racing.algos.sac import BatchSAC

    env = DummyVecEnv([lambda: _Still(gymnasium.spaces.Box(-10, 10, (size,), np.float32))])
    if kind == "ppo":
        model: Any = BatchPPO("MlpPolicy", env, device="cpu", seed=0)
        last = model.policy.action_net
    elif kind == "cmaes":
        model = BatchCMAES("EvolvedPolicy", env, device="cpu", seed=0, policy_kwargs={"hidden": 3})
        last = model.policy.net[2]
        torch.nn.init.uniform_(last.weight, -1, 1)
    else:
        model = BatchSAC("MlpPolicy", env, device="cpu", seed=0, buffer_size=10)
        last = model.policy.actor.mu
    with torch.no_grad():
        last.weight.mul_(200.0 if kind == "ppo" else 20.0)
    return model


def seeing_model(track: Track, vehicle: Vehicle, algo: str = "ppo_cnn", precision: str = "float32", **env: Any):
    """An untrained PPO or SAC that drives by frames of 40 x 40 pixels, and whose actions reach their limits."""
    import torch

    changes = ["algo.n_envs=2", "algo.cnn=small", "algo.features_dim=32", f"algo.precision={precision}"]
    changes += ["algo.n_steps=2", "algo.batch_size=4"] if algo.startswith("ppo") else ["algo.buffer_size=64"]
    cfg = compose("train", ["env=vision", f"algo={algo}", "env.width=40", "env.height=40", "env.line=centre", *changes])
    task = build(OmegaConf.merge(cfg.env, env))(tracks=[track], vehicle=vehicle, races=2)
    elsewhere = ("total_timesteps", "n_envs", "teacher", "teacher_pace", "teacher_reach")
    settings = OmegaConf.masked_copy(cfg.algo, [key for key in cfg.algo if key not in elsewhere])
    model = build(settings)(env=RacingVecEnv(task), seed=0, device="cpu")
    with torch.no_grad():
        (model.policy.action_net if algo.startswith("ppo") else model.policy.actor.mu).weight.mul_(200.0)
    return model


def make_run(outputs: Path, model: Any, **changes: Any) -> RunDirectory:
    """A finished run on the oval that holds `model`; changes: of its config."""
    env = group("env/mlp", preview=PREVIEW, preview_spacing=12.0)
    env["episodes"]["start_speed"] = [0.2, 0.5]  # the hand-made driver cannot catch a fast start
    config = {
        "env": env,
        "track": {"_target_": "racing.tracks.catalog.load_tracks", "file": "oval"},
        "vehicle": group("vehicle/kart"),
        "tracking": {"enabled": False, "uri": None},
        **changes,
    }
    with open_run(outputs, "drive", config, [], {}) as run:
        model.save(run.path / "export" / "policy.zip")
        run.finish({"finish_rate": 1.0})
    return RunDirectory(run.path)


class _Still:
    """The spaces of an environment that is never stepped."""

    def __new__(cls, space: Any) -> Any:
        import gymnasium

        class Still(gymnasium.Env):
            observation_space = space
            action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

        return Still()
