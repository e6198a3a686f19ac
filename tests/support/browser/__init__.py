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
needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium is not here: .ci/packages installs it")


@contextlib.contextmanager
def opened(profile: Path, size: str = "1500,1000", *, gl: bool = False) -> Iterator[webdriver.Chrome]:
    """A browser that logs what pages say and what they ask of the network. profile: an empty folder.

    gl: it draws in three dimensions, and does not log the network.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (*ALONE.split(), *(WITH_GL if gl else "disable-gpu").split(), f"window-size={size}"):
        options.add_argument(f"--{argument}")
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"} | ({} if gl else {"performance": "ALL"}))
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
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
