"""racing's environments in the hands of other programs: processes of Stable-Baselines3, videos of Gymnasium."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import cv2
import gymnasium
import numpy as np
import pytest

import racing  # noqa: F401  (registers the environments)

SHORT = {"track": "oval", "episodes": {"time_limit": 2.0, "time_limit_min": 2.0}}
SCRIPT = """
import sys
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

def drive(cars):
    rows = [cars.reset()]
    for action in np.random.default_rng(0).uniform(-0.3, 0.6, (40, 2, 2)).astype(np.float32):
        observations, rewards, ended, infos = cars.step(action[: cars.num_envs])
        rows += [observations, rewards, ended, *(info["terminal_observation"] for info in infos if "episode" in info)]
    return np.concatenate([np.ravel(row) for row in rows])

if __name__ == "__main__":
    short = {"track": "oval", "episodes": {"time_limit": 2.0, "time_limit_min": 2.0}}
    for method, name, number in zip(sys.argv[1::3], sys.argv[2::3], map(int, sys.argv[3::3])):
        here = make_vec_env("racing:racing/Sensors-v0", number, seed=3, env_kwargs=short, vec_env_cls=DummyVecEnv)
        if name.startswith("racing/"):
            import racing
        options = {"vec_env_cls": SubprocVecEnv, "vec_env_kwargs": {"start_method": method}}
        cars = make_vec_env(name, number, seed=3, env_kwargs=short, **options)
        np.testing.assert_array_equal(drive(cars), drive(here))
        PPO("MlpPolicy", cars, n_steps=16, batch_size=16, n_epochs=1).learn(32)
        cars.close()
        print(method, name, number, "learnt")
"""


@pytest.mark.slow
@pytest.mark.cold  # processes that know nothing but what they import
def test_processes_of_stable_baselines3_drive_what_one_process_drives(tmp_path: Path):
    """One program, since those that it starts begin with nothing of its: each of the ways to start them, once two."""
    ways = ["spawn racing:racing/Sensors-v0 1", "forkserver racing/Sensors-v0 2"]
    script = tmp_path / "learn.py"
    script.write_text(SCRIPT)
    command = [sys.executable, script, *(part for way in ways for part in way.split())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{way} learnt" for way in ways]


class Clip:
    """What RecordVideo needs of moviepy's clip, where that is not installed."""

    def __init__(self, frames: list[np.ndarray], fps: float) -> None:
        self.frames, self.fps = frames, fps

    def write_videofile(self, path: str, logger: object) -> None:
        height, width = self.frames[0].shape[:2]
        writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), self.fps, (width, height))
        for frame in self.frames:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        writer.release()


@pytest.fixture
def moviepy(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        import moviepy  # noqa: F401
    except ImportError:
        for name in ("moviepy", "moviepy.video", "moviepy.video.io", "moviepy.video.io.ImageSequenceClip"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.setattr(sys.modules[name], "ImageSequenceClip", Clip, raising=False)


@pytest.mark.parametrize(("name", "width"), [("Sensors", 480), ("Vision", 960)])
def test_videos_of_gymnasium_show_whole_episodes_in_real_time(name: str, width: int, moviepy: None, tmp_path: Path):
    line = {"line": "centre"} if name == "Vision" else {}
    env = gymnasium.make(f"racing/{name}-v0", render_mode="rgb_array", **SHORT, **line)
    env = gymnasium.wrappers.RecordVideo(env, str(tmp_path), episode_trigger=lambda number: number != 1)
    steps = []
    for _ in range(3):
        env.reset(seed=0)
        ended = False
        steps.append(0)
        while not ended:
            _, _, terminated, truncated, _ = env.step(np.array([0, 0.3], np.float32))
            ended = terminated or truncated
            steps[-1] += 1
    env.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"rl-video-episode-{n}.mp4" for n in (0, 2)]
    for number in (0, 2):
        video = cv2.VideoCapture(str(tmp_path / f"rl-video-episode-{number}.mp4"))
        size = [video.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)]
        assert size == [width, 480, 10]
        frames = []
        while (read := video.read())[0]:
            frames.append(read[1].astype(int))
        assert len(frames) == steps[number] + 1
        changes = [np.abs(after - before).sum() for before, after in pairwise(frames)]
        # The last picture is still of this episode: the car has not jumped to the start of its next one.
        assert changes[-1] < 3 * np.median(changes)


def test_the_last_picture_of_an_episode_is_not_the_first_of_the_next():
    env = gymnasium.make("racing/Vision-v0", render_mode="rgb_array", line="centre", **SHORT)
    env.reset(seed=0)
    truncated = False
    while not truncated:
        _, _, _, truncated, _ = env.step(np.zeros(2, np.float32))
    last = env.render()
    env.reset()
    first = env.render()
    assert np.abs(last[:, :480].astype(int) - first[:, :480]).max() > 100
    assert np.abs(last[:, 480:].astype(int) - first[:, 480:]).mean() > 2
