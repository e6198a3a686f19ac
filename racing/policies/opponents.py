"""`env.pool`: policies that race against the learner's cars and do not learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from racing.errors import require
from racing.policies.loading import LoadedPolicy, load_policy
from racing.policies.teacher import MEANING


@dataclass(frozen=True, kw_only=True)
class Opponents:
    """Policies of a pool. names: name exactly these, `<policy>#<sha256>`."""

    names: list[str]
    policies: list[LoadedPolicy]


def find_opponents(pool: Any, outputs: Path, env: Mapping[str, Any], *, trust: bool = False) -> Opponents:
    """The policies that `env.pool` means, each as `racing evaluate run=` takes it, and exactly as the file is now.

    env: config group of those who race against them.
    trust: see `load_policy`.
    Raises InputError where one is none, has changed since it was named, or its sensors mean something else.
    """
    listed = isinstance(pool, Sequence) and not isinstance(pool, str)
    rule = f"env.pool must be a list of runs or files, got {pool!r}; e.g. env.pool=[my-run-1a2b3c4d]"
    require(listed and all(isinstance(spec, str) and spec for spec in pool), rule)
    names, policies = [], []
    for spec in pool:
        place, _, wanted = spec.partition("#")
        require(
            place != "latest", "env.pool must name runs: repeated, the command would race against others; name them"
        )
        policy = load_policy(place, outputs, trust=trust)
        rule = f"env.pool: {place} must be the policy {wanted}, it is {policy.sha256[:12]} now; name it anew"
        require(policy.sha256.startswith(wanted), rule)
        check_sensors(policy, env, "env.pool")
        names.append(f"{place}#{policy.sha256[:12]}")
        policies.append(policy)
    return Opponents(names=names, policies=policies)


def check_sensors(policy: LoadedPolicy, env: Mapping[str, Any], key: str) -> None:
    """Raise InputError if what a policy says of its sensors differs from a config group `env`.

    key: where the policy is named.
    """
    theirs = policy.config.get("env", {})
    for name in MEANING if theirs else ():
        differs = f"env.{name} is {theirs.get(name)}, not {env.get(name)}"
        rule = f"{key}: {policy.name} must have the sensors of the others in the race, its {differs}"
        require(theirs.get(name) == env.get(name), f"{rule}; set env.{name}, or take another one")
