"""Laps that are known beforehand: on a circle, at speeds that are functions of the place; and driven ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from racing.evaluation.evaluate import evaluate, evaluation_task
from racing.evaluation.result import Evaluation
from racing.evaluation.telemetry import COLUMNS
from racing.sim.track import Track, build_track
from racing.sim.vehicle import Vehicle
from tests.support.drivers import follow, group

RADIUS = 50.0  # [m]
STEP = 0.1  # [s]


@pytest.fixture(scope="session")
def circle() -> Track:
    """Driven counter-clockwise from (50, 0), 8 m wide, with four gates."""
    t = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    half = np.full(len(t), 4.0)
    points = RADIUS * np.stack([np.cos(t), np.sin(t)], axis=1)
    left, right = (points * (1 + side * 4.0 / RADIUS) for side in (-1, 1))
    gates = np.stack([left, right], axis=1)[[100, 200, 300, 0]]
    return build_track("circle", points, half, half, gates=gates)


@pytest.fixture(scope="session")
def drive(circle: Track) -> Callable[..., dict[str, np.ndarray]]:
    """drive(pace, start=10, lateral=1): telemetry at a constant pace [m/s] along the centreline, a little to its left.

    start: [m] before the first gate that it passes, at a quarter of the lap.
    """

    def telemetry(pace: float, start: float = 10.0, lateral: float = 1.0) -> dict[str, np.ndarray]:
        time = np.arange(0, (2.1 * circle.length + start) / pace, STEP)
        along = circle.length / 4 - start + pace * time
        angle = 2 * np.pi * along / circle.length
        columns: dict[str, Any] = dict.fromkeys(COLUMNS, np.zeros(len(time)))
        columns |= {
            "x": (RADIUS - lateral) * np.cos(angle),
            "y": (RADIUS - lateral) * np.sin(angle),
            "yaw": (angle + np.pi / 2 + np.pi) % (2 * np.pi) - np.pi,
            "s": along % circle.length,
            "lateral": np.full(len(time), lateral),
            "distance": pace * time,
            "v": np.full(len(time), pace),
            "lap": np.floor((along - circle.length / 4) / circle.length) + 1,
        }
        return {"time_s": time.astype(np.float32), **{k: v.astype(np.float32) for k, v in columns.items()}}

    return telemetry


@pytest.fixture(scope="session")
def driven(wavy: Track, kart: Vehicle) -> Evaluation:
    """Four starts at four paces, which vary over the lap."""
    env = group("env/mlp")
    env["episodes"]["start_speed"] = [0.2, 0.4]
    task = evaluation_task(env, [wavy], kart, [120.0], races=4, laps=2, seed=1)
    paces = np.array([8.0, 8.5, 9.0, 9.5])
    return evaluate(lambda _: follow(task.world, paces + np.sin(task.cars["s"] / 40)), task)
