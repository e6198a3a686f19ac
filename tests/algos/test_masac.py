"""Several SAC learners in one environment: whose cars are whose, what each learns, and what they share: nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from racing.algos.sac import BatchSAC
from racing.algos.state import weights_sha256
from racing.envs.race import RaceTask
from racing.envs.sensors import SensorsTask
from racing.envs.vec_env import RacingVecEnv
from racing.errors import InputError
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle

pytestmark = pytest.mark.slow

SMALL = {"buffer_size": 2000, "learning_starts": 40, "batch_size": 32, "net_arch": [16]}


@pytest.fixture
def alone(wavy: Track, kart: Vehicle):
    """alone(n): n cars, each for itself."""
    return lambda count: RacingVecEnv(SensorsTask([wavy], kart, races=count, seed=1, episodes={"time_limit": 2.0}))


@pytest.fixture
def racing(wavy: Track, kart: Vehicle):
    """racing(n, cars, **mix): n cars of learners in races of so many."""

    def make(count: int, cars: int, **mix: float) -> RacingVecEnv:
        short = {"episodes": {"time_limit": 2.0}, "reward": {"progress": 0.1, "contact": -1.0}}
        return RacingVecEnv(RaceTask([wavy], kart, races=count, cars=cars, mix=mix, seed=1, **short))

    return make


def weights(agent: Any) -> str:
    return weights_sha256(agent.get_parameters())


def rewards(agent: Any) -> np.ndarray:
    return agent.replay_buffer.fields["rewards"][: agent.replay_buffer.added]


def test_one_agent_learns_what_sac_does_bit_for_bit(alone, sac, masac):
    single = sac(alone(8), seed=5, **SMALL)
    single.learn(8 * 60)
    several = masac(alone(8), seed=5, agents=1, **SMALL)
    torch.manual_seed(0)  # whatever the process draws beside it
    several.learn(8 * 60)
    agent = several.learners["agent_0"]
    assert agent._n_updates == single._n_updates > 50
    assert weights(agent) == weights(single)
    np.testing.assert_array_equal(rewards(agent), rewards(single))


def test_whose_cars_are_whose(racing, masac):
    """In races of 4, both agents have two cars each, and places that change from race to race; against line followers
    each has every other race."""
    env = racing(20, 4, self=3, line=2)
    model = masac(env, agents=2, **SMALL)
    cars = model.cars
    assert sorted(np.concatenate(list(cars.values())).tolist()) == list(range(20))
    first = (np.isin(np.arange(12), cars["agent_0"]).reshape(3, 4)).astype(int)
    np.testing.assert_array_equal(first, [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]])
    assert [len(owned) for owned in cars.values()] == [10, 10]
    model.learn(20 * 45)
    agents = {episode["agent"] for episode in env.episodes}
    assert agents == {"agent_0", "agent_1"}


@pytest.mark.parametrize("agents, cars", [(1, 2), (2, 2), (5, 4), (16, 16)])
def test_each_keeps_its_own_cars_steps(agents: int, cars: int, racing, masac):
    count = 5 * cars if agents == 5 else 2 * cars
    model = masac(racing(count, cars, self=1), agents=agents, **SMALL)
    model.learn(count * 60)
    assert model.num_timesteps == sum(agent.num_timesteps for agent in model.agents.values()) == count * 60
    for name, agent in model.agents.items():
        assert rewards(agent).shape == (60, len(model.cars[name]))
        assert agent._n_updates > 0
        assert agent._current_progress_remaining == 0
    assert len({weights(agent) for agent in model.agents.values()}) == agents


def test_names_do_not_matter(alone, masac):
    ends = []
    for names in (["a", "b"], ["quick", "calm"]):
        model = masac(alone(8), agents={name: {} for name in names}, **SMALL)
        model.learn(8 * 50)
        ends.append([weights(model.learners[name]) for name in names])
    assert ends[0] == ends[1]


def test_what_another_agent_draws_does_not_matter(alone, masac):
    """Where each drives alone, an agent learns the same whatever the other one's settings are."""
    ends = []
    for other in ({}, {"gradient_steps": 5, "net_arch": [8, 8]}):
        model = masac(alone(8), agents={"a": {}, "b": other}, **SMALL)
        model.learn(8 * 50)
        ends.append([weights(agent) for agent in model.agents.values()])
    assert ends[0][0] == ends[1][0]
    assert ends[0][1] != ends[1][1]


def test_settings_and_rewards_of_their_own(racing, masac):
    env = racing(8, 2, self=1)
    agents = {"usual": {}, "timid": {"gamma": 0.9, "reward": {"progress": 0.0, "contact": -7.0}}}
    model = masac(env, agents=agents, **SMALL)
    assert (model.agents["usual"].gamma, model.agents["timid"].gamma) == (0.97, 0.9)
    model.learn(8 * 60)
    assert set(np.unique(rewards(model.agents["timid"]))) <= {0.0, -7.0}
    assert np.unique(rewards(model.agents["usual"])).size > 20
    terms = {episode["agent"]: episode["terms"]["progress"] for episode in env.episodes}
    assert terms["timid"] == 0
    assert terms["usual"] != 0


def test_shared_parameters_are_one_policy_for_all_cars(racing, masac):
    model = masac(racing(8, 2, self=1), agents=2, share=True, **SMALL)
    assert type(model) is BatchSAC
    assert model.n_envs == 8


BAD = {
    "none": ({"agents": 0}, "algo.agents must be"),
    "a part": ({"agents": 1.5}, "algo.agents must be"),
    "a list": ({"agents": ["a"]}, "algo.agents must be their number, or settings by name, got .'a'.; e.g."),
    "a name": ({"agents": {"A b": {}}}, "'A b' must be a name of at most 31 small letters, digits and _"),
    "a taken name": ({"agents": {"half": {}}}, "and not policy or half; rename it"),
    "a setting": (
        {"agents": {"a": {"gama": 0.9}}},
        "algo.agents.a.gama is no setting of an agent; use one of algo=sac",
    ),
    "a value": ({"agents": {"a": {"gamma": 2}}}, "algo.gamma must be"),
    "a reward": (
        {"agents": {"a": {"reward": {"style": 1}}}},
        "a.reward.style is no reward term of env; use: progress,",
    ),
    "a weight": (
        {"agents": {"a": {"reward": {"progress": None}}}},
        "a.reward.progress must be a finite number, got None",
    ),
    "no map": ({"agents": {"a": {"reward": 3}}}, "algo.agents.a.reward must be weights by term, got 3; e.g. {contact"),
    "too many": ({"agents": 9}, "algo.n_envs must be algo.agents=9 or more, got 8; raise it"),
    "shared": ({"agents": {"a": {"gamma": 0.9}}, "share": True}, "algo.share=true makes one policy of all agents"),
    "share": ({"share": "no"}, "algo.share must be true or false"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused(case: str, alone, masac):
    changes, message = BAD[case]
    with pytest.raises(InputError, match=message):
        masac(alone(8), **SMALL | changes)


def test_an_agent_without_a_car_is_refused(racing, masac):
    """Three cars of races whose turn is that of the first agent or the second: the third one has none."""
    with pytest.raises(InputError, match="agent_2 must have a car, the 3 of algo.n_envs"):
        masac(racing_of_three(racing), agents=3, **SMALL)


def racing_of_three(racing: Any) -> RacingVecEnv:
    env = racing(4, 2, self=1)
    env.num_envs = 3
    env.task.seats = np.array([0, 2, 6])  # the first cars of races 0, 1 and 3, in which it is the turn of 0, 1 and 0
    return env
