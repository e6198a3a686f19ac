"""The one error that means "the user's input is wrong"."""

from __future__ import annotations


class InputError(ValueError):
    """Input from outside (config value, file, argument) breaks a rule.

    The message is one line that states the value, the rule and the remedy; the command line prints it without a
    traceback and leaves with exit code 2. Everything else that is raised is our own mistake and keeps its traceback.
    """


def require(condition: bool, message: str) -> None:
    """Raise `InputError(message)` unless `condition` holds."""
    if not condition:
        raise InputError(message)
