"""One car as a Gymnasium environment: `gymnasium.make("racing/Sensors-v0", track="circuit")`, "racing/Vision-v0"."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from racing.config import build, compose, explain
from racing.errors import InputError, require
from racing.observations import rows_of
from racing.sim.camera.camera import Camera
from racing.sim.records import Ending

RENDER_MODES = ("rgb_array",)


class RacingEnv(gymnasium.Env[Any, npt.NDArray[np.float32]]):
    """One car of a task of conf/env.

    An episode ends (terminated) when the car leaves the road, stalls or turns back; laps and time limits truncate. What
    the last step of an episode returns is that episode's own; inside, the car's next one has begun by then.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "render_modes": list(RENDER_MODES),
        "render_fps": 10,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }
    group: ClassVar[str]  # file of conf/env

    def __init__(
        self, track: str = "circuit", vehicle: str = "kart", render_mode: str | None = None, **env: Any
    ) -> None:
        """track, vehicle: names or, for the track, a path; env: any key of conf/env/<group>.yaml, e.g. rays=1080.

        A group such as episodes={"laps": 2} changes the keys that it names. Raises InputError for wrong names, values.
        """
        from racing.tracks.catalog import load_track

        known = (None, *RENDER_MODES)
        require(render_mode in known, f"render_mode must be one of {known}, got {render_mode!r}; choose one")
        cfg = compose("train", [f"env={self.group}", f"vehicle={vehicle}"])
        try:
            settings = OmegaConf.merge(cfg.env, env)
        except OmegaConfBaseException as error:
            raise InputError(f"{type(self).__name__}: {explain(error)}") from error
        self.render_mode = render_mode
        self.task = build(settings)(tracks=[load_track(track)], vehicle=build(cfg.vehicle), races=1)
        self.observation_space = self.task.observation_space
        self.action_space = self.task.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; the same seed gives the same sequence of episodes."""
        super().reset(seed=seed)
        if seed is not None:
            self.task.reseed(seed)
        observation, _ = self.task.reset()
        return rows_of(observation, 0), {}

    def step(self, action: npt.NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance the car by one environment step."""
        step = self.task.step_batch(np.asarray(action, np.float32)[None])
        car = self.task.world.final_cars[0, 0]
        info = {"progress": float(car["progress"]), "laps": int(car["laps"]), "ended": Ending(car["ended"]).label}
        return (
            rows_of(step.final_observation, 0),
            float(step.reward[0]),
            bool(step.terminated[0]),
            bool(step.truncated[0]),
            info,
        )

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Top-down picture (480, 480, 3) uint8."""
        return self.task.render() if self.render_mode == "rgb_array" else None


class SensorsEnv(RacingEnv):
    """Driving by sensors. Observation and action: racing.envs.sensors.SensorsTask, keys: conf/env/mlp.yaml."""

    group = "mlp"


class VisionEnv(RacingEnv):
    """Driving by a camera. Observation and action: racing.envs.vision.VisionTask, keys: conf/env/vision.yaml."""

    group = "vision"
    _camera: Camera | None = None

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Top-down picture and, to its right, what the driver sees, in color: (480, 480 + width, 3) uint8."""
        above = super().render()
        if above is None:
            return None
        if self._camera is None:
            self._camera = self.task.driver_camera(len(above))
        return np.hstack([above, self._camera.render()[0]])
