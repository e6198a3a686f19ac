"""A race on the page: what is driven there is what an evaluation drives, with a person who joins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from racing.config import compose_run
from racing.evaluation.race.driving import drive_races, line_entrant, order_of
from racing.viewer.cars.dashboard import STATE
from racing.viewer.cars.drivers import Place
from racing.viewer.cars.lap_trace import LapTrace
from racing.viewer.cars.race import CarOver, Contact, Grid, RaceOver, RaceSession, contacts
from racing.viewer.cars.records import LAPS, TELEMETRY, Records
from tests.support.browser import needs_browser
from tests.viewer.conftest import Page, Play

PACES = (0.5, 0.8, 0.95)  # the slow one is in everybody's way


@pytest.fixture(scope="module")
def grid() -> Grid:
    """Line followers, on a lap."""
    entrants = [line_entrant(pace) for pace in PACES]
    return Grid(entrants=entrants, names=["slow", "mid", "quick"], env=compose_run(["env=race"])["env"], laps=1, cars=3)


@pytest.fixture
def race(grid: Grid, place: Place, reference: LapTrace, tmp_path: Path) -> RaceSession:
    return RaceSession(grid, place, reference, records=Records(tmp_path, place))


def until(session: RaceSession, what: Callable[[], Any], each: Callable[[], Any] = lambda: None) -> list[Any]:
    """Drive until then; returns the events. each: is done before each step."""
    events: list[Any] = []
    for _ in range(5000):
        each()
        session.try_out()
        events += session.events
        session.events = []
        if what():
            return events
    raise AssertionError("that never happens")


def rows(session: RaceSession) -> dict[str, dict[str, float]]:
    """The state of each active car, by name."""
    return {
        car.name: dict(zip(STATE, row.tolist(), strict=True))
        for car, row in zip(session.active, session.state(), strict=True)
    }


def test_a_race_is_that_of_an_evaluation_bit_for_bit(race: RaceSession, grid: Grid, place: Place):
    offline = drive_races(grid.task(place, 3), [line_entrant(pace) for pace in PACES], np.arange(3)[None])
    seen = []
    steps = len(offline.distance) - 1
    for _ in range(steps - 1):
        seen.append(race.races.task.world.traffic[0]["distance"].copy())
        race.try_out()
    known = np.where(np.isnan(offline.distance[: steps - 1, 0]), 0, offline.distance[: steps - 1, 0])
    assert np.where(np.isnan(offline.distance[: steps - 1, 0]), 0, seen).tobytes() == known.tobytes()
    *_, last, over = until(race, lambda: True)
    assert isinstance(over, RaceOver)
    assert last == CarOver(over.results[-1]["number"], home=True)
    assert [row["number"] for row in over.results] == np.argsort(order_of(offline)[0]).tolist()
    assert [row["time_s"] for row in over.results] == sorted(offline.time[0].tolist())
    # The next race has begun, in another grid.
    first = [row["grid"] for row in sorted(over.results, key=lambda row: row["number"])]
    again = [car["position"] for car in rows(race).values()]
    assert sorted(again) == sorted(first)
    assert again != first


def test_positions_and_gaps_are_those_of_the_road(race: RaceSession):
    until(race, lambda: race.ticks * race.tick > 12)
    there = rows(race)
    order = sorted(there, key=lambda name: there[name]["position"])
    far = race.races.task.world.traffic[0]["distance"]
    assert order == [race.cars[slot].name for slot in np.argsort(-far)]
    leader, second = there[order[0]], there[order[1]]
    assert np.isnan(leader["gap"])
    gap = float(far.max() - np.sort(far)[-2])
    assert second["gap"] == pytest.approx(gap / leader["v"], rel=0.25)


def test_a_new_race_begins_at_once_where_it_is_asked_for(race: RaceSession):
    before = {name: car["position"] for name, car in rows(race).items()}
    until(race, lambda: race.ticks * race.tick > 3)
    race.do("restart", {"along": 100.0})  # races start where they start
    there = rows(race)
    assert {car["v"] for car in there.values()} == {0.0}
    assert {name: car["position"] for name, car in there.items()} != before
    assert [car["time"] for car in there.values()] == pytest.approx([race.time] * 3)


def test_who_joins_races_and_touches_and_is_recorded(race: RaceSession, grid: Grid, tmp_path: Path):
    human = race.human
    assert human is not None
    assert (len(race.cars), len(race.active)) == (4, 3)
    race.do("drive", {"on": True})
    assert [car.name for car in race.active] == [*grid.names, "human"]
    # Full throttle, straight at whoever is ahead.
    events = until(
        race,
        lambda: any(3 in (noted[2], noted[3]) for noted in race.races.recorder.contacts),
        lambda: race.do("hands", {"steer": aim(race), "throttle": 1.0, "keys": False}),
    )
    contact = next(event for event in events if isinstance(event, Contact) and 3 in event.cars)
    assert rows(race)["human"]["touches"] == 1
    assert np.hypot(contact.x - rows(race)["human"]["x"], contact.y - rows(race)["human"]["y"]) < 5
    race.human.timing.keep(race.reference)  # as if it were a lap of the person's
    write = race.unkept(at_end=True)
    assert write is not None
    write()
    race.do("drive", {"on": False})
    write = race.unkept()
    assert write is not None
    write()
    (laps,) = tmp_path.rglob(LAPS)
    assert "human" in laps.read_text()
    assert ",".join(grid.names) in laps.read_text().replace(", ", ",")
    table = pyarrow.parquet.read_table(laps.with_name(TELEMETRY))
    assert len(table) == race.ticks + 1
    assert not list(tmp_path.rglob("best_lap.npz"))  # others help and hinder
    assert len(race.active) == 3
    assert race.unkept() is None


def aim(race: RaceSession) -> float:
    """Steering towards the nearest car ahead."""
    cars = race.races.task.cars
    me, others = cars[3], cars[:3]
    dx, dy = others["x"] - me["x"], others["y"] - me["y"]
    ahead = dx * np.cos(me["yaw"]) + dy * np.sin(me["yaw"])
    left = dy * np.cos(me["yaw"]) - dx * np.sin(me["yaw"])
    near = int(np.argmin(np.where(ahead > 0, np.hypot(dx, dy), np.inf)))
    return float(np.clip(2 * np.arctan2(left[near], max(ahead[near], 0.1)), -1, 1))


@pytest.mark.parametrize(
    ("changes", "shape"), [([], (84, 84, 3)), (["env.grayscale=true", "env.frame_stack=4"], (84, 84, 1))]
)
def test_in_a_race_by_camera_each_car_shows_its_newest_picture(
    changes: list[str], shape: tuple[int, ...], place: Place, reference: LapTrace
):
    env = compose_run(["env=race_vision", *changes])["env"]
    entrants = [line_entrant(pace) for pace in (0.9, 0.5)]
    grid = Grid(entrants=entrants, names=["quick", "slow"], env=env, laps=1, cars=2)
    session = RaceSession(grid, place, reference)
    for _ in range(5):
        session.try_out()
    stacked = session.races.observation["vision"]
    shown = [car.senses().picture for car in session.cars[:2]]
    for slot, picture in enumerate(shown):
        assert picture is not None
        assert picture.shape == shape
        assert (picture == stacked[slot][..., -shape[2] :]).all()
        assert picture.std() > 10
    assert (shown[0] != shown[1]).mean() > 0.05


def test_a_contact_is_told_once_for_two_cars():
    noted = [(7, 0, 1, 2, 3.0, 4.0, 2.5, 0.8), (7, 0, 2, 1, 3.5, 4.5, 2.5, 0.2), (7, 0, 0, 2, 9.0, 9.0, 1.0, 1.0)]
    assert contacts(noted) == [
        Contact((1, 2), (0.8, 0.2), 3.0, 4.0, 2.5),
        Contact((0, 2), (1.0, 0.0), 9.0, 9.0, 1.0),
    ]


@pytest.mark.slow
@needs_browser
def test_the_page_shows_a_race_and_who_joins_it(window: webdriver.Chrome, ring: Path, tmp_path: Path):
    server = Play(tmp_path, "env=race", "run=[line@0.5,line@0.7]", f"track={ring}", "laps=1")
    browser, page = window, Page(window)
    try:
        browser.get(server.address)
        state = page.until(lambda state: state["frames"] > 3 and state["time"] > 1, "no picture was drawn")
        assert [car["name"] for car in state["cars"]] == ["line@0.5", "line@0.7"]
        assert sorted(car["position"] for car in state["cars"]) == [1, 2]
        page.press("e")
        page.until(lambda state: state["driving"] and len(state["cars"]) == 3, "nobody joined")
        ActionChains(browser).key_down(Keys.ARROW_UP).key_down(Keys.ARROW_RIGHT).perform()
        page.until(lambda state: len(state["cars"]) == 2 and state["watched"] != 2, "it is still on the road")
        ActionChains(browser).key_up(Keys.ARROW_UP).key_up(Keys.ARROW_RIGHT).perform()
        page.press("r")
        page.until(lambda state: len(state["cars"]) == 3 and state["watched"] == 2, "it is not in the next race")
        page.press("e")
        page.until(lambda state: not state["driving"] and len(state["cars"]) == 2, "nobody left")
        for _ in range(4):
            page.press("+")
        over = page.until(lambda state: state["results"], "the race has no end")["results"]
        assert [row["position"] for row in over] == [1, 2]
        assert page.errors() == []
    finally:
        browser.get("about:blank")
        server.kill()
