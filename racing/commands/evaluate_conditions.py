"""`racing evaluate conditions=... settings=...`: other conditions, another env than a policy was trained in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from racing.commands.options import short_hash
from racing.config import choices, compose_run, explain, hint
from racing.errors import InputError, read_group, require

if TYPE_CHECKING:
    from racing.policies.loading import LoadedPolicy


def given_conditions(options: Mapping[str, Any]) -> list[Any]:
    """What `conditions` names, as a list."""
    given = options["conditions"]
    return [] if given is None else given if isinstance(given, list) else [given]


def check_conditions(options: Mapping[str, Any]) -> None:
    """Raise InputError unless `conditions` are names of conf/conditions, changes, or a list of them."""
    known = choices("conditions")
    for one in given_conditions(options):
        rule = f"conditions must be {', '.join(known)}, changes such as {{tyres: {{start_wear: 0}}}}, or a list of both"
        require(isinstance(one, dict) or one in known, f"{rule}, got {one!r}; see docs/conditions.md")


def in_conditions(policy: LoadedPolicy, options: Mapping[str, Any]) -> LoadedPolicy:
    """The policy with the environment that `conditions` makes of its own; what it senses of them stays.

    Raises InputError for wrong keys and values.
    """
    given = given_conditions(options)
    if not given:
        return policy
    from racing.sim.conditions.config import ConditionsConfig

    env = dict(policy.config["env"])
    own = env.get("conditions") or {}
    merged: dict[str, Any] = dict(own)
    for one in given:
        changes = compose_run([f"conditions={one}"])["env"]["conditions"] if isinstance(one, str) else one
        merged = OmegaConf.to_container(OmegaConf.merge(merged, changes))  # type: ignore[assignment]
    merged["sensed"] = own.get("sensed") or []
    read_group("conditions", merged, ConditionsConfig)
    return replace(policy, config={**policy.config, "env": {**env, "conditions": merged}})


def conditions_label(options: Mapping[str, Any]) -> str:
    """The conditions, for the name of a folder: that of the file, if it is a single one."""
    given = given_conditions(options)
    if not given:
        return ""
    return f"-{given[0]}" if len(given) == 1 and isinstance(given[0], str) else f"-conditions_{short_hash(given)}"


def with_settings(policy: LoadedPolicy, options: Mapping[str, Any]) -> LoadedPolicy:
    """The policy with the changes that `settings` makes to its environment. Raises InputError for keys it has not."""
    changes = options["settings"]
    if changes is None:
        return policy
    rule = f"settings must be keys of the policy's env, got {changes!r}; e.g. settings={{dynamics: FILE.onnx}}"
    require(isinstance(changes, dict), rule)
    own = dict(policy.config.get("env") or {})
    known = sorted(key for key in own if not key.startswith("_"))
    for name in changes:
        require(name in known, f"settings: unknown key {str(name)!r}; {hint(str(name), known)}")
    env = OmegaConf.create(own, flags={"struct": True})
    try:
        merged = OmegaConf.to_container(OmegaConf.merge(env, changes))
    except OmegaConfBaseException as error:
        raise InputError(f"settings: {explain(error)}") from error
    return replace(policy, config={**policy.config, "env": merged})
