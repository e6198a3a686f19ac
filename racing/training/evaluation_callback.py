"""Callback: metrics into the journal, the progress bar, evaluation, the choice of the best policy."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger

from racing.algos.common import BatchAlgorithm
from racing.evaluation.evaluator import Evaluator, Result
from racing.evaluation.seeds import VALIDATION_SEEDS
from racing.runs.journal import Journal
from racing.runs.metrics import of_agent
from racing.training.observer import TrainingObserver
from racing.training.progress_bar import ProgressBar

EVERY = 4096  # [steps] between two records of what the cars did
RECENT = 200  # episodes that averages run over
FOREVER = 1 << 62  # [steps]


class JournalWriter(KVWriter):
    """Stable-Baselines3's logger output: numbers go to the journal."""

    def __init__(self, journal: Journal, before: int) -> None:
        """journal: open for writing. before: steps of the runs that this one began from."""
        self._journal, self._before = journal, before

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Record all numbers but SB3's wall-clock ones and its averages over episodes: this callback has its own."""
        numbers = {k: float(v) for k, v in key_values.items() if isinstance(v, int | float | np.number)}
        kept = {k: v for k, v in numbers.items() if not k.startswith(("time/", "rollout/ep_"))}
        self._journal.metrics(self._before + step, kept)

    def close(self) -> None:
        """Nothing to close."""


class AgentLogger(Logger):
    """What an agent records goes to the logger of all, under its name."""

    def __init__(self, agent: str, logger: Logger) -> None:
        """logger: of all."""
        super().__init__(None, [])
        self._agent, self._logger = agent, logger

    def record(self, key: str, value: Any, exclude: Any = None) -> None:
        """See Logger."""
        self._logger.record(of_agent(self._agent, key), value, exclude)


def set_loggers(model: BatchAlgorithm, logger: Logger) -> None:
    """Let a model, and each of its agents, record to `logger`."""
    model.set_logger(logger)
    for name, learner in model.learners.items():
        learner.set_logger(AgentLogger(name, logger) if name else logger)


@dataclass
class Kept:
    """What is kept of a learner's policies.

    key: of the best one's worst result, see Evaluation.key. step: of the best one. parameters: its networks'; None:
    there is none yet.
    half: those of the policy when half of the training was done, kept of each of several agents.
    """

    key: tuple[float, ...] = (-math.inf,)
    step: int = 0
    parameters: dict[str, Any] | None = None
    half: dict[str, Any] | None = None


