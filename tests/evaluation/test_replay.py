"""The replay of an evaluation: what it holds, and that a browser shows it, alone and in MLflow's pages."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from racing.evaluation.evaluate import evaluate, evaluation_task
from racing.evaluation.replay.laps import write_laps_replay
from racing.evaluation.replay.replay import CHANNELS, MOST_ROWS, ReplayCar, write_replay
from racing.evaluation.result import Evaluation
from racing.figures import LINE
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.reference_lap import ReferenceLap, reference_lap
from tests.support.browser import needs_browser, opened, wait_for
from tests.support.drivers import follow, group
from tests.support.mlflow_server import PATIENCE, Server

pytestmark = pytest.mark.slow

PACES = 7.0, 8.0, 9.0  # [m/s]
MOST = 400_000  # bytes
SHADES = """
const canvas = document.getElementById(arguments[0]);
const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
const found = new Set();
for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255) found.add(`${data[i]},${data[i + 1]},${data[i + 2]}`);
return [...found];
"""
STATE = "return window.racing.state()"
SEEK = """
const scrubber = document.getElementById("scrubber");
scrubber.value = arguments[0];
scrubber.dispatchEvent(new Event("input"));
"""


@pytest.fixture(scope="module")
def reference(wavy: Track, kart: Vehicle) -> ReferenceLap:
    return reference_lap(wavy, kart)


@pytest.fixture(scope="module")
def driven(wavy: Track, kart: Vehicle) -> Evaluation:
    """Three starts, at three paces."""
    env = group("env/mlp")
    env["episodes"]["start_speed"] = [0.2, 0.4]
    task = evaluation_task(env, [wavy], kart, [120.0], races=len(PACES), laps=2, seed=1)
    return evaluate(lambda _: follow(task.world, np.array(PACES)), task)


@pytest.fixture(scope="module")
def page(driven: Evaluation, wavy: Track, reference: ReferenceLap, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("replay") / "replay.html"
    return write_laps_replay(path, driven, wavy, reference, ["lap <b>1</b> s", "kart"])


def content(page: Path) -> dict[str, Any]:
    """What is embedded, its columns as they were."""
    found = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.S)[1])
    numbers = np.frombuffer(base64.b64decode(found["numbers"]), "<u2")

    def column(part: dict[str, Any]) -> np.ndarray:
        return part["low"] + part["unit"] * numbers[part["begin"] : part["begin"] + part["count"]]

    for car in found["cars"]:
        car["columns"] = {name: column(part) for name, part in car["columns"].items()}
    found["edges"] = [np.stack([column(part) for part in edge], axis=1) for edge in found["edges"]]
    return found


def test_it_holds_the_laps_from_the_start_line(page: Path, driven: Evaluation, wavy: Track, reference: ReferenceLap):
    assert page.stat().st_size < MOST
    found = content(page)
    times = [driven.episodes[k]["lap_time_s"] for k in (2, 1, 0)] + [reference.time_s]
    assert [car["name"] for car in found["cars"]] == [
        "best lap",
        "median lap, start 1",
        "slowest lap, start 0",
        "reference lap",
    ]
    assert [car["note"] for car in found["cars"]] == [f"{time:.2f} s" for time in times]
    assert found["cars"][0]["colour"] == LINE
    assert found["axis"] == "s"
    for car, time in zip(found["cars"], times, strict=True):
        assert car["columns"]["time_s"][[0, -1]] == pytest.approx([0, time], abs=1e-3)
        assert car["columns"]["s"][[0, -1]] == pytest.approx([0, wavy.length], abs=0.02)
        for end in (0, -1):
            at = np.array([car["columns"]["x"][end], car["columns"]["y"][end]])
            assert np.linalg.norm(at - wavy.points[0]) < wavy.left[0]
    table = driven.lap_table(2)
    for name in ("x", "v", "steer", "throttle_command"):
        lap = found["cars"][0]["columns"][name]
        assert [lap.min(), lap.max()] == pytest.approx([table[name].min(), table[name].max()], rel=2e-3, abs=2e-3)
    nearest = np.linalg.norm(wavy.left_edge[:, None] - found["edges"][0][None], axis=2).min(axis=1)
    assert nearest.max() < 3  # [m]


def test_the_same_evaluation_gives_the_same_bytes(
    page: Path, driven: Evaluation, wavy: Track, reference: ReferenceLap, tmp_path: Path
):
    again = write_laps_replay(tmp_path / "again.html", driven, wavy, reference, ["lap <b>1</b> s", "kart"])
    assert again.read_bytes() == page.read_bytes()


def test_a_drive_without_a_lap_is_shown_as_it_was(
    driven: Evaluation, wavy: Track, reference: ReferenceLap, tmp_path: Path
):
    episodes = [episode | {"flying_lap": None, "lap_time_s": None, "lap_ratio": None} for episode in driven.episodes]
    page = write_laps_replay(tmp_path / "replay.html", replace(driven, episodes=episodes), wavy, reference)
    found = content(page)
    furthest = max(driven.episodes, key=lambda episode: episode["progress_m"])
    (car,) = found["cars"]
    assert (car["name"], found["axis"]) == ("furthest", "time_s")
    assert len(car["columns"]["time_s"]) == furthest["steps"] + 1
    assert np.abs(np.diff(car["columns"]["yaw"])).max() < 1  # no jump by a turn


def test_long_drives_are_thinned_and_names_are_text(wavy: Track, tmp_path: Path):
    rows = 5 * MOST_ROWS
    columns = {name: np.linspace(0, 700, rows) for name in CHANNELS}
    hostile = "</script><script>alert(1)</script>"
    cars = [ReplayCar(name=hostile, colour=LINE, columns=columns)] * 8
    page = write_replay(tmp_path / "replay.html", wavy, cars, hostile, [hostile])
    assert page.stat().st_size < MOST
    assert page.read_text().count("<script") == 2
    assert content(page)["cars"][0]["name"] == hostile
    assert content(page)["cars"][0]["columns"]["time_s"][-1] == pytest.approx(700, abs=0.02)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with opened(tmp_path_factory.mktemp("browser"), "1200,800") as driver:
        yield driver


def asked_for(browser: webdriver.Chrome) -> list[str]:
    """Addresses that pages have asked for since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [address for address in asked if not address.startswith(("chrome://", "data:"))]  # the browser's own page


