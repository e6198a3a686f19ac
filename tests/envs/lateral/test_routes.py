"""Routes: made up ones with the statistics of comma's, files of the challenge, and files that are none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from racing.envs.lateral.routes.generator import generate_routes
from racing.envs.lateral.routes.routes import challenge_noise, read_route
from racing.envs.lateral.routes.sets import GENERATED, route_set
from racing.envs.lateral.rules import ROWS
from racing.envs.task import Part
from racing.errors import InputError
from tests.envs.lateral.conftest import HEADER, write_route


def test_a_file_is_read_as_the_challenge_reads_it(tmp_path: Path):
    plan, steer = read_route(write_route(tmp_path / "0.csv"))
    assert plan.shape == (ROWS, 4)
    np.testing.assert_array_equal(plan[:, 0], np.arange(ROWS) / 1000)
    np.testing.assert_allclose(plan[7], [0.007, 9.81 * np.sin(0.1), 20.0, 0.25])
    np.testing.assert_array_equal(steer, np.full(100, -0.5))  # left positive in the file


def test_a_route_that_ends_early_is_continued_by_its_last_row(tmp_path: Path):
    plan, _ = read_route(write_route(tmp_path / "0.csv", rows=510))
    np.testing.assert_array_equal(plan[509:, 0], np.full(ROWS - 509, 0.509))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"rows": 10}, "at least 500 rows of 0.1 s, it has 10"),
        ({"header": HEADER.replace(",roll", "")}, "it lacks roll"),
        ({"vEgo": {499: "nan"}}, "row 499: vEgo must be a number within .*, got 'nan'"),
        ({"steerCommand": {99: ""}}, "row 99: steerCommand must be a number"),
        ({"roll": {3: "flat"}}, "row 3: roll must be a number .* got 'flat'"),
        ({"aEgo": {0: "inf"}}, "row 0: aEgo"),
    ],
)
def test_files_that_are_none_are_refused_with_their_name(tmp_path: Path, how: dict, message: str):
    path = write_route(tmp_path / "bad.csv", **how)
    with pytest.raises(InputError, match=f"bad.csv.*{message}"):
        read_route(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"\x00" * 100, b'"' * 200])
def test_bytes_that_are_no_table_are_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.csv"):
        read_route(path)


def test_no_route_is_in_two_parts(folder: Path):
    parts = {part: route_set(str(folder), part, count=600, holdout=2, seed=0).names for part in Part}
    assert {part: [Path(name).name for name in names] for part, names in parts.items()} == {
        Part.TRAINING: ["00000.csv"],
        Part.VALIDATION: ["00001.csv", "00002.csv"],
        Part.TEST: ["00003.csv", "00004.csv"],
    }
    made = [route_set(GENERATED, part, count=3, holdout=2, seed=0) for part in Part]
    assert [len(routes) for routes in made] == [3, 2, 2]
    assert len({plan.tobytes() for routes in made for plan in routes.plans}) == 7


def test_the_folder_may_be_below_home(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    (name,) = route_set("~/data", Part.TEST, count=1, holdout=1, seed=0).names
    assert name == str(folder / "00004.csv")


def test_folders_that_hold_too_little_are_refused(tmp_path: Path, folder: Path):
    with pytest.raises(InputError, match="holdout_routes=3 twice must leave some of the 5 files"):
        route_set(str(folder), Part.TRAINING, count=600, holdout=3, seed=0)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="there is no .csv in it"):
        route_set(str(empty), Part.TEST, count=1, holdout=1, seed=0)
    for other in (tmp_path / "nowhere", folder / "00000.csv", Path("a\0b")):
        with pytest.raises(InputError, match="routes must be generated or a folder"):
            route_set(str(other), Part.TEST, count=1, holdout=1, seed=0)
    for wrong in ({"count": 0}, {"holdout": 0}, {"seed": -1}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            route_set(GENERATED, Part.TEST, **{"count": 1, "holdout": 1, "seed": 0, **wrong})


def test_a_generated_route_follows_from_its_number_and_the_seed():
    many, few = generate_routes(range(5), 3), generate_routes([4], 3)
    assert many.plans[4].tobytes() == few.plans[0].tobytes()
    assert many.steer[4].tobytes() == few.steer[0].tobytes()
    assert few.names == ("generated/3/00004.csv",)
    assert generate_routes([4], 2).plans.tobytes() != few.plans.tobytes()
    assert many.sha256() != few.sha256() == generate_routes([4], 3).sha256()


def test_generated_routes_have_the_statistics_of_comma_s():
    plans = generate_routes(range(200), 0).plans
    target, speed = plans[:, 100:500, 0], plans[:, 100:500, 2]
    assert target.std() == pytest.approx(0.462, abs=0.06)
    assert np.percentile(target, [1, 99]) == pytest.approx([-1.8, 1.9], abs=0.5)
    assert (speed.mean(), speed.std()) == (pytest.approx(23.4, abs=1.5), pytest.approx(9.2, abs=1.5))
    assert np.mean(np.diff(target, axis=1) ** 2) * 1e4 == pytest.approx(16, abs=5)
    assert speed.min() >= 1


def test_the_noise_is_that_of_the_path_as_it_is_typed():
    """numpy's stream from md5(path) modulo 10,000, without the 80 numbers of the warm-up."""
    seed = int(hashlib.md5(b"data/00000.csv").hexdigest(), 16) % 10**4
    np.random.seed(seed)
    drawn = [np.random.random_sample() for _ in range(480)]
    np.testing.assert_array_equal(challenge_noise("data/00000.csv"), drawn[80:])
    assert not np.array_equal(challenge_noise("data/00000.csv", 1), drawn[80:])
