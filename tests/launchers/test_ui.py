"""A finished sweep in MLflow's own pages, opened by a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from racing.commands import ui
from racing_launchers.sweep import Sweep
from tests.launchers.test_sweep import mlflow_runs
from tests.support.browser import needs_browser, opened, wait_for
from tests.support.mlflow_server import PATIENCE, Server

pytestmark = [pytest.mark.slow, needs_browser]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with opened(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture(scope="module")
def page(finished: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the pages that `racing ui` serves (tests/commands/test_runs.py), on the sweep's store."""
    server = Server(tmp_path_factory.mktemp("pages"), finished.outputs / "mlflow.db")
    server.start()
    yield server.uri
    server.kill()


def says(browser: webdriver.Chrome, *texts: str) -> None:
    """Wait until the page says all of these."""

    def missing(seen: webdriver.Chrome) -> bool:
        said = seen.execute_script("return document.body.textContent")
        return all(text in said for text in texts)

    WebDriverWait(browser, PATIENCE).until(missing, f"the page does not say all of {texts}")


@pytest.mark.slow
def test_the_jobs_of_a_sweep_hang_below_it_and_are_compared(
    browser: webdriver.Chrome,
    page: str,
    finished: Sweep,
):
    found = mlflow_runs(finished)
    (parent,) = found[""]
    children = [run.info.run_id for run in found[parent.info.run_id]]
    lapped = next(run.info.run_id for run in found[parent.info.run_id] if "eval/lap_time_s_best" in run.data.metrics)
    labels = [job.label for job in finished.jobs]
    experiment = parent.info.experiment_id
    # The list of runs: the sweep; its jobs once it is opened. Their charts beside it.
    browser.get(f"{page}/#/experiments/{experiment}/runs?compareRunsMode=CHART")
    says(browser, finished.name)
    assert not any(label in browser.execute_script("return document.body.textContent") for label in labels)
    row = f"//div[@role='gridcell'][.//a[contains(., '{finished.name}')]]//button"
    wait_for(browser, By.XPATH, row).click()
    says(browser, *labels)
    # The chart of a metric over steps.
    browser.get(f"{page}/#/experiments/{experiment}/runs/{lapped}/model-metrics")
    wait_for(browser, By.CSS_SELECTOR, "input[placeholder='Search metric charts']").send_keys("eval/lap_time_s")
    says(browser, "eval/lap_time_s_best")
    wait_for(browser, By.CSS_SELECTOR, ".js-plotly-plot .scatterlayer .trace")
    # Compared: parallel coordinates over what was varied.
    query = f"runs={json.dumps(children)}&experiments={json.dumps([experiment])}"
    browser.get(f"{page}/#/compare-runs?{query}".replace(" ", ""))
    wait_for(browser, By.CSS_SELECTOR, ".js-plotly-plot .parcoords")
    says(browser, "Parallel Coordinates Plot", "algo.learning_rate", "seed", *labels)


def test_the_page_that_racing_ui_opens_has_laps_in_columns_and_the_run_says_what_it_reached(
    browser: webdriver.Chrome, page: str, finished: Sweep
):
    *_, address = ui.server(5000, finished.outputs)
    browser.get(page + address)
    says(browser, finished.name, "eval/finish_rate", "eval/lap_time_s")
    (parent,) = (found := mlflow_runs(finished))[""]
    run = found[parent.info.run_id][0]
    browser.get(f"{page}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
    says(browser, "finish rate: ", "Again, and compared: racing reproduce run=")
