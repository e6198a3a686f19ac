"""Policies of known pace, and where they meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from racing.cli import main
from racing.evaluation.race.suites import Place
from racing.league.contenders import find_contenders
from racing.league.match import Contender
from racing.runs.directory import RunDirectory
from racing.sim.vehicle import Vehicle
from tests.support.drivers import linear_driver, make_run


@pytest.fixture(scope="session")
def league_outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("league")


@pytest.fixture(scope="session")
def racers(league_outputs: Path, kart: Vehicle) -> list[RunDirectory]:
    """A slow one and a fast one that steer at the centreline of the oval, exported."""
    found = [make_run(league_outputs, linear_driver(kart, pace), seed=int(pace)) for pace in (10.0, 16.0)]
    for run in found:
        assert main(["export", f"run={run.path}"]) == 0
    return found


@pytest.fixture(scope="session")
def met(racers: list[RunDirectory], league_outputs: Path) -> tuple[list[Contender], Place]:
    """Both, and a line follower that is slower than the fast one."""
    return find_contenders([*(str(run.path) for run in racers), "line@0.5"], league_outputs)
