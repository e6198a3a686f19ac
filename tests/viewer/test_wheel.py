"""A wheel is set up by turning and pressing, by keys alone, and drives as it was set up from then on."""

from __future__ import annotations

import json

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.browser import needs_browser
from tests.viewer.conftest import Page, Play

pytestmark = [pytest.mark.slow, needs_browser]
NAME = "Odd Wheel (Vendor: 1234 Product: abcd)"
# Turns the wrong way round, and no further than -0.8 to the right; its middle is off; pedals rest at 1, full is -1.
WHEEL = f"""
window.moved = [0.1, 0, 1, 1];
navigator.getGamepads = () => [null, {{ id: {json.dumps(NAME)}, connected: true, axes: window.moved, buttons: [] }}];
"""
STEER, THROTTLE, BRAKE = 0, 3, 2


def move(page: Page, axis: int, *values: float) -> None:
    """Move an axis there and there, each for some pictures."""
    for value in values:
        page.browser.execute_script(f"window.moved[{axis}] = {value}")
        frames = page.state()["frames"]
        page.until(lambda state, frames=frames: state["frames"] > frames + 1, "no picture is drawn")


def test_a_wheel_is_set_up_and_kept(page: Page, play: Play):
    browser = page.browser
    page.press("c")
    page.until(lambda state: state["wheel"] is not None and state["wheel"]["id"] == "", "there is no dialog")
    browser.execute_script(WHEEL)
    page.until(lambda state: state["wheel"]["id"] == NAME, "the wheel is not seen")
    page.press(Keys.ENTER)
    move(page, THROTTLE, 0.95)  # a tremor is no movement
    assert page.state()["wheel"]["step"] == 0
    for step, (axis, way) in enumerate([(STEER, (1.0, -0.8, 0.1)), (THROTTLE, (-1.0, 0.95)), (BRAKE, (-1.0, 1.0))]):
        move(page, axis, way[0])
        assert not page.state()["wheel"]["complete"]  # it is held
        move(page, axis, *way[1:])
        seen = page.until(lambda state: state["wheel"]["complete"], "the movement is not seen")["wheel"]
        assert (seen["step"], seen["found"].split(":")[0]) == (step, f"axis {axis + 1}")
        page.press(Keys.ENTER)
    page.until(lambda state: state["wheel"]["done"], "it asks for more")
    page.press(*[Keys.ARROW_RIGHT] * 7)  # of the dead zone, in hundredths
    page.until(lambda state: state["wheel"]["deadZone"] == pytest.approx(0.1), "the dead zone is another one")
    browser.find_element(By.XPATH, "//dialog//button[text()='save']").send_keys(Keys.ENTER)
    page.until(lambda state: state["wheel"] is None, "the dialog is still there")
    # Another page knows it.
    browser.get(play.address)
    page.until(lambda state: state["frames"] > 3, "no picture was drawn")
    browser.execute_script(WHEEL)
    page.press("e")
    page.until(lambda state: state["driving"], "nobody drives")
    move(page, STEER, 0.1 + 0.9 * 0.55)  # half of what is beyond the dead zone, to the left
    move(page, THROTTLE, 0.95 - 1.95 * 0.55)
    asked = lambda name, value: page.until(  # noqa: E731
        lambda state: state["cars"][2][name] == pytest.approx(value, abs=0.01), f"{name} is not {value}"
    )
    asked("steering_command", 0.5)
    asked("throttle_command", 0.5)
    assert page.state()["source"] == "gamepad"
    move(page, STEER, 0.1 - 0.9)
    move(page, THROTTLE, 0.95 - 0.15)  # within the dead zone
    move(page, BRAKE, -1.0)
    asked("steering_command", -1)
    asked("throttle_command", -1)
    browser.execute_script("navigator.getGamepads = () => []")
    assert page.errors() == []
    browser.execute_script("localStorage.clear()")
