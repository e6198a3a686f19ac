"""The rule by which stacks of frames are made, for buffers that keep each frame once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def frames_back(age: Array, frame_stack: int) -> Array:
    """(..., k) how many frames before the newest one each frame of a stack was taken, oldest first; k = frame_stack.

    age: (...) frames of the episode before the newest one. An episode begins with k copies of its first frame.
    """
    return np.minimum(np.arange(frame_stack)[::-1], age[..., None])


def newest_frame(vision: Array, frame_stack: int) -> Array:
    """(N, C, H, W) the newest frame of stacks (N, H, W, k * C), channels first."""
    channels = vision.shape[-1] // frame_stack
    return vision.transpose(0, 3, 1, 2)[:, -channels:]