def check_page(browser: webdriver.Chrome) -> None:
    """Cars are drawn in their colours, and drive where the scrubber says."""
    start = browser.execute_script(STATE)
    assert (start["now"], start["playing"], len(start["cars"])) == (0, False, 4)
    blue = ",".join(str(int(LINE[k : k + 2], 16)) for k in (1, 3, 5))
    for canvas in ("map", "channels"):
        assert blue in browser.execute_script(SHADES, canvas)
    browser.execute_script(SEEK, 100)
    later = browser.execute_script(STATE)
    assert later["now"] == pytest.approx(later["duration"] / 10)
    for before, after in zip(start["cars"], later["cars"], strict=True):
        assert np.hypot(after["x"] - before["x"], after["y"] - before["y"]) > 20


@needs_browser
def test_a_browser_shows_it_without_asking_the_network(browser: webdriver.Chrome, page: Path):
    asked_for(browser)
    browser.get(page.as_uri())
    check_page(browser)
    assert browser.title == "wavy"
    assert browser.find_element(By.ID, "facts").text == "lap <b>1</b> s · kart"
    body = browser.find_element(By.TAG_NAME, "body")
    # By keyboard: to the end and back, a second on, faster, play, pause.
    for keys in (Keys.END, Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_UP, " "):
        body.send_keys(keys)
    WebDriverWait(browser, PATIENCE).until(lambda seen: seen.execute_script(STATE)["now"] > 1.2, "it does not play")
    body.send_keys(" ")
    paused = browser.execute_script(STATE)
    assert (paused["playing"], paused["rate"]) == (False, 2)
    assert browser.execute_script(STATE)["now"] == paused["now"]
    # Another car, nearer, in the other colours.
    browser.find_elements(By.CSS_SELECTOR, "#cars tr")[2].click()
    light = set(browser.execute_script(SHADES, "map"))
    for button in ("near", "theme"):
        browser.find_element(By.ID, button).click()
    chosen = browser.execute_script(STATE)
    assert (chosen["chosen"], chosen["near"], chosen["dark"]) == (2, True, not paused["dark"])
    assert light.isdisjoint({"227,228,232"}) is paused["dark"]  # the road's colour
    assert set(asked_for(browser)) == {page.as_uri()}
    assert [entry for entry in browser.get_log("browser") if entry["source"] != "rendering"] == []  # that it is read


@needs_browser
def test_it_fits_a_telephone(browser: webdriver.Chrome, page: Path):
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.get(page.as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
        check_page(browser)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


DRAWN = "return !!window.racing && document.getElementById('map').width * document.getElementById('channels').width"


@needs_browser
def test_a_frame_that_is_shown_after_it_was_loaded_has_its_pictures(
    browser: webdriver.Chrome, page: Path, tmp_path: Path
):
    outer = tmp_path / "outer.html"
    outer.write_text(f'<iframe src="{page.as_uri()}" style="display: none"></iframe>')
    browser.get(outer.as_uri())
    frame = browser.find_element(By.TAG_NAME, "iframe")
    browser.switch_to.frame(frame)
    assert browser.execute_script(DRAWN) == 0
    browser.switch_to.default_content()
    browser.execute_script("arguments[0].style = 'display: block; width: 900px; height: 700px'", frame)
    browser.switch_to.frame(frame)
    WebDriverWait(browser, PATIENCE).until(lambda seen: seen.execute_script(DRAWN), "no replay")
    check_page(browser)
    browser.switch_to.default_content()


@needs_browser
def test_mlflow_shows_it_among_the_artifacts(browser: webdriver.Chrome, page: Path, server: Server):
    client = MlflowClient(server.uri)
    run = client.create_run(client.create_experiment("replays"))
    folder = "evaluations/000004096"
    client.log_artifact(run.info.run_id, str(page), folder)
    where = f"experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/{folder}/replay.html"
    browser.get(f"{server.uri}/#/{where}")
    browser.switch_to.frame(wait_for(browser, By.TAG_NAME, "iframe"))
    # MLflow gives it a size later.
    WebDriverWait(browser, PATIENCE).until(lambda seen: seen.execute_script(DRAWN), "no replay")
    check_page(browser)
    browser.switch_to.default_content()
    said = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [message for message in said if "/ajax-api/" not in message] == []  # MLflow asks for what its server lacks
