"""The keys of conf/launcher/aws_spot.yaml, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from racing.errors import require, require_number
from racing_launchers.aws_spot.account.secrets import check_form
from racing_launchers.aws_spot.account.stack import require_stack_name

DAY = 24 * 60  # [min]
NUMBERS = {  # key: lowest, highest, whole numbers only, unit
    "timeout_min": (0.05, 30 * DAY, False, "min"),
    "max_instances": (1, 10_000, True, ""),
    "max_cost": (0.01, 1e6, False, "USD"),
    "upload_every": (0.1, 3600, False, "s"),
}
SWITCHES = ("on_demand", "leave_on_rebalance")
LISTS, TABLES = ("packages", "setup"), ("secrets", "env")
OPTIONAL = ("max_instances", "max_cost")  # null is fine
KEYS = (
    *(*NUMBERS, *SWITCHES, *LISTS, *TABLES, "stack", "region", "profile", "instance_types", "subnets", "image"),
    "supervise",
)
WATCHER, GROUP = "watcher", "asg"  # who launches the instance of a job again: launcher.supervise
FORMS = {  # what AWS calls things
    "instance_types": (re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+"), "names of instance types, such as [g6.xlarge]"),
    "subnets": (re.compile(r"subnet-[0-9a-f]{8,17}"), "ids of subnets, [subnet-...], or null"),
    "image": (re.compile(r"ami-[0-9a-f]{8,17}"), "the id of an image, ami-..., or null"),
}


def check_values(values: Mapping[str, Any]) -> None:
    """Raise InputError unless the values are of the right kind and in their ranges; AWS is not asked."""
    for key, (low, high, whole, unit) in NUMBERS.items():
        if values[key] is not None or key not in OPTIONAL:
            require_number(f"launcher.{key}", values[key], low, high, whole=whole, unit=unit)
    for key in SWITCHES:
        rule = f"launcher.{key} must be true or false, got {values[key]!r}; choose one"
        require(isinstance(values[key], bool), rule)
    for key in LISTS:
        fits = isinstance(values[key], list) and all(isinstance(text, str) for text in values[key])
        require(fits, f"launcher.{key} must be a list of texts, got {values[key]!r}; write [a, b]")
    for key in TABLES:
        fits = isinstance(values[key], Mapping)
        rule = f"launcher.{key} must be keys and values"  # not what it is: that may hold a secret
        require(fits, f"{rule}; write +launcher.{key}.NAME=VALUE")
    for key in ("region", "profile"):
        fits = values[key] is None or (isinstance(values[key], str) and values[key] != "")
        require(fits, f"launcher.{key} must be a name, got {values[key]!r}; null is that of the environment")
    require_stack_name("launcher.stack", values["stack"])
    who = values["supervise"]
    rule = f"launcher.supervise must be {WATCHER} or {GROUP}, got {who!r}"
    require(who in (WATCHER, GROUP), f"{rule}; {WATCHER} is usual")
    for key in ("on_demand", "max_instances") if who == GROUP else ():
        rule = f"launcher.{key} needs somebody who watches, launcher.supervise={GROUP} is for when nobody does"
        require(not values[key], f"{rule}; leave one of them away")
    check_form(values["secrets"], values["env"])
    for key, (form, what) in FORMS.items():
        value = values[key]
        several = value if isinstance(value, list) else [] if value is None else [value]
        fits = all(isinstance(one, str) and form.fullmatch(one) for one in several)
        fits = fits and (bool(value) or (value is None and key != "instance_types"))
        fits = fits and (isinstance(value, str | None) if key == "image" else isinstance(value, list | None))
        require(fits, f"launcher.{key} must be {what}, got {value!r}; see conf/launcher/aws_spot.yaml")
