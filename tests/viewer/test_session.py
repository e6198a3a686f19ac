"""A driving session without any web: its clock, its cars, its person, its records."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from racing.config import compose_run
from racing.evaluation.evaluate import Diverged, evaluate
from racing.sim.records import Ending
from racing.sim.vehicle import Vehicle
from racing.tracks.catalog import load_track
from racing.tracks.reference_lap import reference_lap
from racing.viewer.cars.alone import AloneSession
from racing.viewer.cars.dashboard import STATE
from racing.viewer.cars.drivers import Driver, Hands, Place, human_driver, human_env, task_driver
from racing.viewer.cars.lap_trace import LapTrace, trace_of_reference
from racing.viewer.cars.messages import senses_message
from racing.viewer.cars.records import LAPS, SHEET, TELEMETRY, Records
from racing.viewer.messages import command_of
from racing.viewer.session import RATES
from tests.viewer.conftest import keeps_to_the_middle

Sessions = Callable[..., AloneSession]
Make = Callable[..., Driver]


class Clock:
    """Time that goes when it is told to; `work` [s] passes with each look at it."""

    def __init__(self) -> None:
        self.now, self.work = 100.0, 0.0

    def __call__(self) -> float:
        self.now += self.work
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def session(clock: Clock, place: Place, reference: LapTrace) -> Sessions:
    def make(*drivers: Driver, **options: Any) -> AloneSession:
        return AloneSession(drivers, place, reference, clock=clock, **options)

    return make


def pass_time(session: AloneSession, clock: Clock, seconds: float, pieces_per_second: int = 60) -> list[Any]:
    """So much time in many pieces; returns the laps."""
    laps = []
    for _ in range(round(seconds * pieces_per_second)):
        clock.now += 1 / pieces_per_second
        laps += session.advance()
    return laps


def now(session: AloneSession, number: int = 0) -> dict[str, float]:
    return dict(zip(STATE, session.cars[number].state().tolist(), strict=True))


def digest(rows: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()


def test_a_minute_of_play_is_a_minute_of_an_evaluation_bit_for_bit(
    session: Sessions, clock: Clock, place: Place, driver: Make
):
    playing = session(driver(), driver("other", lambda seen: keeps_to_the_middle(seen) * 0.9), keep=True)
    pass_time(playing, clock, 20)
    playing.set_rate(4.0)
    pass_time(playing, clock, 5)
    playing.pause(True)
    pass_time(playing, clock, 7)
    playing.pause(False)
    playing.set_rate(0.5)
    pass_time(playing, clock, 40)
    assert playing.time == pytest.approx(60.0, abs=0.15)
    (episode,) = playing.cars[0].driven()
    task = driver().task()
    offline = _first_minute(task, len(episode.rows))
    assert len(episode.rows) > 590
    assert digest(episode.rows) == digest(offline)
    assert digest(playing.cars[1].driven()[0].rows) != digest(offline)


def _first_minute(task: Any, rows: int) -> Any:
    """Rows of `evaluate` from the same start, which ends after so many."""
    seen = []

    def until_then(observation: Any) -> Any:
        seen.append(1)
        if len(seen) > rows - 1:
            raise StopIteration
        return keeps_to_the_middle(observation)

    recorded: list[Any] = []
    from racing.evaluation import evaluate as module

    class Kept(module.EpisodeRecorder):
        def __post_init__(self) -> None:
            super().__post_init__()
            recorded.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "EpisodeRecorder", Kept)
        with pytest.raises(StopIteration):
            evaluate(until_then, task)
    return np.concatenate(recorded[0].rows)


def test_a_late_machine_slows_time_and_leaves_nothing_out(session: Sessions, clock: Clock, driver: Make):
    playing = session(driver(), keep=True)
    clock.work = 0.2  # [s] that a look at the clock takes: one step of 0.1 s in each call
    for _ in range(40):
        playing.advance()
    assert playing.share == pytest.approx(0.25, abs=0.1)
    assert len(playing.cars[0].driven()[0].rows) == playing.ticks + 1
    clock.work = 0.0
    pass_time(playing, clock, 3)
    assert playing.share == 1.0


def test_time_goes_at_the_rate_that_is_asked_for(session: Sessions, clock: Clock, driver: Make):
    for rate in RATES:
        playing = session(driver())
        playing.set_rate(rate)
        pass_time(playing, clock, 2, pieces_per_second=200)
        assert playing.time == pytest.approx(2 * rate, abs=playing.tick + 1e-6), rate
        assert playing.share == 1.0


def test_a_gap_of_an_hour_is_not_driven_afterwards(session: Sessions, clock: Clock, driver: Make):
    playing = session(driver())
    pass_time(playing, clock, 1)
    before = playing.ticks
    clock.work = 0.001
    clock.now += 3600
    playing.advance()
    assert playing.ticks - before < 60
    clock.work, before = 0.0, playing.ticks
    pass_time(playing, clock, 1)
    assert playing.ticks - before <= 11


def test_each_decides_in_its_own_period(session: Sessions, clock: Clock, driver: Make):
    calls: dict[str, int] = {"often": 0, "seldom": 0}

    def counted(name: str) -> Any:
        def policy(seen: Any) -> Any:
            calls[name] += 1
            return keeps_to_the_middle(seen)

        return policy

    playing = session(
        driver("often", counted("often"), action_repeat=1), driver("seldom", counted("seldom"), action_repeat=3)
    )
    assert playing.tick == pytest.approx(0.05)
    pass_time(playing, clock, 6)
    assert abs(calls["often"] - 120) <= 1
    assert calls["seldom"] == calls["often"] // 3


def test_all_start_again_at_a_place(session: Sessions, clock: Clock, place: Place, driver: Make):
    playing = session(driver(), driver("other", action_repeat=1))
    pass_time(playing, clock, 3)
    playing.restart(250.0)
    for number in (0, 1):
        there = now(playing, number)
        assert there["s"] == pytest.approx(250, abs=place.track.spacing)
        assert there["lateral"] == pytest.approx(0, abs=0.1)
        assert there["steer"] == 0
        assert math.isnan(there["clock"])
    playing.restart(None)
    pass_time(playing, clock, 2)
    assert now(playing)["s"] < 60
    assert now(playing)["clock"] > 1  # the start line was the first gate
    assert (
        playing.cars[0].timing.since == pytest.approx(0, abs=1)
        or playing.cars[0].timing.since > 0.99 * place.track.length
    )


def test_laps_sectors_and_deltas_are_the_simulators(session: Sessions, clock: Clock, place: Place, driver: Make):
    playing = session(driver())
    playing.restart(None)
    playing.set_rate(16.0)
    laps = pass_time(playing, clock, 16)
    car = playing.cars[0]
    assert len(laps) >= 2
    there = now(playing)
    assert there["last_lap"] == pytest.approx(float(car.task.cars[0]["lap_time"]))
    assert there["best_lap"] == pytest.approx(float(car.task.cars[0]["best_lap"]))
    sectors = [there[f"sector_{k}"] for k in (1, 2, 3)]
    assert sum(sectors) == pytest.approx(there["last_lap"], rel=0.03)
    best = car.timing.best
    assert best is not None
    assert best.time_s == min(lap.time_s for lap in laps)
    assert abs(there["behind_best"]) < 3  # [s] of about eighty: it drives all laps alike
    assert there["behind_reference"] == pytest.approx(
        there["clock"] - car.reference.duration(car.timing.since, there["s"]), abs=1e-3
    )


def test_a_lap_is_found_again_in_its_trace(session: Sessions, clock: Clock, driver: Make):
    playing = session(driver())
    playing.restart(None)
    playing.set_rate(16.0)
    pass_time(playing, clock, 12)
    best = playing.cars[0].timing.best
    assert best is not None
    x, y, *_ = best.pose(best.start, 0.25 * best.time_s)
    car = playing.cars[0]
    distance = np.hypot(car.dashboard.track.points[:, 0] - x, car.dashboard.track.points[:, 1] - y)
    assert distance.min() < 6  # on the road
    s = int(distance.argmin()) * car.dashboard.track.spacing
    assert best.at(s) == pytest.approx(0.25 * best.time_s, rel=0.05)
    assert best.duration(100.0, 100.0 + best.length / 2) + best.duration(
        100.0 + best.length / 2, 100.0
    ) == pytest.approx(best.time_s)


def test_who_gives_no_numbers_is_named(session: Sessions, clock: Clock, driver: Make):
    playing = session(driver("broken", lambda seen: np.full((1, 2), np.nan, np.float32)))
    clock.now += 1
    with pytest.raises(Diverged, match="policy broken: its actions are not numbers"):
        playing.advance()


def test_a_car_senses_what_its_policy_sees(session: Sessions, clock: Clock, place: Place, driver: Make):
    playing = session(driver("looks", lambda seen: keeps_to_the_middle(seen), preview=3, preview_spacing=10.0))
    pass_time(playing, clock, 2)
    senses = playing.cars[0].senses()
    assert senses.rays.shape == (7, 2)
    assert senses.rays[0, 1] > 0 > senses.rays[6, 1]  # the first one is to the left
    assert senses.rays[3, 1] == pytest.approx(0, abs=1e-5)
    car = playing.cars[0].task.cars[0]
    away = np.hypot(senses.preview[:, 0] - car["x"], senses.preview[:, 1] - car["y"])
    assert away == pytest.approx([10, 20, 30], rel=0.25)
    message = np.frombuffer(senses_message(0, senses), np.float32)
    assert message[:7].tolist() == [2, 0, 7, 3, 0, 0, 0]
    assert len(message) == 7 + 2 * (7 + 3)


def test_keys_turn_the_wheel_no_faster_than_hands(place: Place):
    hands = Hands()
    hands.ask(1.0, 1.0, keys=True)
    steps = np.concatenate([hands.action(0.05) for _ in range(8)])
    assert steps[0, 0] == pytest.approx(3.5 * 0.05)
    assert np.all(np.diff(steps[:, 0]) <= 3.5 * 0.05 + 1e-6)
    assert steps[-1, 0] == pytest.approx(1.0)
    hands.ask(0.0, -1.0, keys=True)
    assert hands.action(0.05)[0, 0] == pytest.approx(1 - 6.0 * 0.05)
    hands.ask(-0.4, 0.25, keys=False)
    assert hands.action(0.05)[0] == pytest.approx([-0.4, 0.25])
    hands.ask(7.0, -9.0, keys=False)
    assert hands.action(0.05)[0] == pytest.approx([1.0, -1.0])


def test_a_driver_of_the_environment_drives_as_in_an_evaluation(clock: Clock, kart: Vehicle):
    track = load_track("oval")
    lap = reference_lap(track, kart)
    place, env = Place(track=track, vehicle=kart, reference_s=lap.time_s), compose_run(["env=mlp"])["env"]
    driver = task_driver("optimal", 0.8, place, env)
    one, other = (AloneSession([driver], place, trace_of_reference(track, lap), clock=clock) for _ in range(2))
    task = place.task(env)
    drive = task.driver("optimal", pace=0.8)
    task.reset()
    for number in range(120):  # what one page's driver remembers is not another's
        task.step_batch(np.clip(drive(), -1, 1))
        one.try_out()
        if number % 2:
            other.try_out()
    assert one.cars[0].task.cars.tobytes() == task.cars.tobytes()
    assert other.cars[0].task.cars["steps"].tolist() == [60]


@pytest.fixture
def person(session: Sessions, place: Place, driver: Make) -> AloneSession:
    """At the wheel beside a policy."""
    hands = Hands()
    playing = session(driver(), human_driver(place, human_env(None), hands), hands=hands)
    playing.drive(True)
    return playing


def test_a_person_drives_by_the_same_physics_and_is_recorded(
    person: AloneSession, clock: Clock, place: Place, tmp_path: Path
):
    human = person.human
    assert human is not None
    laps = []
    for _ in range(1000):  # [tenths of a second] as the policy would, by an axis
        action = keeps_to_the_middle(human._observation)[0]
        person.hands.ask(float(action[0]), float(np.clip(action[1], -1, 1)), keys=False)
        clock.now += 0.1
        laps += [lap for lap in person.advance() if lap.car == human.number]
    assert len(laps) == 1
    assert human.task.world.step_dt == pytest.approx(place.vehicle.control_period)
    records = Records(tmp_path, place)
    folder = records.write(human.driven(), human.task.world.step_dt)
    assert folder is not None
    assert folder.is_relative_to(tmp_path / "drives")
    table = pyarrow.parquet.read_table(folder / TELEMETRY)
    assert table.schema.names[:4] == ["episode", "time_s", "x", "y"]
    assert np.isfinite(table["v"].to_numpy()).all()
    header, first, *_ = (folder / LAPS).read_text().splitlines()
    row = dict(zip(header.split(","), first.split(","), strict=True))
    assert row["driver"] == "human"
    assert "off_track_m" not in row
    assert float(row["lap_1_s"]) == pytest.approx(laps[0].time_s)
    assert (folder / SHEET).read_text().startswith("time_s,x,y,yaw")
    again = records.write(human.driven(), human.task.world.step_dt)
    assert again == folder
    assert records.best_lap() is None
    records.keep_best(human.timing.best)
    kept = Records(tmp_path, place).best_lap()
    assert kept is not None
    assert kept.time_s == min(lap.time_s for lap in laps)


def test_a_slower_lap_replaces_no_best_one_and_a_damaged_one_is_none(tmp_path: Path, place: Place, reference: LapTrace):
    from dataclasses import replace

    records = Records(tmp_path, place)
    records.keep_best(replace(reference, time_s=30.0))
    records.keep_best(replace(reference, time_s=31.0))
    assert records.best_lap().time_s == 30.0
    (file,) = (tmp_path / "drives").rglob("*.npz")
    file.write_bytes(b"nonsense")
    assert records.best_lap() is None
    records.keep_best(replace(reference, time_s=31.0))
    assert records.best_lap().time_s == 31.0
    np.savez(file, **{**vars(reference), "clock": np.full(3, np.nan)})
    assert records.best_lap() is None


def test_a_disk_that_takes_nothing_is_said_and_driving_goes_on(
    person: AloneSession, clock: Clock, tmp_path: Path, place: Place
):
    (tmp_path / "drives").write_text("a file")
    person.hands.ask(0.0, 1.0, keys=False)
    pass_time(person, clock, 3)
    records = Records(tmp_path, place)
    assert records.write(person.human.driven(), 0.05) is None
    assert "not recorded" in records.problem


def test_who_leaves_the_road_goes_on_there_from_standing(person: AloneSession, clock: Clock):
    human = person.human
    assert human is not None
    person.hands.ask(1.0, 1.0, keys=False)
    before = human.task.cars[0]["episode"]
    while human.task.cars[0]["episode"] == before:
        place = float(human.task.cars[0]["s"])
        pass_time(person, clock, 0.1)
    assert human.dashboard.ended == Ending.OFF_TRACK
    there = now(person, human.number)
    assert there["v"] < 1.0
    assert abs((there["s"] - place + 100) % human.dashboard.track.length - 100) < 10
    assert [episode.facts["ended"] for episode in human.episodes] == ["off_track"]


def test_nobody_drives_a_car_that_nobody_is_in(session: Sessions, clock: Clock, place: Place, driver: Make):
    hands = Hands()
    playing = session(driver(), human_driver(place, human_env(None), hands), hands=hands)
    pass_time(playing, clock, 2)
    assert len(playing.state()) == 1
    assert playing.human.task.cars[0]["steps"] == 0
    assert playing.human.driven() == []
    playing.drive(True)
    assert len(playing.state()) == 2
    message = np.frombuffer(playing.messages()[0], np.float32)
    assert message[[0, 5, 6, 7, 8]].tolist() == [1, 1, 2, len(STATE), 0]
    assert message[9:11].tolist() == [0, 1]


# what a page may say


@pytest.mark.parametrize(
    "text",
    [
        '{"do": "pause", "on": true}',
        '{"do": "rate", "rate": 0.25}',
        '{"do": "restart", "along": null}',
        '{"do": "restart", "along": 12.5}',
        '{"do": "hands", "steer": -1, "throttle": 0.5, "keys": false}',
        '{"do": "watch", "car": 0, "senses": true}',
        '{"do": "episode", "number": 3}',
    ],
)
def test_commands_are_understood(text: str):
    command = command_of(text)
    assert command is not None
    assert {"do": command[0], **command[1]} == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        b'{"do": "pause", "on": true}',
        "null",
        "[1]",
        "{",
        '{"do": "pause"}',
        '{"do": "pause", "on": 1}',
        '{"do": "pause", "on": "true"}',
        '{"do": "pause", "on": true, "more": 1}',
        '{"do": ["pause"], "on": true}',
        '{"do": "rate", "rate": 17}',
        '{"do": "rate", "rate": 0}',
        '{"do": "rate", "rate": NaN}',
        '{"do": "rate", "rate": 1e999}',
        '{"do": "rate", "rate": true}',
        '{"do": "restart", "along": -Infinity}',
        '{"do": "restart", "along": ' + "9" * 400 + "}",
        '{"do": "restart", "along": "../../etc/passwd"}',
        '{"do": "hands", "steer": 1.5, "throttle": 0, "keys": true}',
        '{"do": "hands", "steer": {}, "throttle": 0, "keys": true}',
        '{"do": "watch", "car": -1, "senses": true}',
        '{"do": "watch", "car": 1.0, "senses": true}',
        '{"do": "episode", "number": -1}',
        '{"do": "__class__", "on": true}',
        "[" * 500,
        '{"do": "pause", "on": true}' + " " * 1000,
    ],
)
def test_nothing_else_is_a_command(text: Any):
    assert command_of(text) is None
