"""Find and compose the files in conf/; nothing here runs at import."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from racing.errors import InputError

PACKAGE = Path(__file__).resolve().parent
# Settings that make no other sweep: where and how its jobs run, and how many of the same kind.
NOT_SWEEP = ("hardware", "launcher", "tracking", "paths", "checkpoint", "fresh", "hydra")
MORE = ("sweep.n_trials", "sweep.workers")


# Keys that earlier versions named otherwise: old -> new. Records keep the old names; who reads one upgrades it.
RENAMED_KEYS: dict[str, str] = {
    "env.decision_repeat": "env.action_repeat",
    "env.randomize.colour": "env.randomize.color",
    "vehicle.kinematic_below": "vehicle.kinematic_speed_threshold",
    "env.episodes.random": "env.episodes.random_start",
    "env.episodes.lateral": "env.episodes.start_lateral_offset",
    "env.episodes.heading": "env.episodes.start_heading_error",
    "env.episodes.speed": "env.episodes.start_speed",
    "env.episodes.standing": "env.episodes.standing_start_prob",
    "env.episodes.time_limit_from": "env.episodes.time_limit_min",
    "algo.teacher_weight": "algo.distillation_weight",
    "algo.teacher_until": "algo.distillation_fraction",
    "launcher.poll": "launcher.poll_interval_s",
    "launcher.retries": "launcher.max_restarts",
    "launcher.retry": "launcher.max_resubmits",
    "launcher.send": "launcher.upload_from",
    "launcher.time_min": "launcher.timeout_min",
    "launcher.timeout": "launcher.timeout_min",
}

# Keys that earlier versions did not have: key -> (a key beside it that shows where it belongs, what they did).
ADDED_KEYS: dict[str, tuple[str, Any]] = {"algo.normalize_advantage_per_mini_batch": ("clip_range", False)}


def upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded configuration, or some groups of one, with today's names and all of today's keys.

    What RENAMED_KEYS and ADDED_KEYS list is upgraded; a present configuration comes out as it is.
    """
    out: dict[str, Any] = {key: upgraded_group(key, value) for key, value in config.items()}
    for key, (beside, value) in ADDED_KEYS.items():
        group, _, name = key.rpartition(".")
        node = out.get(group)
        if isinstance(node, dict) and beside in node and name not in node:
            node[name] = value
    return out


def upgraded_group(group: str, node: Any) -> Any:
    """What `group` (a dotted key) of a recorded configuration holds, as `upgraded`."""
    if not isinstance(node, Mapping):
        return node
    out: dict[str, Any] = {}
    for key, value in node.items():
        new = RENAMED_KEYS.get(f"{group}.{key}", f"{group}.{key}")
        out[new.rpartition(".")[2]] = upgraded_group(f"{group}.{key}", value)
    return out


def upgraded_overrides(overrides: Sequence[str]) -> list[str]:
    """Recorded overrides with today's names for the keys of RENAMED_KEYS."""
    keys = [key_of(override) for override in overrides]
    return [o.replace(key, RENAMED_KEYS.get(key, key), 1) for o, key in zip(overrides, keys, strict=True)]


def conf_directory() -> Path:
    """The folder with the config groups: conf/ of the checkout, or its copy inside the installed wheel."""
    checkout = PACKAGE.parent / "conf"
    return checkout if (checkout / "train.yaml").is_file() else PACKAGE / "_conf"


def choices(group: str) -> list[str]:
    """Names that `group=` accepts, sorted: not those of files that others are derived from, `_base`."""
    return sorted(path.stem for path in (conf_directory() / group).glob("[!_]*.yaml"))


def register_resolvers() -> None:
    """Make `${racing.sweep:...}` known to OmegaConf."""
    OmegaConf.register_new_resolver("racing.sweep", sweep_name, replace=True)


def sweep_name(settings: Sequence[str]) -> str:
    """Name of a sweep's folder, `<name>-<hash8>`: the same for the same settings, wherever its jobs run."""
    own = [setting for setting in what_counts(settings) if key_of(setting) not in MORE]
    given = {key_of(setting): setting.partition("=")[2] for setting in own}
    name = re.sub(r"[^A-Za-z0-9_.\-]+", "_", given.get("name") or given.get("experiment") or "sweep").lstrip("._-")
    return f"{name or 'sweep'}-{hashlib.sha256(chr(0).join(own).encode()).hexdigest()[:8]}"


def what_counts(settings: Sequence[str]) -> list[str]:
    """The settings, sorted, that say what a job computes, not where and how it runs."""
    return sorted(str(setting) for setting in settings if key_of(str(setting)).split(".")[0] not in NOT_SWEEP)


