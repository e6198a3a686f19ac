"""One car as a Gymnasium environment: `gymnasium.make("racing/Sensors-v0", track="circuit")`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from racing.configs import build, compose, explain
from racing.envs.picture import top_down
from racing.envs.vec_env import action_space, sensors_space
from racing.errors import InputError
from racing.sim.layout import ENDINGS

ENVIRONMENT_ID = "racing/Sensors-v0"


class SensorsEnv(gymnasium.Env[npt.NDArray[np.float32], npt.NDArray[np.float32]]):
    """One car driving by sensors. Observation and action: racing.envs.sensors.SensorsTask.

    An episode ends (terminated) when the car leaves the road, stalls or turns back; laps and time limits truncate.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (Gymnasium's own declaration)

    def __init__(
        self, track: str = "circuit", vehicle: str = "kart", render_mode: str | None = None, **env: Any
    ) -> None:
        """track, vehicle: names or, for the track, a path; env: any key of conf/env/mlp.yaml, e.g. rays=1080.

        A group such as episodes={"laps": 2} changes the keys that it names. Raises InputError for wrong names, values.
        """
        from racing.tracks.catalog import load_track

        cfg = compose("train", ["env=mlp", f"vehicle={vehicle}"])
        try:
            settings = OmegaConf.merge(cfg.env, env)
        except OmegaConfBaseException as error:
            raise InputError(f"{ENVIRONMENT_ID}: {explain(error)}") from error
        self.render_mode = render_mode
        self.task = build(settings)(tracks=[load_track(track)], vehicle=build(cfg.vehicle), races=1)
        self.observation_space = sensors_space(self.task)
        self.action_space = action_space()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Start an episode; the same seed gives the same sequence of episodes."""
        super().reset(seed=seed)
        if seed is not None:
            self.task.world.reseed(seed)
        return self.task.reset()[0], {}

    def step(
        self, action: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One decision."""
        step = self.task.step(np.asarray(action, np.float32)[None])
        car = self.task.world.final_cars[0, 0]
        info = {"progress": float(car["progress"]), "laps": int(car["laps"]), "ended": ENDINGS[car["ended"]]}
        return (
            step.final_observation[0],
            float(step.reward[0]),
            bool(step.terminated[0]),
            bool(step.truncated[0]),
            info,
        )

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Top-down picture (480, 480, 3) uint8."""
        return top_down(self.task.world, 0) if self.render_mode == "rgb_array" else None
