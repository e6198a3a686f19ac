"""What a search varies, in Hydra's own syntax for sweeps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Quote, QuotedString, RangeSweep
from hydra.errors import HydraException

from racing.config import TEXTS, as_text
from racing.errors import InputError, require
from racing.renamed_keys import key_of
from racing.runs.identity import NOT_IDENTITY, flatten

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SYNTAX = "choice(a, b), interval(0.9, 0.99), int(interval(1, 9)), range(1, 9) or tag(log, interval(1e-5, 1e-3))"
PREFIX = "tuning.space."  # of keys of the space
ARGUMENTS = ("tuning.sampler.", "tuning.pruner.")


def parse_space(space: Any) -> dict[str, BaseDistribution]:
    """Optuna's distributions by key, in the order of `space`.

    space: nested or dotted keys -> text, or None for a key that is not varied after all. `choice` gives a categorical
    distribution whose values are override texts; `range`, whose stop is excluded, steps; `interval` bounds, both
    included; `int(...)` whole numbers; `tag(log, ...)` a logarithmic scale. Raises InputError for anything else, and
    for keys that change nothing that is computed.
    """
    require(isinstance(space, Mapping) and len(space) > 0, f"tuning.space must be KEY: SPACE, got {space!r}; {SYNTAX}")
    texts = {key: text for key, text in flatten(space).items() if text is not None}
    require(len(texts) > 0, f"tuning.space must have a key that is not null; {SYNTAX}")
    return {key: _distribution(key, text) for key, text in texts.items()}


def _distribution(key: str, text: Any) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution

    name = f"{PREFIX}{key}={text}"
    computes = key.lstrip("+").partition(".")[0] not in NOT_IDENTITY
    require(computes, f"{name} must be of a key that a result depends on; search for something else")
    rule = f"{name} must be a space of values, such as {SYNTAX}"
    require(isinstance(text, str), rule)
    try:
        override = OverridesParser.create().parse_override(f"{key}={text}")
        value = override.value()
        if isinstance(value, IntervalSweep | RangeSweep):
            return _numbers(name, value)
        require(override.is_choice_sweep(), rule)
        choices = list(dict.fromkeys(override.sweep_string_iterator()))
    except InputError:
        raise
    except (HydraException, ValueError) as error:
        raise InputError(f"{rule}; {' '.join(str(error).split())[:200]}") from error
    require("log" not in getattr(value, "tags", ()), f"{name} has no scale; leave log away")
    return CategoricalDistribution(choices)


def _numbers(name: str, value: IntervalSweep | RangeSweep) -> BaseDistribution:
    """The distribution of an interval or a range. Raises InputError where a bound is out of place."""
    from optuna.distributions import FloatDistribution, IntDistribution

    if isinstance(value, RangeSweep):
        steps = list(value.range())
        require(value.step > 0 and len(steps) > 0, f"{name} must count upwards to more than its start; swap them")
        low, high, step = steps[0], steps[-1], value.step
    else:
        bounds: Any = (value.start, value.end)
        (low, high), step = bounds, None
        require(low <= high, f"{name} must have its lower bound first; swap them")
    log, whole = "log" in value.tags, isinstance(low, int) and isinstance(high, int)
    require(set(value.tags) <= {"log"}, f"{name} has tags {sorted(value.tags)}; the only one is log")
    require(not log or low > 0, f"{name} must be above 0 for a logarithmic scale; raise it, or leave log away")
    require(not log or step in (None, 1), f"{name} cannot have steps on a logarithmic scale; use an interval")
    if whole:
        return IntDistribution(low, high, log=log, step=int(step or 1))
    return FloatDistribution(low, high, log=log, step=None if log or step is None else float(step))


def overrides_of(params: Mapping[str, Any]) -> list[str]:
    """Values of parameters as overrides: `algo.gamma=0.99`. Floats keep all their digits."""
    return [f"{key}={value!r}" if isinstance(value, float) else f"{key}={value}" for key, value in params.items()]


def example(space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """One point of the space: the first choice, the lower bound."""
    return {key: d.choices[0] if hasattr(d, "choices") else d.low for key, d in space.items()}


def search_for_hydra(override: str) -> list[str]:
    """Write an override of the group tuning as Hydra takes it.

    SPACE of `tuning.space.KEY=SPACE` is put in quotes, as Hydra would sweep itself; KEY may be a new one. A whole
    `tuning.space={...}`, or sampler or pruner, replaces what was there, which Hydra would merge. Any argument of the
    sampler or pruner may be given: whether it has that one is known when it is built. Raises InputError for
    tuning.workers=0, of which Hydra would make no job at all.
    """
    key, equals, value = override.partition("=")
    if key_of(override) in TEXTS:
        return [as_text(override)]
    none = key == "tuning.workers" and not re.fullmatch(r"[1-9]\d*", value)
    require(not none, f"{override} must be a whole number, at least 1; 1 is usual on one machine")
    if key in ("tuning.space", "tuning.sampler", "tuning.pruner") and value.startswith("{"):
        return [f"~{key}", f"+{override}"]
    if key.startswith(ARGUMENTS) and equals:
        return [f"++{override}"]
    if not key.startswith(PREFIX) or not equals:
        return [override]
    bare = value == "null" or value[:1] in ("'", '"')
    return [f"++{key}={value if bare else QuotedString(value, Quote.double).with_quotes()}"]
