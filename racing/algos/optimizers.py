"""torch's optimizers without torch._dynamo, whose import takes two seconds of every training's start."""

from __future__ import annotations

import functools
from typing import Any

import torch as th


def leave_dynamo_out() -> None:
    """Call the optimizers' methods as they are written; what they compute stays the same.

    Around them torch imports dynamo, to keep torch.compile from tracing them; nothing is compiled here. Where torch is
    built otherwise than this file believes, it goes on importing.
    """
    for name in dir(th.optim.Optimizer):
        wrapper = getattr(th.optim.Optimizer, name)
        if _imports_dynamo(wrapper):  # unless the method has this attribute (torch/_compile.py)
            setattr(wrapper.__wrapped__, "__dynamo_disable", wrapper.__wrapped__)
    wrapper = th.optim.Adam.step
    while not _imports_dynamo(wrapper) and hasattr(wrapper, "__wrapped__"):
        wrapper = wrapper.__wrapped__
    if _imports_dynamo(wrapper):
        th.optim.Adam.step = _without_gradients(wrapper.__wrapped__)


def _imports_dynamo(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and "torch._dynamo" in code.co_names and hasattr(function, "__wrapped__")


def _without_gradients(method: Any) -> Any:
    """What the wrapper around `step` does beside dynamo."""

    @functools.wraps(method)
    def step(self: th.optim.Optimizer, closure: Any = None) -> Any:
        with th.set_grad_enabled(self.defaults["differentiable"]):
            return method(self, closure)

    return step
