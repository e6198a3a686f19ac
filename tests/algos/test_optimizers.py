"""Optimizers do the same without torch._dynamo."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import torch as th
from racing.algos.optimizers import leave_dynamo_out

def learn():
    weights = [th.nn.Parameter(th.linspace(-1, 1, 5)), th.nn.Parameter(th.ones(2, 2))]
    optimizer = th.optim.Adam(weights, lr=0.05, eps=1e-5)
    for step in range(10):
        optimizer.zero_grad()
        sum(((w - step) ** 4).sum() for w in weights).backward()
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    assert not optimizer.state[weights[0]]["exp_avg"].requires_grad
    return [w.detach().clone() for w in weights]

step = th.optim.Adam.step
leave_dynamo_out()
ours = learn()
print("torch._dynamo" in sys.modules)
leave_dynamo_out()
again = learn()
th.optim.Adam.step = step
theirs = learn()
print("torch._dynamo" in sys.modules)
print(all(map(th.equal, ours, theirs)) and all(map(th.equal, again, theirs)))
"""


@pytest.mark.slow
@pytest.mark.cold
def test_the_steps_are_those_of_torch_and_it_is_not_imported():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True"]
