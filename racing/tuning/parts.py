"""Optuna's sampler and pruner, as conf/tuning describes them: a class by its name, with its own arguments."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import OmegaConf

from racing.config import build, choices, config_directories, explain, hint
from racing.errors import InputError, require

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler


def make_sampler(node: Mapping[str, Any], seed: int) -> BaseSampler:
    """The sampler that `tuning.sampler` describes; a class that takes no seed gets none. Raises InputError."""
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import BaseSampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        own = {"seed": seed} if "seed" in parameters_of("sampler", node) else {}
        made = _build("sampler", node, **own)
    require(
        isinstance(made, BaseSampler), _rule("sampler", node, "a sampler of Optuna, such as optuna.samplers.TPESampler")
    )
    return made


def make_pruner(node: Mapping[str, Any] | None) -> BasePruner:
    """The pruner that `tuning.pruner` describes; one that prunes nothing for null. Raises InputError."""
    from optuna.pruners import BasePruner, NopPruner

    if node is None:
        return NopPruner()
    parameters_of("pruner", node)
    made = _build("pruner", node)
    require(
        isinstance(made, BasePruner), _rule("pruner", node, "a pruner of Optuna, such as optuna.pruners.MedianPruner")
    )
    return made


def parameters_of(part: str, node: Any) -> Container[str]:
    """The arguments that the class of `tuning.<part>` takes. Raises InputError where it names none, or gives others."""
    from hydra._internal.utils import _locate  # get_object logs what it raises

    target = node.get("_target_") if isinstance(node, Mapping) else None
    require(isinstance(target, str), f"tuning.{part} must name a class as _target_, got {node!r}; see conf/tuning")
    try:
        found = _locate(str(target))
    except Exception as error:  # whatever the module raises that is imported for it
        rule = _rule(part, node, "a class that can be imported")
        raise InputError(f"{rule}: {' '.join(str(error).split())[:200]}") from error
    try:
        parameters = inspect.signature(found).parameters
    except (TypeError, ValueError):  # no class, or one that does not say what it takes
        return ()
    others = [key for key in node if not key.startswith("_") and key not in parameters]
    any_other = any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values())
    wrong = f"tuning.{part}: {str(target).rpartition('.')[2]} has no argument {others[0] if others else ''!r}"
    require(any_other or not others, f"{wrong}; {hint(others[0] if others else '', list(parameters))}")
    return parameters


def own_arguments(part: str, node: Any, overrides: Sequence[str], typed: Container[str]) -> Any:
    """`node`, of `tuning.<part>`, without the arguments that are left of another class.

    `tuning=tpe tuning.sampler._target_=CLASS` names another class below the arguments of the one in the file. What a
    file of conf/tuning gives to another class is dropped, unless it was typed, or has another value now.

    overrides: name the folders with such files. typed: dotted keys.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        return node
    left: set[str] = set()
    for other in _described(part, config_directories(overrides)):
        if other.pop("_target_", None) != node["_target_"] and other.keys() <= node.keys():
            left |= {key for key, value in other.items() if node[key] == value}
    return {key: value for key, value in node.items() if key not in left or f"tuning.{part}.{key}" in typed}


def _described(part: str, directories: Sequence[Path]) -> list[dict[str, Any]]:
    """What the files of conf/tuning say of a part, each without what it inherits."""
    found = []
    for path in [folder / "tuning" / f"{name}.yaml" for folder in directories for name in choices("tuning", [folder])]:
        content = yaml.safe_load(path.read_text())
        about = content.get("tuning", content) if isinstance(content, dict) else {}
        node = about.get(part) if isinstance(about, dict) else None
        if isinstance(node, dict):
            found.append(dict(node))
    return found


def _rule(part: str, node: Mapping[str, Any], what: str) -> str:
    return f"tuning.{part}: _target_={node['_target_']} must be {what}"


def _build(part: str, node: Any, **arguments: Any) -> Any:
    try:
        return build(OmegaConf.create(dict(node)), **arguments)
    except InputError:
        raise
    except Exception as error:  # a class of anybody's says in its own way what is wrong
        raise InputError(f"tuning.{part}: {explain(error)}; correct its arguments in tuning.{part}") from error
