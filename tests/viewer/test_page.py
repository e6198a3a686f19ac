"""The page in a real browser: cars move, keys and a gamepad drive, what breaks comes back."""

from __future__ import annotations

import csv
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from racing.runs.directory import open_run
from tests.support.browser import needs_browser
from tests.support.drivers import group
from tests.viewer.conftest import PATIENCE, Page, Play, greeting

pytestmark = [pytest.mark.slow, needs_browser]
# A gamepad that holds the middle of the ring at about 9 m/s.
GAMEPAD = """
const mine = () => window.racing.state().cars.find((car) => car.name === "human");
navigator.getGamepads = () => {
  const car = mine() ?? { lateral: 0, heading_error: 0, v: 0 };
  const steer = 0.14 - 0.12 * car.lateral - 0.9 * car.heading_error;
  const buttons = Array.from({ length: 16 }, () => ({ value: 0 }));
  buttons[car.v < 9 ? 7 : 6].value = car.v < 9 ? 0.8 : 0.2;
  return [{ connected: true, axes: [-Math.max(-1, Math.min(1, steer)), 0], buttons }];
};
"""


def test_cars_move_in_a_picture_that_is_not_black(page: Page):
    before = page.until(lambda state: state["time"] > 0.5, "time stands")
    assert [car["name"] for car in before["cars"]] == ["quick", "calm"]
    after = page.until(lambda state: state["time"] > before["time"] + 1 and state["frames"] > before["frames"] + 3, "")
    for car, then in zip(after["cars"], before["cars"], strict=True):
        assert np.hypot(car["x"] - then["x"], car["y"] - then["y"]) > 2
        assert 3 < car["v"] < 12
    assert after["messages"] > before["messages"] + 5
    picture = page.pixels()
    assert picture.std() > 20
    red, green, blue = picture.reshape(-1, 3).T
    painted = (blue > red + 50) & (blue > green + 20) & (red < 70)  # #0072b2 in light and shade
    assert painted.sum() > 30
    grass = (green > red + 10) & (green > blue + 10)
    assert grass.mean() > 0.05


def test_everything_is_reached_by_keys(page: Page):
    for key, kind in zip("23451", ("cockpit", "top", "TV", "free", "chase"), strict=True):
        page.press(key)
        page.until(lambda state, kind=kind: state["camera"] == kind, kind)
    page.press("+")
    page.until(lambda state: state["rate"] == 2, "it is no faster")
    page.press("-")
    page.until(lambda state: state["rate"] == 1, "it is no slower")
    page.press(" ")
    stood = page.until(lambda state: state["paused"], "it goes on")
    frames = stood["frames"]
    page.until(lambda state: state["frames"] > frames + 3, "no picture while it is paused")
    assert page.state()["time"] == stood["time"]
    page.press(" ")
    page.until(lambda state: not state["paused"] and state["time"] > stood["time"], "it stands")
    units, theme = page.state()["units"], page.state()["theme"]
    page.press("u", "t")
    page.until(lambda state: state["units"] != units and state["theme"] != theme, "neither units nor theme")
    page.press("u", "t", "n")
    page.until(lambda state: state["watched"] == 1, "the same car")
    page.press("v")
    seen = page.until(lambda state: state["senses"] and state["senses"]["car"] == 1, "it senses nothing")
    assert seen["senses"]["rays"] == 7
    page.press("v", "n")
    page.until(lambda state: state["watched"] == 0, "the other car")


def test_a_click_on_the_map_restarts_there(page: Page):
    page.press(" ")
    page.until(lambda state: state["paused"], "it goes on")
    chart = page.browser.find_element(By.CSS_SELECTOR, ".rv-map")
    page.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    ActionChains(page.browser).move_to_element_with_offset(chart, -70, 0).click().perform()  # west: half a lap
    there = page.until(lambda state: all(abs(car["s"] - 47) < 6 for car in state["cars"]), "they are elsewhere")
    assert [round(car["lateral"], 3) for car in there["cars"]] == [0, 0]
    chart.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ENTER)
    page.until(lambda state: all(2 < car["s"] < 12 for car in state["cars"]), "keys chose no place")
    page.press("r")
    page.until(lambda state: all(car["s"] > 85 for car in state["cars"]), "they are not behind the line")
    page.press("p")
    page.until(lambda state: not state["paused"], "it stands")


def test_the_keyboard_drives(page: Page):
    page.press("e")
    page.until(lambda state: state["driving"] and state["watched"] == 2, "nobody drives")
    ActionChains(page.browser).key_down(Keys.ARROW_UP).key_down(Keys.ARROW_LEFT).perform()
    page.until(lambda state: state["cars"][2]["throttle_command"] == 1, "no throttle")
    page.until(lambda state: state["cars"][2]["steering_command"] > 0.1, "it does not steer to the left")
    ActionChains(page.browser).key_up(Keys.ARROW_UP).key_up(Keys.ARROW_LEFT).key_down("s").perform()
    page.until(lambda state: state["cars"][2]["throttle_command"] < 0, "no brake")
    ActionChains(page.browser).key_up("s").perform()
    page.until(lambda state: state["cars"][2]["throttle_command"] == 0, "it does not let go")


