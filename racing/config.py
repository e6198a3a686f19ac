"""Find and compose the files in conf/, and in folders that a user adds to it; nothing here runs at import."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from racing.errors import InputError, input_error, is_folder, require
from racing.files import quoted_paths
from racing.naming import CONFIG_NAME, SEARCH_PATH, SOURCES, run_name, sweep_name
from racing.renamed_keys import key_of, renamed
from racing.resolvers import RESOLVERS

PACKAGE = Path(__file__).resolve().parent
PRIMARY = "train"  # conf/train.yaml: Hydra's primary configuration
NOT_GROUPS = ("verbs", "campaign", "launcher/prices")  # folders of conf/ of which nothing is chosen
TEXTS = ("name", "tuning.study", "track.file")  # keys whose value is a text, also where it looks like a number


def conf_directory() -> Path:
    """The folder with the config groups: conf/ of the checkout, or its copy inside the installed wheel."""
    checkout = PACKAGE.parent / "conf"
    return checkout if (checkout / "train.yaml").is_file() else PACKAGE / "_conf"


def config_directories(overrides: Sequence[str]) -> list[Path]:
    """The folders that are composed from: conf/, then those which the overrides name (`searchpath`).

    Raises InputError where one is not there.
    """
    return [conf_directory(), *added_directories(overrides)]


def added_directories(overrides: Sequence[str]) -> list[Path]:
    """The folders of `hydra.searchpath=[file://FOLDER, ...]`. Raises InputError where one is not there."""
    given = [override for override in overrides if key_of(override) == SEARCH_PATH]
    parsed = parse_override(given[-1]) if given else None
    paths = parsed.value() if parsed is not None and isinstance(parsed.value(), list) else []
    folders = [Path(str(path).removeprefix("file://")) for path in paths if not str(path).startswith("pkg://")]
    for folder in folders:
        rule = f"config directory {folder} must be a folder, there is none"
        try:
            there = folder.is_dir()
        except (OSError, ValueError):  # no name that a folder can have
            there = False
        require(there, f"{rule}; correct --config-dir, or bring the folder back")
    return folders


def searchpath(folders: Sequence[Path]) -> str:
    """The override that makes Hydra search these folders after conf/."""
    quoted = (f"'file://{folder.resolve()}'" for folder in folders)
    return f"{SEARCH_PATH}=[{','.join(quoted)}]"


def choices(group: str, directories: Sequence[Path] | None = None) -> list[str]:
    """Names that `group=` accepts, sorted. Files that begin with _ are shared parts of others, no choices.

    directories: where to look; default conf/ alone.
    """
    folders = [conf_directory()] if directories is None else directories
    there = [folder / group for folder in folders if is_folder(folder / group)]
    found = {path.stem for folder in there for path in folder.glob("*.yaml")}
    return sorted(name for name in found if not name.startswith("_"))


def default_choices() -> dict[str, str | None]:
    """The groups in the order of conf/train.yaml, each with what is chosen by default; None: nothing."""
    entries = OmegaConf.load(conf_directory() / f"{PRIMARY}.yaml").defaults
    pairs = [next(iter(entry.items())) for entry in entries if OmegaConf.is_dict(entry)]
    return {group: name for group, name in pairs if " " not in group}


def register_resolvers() -> None:
    """Make `${racing.sweep:...}` and the others known to OmegaConf."""
    for name, resolver in {**RESOLVERS, "sweep": sweep_name}.items():
        OmegaConf.register_new_resolver(f"racing.{name}", resolver, replace=True)


def compose(name: str, overrides: Sequence[str], folder: str = "", *, hydra_too: bool = False) -> DictConfig:
    """Compose conf/<folder>/<name>.yaml with Hydra overrides. Raises InputError with one line for what Hydra refuses.

    overrides: also `hydra.searchpath` and, for `train`, `hydra.job.config_name`, as `racing train` records them.
    folder: where Hydra looks. In conf/verbs it sees no groups, so that `track=` is a value there: a name or a path.
    hydra_too: keep Hydra's own settings, under `hydra`.
    """
    import hydra

    directories = [conf_directory() / folder] if folder else config_directories(overrides)
    written = list(overrides) if folder else [part for o in overrides for part in for_hydra(o, directories)]
    if name == PRIMARY:
        name = config_name(overrides)
    with hydra_at(directories):
        try:
            return hydra.compose(name, written, return_hydra_config=hydra_too)
        except Exception as error:
            raise InputError(explain(error, directories, name if folder else "*", sweeps=False)) from error


@contextlib.contextmanager
def hydra_at(directories: Sequence[Path]) -> Iterator[Any]:
    """While entered, Hydra composes from these folders, and is given: conf/ or one of its folders, then others."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    register_resolvers()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(directories[0]), version_base="1.3"):
        if directories[1:]:
            _search_too(directories[1:])
        yield GlobalHydra.instance().hydra


