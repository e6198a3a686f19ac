"""Frames in PPO: stored once and stacked as the environment stacks them; networks that see them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer

from racing.algos.extractors import VisionExtractor
from racing.algos.replay.frames import FrameReplayBuffer
from racing.algos.rollout import FrameRollout
from racing.errors import InputError

NUM_ENVS, STEPS, SIZE = 3, 20, 6


class Camera:
    """Frames that show their environment and step; stacks as an environment makes them."""

    def __init__(self, stack: int, colours: int) -> None:
        self.stack, self.colours, self.count = stack, colours, 0
        self.frames = np.zeros((NUM_ENVS, stack * colours, SIZE, SIZE), np.uint8)
        self.see(np.ones(NUM_ENVS, bool))

    def peek(self) -> dict[str, np.ndarray]:
        """What would be seen next if no episode ended."""
        new = np.random.default_rng(1000 + self.count).integers(0, 256, (NUM_ENVS, self.colours, SIZE, SIZE), np.uint8)
        frames = np.concatenate([self.frames[:, self.colours :], new], axis=1)
        return {"vision": frames.transpose(0, 2, 3, 1), "telemetry": np.full((NUM_ENVS, 2), -1.0, np.float32)}

    def see(self, started: np.ndarray) -> dict[str, np.ndarray]:
        self.count += 1
        new = np.random.default_rng(self.count).integers(0, 256, (NUM_ENVS, self.colours, SIZE, SIZE), np.uint8)
        self.frames[:, : -self.colours] = self.frames[:, self.colours :].copy()
        self.frames[:, -self.colours :] = new
        self.frames[started] = np.tile(new[started], (1, self.stack, 1, 1))
        telemetry = np.full((NUM_ENVS, 2), self.count, np.float32)
        return {"vision": self.frames.copy().transpose(0, 2, 3, 1), "telemetry": telemetry}


def space(stack: int, colours: int, size: int = SIZE) -> spaces.Dict:
    frames = spaces.Box(0, 255, (size, size, stack * colours), np.uint8)
    return spaces.Dict({"vision": frames, "telemetry": spaces.Box(-10, 10, (2,), np.float32)})


@pytest.mark.parametrize("stack, colours", [(1, 3), (4, 1), (3, 3)])
def test_stacks_come_back_as_they_were_seen(stack: int, colours: int):
    """Over two rollouts, with episodes that begin at any step, also the first one."""
    rng = np.random.default_rng(0)
    camera = Camera(stack, colours)
    action = spaces.Box(-1, 1, (2,), np.float32)
    buffer = FrameRollout(STEPS, space(stack, colours), action, "cpu", n_envs=NUM_ENVS, stack=stack)
    assert buffer.frames.numel() == (STEPS + stack - 1) * NUM_ENVS * colours * SIZE * SIZE
    observation, started = camera.see(np.ones(NUM_ENVS, bool)), np.ones(NUM_ENVS, bool)
    for _ in range(2):
        seen, extras = [], []
        buffer.start(observation)
        for t in range(STEPS):
            privileged = rng.normal(size=(NUM_ENVS, 5)).astype(np.float32)
            buffer.add_observation(observation, started, privileged)
            seen.append(observation)
            extras.append(privileged)
            buffer.add_outcome(np.full((NUM_ENVS, 2), t), np.full(NUM_ENVS, t))
            started = rng.random(NUM_ENVS) < 0.2
            observation = camera.see(started)
        buffer.finalize()
        rows = torch.as_tensor(rng.permutation(STEPS * NUM_ENVS))
        batch, extra = buffer.observation_batch(rows), buffer.privileged_batch(rows)
        for key in ("vision", "telemetry"):
            expected = np.stack([step[key] for step in seen]).reshape(STEPS * NUM_ENVS, *seen[0][key].shape[1:])
            np.testing.assert_array_equal(batch[key].numpy(), expected[rows.numpy()])
        np.testing.assert_array_equal(extra.numpy(), np.concatenate(extras)[rows.numpy()])
        np.testing.assert_array_equal(
            buffer.observation_batch(slice(4, 9))["vision"], np.concatenate([s["vision"] for s in seen])[4:9]
        )


@pytest.mark.parametrize("stack, colours", [(1, 3), (4, 1)])
def test_replayed_stacks_are_those_of_stable_baselines(stack: int, colours: int):
    """Its own buffer keeps every stack twice; what ours draws must be the same, before and after it is put back."""
    rng, rows, action = np.random.default_rng(0), 12, spaces.Box(-1, 1, (2,), np.float32)
    camera, view = Camera(stack, colours), space(stack, colours)
    ours = FrameReplayBuffer(rows * NUM_ENVS, view, action, "cpu", n_envs=NUM_ENVS, stack=stack)
    stock = DictReplayBuffer(rows * NUM_ENVS, view, action, "cpu", n_envs=NUM_ENVS)
    chunks, began = [], 0
    observation = camera.see(np.ones(NUM_ENVS, bool))
    for count in range(1, 40):
        ended, limits = rng.random(NUM_ENVS) < 0.3, rng.random(NUM_ENVS) < 0.5
        final = {key: value.copy() for key, value in camera.peek().items()}
        following = camera.see(ended)
        after = {key: np.where(shaped(ended, final[key]), final[key], following[key]) for key in following}
        infos = [{"TimeLimit.truncated": bool(cut)} for cut in ended & limits]
        sample = (
            rng.normal(size=(NUM_ENVS, 2)).astype(np.float32),
            rng.normal(size=NUM_ENVS).astype(np.float32),
            ended,
        )
        ours.add(observation, after, *sample, infos)
        stock.add({**observation}, {**after}, *sample, infos)
        observation = following
        if count % 7 == 0 or count == 39:
            chunks.append((began, count, ours.rows(max(began, count - rows), count)))
            chunks[-1] = (max(began, count - rows), *chunks[-1][1:])
            began = count
        again = FrameReplayBuffer(rows * NUM_ENVS, view, action, "cpu", n_envs=NUM_ENVS, stack=stack)
        for buffer in [ours, *([again] if began == count else [])]:
            if buffer is again:
                again.restore(count, [chunk for chunk in chunks if chunk[1] > count - rows])
            if count > stack:
                same_samples(buffer, stock, rows)
            assert (buffer.pos, buffer.full) == (stock.pos, stock.full)


def shaped(mask: np.ndarray, like: np.ndarray) -> np.ndarray:
    return mask.reshape(-1, *[1] * (like.ndim - 1))


def same_samples(ours: FrameReplayBuffer, stock: DictReplayBuffer, rows: int) -> None:
    """Of all rows whose past is still in the buffer, except what comes after an episode that ended for good."""
    oldest = stock.pos if stock.full else 0
    known = range(ours.stack - 1, rows if stock.full else stock.pos)
    at = np.repeat([(oldest + n) % rows for n in known], 5)
    np.random.seed(1)
    mine = ours._get_samples(at)
    np.random.seed(1)
    theirs = stock._get_samples(at)
    for name in ("actions", "rewards", "dones"):
        torch.testing.assert_close(getattr(mine, name), getattr(theirs, name))
    alive = theirs.dones[:, 0] == 0
    assert alive.any()
    for key in ("vision", "telemetry"):
        assert torch.equal(mine.observations[key], theirs.observations[key])
        assert torch.equal(mine.next_observations[key][alive], theirs.next_observations[key][alive])


@pytest.mark.parametrize("cnn", ["nature", "small", "impala"])
def test_bytes_and_their_floats_are_the_same_picture(cnn: str):
    """Stock `predict` hands over floats, training bytes."""
    extractor = VisionExtractor(space(2, 1, 84), 16, cnn)
    frames = torch.randint(0, 256, (5, 84, 84, 2), dtype=torch.uint8)
    telemetry = torch.randn(5, 2)
    features = extractor({"vision": frames, "telemetry": telemetry})
    assert features.shape == (5, 16)
    torch.testing.assert_close(extractor({"vision": frames.float(), "telemetry": telemetry}), features)
    assert not torch.equal(extractor({"vision": frames, "telemetry": telemetry + 1}), features)
    assert not torch.equal(extractor({"vision": frames.flip(2), "telemetry": telemetry}), features)


def test_bfloat16_sees_nearly_the_same():
    extractor = VisionExtractor(space(4, 1, 84), 32, "nature")
    inputs = {"vision": torch.randint(0, 256, (8, 84, 84, 4), dtype=torch.uint8), "telemetry": torch.randn(8, 2)}
    whole = extractor(inputs)
    extractor.low_precision = True
    half = extractor(inputs)
    assert half.dtype == torch.float32
    assert not torch.equal(half, whole)
    torch.testing.assert_close(half, whole, atol=0.02, rtol=0.05)


@pytest.mark.parametrize(
    "cnn, size, message", [("nature", 20, "at least"), ("small", 16, "at least"), ("huge", 84, "one of")]
)
def test_what_a_network_cannot_see_is_the_users_error(cnn: str, size: int, message: str):
    with pytest.raises(InputError, match=message):
        VisionExtractor(space(1, 1, size), 16, cnn)
