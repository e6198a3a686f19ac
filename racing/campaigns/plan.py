"""What a campaign is: its entries, their validation, the gate; read from conf/campaign, checked before anything starts.

outputs/campaigns/<name>-<hash8>/    the hash is that of what is trained: the same command has the same folder
  campaign.json       what it is made of
  sweep.json jobs/    the entries' trainings, jobs of a sweep (launchers/racing_launchers/sweep.py)
  journal.jsonl       its record, which becomes its run in MLflow, the parent of the entries' runs
  validation/         results.json summary.txt config.toml matrix.csv matrix.png (racing/campaigns/results.py)
  deployment.json     what became of the winners
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from racing.config import choices, compose, config_directories, hint, plain
from racing.errors import InputError, input_group, read_group, require, require_number
from racing.files import is_file_name, read_json, write_json
from racing.league.contenders import canonical, pace_of
from racing.league.rules import STARTS, require_games
from racing.naming import what_counts
from racing.renamed_keys import key_of
from racing.runs.identity import flatten

GROUP, CAMPAIGNS = "campaign", "campaigns"  # in conf/; in the outputs folder
MODES = ("full", "train", "validate")
NOT_AN_ENTRYS = ("name", "fresh", "launcher", "paths", "hydra", "tuning")  # keys that the campaign itself decides
GENERALIST, LINE = "generalist", "line"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One configuration that is trained. number: of its job. overrides: of racing train, all of them."""

    name: str
    number: int
    overrides: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Keys of conf/campaign/_base.yaml, `validation`."""

    tracks: Sequence[str] = ("circuit",)
    games: int = 100
    laps: int = 2
    start: str = "rolling"
    seed: int = 0
    anchor: str | None = "line@0.85"
    episodes: int = 100

    def __post_init__(self) -> None:
        named = isinstance(self.tracks, list | tuple) and all(isinstance(t, str) and t for t in self.tracks)
        rule = f"tracks must be a list of names or paths, got {self.tracks!r}"
        require(named and len(self.tracks) > 0, f"{rule}; name one")
        twice = len(set(self.tracks)) < len(self.tracks)
        require(not twice, f"tracks must be different ones, got {', '.join(self.tracks)}; name each once")
        require_games("games", self.games)
        require_number("laps", self.laps, 1, 1000, whole=True, remedy="2 is the default")
        require(self.start in STARTS, f"start must be rolling or grid, got {self.start!r}; choose one")
        require_number("seed", self.seed, 0, (1 << 29) - 1, whole=True, remedy="0 is the default")
        follower = self.anchor is None or (isinstance(self.anchor, str) and pace_of(self.anchor) is not None)
        require(follower, f"anchor must be line@PACE or null, got {self.anchor!r}; e.g. line@0.85")
        require_number("episodes", self.episodes, 1, 100_000, whole=True, remedy="100 is the default")

    @property
    def line(self) -> str | None:
        """The anchor as it is always written."""
        return None if self.anchor is None else canonical(self.anchor)


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Keys of conf/campaign/_base.yaml, `gate`."""

    games: int = 100
    win_share: float = 0.5
    lap_ratio: float = 0.01
    finish_rate: float = 0.9

    def __post_init__(self) -> None:
        require_games("games", self.games)
        for name in ("win_share", "lap_ratio", "finish_rate"):
            require_number(name, getattr(self, name), 0, 1, remedy="see conf/campaign/_base.yaml")


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """Where to tell that a campaign has ended. secret_env: variable that holds the bearer token; None: no token."""

    url: str
    secret_env: str | None = None

    def __post_init__(self) -> None:
        web = isinstance(self.url, str) and re.match(r"https?://[^/\s]+", self.url) is not None
        require(web, f"url must begin with http:// or https://, got {self.url!r}; correct it, or webhook=null")
        named = self.secret_env is None or (isinstance(self.secret_env, str) and self.secret_env != "")
        require(named, f"secret_env must name a variable, got {self.secret_env!r}; not the secret itself")


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """All of it. choice: its name in conf/campaign. outputs: where everything is kept."""

    choice: str
    entries: Sequence[Entry]
    validation: Validation
    gate: Gate
    model: str | None
    webhook: Webhook | None
    outputs: Path

    @property
    def name(self) -> str:
        """Name of its folder."""
        said = [what_counts(entry.overrides) for entry in self.entries]
        return f"{self.choice}-{hashlib.sha256(repr(said).encode()).hexdigest()[:8]}"

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.outputs / CAMPAIGNS / self.name

    @property
    def results(self) -> Path:
        """Folder of what validation has found."""
        return self.path / "validation"

    def record(self) -> dict[str, Any]:
        """All of it as plain data, for `recorded`."""
        webhook = None if self.webhook is None else asdict(self.webhook)
        entries = {entry.name: list(entry.overrides) for entry in self.entries}
        rest = {"validation": asdict(self.validation), "gate": asdict(self.gate), "model": self.model}
        return {"choice": self.choice, "entries": entries, **rest, "webhook": webhook}

    def write(self) -> None:
        """Keep what it is made of in its folder."""
        write_json(self.path / "campaign.json", self.record())


