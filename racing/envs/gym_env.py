"""One car as a Gymnasium environment: `gymnasium.make("racing/Sensors-v0", track="circuit")`, "racing/Vision-v0"."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from racing.config import build, compose, explain
from racing.envs.rendering import top_down
from racing.envs.task import require_finite
from racing.errors import InputError, require
from racing.observations import rows_of
from racing.sim.camera.camera import Camera
from racing.sim.records import Ending

RENDER_MODES = ("rgb_array",)
METADATA = {"render_modes": list(RENDER_MODES), "render_fps": 10, "autoreset_mode": AutoresetMode.SAME_STEP}
SEEDS = 1 << 31  # number of different seeds that a world has


def make_task(group: str, track: str, vehicle: str, env: dict[str, Any], **arguments: Any) -> Any:
    """Build the task of conf/env/<group>.yaml with the keys `env` changed. Raises InputError for wrong names, values.

    arguments: of the task that are no keys, such as `races`.
    """
    from racing.tracks.catalog import load_track

    cfg = compose("train", [f"env={group}", f"vehicle={vehicle}"])
    return build(configured(group, cfg.env, env))(tracks=[load_track(track)], vehicle=build(cfg.vehicle), **arguments)


def configured(group: str, config: Any, changed: dict[str, Any]) -> Any:
    """The config group conf/env/<group>.yaml with the keys `changed`. Raises InputError for keys that it has not."""
    try:
        return OmegaConf.merge(config, changed)
    except OmegaConfBaseException as error:
        raise InputError(f"env={group}: {explain(error)}") from error


def require_render_mode(mode: str | None) -> None:
    """Raise InputError for a render mode that there is not."""
    known = (None, *RENDER_MODES)
    window = "; gymnasium.make shows that one in a window, which needs pygame" if mode == "human" else ""
    require(mode in known, f"render_mode must be one of {known}, got {mode!r}; choose one{window}")


class TaskEnv(gymnasium.Env[Any, npt.NDArray[np.float32]], ABC):
    """One car of a racing.envs.task.DrivingTask.

    What the last step of an episode returns is that episode's own; inside, the car's next one has begun by then.
    """

    metadata = METADATA

    def __init__(self, task: Any, render_mode: str | None) -> None:
        """task: of one car."""
        self.render_mode, self.task = render_mode, task
        self.metadata = {**self.metadata, "render_fps": round(1 / task.world.step_dt)}  # a video in real time
        self.observation_space = task.observation_space
        self.action_space = task.action_space
        self._seeded = False
        self._begun: Any = None  # first observation of the episode that the world has begun after the last one's end

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; the same seed gives the same sequence of episodes, none a sequence of its own."""
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self.task.reseed(int(self.np_random.integers(SEEDS)) if seed is None else seed)
            self._seeded, self._begun = True, None
        observation = self.task.reset()[0] if self._begun is None else self._begun
        self._begun = None
        return rows_of(observation, 0), {}

    def step(self, action: npt.NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance the car by one environment step. Raises NonFiniteAction, a ValueError, for NaN and infinity."""
        actions = np.asarray(action, np.float32)[None]
        require_finite(actions)
        step = self.task.step_batch(actions)
        terminated, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        info = self._info(ended=terminated or truncated)
        self._begun = step.observation if terminated or truncated else None
        return rows_of(step.final_observation, 0), float(step.reward[0]), terminated, truncated, info

    @abstractmethod
    def _info(self, *, ended: bool) -> dict[str, Any]:
        """What is said of the car after a step. ended: whether that ended its episode."""

    @property
    def _ended(self) -> bool:
        """Whether the episode is over, and the world is in the car's next one."""
        return self._begun is not None


class RacingEnv(TaskEnv):
    """One car of a task of conf/env on a track.

    An episode ends (terminated) when the car leaves the road, stalls or turns back; laps and time limits truncate.
    """

    group: ClassVar[str]  # file of conf/env

    def __init__(
        self,
        track: str = "circuit",
        vehicle: str = "kart",
        render_mode: str | None = None,
        first_race: int = 0,
        **env: Any,
    ) -> None:
        """See the class.

        track, vehicle: names or, for the track, a path.
        first_race: its episodes are those of this car of `gymnasium.make_vec` under the same seed.
        env: any key of conf/env/<group>.yaml, e.g. rays=1080. A group such as episodes={"laps": 2} changes the keys
        that it names.
        Raises InputError for wrong names, values.
        """
        require_render_mode(render_mode)
        super().__init__(make_task(self.group, track, vehicle, env, races=1, first_race=first_race), render_mode)

    def _info(self, *, ended: bool) -> dict[str, Any]:
        """See TaskEnv."""
        car = self.task.final_cars[0]
        return {"progress": float(car["progress"]), "laps": int(car["laps"]), "ended": Ending(car["ended"]).label}

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Top-down picture (480, 480, 3) uint8; after the last step of an episode still of that one."""
        return top_down(self.task.world, 0, ended=self._ended) if self.render_mode == "rgb_array" else None


class SensorsEnv(RacingEnv):
    """Driving by sensors. Observation and action: racing.envs.sensors.SensorsTask, keys: conf/env/mlp.yaml."""

    group = "mlp"


class RaceEnv(RacingEnv):
    """Driving among opponents. Observation and action: racing.envs.race.RaceTask, keys: conf/env/race.yaml.

    The others in the race follow the optimal lap's line, unless `mix` has none of those: then it drives alone.
    """

    group = "race"


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
        world = self.task.world
        return np.hstack([above, self._camera.render(world.final_cars if self._ended else world.cars)[0]])
