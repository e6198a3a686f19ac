"""The pictures of docs/sweeps.md: a finished sweep in MLflow's pages.

    racing train -m name=oval track=oval seed=1,2 algo.learning_rate=1e-3,3e-3 algo.total_timesteps=400000 \\
        eval.every_steps=50000 eval.start_fraction=0.2 paths.outputs=demo
    racing ui port=5000 paths.outputs=demo
    python docs/make_sweep_pictures.py http://127.0.0.1:5000 demo

Needs Chromium and its driver (.ci/packages).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from mlflow import MlflowClient
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from racing.tracking.store import embedded_uri

PICTURES = Path(__file__).resolve().parent / "img"
PATIENCE = 120.0  # [s] for a page to come
SETTLE = 8.0  # [s] for its charts to be drawn


def main() -> None:
    """Write sweep_runs.png and sweep_compare.png."""
    address, outputs = sys.argv[1], Path(sys.argv[2])
    client = MlflowClient(embedded_uri(outputs))
    experiment = client.get_experiment_by_name("racing").experiment_id
    runs = client.search_runs([experiment])
    parent = next(run for run in runs if "racing.kind" in run.data.tags)
    children = [run.info.run_id for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    options = webdriver.ChromeOptions()
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1600,1000"):
        options.add_argument(f"--{argument}")
    browser = webdriver.Chrome(options=options)
    browser.get(f"{address}/#/experiments/{experiment}/runs?compareRunsMode=CHART")
    row = f"//div[@role='gridcell'][.//a[contains(., '{parent.info.run_name}')]]//button"
    WebDriverWait(browser, PATIENCE).until(lambda seen: seen.find_elements(By.XPATH, row))[0].click()
    close_assistant(browser)
    time.sleep(SETTLE)
    search(browser, "rollout/lap_time_s")
    time.sleep(SETTLE)
    browser.save_screenshot(str(PICTURES / "sweep_runs.png"))
    chosen = f"runs={json.dumps(children)}&experiments={json.dumps([experiment])}".replace(" ", "")
    browser.get(f"{address}/#/compare-runs?{chosen}")
    WebDriverWait(browser, PATIENCE).until(lambda seen: seen.find_elements(By.CSS_SELECTOR, ".parcoords"))
    time.sleep(SETTLE)
    browser.save_screenshot(str(PICTURES / "sweep_compare.png"))
    browser.quit()


def close_assistant(browser: webdriver.Chrome) -> None:
    """The panel at the right takes a third of the page."""
    for button in browser.find_elements(By.CSS_SELECTOR, "[data-component-id='mlflow.assistant.chat_panel.close']"):
        button.click()


def search(browser: webdriver.Chrome, text: str) -> None:
    """Show the charts of these metrics alone."""
    boxes = browser.find_elements(By.CSS_SELECTOR, "input[placeholder='Search metric charts']")
    next(box for box in boxes if box.is_displayed()).send_keys(text)


if __name__ == "__main__":
    main()
