"""Episodes that say themselves what they cost, on the page: what they cost there is what an evaluation reports."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from racing.commands.play.options import parse
from racing.commands.play.stage import make_stage
from racing.envs.lateral.observation import NAMES
from racing.errors import InputError
from racing.evaluation.evaluator import Policy
from racing.evaluation.scores.evaluator import drive
from racing.policies.loading import load_policy
from racing.policies.scored import score_evaluator
from racing.runs.directory import open_run
from racing.viewer.scores.session import REST, EpisodeBegun, EpisodeDone, ScoreSession
from racing.viewer.scores.stage import ScoreStage, scored_driver, scored_policy
from racing.viewer.stage import View
from tests.support.browser import needs_browser
from tests.support.drivers import group
from tests.viewer.conftest import Page, Play, linear_file

ROUTES = 2
COSTS = ("total_cost", "lataccel_cost", "jerk_cost")


@pytest.fixture(scope="module")
def steers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that steers by small random weights: nothing of it is symmetric."""
    weights = 0.03 * np.random.default_rng(0).standard_normal((len(NAMES), 1))
    env = group("env/lateral", holdout_routes=ROUTES)
    env.pop("defaults", None)
    return linear_file(tmp_path_factory.mktemp("lateral") / "steers.onnx", weights, [0.01], {"env": env})


def offline(policy: Any, of: Policy | None = None, name: str = "") -> list[dict[str, float]]:
    """What all routes cost, driven in one batch. of: who drives; None: a driver of that name."""
    task: Any = score_evaluator(policy, ROUTES, driven=of is None).task()
    if of is None:
        driver = task.driver(name)
        episodes, _ = drive(lambda _: driver(), task)
    else:
        episodes, _ = drive(of, task)
    return [{cost: episode[cost] for cost in COSTS} for episode in episodes]


def driven(session: ScoreSession, count: int) -> tuple[list[Any], list[Any]]:
    """Events until so many episodes are over, and all messages, one a step."""
    events: list[Any] = []
    messages = [np.frombuffer(session.messages()[0], np.float32)]
    while sum(isinstance(event, EpisodeDone) for event in events) < count:
        session.try_out()
        events += session.events
        session.events = []
        messages.append(np.frombuffer(session.messages()[0], np.float32))
    return events, messages


def test_what_it_costs_is_what_an_evaluation_reports_bit_for_bit(steers: Path):
    policy = load_policy(str(steers), Path("outputs"))
    stage = ScoreStage("two", [scored_policy(policy), scored_driver("pid", policy, 1.0)])
    events, messages = driven(stage.session(), ROUTES)
    own, pid = offline(policy, policy.predict), offline(policy, name="pid")
    begun = [event for event in events if isinstance(event, EpisodeBegun)]
    done = [event for event in events if isinstance(event, EpisodeDone)]
    assert [event.number for event in begun] == [0, 1]
    assert [event.costs for event in done] == [[own[route], pid[route]] for route in range(ROUTES)]
    assert own[0] != pid[0]
    # The last message of the first route has what it costs, too; all of them its four hundred rows, each once.
    first = [one for one in messages if one[6] == 0]
    assert sum(int(one[8]) for one in first) == 400
    assert first[-1][-6:] == pytest.approx([*own[0].values(), *pid[0].values()], rel=1e-6)
    assert len([one for one in first if one[8] == 0]) == round(REST / 0.1)  # at its start, and while it rests
    plan = begun[0].plan["target"]
    lataccel = np.concatenate([one[12 : 12 + 4 * int(one[8])].reshape(-1, 2, 2)[:, 0, 0] for one in first])
    assert 100 * np.mean((np.array(plan[:400]) - lataccel) ** 2) == pytest.approx(own[0]["lataccel_cost"], rel=1e-3)


