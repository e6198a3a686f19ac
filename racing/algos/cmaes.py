"""CMA-ES: evolution of a policy's weights. No gradients: what is judged is what whole episodes came to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from racing.algos.common import BatchAlgorithm, GreedyModule
from racing.algos.evolution.population import Population, count_weights
from racing.algos.evolution.strategy import Strategy
from racing.errors import read_group, require, require_number

Array = npt.NDArray[Any]
MOST_FULL = 300  # weights whose covariance is learned whole: a generation takes O(d^2) time and more
MOST_WEIGHTS = 2000  # that evolution finds a way among
GROW_AT = 0.3  # share of candidates that drive all their episodes to the horizon
MOST_SIGMA = 1e6  # all actions have long been at their limits
NO_LAP = 1e4  # [s] that count for a start from which no lap was driven, and no metre
WIN = 0.2  # of a lap, that being ahead of all rivals is worth
COVARIANCES = ("auto", "full", "diagonal")


def lap_score(episode: Mapping[str, Any]) -> float:
    """Minus the best lap [s]; without one, worse than any lap, and better the farther it came."""
    return -float(episode["lap_time"]) if episode["laps"] else -NO_LAP / (1 + max(episode["progress"], 0.0) / 1000)


# What an episode of racing.envs is worth, the more the better.
FITNESS: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "return": lambda episode: episode["reward"],
    "progress": lambda episode: episode["progress"],
    "lap_time": lap_score,
}


def match_score(won: Array, lap: Array) -> Array:
    """(N,) [m] by which a car is ahead of its rivals on average, and WIN of a lap if it is ahead of all.

    won: (N, C) [m] from the start on, its own first. lap: (N,) [m].
    """
    first = won[:, 0] > won[:, 1:].max(axis=1)
    return np.asarray(won[:, 0] - won[:, 1:].mean(axis=1) + WIN * lap * first)


# What a whole generation of races against others is worth, at the horizon.
RACE_FITNESS: dict[str, Callable[[Array, Array], Array]] = {
    "match": match_score,
    "rank": lambda won, lap: (won[:, :1] > won[:, 1:]).mean(axis=1),
}


class EvolvedPolicy(BasePolicy):
    """tanh(W x + b) of the observation, with at most one hidden layer of the same kind; it has no noise."""

    def __init__(
        self, observation_space: spaces.Box, action_space: spaces.Box, lr_schedule: Any = None, hidden: int = 0
    ) -> None:
        """hidden: units of the hidden layer, 0: there is none. lr_schedule: not used."""
        super().__init__(observation_space, action_space)
        self.features_extractor = self.make_features_extractor()
        self.sizes = layer_sizes(observation_space, action_space, hidden)
        parts: list[nn.Module] = []
        for before, after in pairwise(self.sizes):
            parts += [nn.Linear(before, after), nn.Tanh()]
        self.net = nn.Sequential(*parts)
        for parameter in self.net[-2].parameters():
            nn.init.zeros_(parameter)

    def forward(self, observation: Any, deterministic: bool = True) -> th.Tensor:
        """(N, A) actions."""
        return self.net(self.features_extractor(observation))

    def _predict(self, observation: Any, deterministic: bool = True) -> th.Tensor:
        return self(observation)

    @property
    def weights(self) -> npt.NDArray[np.float32]:
        """(d,) all weights, a copy."""
        flat: npt.NDArray[np.float32] = parameters_to_vector(self.net.parameters()).detach().cpu().numpy()
        return flat.copy()

    @weights.setter
    def weights(self, weights: Array) -> None:
        vector_to_parameters(th.as_tensor(weights, dtype=th.float32, device=self.device), self.net.parameters())


def layer_sizes(observation_space: spaces.Box, action_space: spaces.Box, hidden: int) -> list[int]:
    """Sizes of the layers, from observation to action."""
    return [math.prod(observation_space.shape), *([hidden] if hidden else []), action_space.shape[0]]


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """How long the episodes of a generation last. Raises InputError for values out of range.

    start: [environment steps] in the first generation.
    grow: factor, as soon as enough candidates drive that far.
    end: [environment steps] at most.
    """

    start: int
    grow: float
    end: int

    def __post_init__(self) -> None:
        """Refuse what is no horizon."""
        require_number("start", self.start, 1, 1_000_000, whole=True, remedy="150 is the default")
        require_number("end", self.end, 1, 1_000_000, whole=True, remedy="400 is the default")
        require_number("grow", self.grow, 1, 100, remedy="1: it stays as it is")
        require(self.start <= self.end, f"start must be <= end {self.end}, got {self.start}; lower it")


class BatchCMAES(BatchAlgorithm):
    """CMA-ES (Hansen 2016, arXiv 1604.00772) over the weights of a small policy; `make_cmaes` makes one.

    In a generation each policy drives its own cars: the first policy is the mean of the distribution, the others are
    drawn from it. All have the same starts, new ones in each generation. The first episode of each car counts, up to
    the horizon; when all have ended, so has the generation. The horizon grows when enough candidates reach it.

    With env=race each car races against others, which do not evolve and are the same for all policies: another pace, or
    another policy of the pool, at each start. Fitness match or rank looks at who is how far at the horizon.

    What is saved, evaluated and exported is the mean. Its own fitness is a metric; the candidates' moves it.

    settings: keys of conf/algo/cmaes.yaml by name, `diagonal` in place of covariance. Without them it only predicts.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"EvolvedPolicy": EvolvedPolicy}
    settings: Mapping[str, Any] | None = None

    def __init__(
        self,
        policy: Any,
        env: VecEnv | None,
        settings: Mapping[str, Any] | None = None,
        _init_setup_model: bool = True,
        **named: Any,
    ) -> None:
        """named: arguments of Stable-Baselines3's BaseAlgorithm."""
        super().__init__(policy, env, learning_rate=0.0, support_multi_env=True, **named)
        self.settings = settings
        if _init_setup_model:
            self._setup_model()

    @staticmethod
    def greedy_module(policy: Any) -> nn.Module:
        """All of the policy."""
        return GreedyModule(policy.features_extractor, *policy.net)

    def _setup_model(self) -> None:
        """See BaseAlgorithm."""
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.policy = self.policy_class(
            self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs
        ).to(self.device)
        if self.settings is not None:
            self._fresh = self.policy.weights
            self.horizon = th.tensor(self.settings["horizon"]["start"])
            self.evolution = self._strategy("sigma")

    def _strategy(self, sigma: str) -> Strategy:
        """Evolution from the policy's weights on. sigma: which of the settings is its first step size."""
        settings: Any = self.settings
        return Strategy(
            self.policy.weights,
            settings[sigma],
            candidates=settings["population"] - 1,
            seed=self.seed,
            diagonal=settings["diagonal"],
            lr_adapt=settings["lr_adapt"],
        )

    def _excluded_save_params(self) -> list[str]:
        """See BaseAlgorithm."""
        return [*super()._excluded_save_params(), "evolution", "_fresh"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        """See BaseAlgorithm."""
        return (["policy"], []) if self.settings is None else (["policy", "evolution"], ["horizon"])

    def learn(
        self,
        total_timesteps: int,
        callback: Any = None,
        log_interval: int = 1,
        tb_log_name: str = "CMAES",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> BatchCMAES:
        """Evolve until so many environment steps, of all cars, are driven: whole generations."""
        settings: Any = self.settings
        total, callback = self._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        if self.evolution.generation == 0 and not np.array_equal(self._fresh, self.policy.weights):
            self.evolution = self._strategy("init_sigma")
        most = math.inf if settings["generations"] is None else settings["generations"]
        callback.on_training_start(locals(), globals())
        while self.num_timesteps < total and self.evolution.generation < most:
            callback.on_rollout_start()
            if not self._generation(callback):
                break
            callback.on_rollout_end()
        callback.on_training_end()
        return self

    def _generation(self, callback: BaseCallback) -> bool:
        """Drive, judge, and move the mean; False if the callback asked to stop."""
        evolution = self.evolution
        points = evolution.ask()
        values, reached = self.drive(np.vstack([evolution.mean, points]), callback)
        if values is None:
            return False
        evolution.tell(points, values[1:])
        rule = f"the evolution's step size must stay below {MOST_SIGMA:g}, it grew to {evolution.sigma:.3g}"
        require(evolution.sigma < MOST_SIGMA, f"{rule}: it diverged; use algo.lr_adapt=false, or a smaller algo.sigma")
        self.policy.weights = evolution.mean
        self._n_updates += 1
        self._log(values, reached)
        horizon: Any = self.settings["horizon"]  # type: ignore[index]
        if reached[1:].mean() > GROW_AT:
            self.horizon.fill_(min(horizon["end"], math.ceil(int(self.horizon) * horizon["grow"])))
        return True

    def drive(self, weights: Array, callback: BaseCallback) -> tuple[Any, Any]:
        """Let policies drive from the same starts: (P,) their fitness, and whether all their cars got to the horizon.

        weights (P, d): of the policies. None, None if the callback asked to stop.
        """
        env: Any = self.env
        count = len(weights)
        starts, horizon = env.num_envs // count, int(self.horizon)
        fitness = self.settings["fitness"]  # type: ignore[index]
        score, together = FITNESS.get(fitness, FITNESS["progress"]), RACE_FITNESS.get(fitness)
        population = Population(weights, self.policy.sizes)
        observation = env.reset_alike(self.evolution.generation * starts, starts, horizon)
        driving, reached = np.ones(env.num_envs, bool), np.zeros(env.num_envs, bool)
        scores, steps = np.zeros(env.num_envs), 0
        while driving.any() or (together is not None and steps < horizon):  # rivals drive on
            before, steps = len(env.episodes), steps + 1
            step = env.step_batch(population.act(observation), driving)
            observation = step.observation
            self.num_timesteps += env.num_envs
            ended = np.flatnonzero(driving & (step.terminated | step.truncated))
            scores[ended] = [score(episode) for episode in env.episodes[before:]]
            reached[ended], driving[ended] = step.truncated[ended], False
            if not callback.on_step():
                return None, None
        self._last_obs = observation
        if together is not None:
            scores = together(env.task.standing.won, env.task.standing.lap)
        return scores.reshape(count, starts).mean(1), reached.reshape(count, starts).all(1)

    def _log(self, values: Array, reached: Array) -> None:
        metrics = {
            "fitness_mean": values[1:].mean(),
            "fitness_best": values[1:].max(),
            "fitness_of_mean": values[0],
            "sigma": self.evolution.sigma,
            "horizon": int(self.horizon),
            "survivors": reached[1:].mean(),
            "generation": self.evolution.generation,
        }
        for name, value in metrics.items():
            self.logger.record(f"train/{name}", float(value))
        self.logger.dump(self.num_timesteps)


def make_cmaes(
    env: VecEnv,
    *,
    seed: int,
    device: str,
    hidden: int,
    population: int,
    starts: int,
    sigma: float,
    init_sigma: float,
    covariance: str,
    horizon: Any,
    fitness: str,
    generations: int | None,
    lr_adapt: bool,
) -> BatchCMAES:
    """Make a fresh CMA-ES model. Raises InputError for values off range; each is documented in conf/algo/cmaes.yaml."""
    rule = "algo=cmaes evolves policies that drive by sensors, alone or each in a race of its own"
    alike = not isinstance(env.observation_space, spaces.Dict) and env.starts_alike
    remedy = "use env=mlp_preview or env=mlp, env=race with env.mix of line or pool alone, or algo=ppo"
    require(alike, f"{rule}, got frames or other races; {remedy}")
    require_number("algo.hidden", hidden, 0, 65_536, whole=True, remedy="0: no hidden layer")
    require_number("algo.population", population, 5, 100_000, whole=True, remedy="32 is usual")
    require_number("algo.starts", starts, 1, 100_000, whole=True, remedy="4 is usual")
    for name, value in (("sigma", sigma), ("init_sigma", init_sigma)):
        require_number(f"algo.{name}", value, 1e-9, 1e3, remedy="0.1 is usual for fresh weights, 0.05 for given ones")
    wanted = population * starts
    rule = f"algo.n_envs must be algo.population * algo.starts = {wanted}, got {env.num_envs}"
    require(env.num_envs == wanted, f"{rule}; write algo.n_envs={wanted}")
    if generations is not None:
        require_number(
            "algo.generations", generations, 1, 1 << 31, whole=True, remedy="null: as many as there are steps"
        )
    require(isinstance(lr_adapt, bool), f"algo.lr_adapt must be true or false, got {lr_adapt!r}; choose one")
    known = (*FITNESS, *RACE_FITNESS)
    require(fitness in known, f"algo.fitness must be one of {', '.join(known)}, got {fitness!r}; choose one")
    of_races = f"algo.fitness={fitness} is of races against others; use env=race, or one of {', '.join(FITNESS)}"
    require(fitness in FITNESS or env.races_alike, of_races)
    of_laps = f"algo.fitness={fitness} is of laps, which this environment has none; use algo.fitness=return"
    require(fitness == "return" or fitness not in FITNESS or env.drives_laps, of_laps)
    diagonal = is_diagonal(covariance, count_weights(layer_sizes(env.observation_space, env.action_space, hidden)))
    require(not (diagonal and lr_adapt), "algo.lr_adapt needs the full covariance; use algo.covariance=full, or false")
    settings = {
        **{"population": population, "sigma": sigma, "init_sigma": init_sigma, "fitness": fitness},
        **{"generations": generations, "diagonal": diagonal, "lr_adapt": lr_adapt},
        "horizon": asdict(read_group("algo.horizon", horizon, Horizon)),
    }
    return BatchCMAES(EvolvedPolicy, env, settings, policy_kwargs={"hidden": hidden}, seed=seed, device=device)


def is_diagonal(covariance: str, weights: int) -> bool:
    """Whether `algo.covariance` means variances alone for so many weights. Raises InputError for too many of them."""
    known = f"algo.covariance must be one of {', '.join(COVARIANCES)}, got {covariance!r}; choose one"
    require(covariance in COVARIANCES, known)
    rule = f"algo.hidden makes {weights:,} weights, evolution takes at most {MOST_WEIGHTS:,}"
    require(weights <= MOST_WEIGHTS, f"{rule}; lower it, or learn by gradients: algo=sac or algo=ppo")
    rule = f"algo.covariance=full takes at most {MOST_FULL} weights, algo.hidden makes {weights:,}"
    require(covariance != "full" or weights <= MOST_FULL, f"{rule}; use auto or diagonal")
    return covariance == "diagonal" or weights > MOST_FULL