def read_campaign(choice: str, overrides: Sequence[str], outputs: Path, more: Sequence[str] = ()) -> Campaign:
    """conf/campaign/<choice>.yaml. Raises InputError for what is wrong with it.

    overrides: of its keys, campaign.KEY=VALUE; before them hydra.searchpath, where there are other folders.
    more: overrides of racing train for all entries, that change no result (tracking=none).
    """
    directories = config_directories(overrides)
    known = choices(GROUP, directories)
    require(choice in known, f"unknown choice campaign={choice}; {hint(choice, known)}")
    usual = plain(compose(f"{GROUP}/{choice}", _sources(overrides), hydra_too=False))
    for key in (key_of(override) for override in overrides if override not in _sources(overrides)):
        keys = [*flatten(usual), *_groups(usual)]
        below = key.startswith((f"{GROUP}.entries.", f"{GROUP}.webhook"))
        require(key in keys or below, f"unknown key {key!r}; {hint(key, keys)}")
    found = plain(compose(f"{GROUP}/{choice}", overrides))[GROUP]
    return campaign_of(choice, found, outputs, [*_sources(overrides), *more])


def _sources(overrides: Sequence[str]) -> list[str]:
    return [override for override in overrides if key_of(override).startswith("hydra.")]


def _groups(node: Mapping[str, Any], above: str = "") -> list[str]:
    """The dotted names of all keys that hold keys."""
    out = []
    for key, value in node.items():
        if isinstance(value, dict):
            out += [f"{above}{key}", *_groups(value, f"{above}{key}.")]
    return out


def campaign_of(choice: str, found: Mapping[str, Any], outputs: Path, more: Sequence[str] = ()) -> Campaign:
    """A campaign of the keys of its group. more: see `read_campaign`. Raises InputError."""
    known = ("entries", "overrides", "validation", "gate", "model", "webhook")
    for key in found:
        require(key in known, f"unknown key campaign.{key}; {hint(key, known)}")
    require("entries" in found, f"campaign.entries is missing in {choice}; name: [overrides of racing train]")
    webhook = found.get("webhook")
    with input_group(GROUP, known):
        validation = read_group("validation", found.get("validation") or {}, Validation)
        gate = read_group("gate", found.get("gate") or {}, Gate)
        if webhook is not None:
            has_url = isinstance(webhook, Mapping) and "url" in webhook
            require(has_url, f"webhook must have a url, got {webhook!r}; webhook=null tells nobody")
            webhook = read_group("webhook", webhook, Webhook)
            secret = webhook.secret_env
            there = secret is None or bool(os.environ.get(secret))
            require(there, f"webhook.secret_env names the variable {secret}, it is not set; export {secret}=...")
        entries = entries_of(found["entries"], found.get("overrides") or [], more)
    model = found.get("model")
    named = model is None or (isinstance(model, str) and re.fullmatch(r"[\w\-. {}]{1,200}", model) is not None)
    require(named, f"campaign.model must be a name, with {{entry}} in it, got {model!r}; null takes none")
    require(
        model is None or model.replace("{entry}", "") == re.sub(r"[{}]", "", model.replace("{entry}", "")),
        f"campaign.model may hold {{entry}} and no other braces, got {model!r}; e.g. racing-{{entry}}",
    )
    return Campaign(
        choice=choice,
        entries=entries,
        validation=validation,
        gate=gate,
        model=model,
        webhook=webhook,
        outputs=outputs,
    )


