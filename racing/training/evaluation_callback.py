"""What happens beside the learning: metrics into the journal, the live line, the choice of the best policy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter

from racing.evaluation.result import Evaluation, flat_metrics
from racing.runs.journal import Journal
from racing.training.progress_bar import ProgressLine

EVERY = 4096  # [steps] between two records of what the cars did
RECENT = 200  # episodes that averages run over
FOREVER = 1 << 62  # [steps]

Judge = Callable[[BaseAlgorithm], Evaluation]


class JournalWriter(KVWriter):
    """Stable-Baselines3's logger output: numbers go to the journal."""

    def __init__(self, journal: Journal, before: int) -> None:
        """journal: open for writing. before: steps of the runs that this one began from."""
        self._journal, self._before = journal, before

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Record all numbers but SB3's wall-clock ones and its averages over episodes: the monitor has its own."""
        numbers = {k: float(v) for k, v in key_values.items() if isinstance(v, int | float | np.number)}
        kept = {k: v for k, v in numbers.items() if not k.startswith(("time/", "rollout/ep_"))}
        self._journal.metrics(self._before + step, kept)

    def close(self) -> None:
        """Nothing to close."""


class Monitor(BaseCallback):
    """Watches one training.

    judge: evaluates the current policy on the selection starts; called between two rollouts, every `every` steps from
    `begin` steps on, and at the end. The policy with the best rank is kept in memory: `best_parameters`.
    """

    def __init__(
        self,
        journal: Journal,
        line: ProgressLine,
        judge: Judge,
        *,
        every: int,
        begin: int,
        finish_rate: float,
        before: int = 0,
        improved: Callable[[int, Evaluation], None] | None = None,
        judged: Callable[[int, Evaluation], None] | None = None,
    ) -> None:
        """See the class; finish_rate: a policy that finishes at least so often is ranked by its lap time alone.

        before: steps of the runs that this one began from; `begin` does not count them, everything recorded does.
        improved: called with the step and what was driven, when a policy is the best so far; judged: whenever one was
        judged.
        """
        super().__init__()
        self._journal, self._line, self._judge = journal, line, judge
        self._every, self._next_judgement, self._enough = every, max(begin, every), finish_rate
        self._before, self._improved, self._judged = before, improved, judged
        self._recent: list[dict[str, Any]] = []
        self._recorded = 0
        self._best: tuple[float, float] = (-1.0, 0.0)
        self.best_parameters: dict[str, Any] | None = None
        self.best_step = 0
        self.first_lap: dict[str, float] | None = None
        self.judging_s = 0.0
        self._learned_s = 0.0  # in processes before this one, up to the checkpoint that it continues
        self._began = self._judged_s = 0.0

    @property
    def step(self) -> int:
        """Steps so far, with those of the runs that this one began from: the step of everything recorded."""
        return self._before + int(self.model.num_timesteps)

    @property
    def learning_s(self) -> float:
        """Seconds of learning, without those spent on judging, nor on what a kill undid."""
        return self._learned_s + time.perf_counter() - self._began - self._judged_s

    def get_state(self) -> dict[str, Any]:
        """What the rest of the training depends on; the best policy as references."""
        return {
            "next_judgement": self._next_judgement,
            "recent": self._recent,
            "recorded": self._recorded,
            "best": self._best,
            "best_step": self.best_step,
            "best_parameters": self.best_parameters,
            "first_lap": self.first_lap,
            "judging_s": self.judging_s,
            "learning_s": self.learning_s,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `get_state()`."""
        self._next_judgement, self._recorded = state["next_judgement"], state["recorded"]
        self._recent, self._best, self.best_step = state["recent"], state["best"], state["best_step"]
        self.best_parameters, self.first_lap = state["best_parameters"], state["first_lap"]
        self.judging_s, self._learned_s = state["judging_s"], state["learning_s"]

    def _on_training_start(self) -> None:
        self._began = time.perf_counter()
        self._line.begin(self.model.num_timesteps)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        steps = self.model.num_timesteps
        if steps - self._recorded < EVERY:
            return
        self._recorded = steps
        ended = self.training_env.take_episodes()
        self._recent = (self._recent + ended)[-RECENT:]
        if self.first_lap is None and any(episode["laps"] for episode in ended):
            self.first_lap = {"steps": steps, "seconds": self.learning_s}
            self._journal.event("first_lap", step=self.step, seconds=self.learning_s)
        values = describe(self._recent)
        speed = steps / max(self.learning_s, 1e-9)
        self._journal.metrics(self.step, {**values, "time/steps_per_s": speed})
        note = f"{speed:,.0f} steps/s"
        if "rollout/lap_time_s" in values:
            note += f", last laps {values['rollout/lap_time_s']:.1f} s"
        self._line.update(steps, note)

    def _on_rollout_start(self) -> None:
        if self._every and self.model.num_timesteps >= self._next_judgement:
            self._next_judgement = self.model.num_timesteps + self._every
            self.consider()

    def _on_training_end(self) -> None:
        if self._every and self._next_judgement < FOREVER:
            self._next_judgement = FOREVER  # a continued run that had learned all is not judged a second time
            self.consider()

    def consider(self) -> None:
        """Judge the policy as it is now and keep it if it is the best so far."""
        began = time.perf_counter()
        result = self._judge(self.model)
        names = ("finish_rate", "lap_time_s", "lap_ratio", "off_track_m")
        metrics = flat_metrics(result, "selection/")
        self._journal.metrics(self.step, {k: v for k, v in metrics.items() if k.removeprefix("selection/") in names})
        rank = rank_of(result.summary, self._enough)
        if rank > self._best:
            self._best, self.best_step = rank, self.step
            state = self.model.policy.state_dict()
            self.best_parameters = {name: tensor.clone() for name, tensor in state.items()}
            if self._improved is not None:
                self._improved(self.step, result)
        if self._judged is not None:
            self._judged(self.step, result)
        seconds = time.perf_counter() - began
        self.judging_s += seconds
        self._judged_s += seconds


def rank_of(summary: Mapping[str, Any], enough: float) -> tuple[float, float]:
    """Order of policies: who finishes more often, up to `enough`; then who laps faster."""
    ratio = summary["lap_ratio"]
    return min(float(summary["finish_rate"]), enough), -float(ratio) if ratio is not None else -np.inf


def describe(episodes: list[dict[str, Any]]) -> dict[str, float]:
    """Averages over ended training episodes, by metric name; empty without any."""
    if not episodes:
        return {}
    values = {
        "rollout/reward": float(np.mean([episode["reward"] for episode in episodes])),
        "rollout/steps": float(np.mean([episode["steps"] for episode in episodes])),
        "rollout/progress_m": float(np.mean([episode["progress"] for episode in episodes])),
        "rollout/off_track_rate": float(np.mean([episode["ended"] == "off_track" for episode in episodes])),
    }
    for name in episodes[0]["terms"]:
        values[f"rollout/terms/{name}"] = float(np.mean([episode["terms"][name] for episode in episodes]))
    laps = [episode["lap_time"] for episode in episodes if episode["lap_time"] > 0]
    if laps:
        values["rollout/lap_time_s"] = float(np.mean(laps[-20:]))
    return values