def _search_too(folders: Sequence[Path]) -> None:
    """Have Hydra's compose API search these folders, too, as its command line does with --config-dir.

    `hydra.searchpath` comes too late for a primary configuration.
    """
    from hydra._internal.hydra import Hydra
    from hydra.core.config_search_path import SearchPathQuery
    from hydra.core.global_hydra import GlobalHydra

    path = GlobalHydra.instance().config_loader().get_search_path()
    for folder in folders:
        path.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
    GlobalHydra.instance().clear()
    Hydra.create_main_hydra2("racing", path)


def compose_run(overrides: Sequence[str]) -> dict[str, Any]:
    """The resolved configuration of a training, named as `racing train` names it. Raises InputError as `compose`."""
    cfg = compose(PRIMARY, overrides, hydra_too=True)
    chosen = cfg.hydra.runtime.choices
    cfg = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    cfg.name = run_name(cfg, chosen)
    return plain(cfg)


def config_name(overrides: Sequence[str]) -> str:
    """The primary configuration that the overrides name, `train` where they name none."""
    values = [override.partition("=")[2] for override in overrides if key_of(override) == CONFIG_NAME]
    return values[-1] if values else PRIMARY


def composed_from(given: Any) -> list[str]:
    """The overrides of a job as they are recorded: those of the task, before them those that say where it comes from.

    given: Hydra's own record, `hydra.overrides` of the job's configuration.
    """
    return [*(override for override in given.hydra if key_of(override) in SOURCES), *given.task]


def for_hydra(override: str, directories: Sequence[Path]) -> list[str]:
    """Write an override of a group as Hydra takes it; any other stays as it is.

    `track=maps/esp.yaml` means `track=file track.file=maps/esp.yaml`: a track argument is a name or a path, with any
    letters that a file's name may have.
    `group=null` becomes `group=[]`, since Hydra has no null there
    (https://github.com/ashleve/lightning-hydra-template/issues/629).
    A glob is written out: only names that are choices match it.
    Raises InputError where nothing is chosen of a group that needs a choice.
    """
    from hydra.core.override_parser.types import Glob

    group, _, value = override.partition("=")
    paths = quoted_paths(value) if group in ("track", "track.file") else None
    if paths is not None:
        override, value = f"{group}={paths}", paths
    if key_of(override) in TEXTS:
        return [as_text(override)]
    known = choices(group, directories)
    if not known or value in known:
        return [override]
    rule = f"{override!r} must name a choice of {group}; {hint('', known)}"
    require(value != "", rule)
    parsed = parse_override(override) or parse_override(re.sub(r"=choice\((.*)\)$", r"=\1", override))
    if parsed is None or (parsed.is_sweep_override() and not parsed.is_discrete_sweep()):
        return [override]  # Hydra says what is wrong with it
    if isinstance(parsed.value(), Glob):
        complete = [name for name in known if (group, name) != ("track", "file")]  # which needs a path
        names = parsed.value().filter(complete)
        require(len(names) > 0, f"{override!r} matches no choice of {group}; {hint('', complete)}")
        return [f"{group}={','.join(names)}" if names[1:] else f"{group}=choice({names[0]})"]  # a sweep also of one
    sweep = parsed.is_sweep_override()
    names = [*parsed.sweep_string_iterator()] if sweep else [parsed.get_value_element_as_str()]
    if "null" in names:
        require(default_choices().get(group, "") is None, rule)
        return [f"{group}={','.join('[]' if name == 'null' else name for name in names)}"]
    if group == "track" and not set(names) <= set(known):
        mixed = sweep and set(names) & set(known)  # a name may be a choice with options of its own: job by job
        return [override] if mixed else ["track=file", as_text(f"track.file={value}")]
    return [override]


def as_text(override: str) -> str:
    """The override of a key that takes a text, with quotes where Hydra would read a number: `name=2024_01`.

    Of several values, separated by commas, each has its own.
    """
    key, _, value = override.partition("=")
    parts = value.split(",")
    if not all(re.fullmatch(r"[\w.+\-]+", part) for part in parts):
        return override
    read = [parse_override(f"{key}={part}") for part in parts]
    numbers = [parsed is not None and isinstance(parsed.value(), bool | int | float) for parsed in read]
    quoted = [f"'{part}'" if number else part for part, number in zip(parts, numbers, strict=True)]
    return f"{key}={','.join(quoted)}"


