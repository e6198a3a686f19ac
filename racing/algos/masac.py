"""Several SAC learners in one environment, each with cars, networks, replay buffer and random numbers of its own."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from racing.algos.common import BatchAlgorithm
from racing.algos.sac import BatchSAC, make_sac
from racing.algos.streams import Stream
from racing.errors import is_number, require, require_number
from racing.observations import rows_of

Array = npt.NDArray[Any]
MOST_AGENTS = 64
NAMES = re.compile(r"[a-z][a-z0-9_]{0,30}")
TAKEN = ("policy", "half")  # RUN@policy and RUN@AGENT@half mean something else
SEEDS_APART = 1_000_003  # of an agent's seed and the next one's


class AgentEnv(VecEnv):
    """The cars of one agent, as far as a learner asks for them: it never steps them itself."""

    def __init__(self, env: VecEnv, cars: Array) -> None:
        """cars: (n,) rows of `env`."""
        self.cars = cars
        self.render_mode = None
        self.stack = getattr(env, "stack", 1)
        super().__init__(len(cars), env.observation_space, copy.deepcopy(env.action_space))

    def _alone(self, *arguments: Any, **named: Any) -> Any:
        raise RuntimeError("an agent's cars are stepped with those of all agents")

    reset = step_async = step_wait = get_images = env_method = set_attr = _alone

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Nothing: the environment has one seed, which is not an agent's."""
        return []

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The same value for every car."""
        return [getattr(self, attr_name)] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Never."""
        return [False] * self.num_envs