def test_fingers_drive(page: Page):
    page.press("e")
    page.until(lambda state: state["driving"], "nobody drives")
    touch = """
    document.querySelector(".rv").dataset.touch = "on";
    const [steer, pedal] = document.querySelectorAll(".rv-touch div");
    for (const [place, x, y] of [[steer, 0.25, 0.5], [pedal, 0.5, 0]]) {
      const box = place.getBoundingClientRect();
      const at = { clientX: box.left + x * box.width, clientY: box.top + y * box.height };
      place.setPointerCapture = () => {};
      place.dispatchEvent(new PointerEvent("pointerdown", at));
    }"""
    page.browser.execute_script(touch)
    page.until(lambda state: state["source"] == "touch" and state["cars"][2]["throttle_command"] == 1, "no throttle")
    half = pytest.approx(0.5, abs=0.02)
    page.until(lambda state: state["cars"][2]["steering_command"] == half, "it does not steer to the left")
    lift = (
        "for (const one of document.querySelectorAll('.rv-touch div')) one.dispatchEvent(new PointerEvent('pointerup'))"
    )
    page.browser.execute_script(lift)
    page.until(lambda state: state["cars"][2]["throttle_command"] == 0, "it does not let go")
    page.browser.execute_script("document.querySelector('.rv').dataset.touch = 'off'")


def test_a_lap_by_gamepad_is_recorded_with_the_simulators_time(page: Page, play: Play):
    page.browser.execute_script(GAMEPAD)
    page.press("e")
    page.until(lambda state: state["driving"] and state["source"] == "gamepad", "the gamepad is not seen")
    page.press("+")
    done = page.until(lambda state: state["cars"][2]["last_lap"], "no lap")
    page.until(lambda state: state["ghosts"] == 2, "the lap has no ghost")
    page.press("-")
    page.browser.execute_script("navigator.getGamepads = () => []")
    page.press("e")
    page.until(lambda state: not state["driving"], "it drives on")
    end = time.monotonic() + PATIENCE
    laps: list[float] = []
    while not laps and time.monotonic() < end:  # there are drives of other tests
        time.sleep(0.05)
        found = (play.outputs / "drives").rglob("laps.csv")
        rows = [row for path in found for row in csv.DictReader(path.read_text().splitlines())]
        laps = [float(row[f"lap_{k}_s"]) for row in rows for k in (1, 2, 3) if row.get(f"lap_{k}_s")]
    assert {row["driver"] for row in rows} == {"human"}
    assert min(abs(lap - done["cars"][2]["last_lap"]) for lap in laps) < 1e-4
    assert list((play.outputs / "drives").rglob("best_lap.npz"))


def test_the_page_of_runs_follows_a_training_and_opens_it(page: Page, play: Play, policies: list[Path], ring: Path):
    track = {"_target_": "racing.tracks.catalog.load_tracks", "file": str(ring)}
    config = {"name": "young", "env": group("env/mlp"), "track": track, "vehicle": group("vehicle/kart")}
    browser = page.browser
    with open_run(play.outputs, "young", config, [], {}) as run:
        run.journal.metrics(100, {"validation/finish_rate": 0.5, "validation/lap_ratio": 1.3})
        shutil.copy(policies[1], run.paths.policy_onnx)
        browser.find_element(By.LINK_TEXT, "runs").click()
        shown = WebDriverWait(browser, PATIENCE).until(lambda _: browser.find_elements(By.LINK_TEXT, run.name))
        run.journal.metrics(200, {"validation/finish_rate": 0.75, "validation/lap_ratio": 1.2})
        line = browser.find_element(By.CSS_SELECTOR, ".rr-runs tbody tr")
        WebDriverWait(browser, PATIENCE).until(lambda _: line.text.split()[:3] == [run.name, "running", "200"])
        assert "75 %" in line.text
        assert len(line.find_elements(By.CSS_SELECTOR, "svg path[d*=L]")) == 2
        shown[0].click()
        opened = page.until(lambda state: state["time"] > 0.2, "it does not drive")
        assert [car["name"] for car in opened["cars"]] == [run.name]
    assert page.errors() == []
    browser.get(play.address)
    page.until(lambda state: len(state["cars"]) == 2, "the first page is another one")


def test_each_page_has_a_world_of_its_own_and_leaves_none_behind(page: Page, play: Play):
    browser, first = page.browser, page.browser.current_window_handle
    browser.switch_to.new_window("tab")
    browser.get(play.address)
    second = page.until(lambda state: state["time"] > 0.2, "the second page stands")
    assert second["pages"] == 2
    page.press(" ")
    page.until(lambda state: state["paused"], "it goes on")
    browser.close()
    browser.switch_to.window(first)
    assert not page.state()["paused"]
    end = time.monotonic() + PATIENCE
    while (pages := greeting(play)["pages"]) != 2 and time.monotonic() < end:  # this one, and who asks
        time.sleep(0.1)
    assert pages == 2


def test_a_page_comes_back_when_its_server_does(page: Page, play: Play):
    before = page.until(lambda state: state["time"] > 1, "time stands")
    play.kill()
    play.start()
    after = page.until(lambda state: state["time"] < before["time"] and state["frames"] > 1, "it does not come back")
    assert len(after["cars"]) == 2
    page.browser.get_log("browser")  # that nobody answered is no fault of the page


def test_it_fits_into_360_pixels(page: Page):
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        frames = page.state()["frames"]
        page.until(lambda state: state["frames"] > frames + 2, "nothing is drawn")
        wide = "return [document.documentElement.scrollWidth, document.querySelector('.rv-bar').scrollWidth]"
        assert max(page.browser.execute_script(wide)) <= 360
        over = """return [...document.querySelectorAll('.rv button, .rv select')].filter((one) => one.offsetParent)
            .map((one) => one.getBoundingClientRect()).filter((box) => box.right > 361 || box.left < -1).length"""
        assert page.browser.execute_script(over) == 0
        canvas = page.browser.find_element(By.CSS_SELECTOR, ".rv-view canvas").size
        assert canvas["width"] == 360
        assert canvas["height"] > 200
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
