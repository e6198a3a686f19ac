"""A student imitates a teacher that sees the privileged observation, and forgets it in the end."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from racing.algos.distillation import Imitation, imitation_loss
from racing.algos.ppo import BatchPPO, make_ppo
from racing.algos.rollout import FrameRollout
from racing.envs.vec_env import RacingVecEnv
from racing.envs.vision import VisionTask
from racing.errors import InputError
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from tests.algos.conftest import settings

STEPS, NUM_ENVS = 16, 8
NETWORK = {"net_arch": [16], "cnn": "small", "features_dim": 16, "precision": "float32"}


class Teacher:
    """Steers by the privileged observation; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[np.ndarray] = []
        self.taught: list[float] = []

    def __call__(self, env: Any, taught: float) -> np.ndarray:
        self.asked.append(env.privileged)
        self.taught.append(taught)
        return self.actions(env.privileged)

    def actions(self, privileged: np.ndarray) -> np.ndarray:
        return np.stack([0.5 * privileged[:, 8], np.full(len(privileged), 0.3)], axis=1).astype(np.float32)


@pytest.fixture
def student(wavy: Track, kart: Vehicle):
    """student(**changes): PPO with frames and an asymmetric critic."""

    def make(**changes: Any) -> BatchPPO:
        size = {"width": 36, "height": 36, "grayscale": True, "frame_stack": 2}
        env = RacingVecEnv(VisionTask([wavy], kart, races=NUM_ENVS, seed=1, episodes={"time_limit": 1.0}, **size))
        options = {"n_steps": STEPS, "batch_size": 64, "n_epochs": 3, **NETWORK}
        return make_ppo(env, seed=0, device="cpu", **settings("algo/ppo") | options | changes)

    return make


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.5, {0.0: 1.0, 0.125: 0.75, 0.25: 0.5, 0.5: 0.0, 0.9: 0.0}), (1.0, {0.25: 0.75, 1.0: 0.0}), (0.0, {0.0: 0.0})],
)
def test_the_weight_is_annealed_from_1_to_0(fraction: float, expected: dict[float, float]):
    imitation = Imitation(Teacher(), 1.0, fraction)
    assert {progress: imitation.weight(progress) for progress in expected} == expected


def test_the_loss_is_the_squared_difference_but_beyond_a_limit():
    mean = torch.tensor([[0.5, -0.2], [1.7, 0.0], [0.9, -3.0]])
    teacher_actions = torch.tensor([[0.1, 0.2], [1.0, 0.0], [1.0, -1.0]])
    expected = (0.4**2 + 0.4**2 + 0.0 + 0.0 + 0.1**2 + 0.0) / 3
    assert float(imitation_loss(mean, teacher_actions)) == pytest.approx(expected)


@pytest.mark.slow
def test_the_teacher_labels_each_step_once_and_not_at_all_in_the_end(student):
    teacher = Teacher()
    model = student(teacher=teacher, distillation_fraction=0.5)
    model.learn(STEPS * NUM_ENVS)
    buffer: Any = model.rollout_buffer
    np.testing.assert_array_equal(np.stack(teacher.asked), buffer.privileged)
    np.testing.assert_array_equal(buffer.teacher_actions.reshape(-1, 2), teacher.actions(np.concatenate(teacher.asked)))
    model = student(teacher=teacher, distillation_fraction=0.5)
    teacher.asked.clear()
    teacher.taught.clear()
    model.learn(4 * STEPS * NUM_ENVS)  # the weight is 1 and 0.5 while the first two rollouts are driven, then 0
    assert len(teacher.asked) == 2 * STEPS
    assert teacher.taught == [0.0] * STEPS + [0.5] * STEPS
    assert model.rollout_buffer.teacher_actions is None


@pytest.mark.slow
def test_a_student_comes_to_act_like_its_teacher(student):
    def difference(model: BatchPPO, teacher: Teacher) -> float:
        buffer: Any = model.rollout_buffer
        wanted = teacher.actions(buffer.privileged.reshape(STEPS * NUM_ENVS, -1))
        with torch.no_grad():
            mean = model._mean(model._features(buffer.observation_batch(slice(None))))
        return float(imitation_loss(mean, torch.as_tensor(wanted)))

    teacher = Teacher()
    model, alone = student(teacher=teacher, distillation_fraction=1.0, n_epochs=10), student(n_epochs=10)
    for one in (model, alone):
        one.learn(10 * STEPS * NUM_ENVS)
    assert difference(model, teacher) < 0.5 * difference(alone, teacher)


def test_the_asymmetric_critic_sees_the_privileged_observation_alone(student):
    model = student()
    model.learn(STEPS * NUM_ENVS)
    buffer: Any = model.rollout_buffer
    _, callback = model._setup_learn(STEPS * NUM_ENVS, None, reset_num_timesteps=False)
    assert model.collect_rollouts(model.env, callback, buffer, STEPS)
    with torch.no_grad():
        expected = model.policy.privileged_critic(torch.as_tensor(buffer.privileged))[..., 0]
    np.testing.assert_allclose(buffer.values, expected, atol=1e-6)


def test_a_rollout_moves_to_the_device_once(student, monkeypatch: pytest.MonkeyPatch):
    moved: list[int] = []
    original = FrameRollout.finalize
    monkeypatch.setattr(FrameRollout, "finalize", lambda buffer: (moved.append(buffer.pos), original(buffer))[1])
    student().learn(2 * STEPS * NUM_ENVS)
    assert moved == [STEPS, STEPS]


def test_the_teacher_is_no_part_of_the_students_file(student, tmp_path: Path):
    model = student(teacher=Teacher())
    model.save(tmp_path / "policy.zip")
    with zipfile.ZipFile(tmp_path / "policy.zip") as archive:
        assert "imitation" not in json.loads(archive.read("data"))
    assert model.imitation is not None
    assert BatchPPO.load(tmp_path / "policy.zip", device="cpu").imitation is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"distillation_weight": -1}, "algo.distillation_weight must be a number in [0, 10000], got -1"),
        ({"distillation_fraction": 1.5}, "algo.distillation_fraction must be a number in [0, 1], got 1.5"),
        ({"privileged_critic": 1}, "algo.privileged_critic must be true or false, got 1"),
        (
            {"normalize_advantage_per_mini_batch": "yes"},
            "algo.normalize_advantage_per_mini_batch must be true or false",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_wrong_settings_are_refused(student, changes: dict[str, Any], says: str):
    with pytest.raises(InputError) as caught:
        student(**changes)
    assert says in str(caught.value)
