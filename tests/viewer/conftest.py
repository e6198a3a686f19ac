"""A circuit, a kart, and drivers that need no training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from racing.config import compose_run
from racing.evaluation.evaluate import Policy
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.reference_lap import reference_lap
from racing.viewer.drivers import Driver, Place
from racing.viewer.lap_trace import LapTrace, trace_of_reference


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