def parse_override(text: str) -> Any:
    """Hydra's `Override`; None for what is none in its grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None


def explain(
    error: BaseException,
    directories: Sequence[Path] | None = None,
    primary: str = "*",
    *,
    sweeps: bool = True,
) -> str:
    """Hydra's and OmegaConf's complaint about an override or a config file as one line: value, rule, remedy.

    directories, primary: where was looked, for suggestions, see `known_keys`.
    sweeps: several values may be swept, as by racing train.
    """
    text = str(error)
    missing = re.search(r"Could not find '([^']+)/([^/']*)'", text)
    if missing:
        group, choice = missing.groups()
        known = choices(group, directories) or re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        return f"unknown choice {group}={choice}; {hint(choice, known)}"
    unknown = re.search(r"Could not (?:override|delete(?: from config\.)?) '([^'=]+)", text)
    unknown = unknown or re.search(r"full_key: (\S+)", text)
    if unknown and ("Could not" in text or "not in struct" in text):
        return f"unknown key {unknown[1]!r}; {key_hint(unknown[1], directories, primary)}"
    several = re.search(r"Ambiguous value for argument '(.*)'", text)
    if several:
        key = several[1].partition("=")[0]
        more = "give the command once for each of them"
        more = f"add -m to run each of them, or write {key}=[...] where a list is taken" if sweeps else more
        return f"{several[1]!r} has several values; {more}"
    sweep = re.search(r"Sweep parameters '(.*)' requires --multirun", text)
    if sweep:
        remedy = "add -m to run each of its values" if sweeps else "give the command for each of its values"
        return f"{sweep[1]!r} is a sweep; {remedy}"
    other = re.search(r"Cannot find primary config '(.*?)'", text)
    if other:
        rule = f"unknown configuration --config-name={other[1]}"
        return f"{rule}; the usual one is {PRIMARY}, others are files of a folder that --config-dir names"
    number = re.search(r"invalid literal for int\(\) .*: '(.*)'|Error merging override (.*\.\d+=.*)", text)
    if number:
        rule = f"{number[1] or number[2]!r} must be the number of an element that the list has"
        return f"{rule}; or write the list whole, key=[1,2]"
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


def key_hint(wrong: str, directories: Sequence[Path] | None = None, primary: str = "*") -> str:
    """What to write instead of the dotted key `wrong`: the nearest key there is, or those beside it.

    directories, primary: see `known_keys`.
    """
    new = renamed(wrong)
    if new is not None:
        return f"it is called {new} now"
    keys = known_keys(directories, primary)
    if primary != "*" and wrong in known_keys():
        return f"it is one of racing {PRIMARY}; the keys here: {', '.join(key for key in keys if '.' not in key)}"
    place, _, name = wrong.rpartition(".")
    beside = [key.rpartition(".")[2] for key in keys if key.rpartition(".")[0] == place]
    near = difflib.get_close_matches(name, beside, 1)
    if near:
        meant = f"did you mean {'.'.join(filter(None, (place, near[0])))}?"
        return meant if near[0] != name else f"another choice of {place} has it"
    elsewhere = [key for key in keys if key.rpartition(".")[2] == name]
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    none = f"there are no keys below {place}"
    return none if not beside else f"the keys of {place or 'the configuration'}: {', '.join(beside)}"


def known_keys(directories: Sequence[Path] | None = None, primary: str = "*") -> list[str]:
    """Dotted names of all keys that the files in these folders hold, for suggestions; default conf/ alone.

    primary: which file counts of those that are in no group, of conf/verbs that of one verb; *: each.
    """
    keys: set[str] = set()
    for root in [conf_directory()] if directories is None else directories:
        for path in [*root.glob(f"{primary}.yaml"), *root.glob("*/*.yaml")]:
            group = path.relative_to(root).parent.as_posix()
            if group in NOT_GROUPS:
                continue
            with contextlib.suppress(yaml.YAMLError, UnicodeDecodeError):  # a user's: Hydra says so when it is chosen
                said = re.match(r"# @package (\S+)", path.read_text())
                package = said[1] if said else group
                prefix = "" if package in (".", "_global_") else f"{package}."
                _collect(OmegaConf.to_container(OmegaConf.load(path), resolve=False), prefix, keys)
                keys.add(group)
    return sorted(key for key in keys if key not in (".", "hydra"))


def keys_of(group: str) -> set[str]:
    """The keys that the files of conf/<group> hold."""
    files = (conf_directory() / group).glob("*.yaml")
    return {str(key) for path in files for key in OmegaConf.load(path)} - {"defaults"}


def _collect(node: Any, prefix: str, keys: set[str]) -> None:
    for key, value in node.items() if isinstance(node, dict) else ():
        if key not in ("defaults", "_target_", "_partial_", "hydra"):
            keys.add(f"{prefix}{key}")
            _collect(value, f"{prefix}{key}.", keys)


def load_group(group: str, name: str, *overrides: str) -> Any:
    """Compose conf/<group>/<name>.yaml alone and build the object it describes. Raises InputError for unknown names."""
    if name not in choices(group):
        raise InputError(f"{group} {name!r} is not in conf/{group}; {hint(name, choices(group))}")
    return build(compose(f"{group}/{name}", overrides)[group])


def build(node: Any, **extra: Any) -> Any:
    """Instantiate a config node; an InputError raised by its constructor comes out as itself."""
    from hydra.utils import instantiate

    try:
        return instantiate(node, **extra)
    except Exception as error:
        refused = input_error(error)
        if refused is not None:
            raise refused from None
        raise


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config as plain dicts, lists and scalars."""
    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    if not isinstance(container, dict):
        raise TypeError("a config is a mapping")
    return {str(key): value for key, value in container.items()}