class EvaluationCallback(BaseCallback):
    """Logs what the cars do, evaluates the policy between two rollouts and keeps the best one in memory.

    Of several agents it does so for each of them.

    Evaluated is every `every_steps` steps from the fraction `start_fraction` of the training on, and at its end. Of
    many policies that finish now and then, some finish all starts by luck: who would be the best so far drives more.
    """

    def __init__(
        self,
        journal: Journal,
        progress: ProgressBar,
        evaluate: Callable[[BatchAlgorithm, int], Result],
        evaluator: Evaluator,
        rules: Mapping[str, Any],
        *,
        total_steps: int,
        steps_before: int,
        observer: TrainingObserver,
    ) -> None:
        """Nothing is evaluated yet.

        evaluator: says what is told of evaluations.
        evaluate: drives the present policy of a learner from starts of these seeds (Evaluator.evaluate).
        rules: config group `eval`.
        total_steps: environment steps of this training.
        steps_before: steps that its initial weights have seen; everything recorded counts them.
        observer: follows the evaluations, but for the last one.
        """
        super().__init__()
        self._journal, self._progress, self._evaluate, self._observer = journal, progress, evaluate, observer
        self._evaluator = evaluator
        self._every, self._target_finish_rate = int(rules["every_steps"]), float(rules["target_finish_rate"])
        self._next_evaluation = max(int(rules["start_fraction"] * total_steps), self._every)
        self._total_steps, self._steps_before = total_steps, steps_before
        self._recent: list[dict[str, Any]] = []
        self._recorded = 0
        self.kept: dict[str, Kept] = {}  # by name of the learner, once the training begins
        # Steps and seconds of each.
        self.milestones: dict[str, dict[str, float] | None] = dict.fromkeys(evaluator.milestones)
        self.eval_time_s = 0.0
        self._lately: deque[tuple[float, int]] = deque(maxlen=20)  # seconds of learning and steps: how fast it is now
        self._learned_s = 0.0  # in processes before this one, up to the checkpoint that it resumes from
        self._began = self._evaluated_s = 0.0

    @property
    def step(self) -> int:
        """Steps so far, with those of the runs that this one began from: the step of everything recorded."""
        return self._steps_before + int(self.model.num_timesteps)

    @property
    def leader(self) -> str:
        """Name of the learner whose best policy is the best of all, the first of equals."""
        return max(self.kept, key=lambda name: self.kept[name].key)

    @property
    def best_steps(self) -> set[int]:
        """Steps of the best policies."""
        return {kept.step for kept in self.kept.values()}

    @property
    def learning_s(self) -> float:
        """Seconds of learning, without those of evaluations, nor of what a kill undid."""
        return self._learned_s + time.perf_counter() - self._began - self._evaluated_s

    def get_state(self) -> dict[str, Any]:
        """What the rest of the training depends on; policies as references."""
        return {
            "next_judgement": self._next_evaluation,
            "recent": self._recent,
            "recorded": self._recorded,
            "kept": {name: dict(vars(kept)) for name, kept in self.kept.items()},
            "milestones": dict(self.milestones),
            "judging_s": self.eval_time_s,
            "learning_s": self.learning_s,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `get_state()`."""
        self._next_evaluation, self._recorded = state["next_judgement"], state["recorded"]
        self._recent = state["recent"]
        before = {"key": "best", "step": "best_step", "parameters": "best_parameters"}  # as earlier versions kept it
        kept = state.get("kept") or {"": {name: state[old] for name, old in before.items()}}
        self.kept = {name: Kept(**one) for name, one in kept.items()}
        self.milestones |= state.get("milestones") or {"first_lap": state["first_lap"]}  # as earlier versions kept it
        self.eval_time_s, self._learned_s = state["judging_s"], state["learning_s"]

    def _init_callback(self) -> None:
        for name in self.model.learners:
            self.kept.setdefault(name, Kept())

    def _on_training_start(self) -> None:
        self._began = time.perf_counter()
        self._lately.append((self.learning_s, self.model.num_timesteps))
        self._progress.begin(self.model.num_timesteps)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        steps = self.model.num_timesteps
        if steps - self._recorded < EVERY:
            return
        self._recorded = steps
        ended = self.training_env.take_episodes()
        self._recent = (self._recent + ended)[-RECENT:]
        for milestone in self._evaluator.reached_by(ended):
            self._reach(milestone, self.learning_s)
        values = self._describe(self._recent)
        for agent in filter(None, self.kept):
            own = self._describe([episode for episode in self._recent if episode["agent"] == agent])
            values |= {of_agent(agent, name): value for name, value in own.items()}
        self._journal.metrics(self.step, {**values, "time/fps": steps / max(self.learning_s, 1e-9)})
        self._lately.append((self.learning_s, steps))
        speed = (steps - self._lately[0][1]) / max(self.learning_s - self._lately[0][0], 1e-9)
        note = ", ".join(filter(None, (f"{speed:,.0f} steps/s", self._evaluator.note(values))))
        self._progress.update(steps, note)

    def _describe(self, episodes: list[dict[str, Any]]) -> dict[str, float]:
        """Averages over ended training episodes, by metric name; empty without any."""
        return (describe(episodes) | self._evaluator.rollout(episodes)) if episodes else {}

    def _reach(self, milestone: str, seconds: float) -> None:
        """Keep when it was, if that is the first time. seconds: of learning."""
        if self.milestones[milestone] is None:
            self.milestones[milestone] = {"steps": self.model.num_timesteps, "seconds": seconds}
            self._journal.event(milestone, step=self.step, seconds=seconds)

    def _on_rollout_start(self) -> None:
        if 2 * self.model.num_timesteps >= self._total_steps:
            for name, kept in self.kept.items():
                if name and kept.half is None:
                    kept.half = self._parameters(name)
        if self._every and self.model.num_timesteps >= self._next_evaluation:
            self._next_evaluation = self.model.num_timesteps + self._every
            self.evaluate()

    def _on_training_end(self) -> None:
        if self._every and self._next_evaluation < FOREVER:
            self._next_evaluation = FOREVER  # a resumed run that had learned all is not evaluated a second time
            self.evaluate()

    def evaluate(self) -> None:
        """Evaluate the policy as it is now, each agent's, and keep it if it is the best so far.

        Observers are told of the best agent's result.
        """
        began, learned = time.perf_counter(), self.learning_s
        best_before = self.kept[self.leader].key
        results = {n: self._evaluate(learner, VALIDATION_SEEDS) for n, learner in self.model.learners.items()}
        for name, result in results.items():
            self._judge(name, result, learned)
        steps = int(self.model.num_timesteps)
        if steps < self._total_steps:
            result = max(results.values(), key=lambda one: one.key(self._target_finish_rate))
            if self.kept[self.leader].key > best_before:
                self._observer.best(steps, result)
            self._observer.evaluated(steps, result)
        seconds = time.perf_counter() - began
        self.eval_time_s += seconds
        self._evaluated_s += seconds

    def _judge(self, learner: str, result: Result, learned: float) -> None:
        """Record how a learner's policy drives and keep it if it is its best so far. learned: [s] so far."""
        metrics = self._evaluator.metrics(result, "validation/")
        recorded = [f"validation/{name}" for name in self._evaluator.validation]
        self._journal.metrics(self.step, {of_agent(learner, n): metrics[n] for n in recorded if n in metrics})
        for milestone in self._evaluator.reached(result):
            self._reach(milestone, learned)
        kept, key = self.kept[learner], result.key(self._target_finish_rate)
        for seeds in self._evaluator.confirming:
            if key > kept.key:
                again = self._evaluate(self.model.learners[learner], seeds)
                key = min(key, again.key(self._target_finish_rate))
        if key > kept.key:
            kept.key, kept.step, kept.parameters = key, self.step, self._parameters(learner)

    def _parameters(self, learner: str) -> dict[str, Any]:
        """A copy of the parameters of a learner's policy."""
        state = self.model.learners[learner].policy.state_dict()
        return {name: tensor.clone() for name, tensor in state.items()}


def describe(episodes: list[dict[str, Any]]) -> dict[str, float]:
    """Averages of rewards and lengths over ended training episodes, at least one, by metric name."""
    values = {
        "rollout/ep_rew_mean": float(np.mean([episode["reward"] for episode in episodes])),
        "rollout/ep_len_mean": float(np.mean([episode["steps"] for episode in episodes])),
    }
    for name in episodes[0]["terms"]:
        values[f"rollout/terms/{name}"] = float(np.mean([episode["terms"][name] for episode in episodes]))
    return values