def compose(name: str, overrides: Sequence[str], folder: str = "", *, hydra_too: bool = False) -> DictConfig:
    """Compose conf/<folder>/<name>.yaml with Hydra overrides. Raises InputError with one line for what Hydra refuses.

    folder: where Hydra looks. In conf/verbs it sees no groups, so that `track=` is a value there: a name or a path.
    hydra_too: keep Hydra's own settings, under `hydra`.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    register_resolvers()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_directory() / folder), version_base="1.3"):
        try:
            return hydra.compose(name, list(overrides), return_hydra_config=hydra_too)
        except Exception as error:
            raise InputError(explain(error, folder)) from error


def compose_run(overrides: Sequence[str]) -> dict[str, Any]:
    """The resolved configuration of a training, named as `racing train` names it. Raises InputError as `compose`."""
    cfg = compose("train", overrides, hydra_too=True)
    chosen = cfg.hydra.runtime.choices
    cfg = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    cfg.name = cfg.name or default_name(cfg, chosen)
    return plain(cfg)


def key_of(setting: str) -> str:
    """The key of `key=value`, `+key=value`, `++key=value`."""
    return setting.partition("=")[0].lstrip("+~")


def default_name(cfg: DictConfig, chosen: Any) -> str:
    """The name of a run that was given none: its experiment, else its environment, track and algorithm.

    chosen: what Hydra chose, group -> name.
    """
    track = Path(str(cfg.track.file)).stem if chosen["track"] == "file" else chosen["track"]
    return str(chosen["experiment"] or f"{chosen['env']}-{track}-{chosen['algo']}")


def track_by_path(argument: str) -> list[str]:
    """`track=/some/map.yaml` means `track=file track.file=/some/map.yaml`: a track argument is a name or a path."""
    key, _, value = argument.partition("=")
    if key != "track" or all(name in choices("track") for name in value.split(",")):
        return [argument]
    return ["track=file", f"track.file={value}"]


def refuse_empty_groups(overrides: Sequence[str]) -> None:
    """Raise InputError for `group=null`, which Hydra answers with a traceback."""
    for override in overrides:
        group, _, choice = override.partition("=")
        if choice in ("", "null", "None") and choices(group):
            raise InputError(f"{override!r} must name a choice of {group}; {hint('', choices(group))}")


def explain(error: BaseException, folder: str = "") -> str:
    """Hydra's and OmegaConf's complaint about an override or a config file as one line: value, rule, remedy.

    folder: where the config lies in conf/, for suggestions of keys.
    """
    text = str(error)
    missing = re.search(r"Could not find '([^']+)/([^/']*)'", text)
    if missing:
        group, choice = missing.groups()
        return f"{group}={choice} is no choice, conf/{group} has no {choice}.yaml; {hint(choice, choices(group))}"
    unknown = re.search(r"Could not override '([^']+)'", text) or re.search(r"full_key: (\S+)", text)
    if unknown and ("Could not override" in text or "not in struct" in text):
        return f"{unknown[1]!r} is no key; {key_hint(unknown[1], folder)}"
    several = re.search(r"Ambiguous value for argument '(.*)'", text)
    if several:
        key = several[1].partition("=")[0]
        return f"{several[1]!r} has several values; add -m to run each of them, or write {key}=[...] for a list"
    if hasattr(error, "override"):  # Hydra could not parse it
        return f"{str(error.override)!r} must be key=value; write lists as key=[1,2], special characters as key='a=b'"
    target = re.search(r"Error locating target '([^']*)'", text)
    if target:
        return f"_target_ {target[1]!r} must be something that can be imported; correct it or choose another file"
    noise = ("full_key:", "object_type=", "reference_type=", "Set the environment", "To ", "See https")
    return "; ".join(line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith(noise))


def hint(wrong: str, known: Sequence[str]) -> str:
    """What to write instead of `wrong`: the nearest of `known`, or all of them."""
    near = difflib.get_close_matches(wrong, known, 1)
    return f"did you mean {near[0]}?" if near else f"choose one of: {', '.join(known) or '(there are none yet)'}"


def key_hint(wrong: str, folder: str = "") -> str:
    """What to write instead of the dotted key `wrong`: the nearest key there is, or those beside it."""
    if wrong in RENAMED_KEYS:
        return f"it is called {RENAMED_KEYS[wrong]} now"
    keys = known_keys(folder)
    place, _, name = wrong.rpartition(".")
    beside = [key.rpartition(".")[2] for key in keys if key.rpartition(".")[0] == place]
    near = difflib.get_close_matches(name, beside, 1)
    if near and near[0] != name:
        return f"did you mean {'.'.join(filter(None, (place, near[0])))}?"
    if near:
        return f"another choice of {place} has it"
    elsewhere = [key for key in keys if key.rpartition(".")[2] == name]
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    if not beside:
        return f"there are no keys below {place}"
    return f"the keys of {place or 'the configuration'}: {', '.join(beside)}"


def known_keys(folder: str = "") -> list[str]:
    """Dotted names of all keys that the files in conf/<folder> hold, for suggestions."""
    keys: set[str] = set()
    root = conf_directory() / folder
    for path in root.rglob("*.yaml"):
        group = path.relative_to(root).parent
        whole = "@package _global_" in path.read_text()
        prefix = "" if group == Path() or whole else f"{group.as_posix()}."
        _collect(OmegaConf.to_container(OmegaConf.load(path), resolve=False), prefix, keys)
        keys.add(group.as_posix())
    return sorted(key for key in keys if key != "." and key.split(".")[0] not in ("verbs", "hydra"))


def _collect(node: Any, prefix: str, keys: set[str]) -> None:
    for key, value in node.items() if isinstance(node, dict) else ():
        if key not in ("defaults", "_target_", "_partial_", "hydra"):
            keys.add(f"{prefix}{key}")
            _collect(value, f"{prefix}{key}.", keys)


def load_group(group: str, name: str, *overrides: str) -> Any:
    """Compose conf/<group>/<name>.yaml alone and build the object it describes. Raises InputError for unknown names."""
    from hydra.utils import instantiate

    if name not in choices(group):
        raise InputError(f"{group} {name!r} is not in conf/{group}; {hint(name, choices(group))}")
    return build(compose(f"{group}/{name}", overrides)[group], instantiate)


def build(node: Any, instantiate: Any = None, **extra: Any) -> Any:
    """Instantiate a config node; an InputError raised by its constructor comes out as itself."""
    from hydra.utils import instantiate as hydra_instantiate

    try:
        return (instantiate or hydra_instantiate)(node, **extra)
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, InputError):
                raise cause from None
            cause = cause.__cause__
        raise


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config as plain dicts, lists and scalars."""
    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    if not isinstance(container, dict):
        raise TypeError("a config is a mapping")
    return {str(key): value for key, value in container.items()}
