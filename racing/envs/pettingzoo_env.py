"""A race as PettingZoo's ParallelEnv: `racing.envs.pettingzoo_env.parallel_env(track="circuit", cars=4)`."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from omegaconf import OmegaConf
from pettingzoo import ParallelEnv

from racing.config import build, compose
from racing.envs.gym_env import SEEDS, configured, require_render_mode
from racing.envs.race import together
from racing.envs.rendering import top_down
from racing.envs.task import require_finite
from racing.errors import require
from racing.observations import rows_of
from racing.sim.records import Ending
from racing.tracks.catalog import load_track

Array = npt.NDArray[Any]


class RaceParallelEnv(ParallelEnv[str, Any, Array]):
    """One race of several cars; agents car_0, car_1, ... are its slots, and none is special.

    All start together. A car that is out leaves `agents` with the step that says so: terminated where it left the road,
    stood, or turned back; truncated where it came home, or time was up. Observation and action of each car:
    racing.envs.sensors.SensorsTask or racing.envs.vision.VisionTask.

    infos: of each car progress [m], laps, rank (1 leads), contacts, blame (for those of this step, [0, 1]), ended.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "racing_v0", "render_modes": ["rgb_array"], "is_parallelizable": True}

    def __init__(
        self,
        track: str = "circuit",
        vehicle: str = "kart",
        cars: int = 4,
        laps: int = 3,
        group: str = "race",
        render_mode: str | None = None,
        **env: Any,
    ) -> None:
        """See the class.

        track, vehicle: names or, for the track, a path.
        cars: of the race, 2..16.
        laps: after which it is over; the others have `race.grace` of the winner's time left then.
        group: file of conf/env: race | race_vision | any other.
        env: any key of that file, and any field of racing.sim.race.config.RaceConfig in race={...}: start (scattered,
        grid or rolling) is grid, wreck (remove or obstacle) is remove unless given.
        Raises InputError for wrong names, values.
        """
        require_render_mode(render_mode)
        require(cars >= 2, f"cars must be 2 or more, got {cars}; one alone is gymnasium.make('racing/Sensors-v0')")
        self.render_mode = render_mode
        cfg = compose("train", [f"env={group}", f"vehicle={vehicle}"])
        changed = {key: value for key, value in env.items() if key != "race"}
        own: Any = OmegaConf.to_container(configured(group, cfg.env, changed))
        rules = {"start": "grid", **env.get("race", {})}
        require(rules.get("wreck") != "respawn", "race.wreck must be remove or obstacle, got respawn; choose one")
        episodes = {**own["episodes"], "laps": laps, "random_start": rules["start"] != "grid"}
        self.task = together(
            own,
            [load_track(track)],
            build(cfg.vehicle),
            races=1,
            cars=cars,
            rules=rules,
            episodes={**episodes, "time_limit": 0.0, "time_limit_min": 0.0, **env.get("episodes", {})},
        )
        self.possible_agents = [f"car_{k}" for k in range(cars)]
        self.agents: list[str] = []
        self.observation_spaces = {agent: self.task.observation_space for agent in self.possible_agents}
        self.action_spaces = {agent: self.task.action_space for agent in self.possible_agents}
        self._random = np.random.default_rng()
        self._seeded = False
        self._begun: Any = None  # what is observed first in the race that the world has begun after the last one's end

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Of one car."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Box:
        """Of one car."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Start a race; the same seed gives the same sequence of races, none a sequence of its own."""
        if seed is not None or not self._seeded:
            self.task.reseed(int(self._random.integers(SEEDS)) if seed is None else seed)
            self._seeded, self._begun = True, None
        observation = self.task.reset()[0] if self._begun is None else self._begun
        self._begun, self.agents = None, list(self.possible_agents)
        return {agent: rows_of(observation, k) for k, agent in enumerate(self.agents)}, {a: {} for a in self.agents}

    def step(self, actions: dict[str, Array]) -> tuple[Any, Any, Any, Any, Any]:
        """Advance all cars by one environment step. Raises NonFiniteAction, a ValueError, for NaN and infinity."""
        asked = np.zeros((len(self.possible_agents), 2), np.float32)
        rows = {agent: self.possible_agents.index(agent) for agent in self.agents}
        for agent, k in rows.items():
            asked[k] = actions[agent]
        require_finite(asked)
        step = self.task.step_batch(asked)
        cars, traffic = self.task.final_cars, self.task.world.final_traffic.reshape(-1)
        observations = {agent: rows_of(step.final_observation, k) for agent, k in rows.items()}
        rewards = {agent: float(step.reward[k]) for agent, k in rows.items()}
        terminated = {agent: bool(step.terminated[k]) for agent, k in rows.items()}
        truncated = {agent: bool(step.truncated[k]) for agent, k in rows.items()}
        infos = {agent: _info(cars[k], traffic[k]) for agent, k in rows.items()}
        self.agents = [agent for agent in rows if not (terminated[agent] or truncated[agent])]
        self._begun = None if self.agents else step.observation
        return observations, rewards, terminated, truncated, infos

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Top-down picture (480, 480, 3) uint8."""
        return top_down(self.task.world, 0, ended=self._begun is not None) if self.render_mode == "rgb_array" else None

    def state(self) -> Array:
        """What all cars observe, one after the other, those that are out, too."""
        seen = self.task.observe()
        return np.concatenate([part.reshape(-1) for part in (seen.values() if isinstance(seen, dict) else [seen])])

    def close(self) -> None:
        """Nothing to release."""


def _info(car: Any, traffic: Any) -> dict[str, Any]:
    return {
        "progress": float(car["progress"]),
        "laps": int(car["laps"]),
        "rank": int(traffic["rank"]),
        "contacts": int(traffic["contacts"]),
        "blame": float(traffic["blame"]),
        "ended": Ending(car["ended"]).label,
    }


def parallel_env(**settings: Any) -> RaceParallelEnv:
    """Make a race; settings: arguments of RaceParallelEnv."""
    return RaceParallelEnv(**settings)