class MultiAgentSAC(BatchAlgorithm):
    """Independent SAC learners (Tan 1993, doi 10.1016/B978-1-55860-307-3.50049-6) that share an environment.

    All cars are stepped together; of each agent's cars what follows is what `BatchSAC` does with them: it draws their
    actions, keeps what came of them in a replay buffer of its own, and updates. Agents do so in their order, each with
    its own random numbers: what another one draws does not matter to it. One agent learns what algo=sac does, bit for
    bit.

    Cars go round among the agents from race to race (RacingVecEnv.turns), so that none of them owns a place.
    """

    def __init__(
        self,
        env: VecEnv,
        agents: Mapping[str, BatchSAC],
        streams: Mapping[str, Stream],
        seed: int,
        device: str,
    ) -> None:
        """agents: by name; each has the cars of its AgentEnv, which are all of the environment's together.
        streams: what each of them draws.
        """
        super().__init__(None, env, learning_rate=0.0, support_multi_env=True, seed=seed, device=device)
        self.agents, self.streams = agents, streams
        self.cars: dict[str, Array] = {name: agent.env.cars for name, agent in agents.items()}
        for agent in agents.values():
            agent.set_logger(Logger(None, []))  # until it gets another one
        self.set_random_seed(seed)

    @property
    def learners(self) -> Mapping[str, BatchAlgorithm]:
        """The agents."""
        return self.agents

    def learn(
        self,
        total_timesteps: int,
        callback: Any = None,
        log_interval: int = 1,
        tb_log_name: str = "MASAC",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> MultiAgentSAC:
        """Learn until so many environment steps, of all agents' cars, are driven."""
        total, callback = self._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        for name, agent in self.agents.items():
            agent._total_timesteps = total * agent.n_envs // self.n_envs
            agent._last_obs = rows_of(self._last_obs, self.cars[name])
            if reset_num_timesteps:
                agent.num_timesteps = agent._episode_num = 0
        callback.on_training_start(locals(), globals())
        while self.num_timesteps < total:
            callback.on_rollout_start()
            if not self._step(callback):
                break
            callback.on_rollout_end()
            for name, agent in self.agents.items():
                if agent.num_timesteps > agent.learning_starts:
                    with self.streams[name]:
                        agent.train(agent.gradient_steps, agent.batch_size)
        callback.on_training_end()
        return self

    def _step(self, callback: Any) -> bool:
        """Step all cars once and keep what came of it; False if the callback asked to stop."""
        env: Any = self.env
        actions = np.empty((env.num_envs, *env.action_space.shape), np.float32)
        kept: dict[str, Array] = {}  # in the units of the replay buffers
        for name, agent in self.agents.items():
            with self.streams[name]:
                drawn = agent._sample_action(agent.learning_starts, None, agent.n_envs)
            actions[self.cars[name]], kept[name] = drawn
        observation, rewards, dones, infos = env.step(actions)
        self.num_timesteps += env.num_envs
        self._last_obs = observation
        if not callback.on_step():
            return False
        for name, agent in self.agents.items():
            cars = self.cars[name]
            agent.num_timesteps += agent.n_envs
            own = rows_of(observation, cars), rewards[cars], dones[cars], [infos[car] for car in cars]
            agent._store_transition(agent.replay_buffer, kept[name], *own)
            agent._update_current_progress_remaining(agent.num_timesteps, agent._total_timesteps)
            agent._episode_num += int(dones[cars].sum())
        if dones.any():
            self.logger.dump(self.num_timesteps)
        return True

    def _setup_model(self) -> None:
        """See BaseAlgorithm; the agents are set up already."""


def make_masac(
    env: VecEnv, *, seed: int, device: str, agents: int | Mapping[str, Any], share: bool, **settings: Any
) -> BaseAlgorithm:
    """Make fresh agents. Raises InputError for values off range; each is documented in conf/algo/masac.yaml.

    env: racing.envs.vec_env.RacingVecEnv.
    settings: those of `make_sac`, of all agents that have no others.
    """
    named = read_agents(agents, settings)
    require(isinstance(share, bool), f"algo.share must be true or false, got {share!r}; choose one")
    if share:
        alike = not any(named.values())
        require(alike, "algo.share=true makes one policy of all agents, got settings of their own; leave them away")
        return make_sac(env, seed=seed, device=device, **settings)
    few = f"algo.n_envs must be algo.agents={len(named)} or more, got {env.num_envs}; raise it"
    require(env.num_envs >= len(named), few)
    turns = env.turns % len(named)
    made: dict[str, Any] = {}
    streams: dict[str, Stream] = {}
    for k, (name, own) in enumerate(named.items()):
        cars = np.flatnonzero(turns == k)
        idle = f"algo.agents: {name} must have a car, the {env.num_envs} of algo.n_envs go to others"
        require(len(cars) > 0, f"{idle}; raise it, or env.cars")
        reward = own.pop("reward", {})
        rule = f"algo.agents.{name}.reward must be weights by term, got {reward!r}"
        require(isinstance(reward, Mapping), f"{rule}; e.g. {{contact: -1}}")
        env.assign(name, cars, reward)
        streams[name] = Stream()
        with streams[name]:  # which then begins where the networks' first weights left it
            made[name] = make_sac(AgentEnv(env, cars), seed=seed + SEEDS_APART * k, device=device, **settings | own)
    return MultiAgentSAC(env, made, streams, seed, device)


def read_agents(agents: Any, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings of each agent that differ from those of all, by name. Raises InputError for others, and other names."""
    if is_number(agents):
        require_number("algo.agents", agents, 1, MOST_AGENTS, whole=True, remedy="or name them: {fast: {gamma: 0.98}}")
        return {f"agent_{k}": {} for k in range(int(agents))}
    rule = f"algo.agents must be their number, or settings by name, got {agents!r}; e.g. {{fast: {{gamma: 0.98}}}}"
    require(isinstance(agents, Mapping) and 1 <= len(agents) <= MOST_AGENTS, rule)
    found: dict[str, dict[str, Any]] = {}
    for name, own in agents.items():
        fits = isinstance(name, str) and NAMES.fullmatch(name) is not None and name not in TAKEN
        rule = f"algo.agents: {name!r} must be a name of at most 31 small letters, digits and _, a letter first"
        require(fits, f"{rule}, and not {' or '.join(TAKEN)}; rename it")
        given = own or {}
        require(isinstance(given, Mapping), f"algo.agents.{name} must be settings by key, got {own!r}; e.g. {{}}")
        for key in given:
            known = f"use one of algo=sac ({', '.join(sorted(settings))}) or reward"
            require(key in settings or key == "reward", f"algo.agents.{name}.{key} is no setting of an agent; {known}")
        found[name] = dict(given)
    return found
