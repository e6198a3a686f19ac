"""Policies that are evaluated by what their episodes cost: of tasks that say so themselves (ScoredTask)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from racing.config import build
from racing.envs.task import Cost, Part, ScoredTask
from racing.errors import require
from racing.evaluation.evaluate import Diverged
from racing.evaluation.evaluator import Evaluator, Policy
from racing.evaluation.files import csv_text
from racing.evaluation.intervals import named_mean
from racing.evaluation.result import flatten_numbers
from racing.evaluation.seeds import VALIDATION_SEEDS
from racing.evaluation.telemetry import write_parquet
from racing.files import write_atomic
from racing.runs.metrics import SCORE, rank

Array = npt.NDArray[Any]

SHEET, TABLE, HISTOGRAM, WORST = "costs.csv", "telemetry.parquet", "costs.png", "worst.png"
DRAWN = 4  # of the worst episodes
PLACE_GROUPS = ("track", "vehicle")  # of a configuration, that such tasks have no use for


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What the episodes of a policy cost; a racing.evaluation.evaluator.Result.

    episodes: one dict each, see `drive`. summary: see `summarise`. tables: telemetry of each episode; None: not kept.
    references: costs by name of each of the references' episodes, by name of the reference. task: what was driven.
    """

    episodes: list[dict[str, Any]]
    summary: dict[str, Any]
    tables: list[dict[str, Array]] | None
    references: Mapping[str, Sequence[Mapping[str, float]]]
    task: ScoredTask

    def key(self, target_finish_rate: float = 1.0) -> tuple[float, ...]:
        """What sorts policies: the first cost, the less the better."""
        return rank(self.summary)


