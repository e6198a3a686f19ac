"""Headless Chromium, driven by selenium."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.mlflow_server import PATIENCE

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
ALONE = "headless=new no-sandbox no-first-run disable-background-networking disable-component-update disable-sync"
WITH_GL = "use-gl=angle use-angle=swiftshader enable-unsafe-swiftshader"  # three dimensions, by the CPU
PAUSE = 70  # [ms] between two pictures in three dimensions: without, a CPU draws nothing but the next one
FRUGAL = """
const next = window.requestAnimationFrame.bind(window);
let waiting = new Map(), number = 0;
window.requestAnimationFrame = (draw) => {
  if (waiting.size === 0) setTimeout(() => next((now) => {
    const due = waiting;
    waiting = new Map();
    for (const each of due.values()) each(now);
  }), PAUSE);
  waiting.set(++number, draw);
  return number;
};
window.cancelAnimationFrame = (which) => waiting.delete(which);
const solid = () => document.querySelector("canvas[aria-label^='the circuit']");
Object.defineProperty(window, "devicePixelRatio", { get: () => (solid() ? 0.5 : 1) });
const context = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, options) {
  return context.call(this, kind, { ...options, antialias: false });
};
"""
needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium is not here: .ci/packages installs it")


@contextlib.contextmanager
def opened(profile: Path, size: str = "1500,1000", *, gl: bool = False) -> Iterator[webdriver.Chrome]:
    """A browser that logs what pages say and what they ask of the network. profile: an empty folder.

    gl: it draws in three dimensions, few pictures a second of few pixels, and does not log the network.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (*ALONE.split(), *(WITH_GL if gl else "disable-gpu").split(), f"window-size={size}"):
        options.add_argument(f"--{argument}")
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"} | ({} if gl else {"performance": "ALL"}))
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    if gl:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": f"const PAUSE = {PAUSE};\n{FRUGAL}"})
    try:
        yield driver
    finally:
        driver.quit()


def wait_for(browser: webdriver.Chrome, by: str, what: str) -> WebElement:
    """The first of these elements that can be seen."""

    def shown(seen: webdriver.Chrome) -> WebElement | None:
        return next((element for element in seen.find_elements(by, what) if element.is_displayed()), None)

    redrawn = [StaleElementReferenceException]  # between finding and asking
    return WebDriverWait(browser, PATIENCE, ignored_exceptions=redrawn).until(shown, f"{what} never came")
