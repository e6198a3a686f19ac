"""Who drives scored episodes, as several pages share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from racing.envs.task import Part
from racing.policies.loading import LoadedPolicy
from racing.policies.scored import score_evaluator
from racing.viewer.scores.session import ScoreDriver, ScoreSession
from racing.viewer.stage import Stage, View


def scored_policy(policy: LoadedPolicy) -> ScoreDriver:
    """A policy, in the environment that it was trained in."""
    return ScoreDriver(
        name=policy.name,
        task=lambda: score_evaluator(policy, 1).task(Part.TEST),
        wheel=lambda task: policy.predict,
    )


def scored_driver(name: str, policy: LoadedPolicy, pace: float) -> ScoreDriver:
    """A driver that a policy's environment offers (racing.envs.task.HasDrivers). pace: see there."""

    def wheel(task: Any) -> Any:
        drive = task.driver(name, pace=pace)
        return lambda _: drive()

    return ScoreDriver(name=name, task=lambda: score_evaluator(policy, 1, driven=True).task(Part.TEST), wheel=wheel)


@dataclass
class ScoreStage(Stage):
    """Drivers beside each other. title: who drives. first: number of the first episode."""

    view = View.SCORES
    title: str
    drivers: Sequence[ScoreDriver]
    first: int = 0
    news: list[str] = field(default_factory=list)

    def session(self) -> ScoreSession:
        """See Stage."""
        return ScoreSession(self.drivers, first=self.first)

    def greeting(self, session: ScoreSession) -> dict[str, Any]:
        """See Stage: what there is to show, and in which panels."""
        task = session.task
        return {
            "facts": {name: text for name, text in task.facts().items() if "sha256" not in name},
            "drivers": [car.name for car in session.cars],
            "episodes": list(task.episode_names),
            "kind": task.episode_name,  # what an episode is called
            "panels": task.panels,
            "units": dict(task.telemetry_units),
            "columns": list(task.so_far(0)),  # of the rows; the others are planned
            "costs": [{"name": cost.name, "digits": cost.digits} for cost in task.costs],
            "ahead": task.ahead,
        }
