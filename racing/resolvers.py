"""What files of conf/ may say in ${racing.NAME:...}, beside OmegaConf's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omegaconf import OmegaConf


def by_line(optimal: Any, other: Any, *, _root_: Any) -> Any:
    """`optimal` where the policy observes the line of the optimal lap, which its teacher drives; else `other`.

    There a student can do all that the driver does. Elsewhere, as where it sees by a camera, or others to race against,
    it learns more by itself from some point on.
    """
    env = _root_.get("env") or {}
    sees = str(env.get("_target_")).endswith(".SensorsTask") and env.get("preview")
    return _node(optimal if sees and env.get("line") in ("best", "optimal") else other)


def by_teacher(driver: Any, other: Any, *, _root_: Any) -> Any:
    """`driver` where a policy is to imitate the driver of the optimal lap, so that it observes what that one goes by.

    Else `other`: who learns alone was measured with that.
    """
    algo = _root_.get("algo") or {}
    return _node(driver if str(algo.get("teacher")).partition("@")[0] == "driver" else other)


def _node(chosen: Any) -> Any:
    return OmegaConf.create(chosen) if isinstance(chosen, list) else chosen  # OmegaConf.resolve takes no plain list


RESOLVERS: dict[str, Callable[..., Any]] = {"by_line": by_line, "by_teacher": by_teacher}