def test_a_route_is_chosen_and_begun_again(steers: Path):
    session = ScoreStage("one", [scored_policy(load_policy(str(steers), Path("outputs")))]).session()
    for _ in range(5):
        session.try_out()
    session.do("episode", {"number": 1 + ROUTES})  # they go round
    session.do("restart", {"along": None})
    begun = session.events[-1]
    assert (begun.number, begun.name) == (1, session.task.episode_names[1])
    message = np.frombuffer(session.messages()[0], np.float32)
    assert message[6:12].tolist() == [1, 0, 0, 1, 2, 3]
    session.try_out()
    assert np.frombuffer(session.messages()[0], np.float32)[6:9].tolist() == [1, 0, 1]


def test_only_who_drives_the_same_is_shown_together(steers: Path, tmp_path: Path):
    env = group("env/lateral", holdout_routes=ROUTES, route_seed=7)
    env.pop("defaults", None)
    other = linear_file(tmp_path / "other.onnx", np.zeros((len(NAMES), 1)), [0.0], {"env": env})
    with pytest.raises(InputError, match="run: other and steers must drive the same, their .* differ"):
        make_stage(parse([f"run=[{steers},{other}]", f"paths.outputs={tmp_path}"]) or {})
    with pytest.raises(InputError, match="track=oval is of cars on tracks, steers drives none"):
        make_stage(parse([f"run={steers}", "track=oval", f"paths.outputs={tmp_path}"]) or {})
    with pytest.raises(InputError, match="driver must be one of policy, .*mpc, got 'optimal'"):
        make_stage(parse(["env=lateral", "driver=optimal", f"paths.outputs={tmp_path}"]) or {})


@pytest.mark.slow
@needs_browser
def test_the_page_follows_a_route_and_goes_on(page: Page, play: Play, steers: Path):
    config = {"name": "steers", "env": load_policy(str(steers), Path("outputs")).config["env"]}
    browser = page.browser
    with open_run(play.outputs, "steers", config, [], {}) as run:
        shutil.copy(steers, run.paths.policy_onnx)
        browser.get(f"{play.address}?run={run.name}")
        page.until(lambda state: state.get("count", 0) > 2, "nobody drives")
        for rate in (2, 4, 8, 16):
            page.press("+")
            page.until(lambda state, rate=rate: state["rate"] == rate, "it is no faster")
        done = page.until(lambda state: state["done"] and state["number"] == 1, "the route has no end")["done"][0]
        policy = load_policy(str(steers), Path("outputs"))
        assert done["costs"] == [offline(policy, policy.predict)[0]]
        page.press(" ")
        page.until(lambda state: state["paused"], "it goes on")
        Select(browser.find_element(By.CSS_SELECTOR, ".rs-choice")).select_by_index(0)
        stood = page.until(lambda state: state["number"] == 0 and state["count"] == 0, "it is another route")
        assert stood["drivers"] == [run.name]
        page.press("w", "p")
        page.until(lambda state: state["whole"] and state["count"] > 5, "it stands")
        page.press("p")  # who draws has no time for screenshots on a loaded machine
        page.until(lambda state: state["paused"], "it goes on")
        size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        try:
            wide = "return [document.documentElement.scrollWidth, document.querySelector('.rv-bar').scrollWidth]"
            assert max(browser.execute_script(wide)) <= 360
            lines = browser.find_element(By.CSS_SELECTOR, ".rs-panels").screenshot_as_png
            picture = np.asarray(Image.open(io.BytesIO(lines)).convert("RGB")).astype(int)
            assert (np.abs(picture - [0, 114, 178]).max(axis=2) < 9).sum() > 30  # of the driver's line
        finally:
            browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert page.errors() == []
    browser.get(play.address)


def test_a_run_of_either_kind_has_its_page(tmp_path: Path, steers: Path):
    from racing.commands.play.stage import make_stages

    stages = make_stages(parse([f"paths.outputs={tmp_path}"]) or {})
    assert (stages.first, stages.view(None)) == (None, View.CARS)
    for name, env, view in (("s", "lateral", View.SCORES), ("c", "mlp", View.CARS)):
        with open_run(tmp_path, name, {"name": name, "env": group(f"env/{env}")}, [], {}) as run:
            assert stages.view(run.name) == view
    assert stages.view("../nowhere") == View.CARS