def entries_of(named: Any, common: Any, more: Sequence[str]) -> list[Entry]:
    """The entries, each with all its overrides. Raises InputError for what are no lists of overrides by name."""
    rule = f"entries must be lists of overrides by name, got {named!r}"
    require(isinstance(named, Mapping) and len(named) > 0, f"{rule}; e.g. {{first: [track=oval], second: [seed=1]}}")
    out = []
    for number, (name, own) in enumerate(named.items()):
        where = f"entries.{name}"
        fits = isinstance(name, str) and is_file_name(name) and len(name) <= 60 and name not in (*MODES, LINE)
        remedy = f"rename it, {', '.join(MODES)} are modes"
        require(fits, f"{where} must be letters, digits and _-., at most 60; {remedy}")
        own = check_overrides(where, own)
        keys = {key_of(override) for override in own}
        shared = [one for one in check_overrides("overrides", common) if key_of(one) not in keys]
        sources = [one for one in more if key_of(one).startswith("hydra.")]
        typed = [one for one in more if one not in sources]
        out.append(Entry(name=name, number=number, overrides=(*sources, f"name={name}", *shared, *own, *typed)))
    return out


def check_overrides(where: str, overrides: Any) -> list[str]:
    """A list of overrides of racing train. Raises InputError."""
    listed = isinstance(overrides, list) and all(isinstance(one, str) and "=" in one for one in overrides)
    require(
        listed, f"{where} must be a list of overrides of racing train, got {overrides!r}; e.g. [track=oval, seed=1]"
    )
    for one in overrides:
        key = key_of(one).split(".")[0]
        remedy = {"tuning": "search first, racing train tuning=tpe"}.get(key, "the campaign decides it")
        require(key not in NOT_AN_ENTRYS, f"{where}: {one!r} is none of an entry's; leave it away, {remedy}")
    return list(overrides)


def home_of(config: Mapping[str, Any]) -> str | None:
    """The one track that a run's configuration drives, as it was named; None for several."""
    file = (config.get("track") or {}).get("file")
    if isinstance(file, list) and len(file) == 1:
        file = file[0]
    return file if isinstance(file, str) else None


def home_among(config: Mapping[str, Any], tracks: Sequence[str]) -> str | None:
    """That of `tracks` which a run's configuration drives alone; None for a generalist."""
    home = home_of(config)
    return next((track for track in tracks if home is not None and track in (home, Path(home).stem)), None)


def recorded(path: Path, outputs: Path) -> Campaign:
    """The campaign whose folder that is. Raises InputError where it is damaged."""
    try:
        found = read_json(path / "campaign.json")
        entries = [
            Entry(name=name, number=number, overrides=tuple(overrides))
            for number, (name, overrides) in enumerate(found["entries"].items())
        ]
        return Campaign(
            choice=found["choice"],
            entries=entries,
            validation=read_group("validation", found["validation"], Validation),
            gate=read_group("gate", found["gate"], Gate),
            model=found["model"],
            webhook=found["webhook"] and read_group("webhook", found["webhook"], Webhook),
            outputs=outputs,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"campaign {path.name}: campaign.json is damaged, {error}"
        raise InputError(f"{problem}; give the command that began it again") from error


def all_campaigns(outputs: Path) -> list[Path]:
    """The folders of campaigns, the newest first."""
    found = [path.parent for path in (outputs / CAMPAIGNS).glob("*/campaign.json")]
    return sorted(found, key=lambda path: ((path / "campaign.json").stat().st_mtime, path.name), reverse=True)


def find_campaign(spec: str, outputs: Path) -> Path:
    """The folder that `spec` means: its name, that without the hash, a path, latest. Raises InputError."""
    known, place = all_campaigns(outputs), outputs / CAMPAIGNS
    require(len(known) > 0, f"campaign {spec!r} is not there, none is under {place}; set paths.outputs=FOLDER")
    for path in known:
        if spec in ("latest", path.name, path.name.rpartition("-")[0]) or Path(spec).resolve() == path.resolve():
            return path
    raise InputError(f"campaign {spec!r} is not under {place}; {hint(spec, [path.name for path in known])}")
