"""`key=value` arguments of the verbs that compose no configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from racing.errors import require


def key_values(argv: Sequence[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """`defaults`, updated from arguments such as `port=5001`. Raises InputError on a key that is not in `defaults`."""
    values = dict(defaults)
    for argument in argv:
        key, equals, value = argument.partition("=")
        known = " or ".join(f"{name}=VALUE" for name in defaults)
        require(bool(equals) and key in defaults, f"{argument!r} must be {known}; see --help")
        values[key] = value
    return values
