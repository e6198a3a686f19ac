"""The cockpit in a headset: Meta's emulator of one, in a real browser."""

from __future__ import annotations

import base64
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By

from racing.files import cache_root
from tests.support.browser import needs_browser
from tests.viewer.conftest import PATIENCE, Page, Play

# npm's package iwer (MIT): its tarball, as `.ci/packages` puts it there, or the bundle itself.
EMULATOR = Path(os.environ.get("RACING_TEST_IWER") or cache_root() / "tests" / "iwer-2.5.0.tgz")
BUNDLE = "package/build/iwer.min.js"
PUT_ON = """
window.headset = new IWER.XRDevice(IWER.metaQuest3, { stereoEnabled: true, ipd: 0.063 });
window.headset.installRuntime({ forceInstall: true });
"""
pytestmark = [
    pytest.mark.slow,
    needs_browser,
    pytest.mark.skipif(not EMULATOR.is_file(), reason=f"{EMULATOR} is not here: .ci/packages fetches it, where npm is"),
]


def bundle() -> str:
    if EMULATOR.suffix == ".js":
        return EMULATOR.read_text()
    with tarfile.open(EMULATOR) as package:
        file = package.extractfile(BUNDLE)
        assert file is not None
        return file.read().decode()


@pytest.fixture
def headset(page: Page, play: Play) -> Iterator[Page]:
    """The page in a browser that has a headset."""
    size = page.browser.get_window_size()
    page.browser.set_window_size(500, 420)  # both eyes are drawn by a CPU
    added = page.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": bundle() + PUT_ON})
    page.browser.get(play.address)
    page.until(lambda state: state["frames"] > 3, "no picture was drawn")
    yield page
    page.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    page.browser.set_window_size(size["width"], size["height"])
    page.browser.get("about:blank")  # the next test loads it anew, without a headset


# Asking for each state from outside costs several pictures, and here a picture takes a tenth of a second.
STEPS = """
const done = arguments[arguments.length - 1];
const state = () => window.racing.state();
const press = (text) => [...document.querySelectorAll("button")].find((one) => one.textContent === text).click();
const until = async (what) => {
  const end = performance.now() + 60000;
  while (!what(state())) {
    if (performance.now() > end) throw new Error(`never: ${what}; last: ${JSON.stringify(state())}`);
    await new Promise((go) => setTimeout(go, 20));
  }
  return state();
};
const drawn = (pictures) => { const from = state().frames; return until((now) => now.frames >= from + pictures); };
const canvas = document.querySelector("canvas[aria-label^='the circuit']");
const picture = () => new Promise((go) => requestAnimationFrame(() => go(canvas.toDataURL()))); // of this frame
const seen = {};
(async () => { %s })().then(() => done(seen), (error) => done({ error: String(error) }));
"""
ENTER = """
press("enter VR");
await until((now) => now.vr);
press("pause");
await until((now) => now.paused && now.vr.length === 2);
seen.straight = await drawn(3);
seen.picture = await picture();
"""
DRIVE = """
headset.quaternion.set(0, Math.sin(0.25), 0, Math.cos(0.25)); // half a radian to the left
seen.turned = await drawn(3);
press("resume");
const { left, right } = headset.controllers;
right.updateButtonValue("a-button", 1);
await until((now) => now.driving && now.watched === 2);
right.updateButtonValue("trigger", 0.7);
left.updateAxes("thumbstick", -0.6, 0);
seen.left = await until(({ cars }) => cars[2].throttle_command > 0.6 && cars[2].steering_command > 0.3);
right.updateButtonValue("trigger", 0);
left.updateButtonValue("trigger", 1);
seen.brakes = await until(({ cars }) => cars[2].throttle_command < -0.9);
press("leave VR");
await until((now) => now.vr === null);
await drawn(3);
seen.picture = await picture();
seen.after = await until(({ cars }) => cars[2].throttle_command === 0);
"""


def run(page: Page, steps: str) -> dict[str, Any]:
    """What is seen in the course of these steps."""
    page.browser.set_script_timeout(2 * PATIENCE)
    seen: dict[str, Any] = page.browser.execute_async_script(STEPS % steps)
    assert "error" not in seen, seen["error"]
    return seen


def pixels(address: str) -> Any:
    """(H, W, 3) of a picture in a data: address."""
    png = base64.b64decode(address.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def eyes(state: dict[str, Any]) -> tuple[Any, Any]:
    """Where both are (2, 3) [m], and where they look (2, 3)."""
    at, ahead = ([eye[what] for eye in state["vr"]] for what in ("at", "ahead"))
    return np.array(at), np.array(ahead)


def test_without_a_headset_none_is_offered(page: Page):
    assert "VR" not in page.browser.find_element(By.CSS_SELECTOR, ".rv-bar").text


def test_both_eyes_see_the_road_from_the_seat_and_hands_drive(headset: Page):
    seen = run(headset, ENTER)
    straight = seen["straight"]
    car = straight["cars"][0]
    forward, left = ([np.cos(yaw), np.sin(yaw), 0] for yaw in (car["yaw"], car["yaw"] + np.pi / 2))
    at, ahead = eyes(straight)
    assert np.linalg.norm(at[0] - at[1]) == pytest.approx(0.063, abs=1e-3)
    assert (at[0] - at[1]) @ left > 0.06  # the left eye is on the left
    seat = np.array([car["x"], car["y"], 0.99]) - 0.3 * np.array(forward)
    assert at.mean(axis=0) == pytest.approx(seat, abs=0.01)
    assert ahead @ forward == pytest.approx(1, abs=1e-4)
    picture = pixels(seen["picture"])
    middle = picture.shape[1] // 2
    halves = picture[:, :middle], picture[:, -middle:]
    assert min(half.std() for half in halves) > 20
    assert np.abs(halves[0] - halves[1]).mean() > 0.5  # from two places
    assert np.corrcoef(halves[0].ravel(), halves[1].ravel())[0, 1] > 0.6  # of one road

    seen = run(headset, DRIVE)
    assert eyes(seen["turned"])[1] @ left == pytest.approx(np.sin(0.5), abs=0.01)
    assert seen["left"]["source"] == "vr"
    assert pixels(seen["picture"]).std() > 20
    assert not seen["after"]["paused"]
    assert headset.errors() == []
