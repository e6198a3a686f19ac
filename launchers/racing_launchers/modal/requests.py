"""What the app on Modal may be asked for: lists. A configuration can name any Python object, so nothing else comes in.

Both kinds of request are read alike: an object with a name and `overrides`, each key on a list, each value of its kind.
"""

from __future__ import annotations

import re
from typing import Any

from racing.config import choices, compose, plain
from racing.errors import require
from racing.league.rules import require_games
from racing.tracks.catalog import shipped

GROUPS = ("env", "track", "vehicle", "algo", "conditions", "hardware", "debug")  # a choice of conf/<group>
OF_ALGO = ("total_timesteps", "n_envs", "learning_rate", "gamma", "batch_size", "features_dim")
NUMBERS = (
    "seed",
    *(f"algo.{name}" for name in OF_ALGO),
    "env.frame_stack",
    "eval.episodes",
    "eval.laps",
    "checkpoint.every",
)
SWITCHES = ("env.grayscale", "fresh")
ALLOWED = (*GROUPS, *NUMBERS, *SWITCHES, "name")  # of a training
ALLOWED_OF_CAMPAIGN = ("mode", "games", "deploy", "webhook")
MODES = ("full", "train", "validate")  # values of mode, beside the names of entries
# No quotes, no braces, no $, no backslash: nothing that means something to Hydra between quotes.
ADDRESS = re.compile(r"https?://[A-Za-z0-9.\-]+(:\d{1,5})?(/[A-Za-z0-9._~!&()*+,;=:@%/?\-]*)?")


def accepted(body: Any) -> list[str]:
    """The overrides of the training that a request asks for. Raises InputError for anything that is not on the list."""
    experiment, overrides = _read(body, "experiment")
    found = []
    if experiment is not None:
        known = choices("experiment")
        require(experiment in known, f"experiment {experiment!r} is not known; it can be {', '.join(known)}")
        found.append(f"experiment={experiment}")
    return found + [f"{key}={allowed(key, value)}" for key, value in overrides.items()]


def accepted_campaign(body: Any) -> list[str]:
    """The words of `racing campaign` that a request asks for. Raises InputError for what is not on the list."""
    campaign, overrides = _read(body, "campaign")
    known = choices("campaign")
    require(campaign in known, f"campaign {campaign!r} is not known; it can be {', '.join(known)}")
    found = [f"campaign={campaign}"]
    for key, value in overrides.items():
        require(key in ALLOWED_OF_CAMPAIGN, f"{key!r} may not be set; these may: {', '.join(ALLOWED_OF_CAMPAIGN)}")
        if key == "mode":
            modes = [*MODES, *plain(compose(f"campaign/{campaign}", []))["campaign"]["entries"]]
            fits = isinstance(value, str) and value in modes
            require(fits, f"mode must be one of {', '.join(modes)}, got {value!r}; choose one")
            found.append(f"mode={value}")
        elif key == "games":
            require_games("games", value)
            found.append(f"games={value}")
        elif key == "webhook":
            fits = isinstance(value, str) and len(value) <= 500 and ADDRESS.fullmatch(value) is not None
            rule = f"webhook must be http(s)://HOST[:PORT][/PATH], got {value!r}"
            require(fits, f"{rule}; percent-encode what is special, or leave it away")
            found.append(f"campaign.webhook={{url:'{value}'}}")
        else:
            found.append(f"{key}={_switch(key, value)}")
    return found


def _read(body: Any, name: str) -> tuple[Any, dict[str, Any]]:
    """The two parts of a request. Raises InputError for one that has others."""
    rule = f'the request must be {{"{name}": NAME, "overrides": {{KEY: VALUE}}}}'
    require(isinstance(body, dict) and set(body) <= {name, "overrides"} and bool(body), f"{rule}; see the docs")
    overrides = body.get("overrides") or {}
    require(isinstance(overrides, dict), f"{rule}, got overrides {overrides!r}; name keys and values")
    return body.get(name), overrides


def allowed(key: str, value: Any) -> str:
    """The value of one key of a training as Hydra takes it. Raises InputError unless both are on the list."""
    require(key in ALLOWED, f"{key!r} may not be set; these may: {', '.join(ALLOWED)}")
    if key in GROUPS:
        known = sorted(shipped()) if key == "track" else choices(key)
        require(isinstance(value, str) and value in known, f"{key} must be one of {', '.join(known)}, got {value!r}")
        return str(value)
    if key in SWITCHES:
        return _switch(key, value)
    if key == "name":
        fits = isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_\-]{0,63}", value) is not None
        require(fits, f"name must be letters, digits, _ and -, got {value!r}; choose another")
        return str(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    require(number, f"{key} must be a number, got {value!r}; give one")
    return repr(value)


def _switch(key: str, value: Any) -> str:
    require(isinstance(value, bool), f"{key} must be true or false, got {value!r}; choose one")
    return str(value).lower()