class ScoreEvaluator(Evaluator):
    """Drives the fixed episodes of a ScoredTask; nothing random is drawn.

    Milestones: to cost less than each of the references.
    """

    shown: ClassVar[dict[str, str]] = {SHEET: "costs", HISTOGRAM: "cost_picture", WORST: "worst_picture"}

    def __init__(self, config: Mapping[str, Any], threads: int = 1) -> None:
        """config: of a run, resolved, or its groups env and eval. Raises InputError where a value breaks a rule."""
        for group in PLACE_GROUPS:
            rule = f"{group} must be left away: the environment has none"
            require(not config.get(group), f"{rule}; choose another env, or drop {group}=")
        self._make = build({**config["env"], "_partial_": True})
        self._episodes, self._threads = int(config["eval"]["episodes"]), threads
        kind = self._make.func
        self.place, self.tracks = {}, ()
        self.costs, self._names = kind.costs, kind.reference_names
        self.validation = (SCORE, *(cost.name for cost in self.costs), f"{self.costs[0].name}_median")
        self.milestones = tuple(f"better_than_{name}" for name in self._names)
        self._made: dict[Part, ScoredTask] = {}
        self._references: dict[Part, dict[str, list[dict[str, float]]]] = {}

    def task(self, part: Part = Part.TEST) -> ScoredTask:
        """What is driven in evaluations: made once."""
        if part not in self._made:
            self._made[part] = self._make(races=self._episodes, part=part, threads=self._threads)
        return self._made[part]

    def references(self, part: Part) -> dict[str, list[dict[str, float]]]:
        """What the references cost there: driven once."""
        if part not in self._references:
            self._references[part] = self.task(part).references()
        return self._references[part]

    def tags(self) -> dict[str, str]:
        """See Evaluator: what is driven in the end."""
        return {f"racing.{name}": text for name, text in self.task().facts().items()}

    def evaluate(self, policy: Policy, seeds: int, *, telemetry: bool) -> Scored:
        """See Evaluator."""
        part = Part.VALIDATION if seeds == VALIDATION_SEEDS else Part.TEST
        task, references = self.task(part), self.references(part)
        episodes, tables = drive(policy, task)
        summary = summarise(episodes, self.costs) | {
            "references": {name: reference_means(rows, self.costs) for name, rows in references.items()},
            **task.facts(),
        }
        kept = tables if telemetry else None
        return Scored(episodes=episodes, summary=summary, tables=kept, references=references, task=task)

    def metrics(self, result: Scored, prefix: str = "eval/") -> dict[str, float]:
        """See Evaluator."""
        return flatten_numbers(result.summary, prefix)

    def reached(self, result: Scored) -> list[str]:
        """See Evaluator."""
        cost, summary = self.costs[0].name, result.summary
        return [f"better_than_{name}" for name in self._names if summary[cost] < summary["references"][name][cost]]

    def reached_by(self, episodes: Sequence[Mapping[str, Any]]) -> list[str]:
        """See Evaluator: none, what is explored costs."""
        return []

    def rollout(self, episodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """See Evaluator."""
        return {f"rollout/{cost.name}": float(np.mean([e[cost.name] for e in episodes])) for cost in self.costs}

    def note(self, values: Mapping[str, float]) -> str:
        """See Evaluator."""
        cost = self.costs[0]
        found = values.get(f"rollout/{cost.name}")
        return "" if found is None else f"{cost.name} {found:.{cost.digits}f}"

    def write(self, result: Scored, folder: Path, policy: str, task: Any = None) -> list[Path]:
        """See Evaluator: a table, and with telemetry all rows, a histogram and the worst episodes drawn. No video."""
        sheet, table, histogram, worst = (folder / name for name in (SHEET, TABLE, HISTOGRAM, WORST))
        write_atomic(sheet, csv_text(episode_rows(result, self.costs[0].name)))
        if result.tables is None:
            return [sheet]
        from racing.evaluation.scores.picture import costs_picture

        write_parquet(result.tables, table, dict(result.task.telemetry_units))
        facts = [policy, *(f"{name} {text}" for name, text in result.task.facts().items() if "sha256" not in name)]
        costs_picture(result, self.costs[0], histogram, facts=facts)
        cost, name = self.costs[0], result.task.episode_name
        order = sorted(range(len(result.episodes)), key=lambda i: -result.episodes[i][cost.name])[:DRAWN]
        labels = [f"{result.episodes[i][name]}: {self._cost_text(result.episodes[i])}" for i in order]
        tables = [result.tables[i] for i in order]
        result.task.draw(tables, labels, f"The worst of {len(result.episodes)} episodes", facts, worst)
        return [sheet, table, histogram, worst]

    def _cost_text(self, episode: Mapping[str, Any]) -> str:
        return ", ".join(f"{cost.name} {episode[cost.name]:.{cost.digits}f}" for cost in self.costs)

    def write_video(self, result: Any, folder: Path, policy: str, task: Any) -> list[Path]:
        """See Evaluator: there is none."""
        return []

    def lines(self, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See Evaluator."""
        rows = []
        for cost in self.costs:
            mean, median = (f"{summary[name]:.{cost.digits}f}" for name in (cost.name, f"{cost.name}_median"))
            rows.append((cost.name.replace("_", " "), f"{mean}, median {median}"))
        first = self.costs[0]
        known = summary["references"].items()
        told = ", ".join(f"{name} {values[first.name]:.{first.digits}f}" for name, values in known)
        rows[0] = (rows[0][0], f"{rows[0][1]} of {summary['episodes']} unseen episodes; {told}")
        facts = [f"{name} {summary[name]}" for name in self.task().facts() if "sha256" not in name]
        return [*rows, ("driven", ", ".join(facts))]


def drive(policy: Policy, task: ScoredTask) -> tuple[list[dict[str, Any]], list[dict[str, Array]]]:
    """Drive the first episode of every car; returns what is said of each (N,), and its telemetry (N,).

    An episode's dict: its number, what the task says of it, reward (sum) and reward_terms (weighted sums by name).
    Raises Diverged for actions that are NaN or infinite.
    """
    task.world.restart_all()
    observation, _ = task.reset()
    cars, weights = task.num_cars, task.weights
    episodes: list[dict[str, Any]] = [{}] * cars
    tables: list[dict[str, Array]] = [{}] * cars
    done, rewards, terms = np.zeros(cars, bool), np.zeros(cars), np.zeros((cars, len(weights)))
    while not done.all():
        actions = policy(observation)
        if not np.isfinite(actions).all():
            raise Diverged("the policy's actions are not numbers (NaN): its training diverged; lower the learning rate")
        step = task.step_batch(np.clip(actions, -1.0, 1.0))
        rewards[~done] += step.reward[~done]
        terms[~done] += step.terms[~done]
        for i in np.flatnonzero((step.terminated | step.truncated) & ~done).tolist():
            weighted = dict(zip(task.reward_terms, (terms[i] * weights + 0.0).tolist(), strict=True))
            own = {"reward": float(rewards[i]), "reward_terms": weighted}
            episodes[i], tables[i] = {"episode": i, **task.last_episode(i), **own}, task.telemetry(i)
            done[i] = True
        observation = step.observation
    return episodes, tables


def summarise(episodes: Sequence[Mapping[str, Any]], costs: Sequence[Cost]) -> dict[str, Any]:
    """Of each cost NAME: its mean, NAME_low and NAME_high (95 % interval of it, Student's t), NAME_median.

    episodes: their number. score: minus the mean of the first cost. reward (mean, likewise) and reward_terms (means).
    """
    out: dict[str, Any] = {"episodes": len(episodes)}
    for cost in costs:
        values = [episode[cost.name] for episode in episodes]
        out |= named_mean(cost.name, values) | {f"{cost.name}_median": float(np.median(values))}
    out[SCORE] = -out[costs[0].name]
    out |= named_mean("reward", [episode["reward"] for episode in episodes])
    names = episodes[0]["reward_terms"]
    out["reward_terms"] = {name: float(np.mean([e["reward_terms"][name] for e in episodes])) for name in names}
    return out


def reference_means(rows: Sequence[Mapping[str, float]], costs: Sequence[Cost]) -> dict[str, float]:
    """Mean and median of each cost of a reference's episodes."""
    out: dict[str, float] = {}
    for cost in costs:
        values = [row[cost.name] for row in rows]
        out |= {cost.name: float(np.mean(values)), f"{cost.name}_median": float(np.median(values))}
    return out


def episode_rows(result: Scored, cost: str) -> list[dict[str, Any]]:
    """A row of plain values for each episode; REFERENCE_COST: what the references cost there."""
    rows = []
    for i, episode in enumerate(result.episodes):
        row = {key: value for key, value in episode.items() if not isinstance(value, list | dict)}
        row |= {f"reward_{name}": value for name, value in episode["reward_terms"].items()}
        rows.append(row | {f"{name}_{cost}": found[i][cost] for name, found in result.references.items()})
    return rows
