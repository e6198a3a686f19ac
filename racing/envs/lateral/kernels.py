"""Compiled loops of env=lateral. A row's results do not depend on the other rows of the batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from racing.sim.kernels.kernel import kernel
from racing.sim.kernels.rng import bits

ROUTE = 1  # what the random numbers of an episode are for: which route,
NOISE = 1 << 16  # and those above: the uniform number of each of its steps
UNIT = 1.0 / (1 << 53)
NEGLIGIBLE = -20.0  # log of a share of the likeliest token's probability


@kernel
def sample_rows(probabilities: Any, uniforms: Any, out: Any) -> None:
    """Draw out (N,) int64 from probabilities (N, V) float32 by uniforms (N,) in [0, 1); -1 where they are none.

    As numpy.random.choice(V, p=row): the number of entries of the row's cumulative sum, in float64 and divided by its
    last value, that are not above the uniform number.
    """
    for i in range(len(out)):
        total = 0.0
        first, last = -1, -1
        for k in range(probabilities.shape[1]):
            p = np.float64(probabilities[i, k])
            if p != 0.0:  # adding zeros changes nothing
                first = k if first < 0 else first
                last = k
                total += p
        if not (total > 0.0 and total < np.inf):
            out[i] = -1
            continue
        reached = 0.0
        chosen = last
        for k in range(first, last):
            reached += np.float64(probabilities[i, k])
            if reached / total > uniforms[i]:
                chosen = k
                break
        out[i] = chosen


@kernel
def expect_rows(logits: Any, values: Any, temperature: Any, out: Any) -> None:
    """Fill out (N,) with the means of `values` (V,) under the softmax of logits (N, V) float32 at a temperature.

    What is less likely than e^-20 times the likeliest one is left out. NaN where they are no probabilities.
    """
    for i in range(len(out)):
        top = -np.inf
        for k in range(logits.shape[1]):
            if not logits[i, k] <= top:  # NaN, too
                top = logits[i, k]
        total, moment = 0.0, 0.0
        for k in range(logits.shape[1]):
            below = (np.float64(logits[i, k]) - top) / temperature
            if not below < NEGLIGIBLE:
                p = np.exp(below)
                total += p
                moment += p * values[k]
        out[i] = moment / total


@kernel
def draw_episodes(seed: Any, first: Any, distinct: Any, episodes: Any, routes: Any, chosen: Any, uniforms: Any) -> None:
    """Fill the numbers of the routes chosen (N,), of `routes`, and uniforms (N, T) in [0, 1) with 53 bits.

    Car i has the key first + i % distinct; episodes (N,): number of each car's episode.
    """
    for i in range(len(chosen)):
        key, episode = first + i % distinct, episodes[i]
        chosen[i] = np.int64(bits(seed, key, episode, ROUTE) % np.uint64(routes))
        for t in range(uniforms.shape[1]):
            uniforms[i, t] = np.float64(bits(seed, key, episode, NOISE + t) >> np.uint64(11)) * UNIT


@kernel
def gather_inputs(plans: Any, chosen: Any, steer: Any, token: Any, now: Any, states: Any, tokens: Any) -> None:
    """Fill states (N, 20, 4) float32 and tokens (N, 20) int64 of the rows that the dynamics see at row `now`.

    plans: (R, ROWS, 4) target, roll, speed, acceleration of the routes, of which `chosen` (N,) are driven.
    steer (N, T), token (N, T): of rows 0 .. now, and 0 .. now - 1.
    """
    context = states.shape[1]
    for i in range(len(chosen)):
        plan = plans[chosen[i]]
        for k in range(context):
            row = now - context + 1 + k
            states[i, k, 0] = steer[i, row]
            states[i, k, 1] = plan[row, 1]
            states[i, k, 2] = plan[row, 2]
            states[i, k, 3] = plan[row, 3]
            tokens[i, k] = token[i, row - 1]


@kernel
def sum_decaying(values: Any, keep: Any, out: Any) -> None:
    """Fill out (T,) with y[t] = keep * y[t - 1] + values[t], from 0."""
    now = 0.0
    for t in range(len(out)):
        now = keep * now + values[t]
        out[t] = now
