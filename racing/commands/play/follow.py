"""A run that is still being trained, as a policy: that of its newest checkpoint, and of each that follows."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import torch as th
from omegaconf import OmegaConf

from racing.errors import InputError, require
from racing.observations import shapes_of
from racing.policies.foreign_code import TARGETS, refuse_foreign_code
from racing.policies.loading import LoadedPolicy
from racing.policies.snapshots import reviver, weights_of
from racing.runs.checkpoints import Checkpoint, Checkpoints
from racing.runs.directory import RunDirectory
from racing.training.build import check_buildable

OFTEN = 2.0  # [s] between two looks for a newer checkpoint


class Follower:
    """Drives as the newest checkpoint of a run says.

    say: takes a line when that is another one.
    """

    def __init__(self, run: RunDirectory, say: Callable[[str], None], *, trust: bool) -> None:
        """The policy of the newest checkpoint. Raises InputError where the run has none that can be driven.

        trust: build what the run's configuration names, be it racing's own or not.
        """
        self.run, self._say = run, say
        checkpoint = self._newest()
        none = f"run {run.name} ({run.status}) has no checkpoint yet, nor a policy; try again when it has one"
        if checkpoint is None:
            raise InputError(none)
        if not trust:
            refuse_foreign_code(run.config, f"run {run.name}", list(TARGETS))
        self._model = check_buildable(OmegaConf.create(run.config), init_from=None, teacher=None)
        several = f"run {run.name} ({run.status}) trains several agents; wait for its end, then name one as RUN@AGENT"
        require("" in self._model.learners, several)
        self._revive = reviver(self._model)
        self.step = -1
        self._take(checkpoint)

    def policy(self, *, trust: bool) -> LoadedPolicy:
        """It as a policy like others."""
        return LoadedPolicy(
            name=self.run.name,
            backend="torch",
            shapes=shapes_of(self._model.observation_space),
            predict=lambda observation: self._predict(observation),
            config=self.run.config,
            trusted=trust,
            run=self.run,
        )

    def look(self) -> bool:
        """Take a newer checkpoint, if there is one; returns whether there was."""
        checkpoint = self._newest()
        if checkpoint is None or checkpoint.step <= self.step:
            return False
        try:
            self._take(checkpoint)
        except InputError:  # it was removed meanwhile, for a newer one
            return False
        self._say(f"{self.run.name}: the policy after {self.step:,} steps drives now")
        return True

    def keep_looking(self) -> None:
        """`look` every OFTEN seconds, for as long as somebody drives as this one says."""
        found, waiting = weakref.ref(self), threading.Event()

        def looking() -> None:
            while (follower := found()) is not None:
                follower.look()
                del follower
                waiting.wait(OFTEN)

        threading.Thread(target=looking, daemon=True, name=f"follow {self.run.name}").start()

    def _newest(self) -> Checkpoint | None:
        there = Checkpoints(self.run.path).all()
        return there[-1] if there else None

    def _take(self, checkpoint: Checkpoint) -> None:
        weights: dict[str, Any] = checkpoint.load("policy")
        fits = all(isinstance(value, th.Tensor) for value in weights.values())
        require(fits, f"run {self.run.name}: its checkpoint holds the policies of several agents; wait for its end")
        self._model.policy.load_state_dict(weights)
        self._predict = self._revive(weights_of(self._model))  # in one step: a page may be driving
        self.step = checkpoint.step
