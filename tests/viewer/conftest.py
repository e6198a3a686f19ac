"""A circuit, a kart, and drivers that need no training."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from racing.config import compose_run
from racing.evaluation.evaluate import Policy
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.reference_lap import reference_lap
from racing.viewer.cars.drivers import Driver, Place
from racing.viewer.cars.lap_trace import LapTrace, trace_of_reference
from tests.support.browser import opened
from tests.support.drivers import group

PATIENCE = 120.0  # [s]


@pytest.fixture(scope="session")
def place(wavy: Track, kart: Vehicle) -> Place:
    return Place(track=wavy, vehicle=kart, reference_s=reference_lap(wavy, kart).time_s, seed=3)


@pytest.fixture(scope="session")
def reference(place: Place) -> LapTrace:
    return trace_of_reference(place.track, reference_lap(place.track, place.vehicle))


def keeps_to_the_middle(observation: Any) -> Any:
    """Steers along the road by heading error and rays, at about 12 m/s: of env=mlp, whose seven rays come first."""
    rays, speed, error = observation[:, :7], observation[:, 7], observation[:, 8]
    steer = 0.6 * (rays[:, 1] - rays[:, 5]) + 0.3 * (rays[:, 2] - rays[:, 4]) - 0.5 * error
    return np.stack([steer, 3 * (12 / 35 - speed)], axis=1).astype(np.float32)


@pytest.fixture(scope="session")
def driver(place: Place) -> Callable[..., Driver]:
    """driver(name, policy, changes of env=mlp): who drives there."""
    env = compose_run(["env=mlp"])["env"]

    def make(name: str = "middle", policy: Policy = keeps_to_the_middle, **changes: Any) -> Driver:
        return Driver(name=name, kind="policy", task=lambda: place.task(env | changes), wheel=lambda task: policy)

    return make


WEIGHTS = {"steer": {1: 0.6, 2: 0.3, 4: -0.3, 5: -0.6, 8: -0.5}, "throttle": {7: -3.0}}  # of `keeps_to_the_middle`


def circle_file(folder: Path) -> Path:
    """A circuit whose lap takes ten seconds: 94 m round, 9 m wide."""
    angles = np.arange(0, 2 * np.pi, 0.1)
    rows = [f"{15 * np.cos(a):.4f},{15 * np.sin(a):.4f},4.5,4.5" for a in angles]
    path = folder / "ring.csv"
    path.write_text("\n".join(["# x_m,y_m,w_tr_right_m,w_tr_left_m", *rows]))
    return path


def policy_file(path: Path, track: Path, speed: float) -> Path:
    """`keeps_to_the_middle` as an ONNX file, at another speed [m/s], with what it remembers of its training."""
    weights = np.zeros((10, 2), np.float32)
    for column, entries in enumerate(WEIGHTS.values()):
        for row, value in entries.items():
            weights[row, column] = value
    remembered = {
        "env": group("env/mlp"),
        "track": {"_target_": "racing.tracks.catalog.load_tracks", "file": str(track)},
        "vehicle": group("vehicle/kart"),
    }
    return linear_file(path, weights, [0.0, 3 * speed / 35], remembered)


def linear_file(path: Path, weights: Any, bias: Any, remembered: dict[str, Any]) -> Path:
    """The policy observation @ weights + bias as an ONNX file. remembered: groups of its configuration."""
    numbers = {"weights": weights, "bias": bias}
    constants = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in numbers.items()]
    seen = helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["N", weights.shape[0]])
    done = helper.make_tensor_value_info("action", TensorProto.FLOAT, ["N", weights.shape[1]])
    node = helper.make_node("Gemm", ["observation", "weights", "bias"], ["action"])
    graph = helper.make_graph([node], "policy", [seen], [done], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    for name, content in remembered.items():
        model.metadata_props.add(key=name, value=json.dumps(content))
    save(model, path)
    return path


class Play:
    """`racing play` in a process of its own."""

    def __init__(self, outputs: Path, *arguments: str, **environment: str) -> None:
        self.outputs, self.arguments, self.environment = outputs, arguments, environment
        self.port = 0
        self.start()

    def start(self) -> None:
        """Until it says its address, on the port that it had before."""
        words = ["play", "open=false", f"port={self.port}", f"paths.outputs={self.outputs}", *self.arguments]
        environment = {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "racing", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment | self.environment,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found = re.match(r"(https?://[\w.-]+:(\d+)/)", line)
            if found:
                self.address, self.port = found[1], int(found[2])
                return
        raise AssertionError("it ended before it served")

    def kill(self) -> None:
        """At once."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()  # type: ignore[union-attr]


