"""A video of a lap is one that browsers play, and shows what happened."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from racing.envs.vision import VisionTask
from racing.evaluation.evaluate import evaluate, evaluation_task
from racing.evaluation.video import VIEW, encode, write_video
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from tests.support.drivers import follow, group

ROAD, GRASS = (94, 96, 100), (92, 145, 66)


def vision_task(track: Track, vehicle: Vehicle, **changes) -> VisionTask:
    env = group("env/vision", line="centre", grayscale=True, frame_stack=2, **changes)
    del env["defaults"]
    return evaluation_task(env, [track], vehicle, [60.0], races=1, laps=1, seed=0)


def short_drive(task, seconds: float = 3.0) -> tuple[dict[str, np.ndarray], list]:
    """Columns of the first seconds of a lap, and what was observed in them."""
    observed = []

    def policy(observation) -> np.ndarray:
        observed.append(observation)
        return follow(task.world, 10.0)

    result = evaluate(policy, task)
    lap, count = result.lap_table(0), round(seconds / result.step_dt) + 1
    first = round(float(lap["time_s"][0]) / result.step_dt)
    return {name: column[:count] for name, column in lap.items()}, observed[first : first + count]


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def filmed(wavy: Track, kart: Vehicle, tmp_path_factory: pytest.TempPathFactory):
    """A video of 3 s, its lap, and what was observed."""
    task = vision_task(wavy, kart)
    lap, observed = short_drive(task)
    path = tmp_path_factory.mktemp("video") / "lap.mp4"
    assert write_video(path, task, wavy, lap, "wavy", ["lap 1 s"]) == path
    return path, lap, observed


@pytest.mark.slow
def test_browsers_play_it(filmed):
    path, _, _ = filmed
    with av.open(str(path)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.average_rate) == (1280, 720, 30)
        assert float(stream.duration * stream.time_base) == pytest.approx(3 + 1, abs=0.05)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # it begins to play before all of it is there
    assert len(decoded(path)) == 3 * 30 + 1 + 30
    assert [file.name for file in path.parent.iterdir()] == ["lap.mp4"]


@pytest.mark.slow
def test_the_corner_shows_the_frames_that_the_policy_saw(filmed):
    path, _, observed = filmed
    frames, bottom = decoded(path), VIEW[1] - 14

    def apart(n: int, row: int) -> float:
        """How far the corner of the video's frame n is from what was seen at a row."""
        corner = frames[n][bottom - 168 : bottom, 14 : 14 + 168].mean(axis=2)
        small = corner.reshape(84, 2, 84, 2).mean(axis=(1, 3))
        return float(np.abs(small - observed[row]["vision"][0, ..., -1]).mean())

    for n, row in ((0, 0), (31, 10), (32, 10), (60, 20)):  # 30 frames and 10 decisions a second
        assert apart(n, row) < 3
        assert apart(n, row) < 0.5 * apart(n, (row + 8) % 30)


def test_it_moves_and_the_line_grows(filmed):
    path, _, _ = filmed
    frames = decoded(path)
    wide, high = VIEW
    views = [frame[:high, :wide].astype(int) for frame in (frames[0], frames[45], frames[90])]
    assert all(np.abs(one - other).mean() > 1 for one, other in pairwise(views))
    assert np.abs(frames[90].astype(int) - frames[-1]).mean() < 1  # the last picture stays
    coloured = [int((np.ptp(frame[150:high, wide:].astype(int), axis=2) > 30).sum()) for frame in frames[::30]]
    assert coloured[0] < coloured[1] < coloured[2] < coloured[3]


@pytest.mark.slow
def test_a_policy_without_a_camera_is_filmed_too(wavy: Track, kart: Vehicle, filmed, tmp_path: Path):
    task = evaluation_task(group("env/mlp"), [wavy], kart, [60.0], races=1, laps=1, seed=0)
    lap, _ = short_drive(task, 1.0)
    wide, high = VIEW
    mine, other = (
        decoded(p)[0][:high, :wide].astype(int)
        for p in (write_video(tmp_path / "lap.mp4", task, wavy, lap, "wavy"), filmed[0])
    )
    away = np.abs(mine - other).max(axis=2) > 40
    assert away[-200:, :200].mean() > 0.2  # where the other has a corner with what the policy sees
    assert away[:, 220:].mean() < 0.02


def test_a_drive_that_ended_at_once_is_filmed_too(wavy: Track, kart: Vehicle, tmp_path: Path):
    task = evaluation_task(group("env/mlp"), [wavy], kart, [60.0], races=1, laps=1, seed=0)
    lap, _ = short_drive(task, 0.1)
    assert len(decoded(write_video(tmp_path / "lap.mp4", task, wavy, lap, "a very " + "long " * 30 + "name"))) == 34


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path):
    def pictures():
        yield np.zeros((64, 64, 3), np.uint8)
        raise RuntimeError("out of film")

    with pytest.raises(RuntimeError, match="out of film"):
        encode(tmp_path / "lap.mp4", pictures(), (64, 64))
    assert not list(tmp_path.iterdir())


def test_colours_come_back(tmp_path: Path):
    halves = np.zeros((64, 64, 3), np.uint8)
    halves[:32], halves[32:] = ROAD, GRASS
    encode(tmp_path / "lap.mp4", iter([halves] * 3), (64, 64))
    with av.open(str(tmp_path / "lap.mp4")) as container:
        frame = next(container.decode(video=0))
        picture = frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()
        assert frame.colorspace == 1  # BT.709, told to the player
    np.testing.assert_allclose(picture[10, 10], ROAD, atol=4)
    np.testing.assert_allclose(picture[50, 50], GRASS, atol=4)
