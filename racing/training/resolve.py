"""From a composed configuration to the one that is trained: checked, exact, and frozen from there on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from racing.config import plain
from racing.training.checks import checked

if TYPE_CHECKING:
    from racing.policies.init_from import InitialWeights
    from racing.policies.opponents import Opponents
    from racing.policies.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class ResolvedConfig:
    """What a training computes, and where it is recorded: final.

    tree: the whole configuration, read-only; `init_from` and `algo.teacher` name exact weights.
    initial_weights: those of `init_from`; None to begin from random ones.
    teacher: that of `algo.teacher`; None without one.
    opponents: those of `env.pool`.
    """

    tree: DictConfig
    initial_weights: InitialWeights | None
    teacher: Teacher | None
    opponents: Opponents | None = None

    @cached_property
    def values(self) -> dict[str, Any]:
        """The tree as plain data, for records; a copy that changes nothing."""
        return plain(self.tree)

    @property
    def outputs(self) -> Path:
        """Root of everything that is written, absolute."""
        return Path(self.tree.paths.outputs).resolve()

    @property
    def steps_before(self) -> int:
        """Environment steps that the initial weights have seen."""
        return self.initial_weights.steps if self.initial_weights else 0

    def provenance(self) -> dict[str, Any]:
        """Where the weights come from, for provenance.json."""
        return {"ancestor": self.initial_weights.provenance()} if self.initial_weights else {}


def resolve(cfg: DictConfig) -> ResolvedConfig:
    """Check `cfg` (conf/train.yaml, composed), find the weights that it names, and freeze it.

    Raises InputError where a value breaks a rule that no constructor checks, or the weights are not there.
    """
    values = checked(cfg)
    outputs, uri = Path(values["paths"]["outputs"]).resolve(), values["tracking"]["uri"]
    initial, teacher, opponents, trust = None, None, None, bool(values.get("trust"))
    if values["init_from"] is not None:
        from racing.policies.init_from import find_initial_weights  # torch: only where weights are wanted

        initial = find_initial_weights(values["init_from"], outputs, uri, trust=trust)
        values["init_from"] = initial.spec
    if values["algo"].get("teacher") is not None:
        from racing.policies.teacher import find_teacher

        teacher = find_teacher(values["algo"], outputs, uri, values["env"], trust=trust)
        values["algo"]["teacher"] = teacher.spec
    if values["env"].get("pool"):
        from racing.policies.opponents import find_opponents

        opponents = find_opponents(values["env"]["pool"], outputs, values["env"], trust=trust)
        values["env"]["pool"] = opponents.names
    tree = OmegaConf.create(values, flags={"readonly": True, "struct": True})
    return ResolvedConfig(tree=tree, initial_weights=initial, teacher=teacher, opponents=opponents)