def connected(play: Play, query: str = "", **headers: str) -> Any:
    """A connection as a page has it, by another program. query: of its address."""
    from websockets.sync.client import connect

    address = f"ws://127.0.0.1:{play.port}/racing/link{query}"
    return connect(address, origin=headers.get("origin"), max_size=None, proxy=None, open_timeout=60, close_timeout=5)


def greeting(play: Play) -> dict[str, Any]:
    """What a page is told first."""
    with connected(play) as link:
        return dict(json.loads(link.recv(timeout=60)))


@pytest.fixture(scope="session")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return circle_file(tmp_path_factory.mktemp("ring"))


@pytest.fixture(scope="session")
def policies(ring: Path) -> list[Path]:
    """Two policies that go round the ring."""
    return [policy_file(ring.with_name(f"{name}.onnx"), ring, speed) for name, speed in (("quick", 9), ("calm", 7))]


@pytest.fixture(scope="session")
def play(policies: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    """One server for all tests, on which both drive."""
    try:
        import nicegui  # noqa: F401
    except ModuleNotFoundError:
        pytest.skip("NiceGUI is not here: pip install 'racing[viewer]'")
    server = Play(tmp_path_factory.mktemp("outputs"), f"run=[{policies[0]},{policies[1]}]")
    yield server
    server.kill()


class Page:
    """What the page shows, and what can be done there."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self.browser = browser

    def state(self) -> dict[str, Any]:
        return self.browser.execute_script("return window.racing ? window.racing.state() : {}") or {}

    def until(self, what: Callable[[dict[str, Any]], Any], why: str) -> dict[str, Any]:
        """The state, as soon as it is as wanted."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            state = self.state()
            if state.get("connected") and (state.get("cars") or state.get("drivers")) and what(state):
                return state
            time.sleep(0.05)
        raise AssertionError(f"{why}; last: {self.state()}")

    def car(self, name: str) -> dict[str, Any]:
        return next(car for car in self.state()["cars"] if car["name"] == name)

    def press(self, *keys: str) -> None:
        ActionChains(self.browser).send_keys(*keys).perform()

    def errors(self) -> list[str]:
        return [line["message"] for line in self.browser.get_log("browser") if line["level"] == "SEVERE"]

    def pixels(self) -> Any:
        """(H, W, 3) of what is drawn in three dimensions."""
        png = self.browser.find_element(By.CSS_SELECTOR, "canvas[aria-label^='the circuit']").screenshot_as_png
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One for all tests; few pixels, for they are drawn by a CPU."""
    with opened(tmp_path_factory.mktemp("browser"), "820,640", gl=True) as driver:
        yield driver


@pytest.fixture(scope="module")
def window(browser: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """Its window, which shows no page when others count those that are open."""
    yield browser
    browser.get("about:blank")


@pytest.fixture
def page(window: webdriver.Chrome, play: Play) -> Iterator[Page]:
    """Loaded, and as it was before it was ever used."""
    if window.current_url != play.address:
        window.get(play.address)
    there = Page(window)
    there.until(lambda state: state["frames"] > 3, "no picture was drawn")
    yield there
    assert there.errors() == []
    if there.state().get("driving"):
        there.press("e")
        there.until(lambda state: not state["driving"], "it still drives")
