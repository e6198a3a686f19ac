"""The controls challenge as a Gymnasium environment: `gymnasium.make("racing/Lateral-v0")`, one car or many."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from racing.config import build, compose
from racing.envs.gym_env import TaskEnv, configured, require_render_mode
from racing.envs.lateral.task import LateralTask
from racing.envs.vector_env import TaskVectorEnv

GROUP = "lateral"  # file of conf/env


def make_task(env: dict[str, Any], **arguments: Any) -> LateralTask:
    """Build the task of conf/env/lateral.yaml with the keys `env` changed. Raises InputError for wrong ones."""
    task: LateralTask = build(configured(GROUP, compose("train", [f"env={GROUP}"]).env, env))(**arguments)
    return task


class LateralEnv(TaskEnv):
    """One car that follows a route. Observation and action: racing.envs.lateral.task.LateralTask.

    Episodes are truncated after 400 steps. What the last step's info says: the route and its costs.
    """

    task: LateralTask

    def __init__(self, render_mode: str | None = None, first_race: int = 0, **env: Any) -> None:
        """See the class.

        first_race: its episodes are those of this car of `gymnasium.make_vec` under the same seed.
        env: any key of conf/env/lateral.yaml, e.g. dynamics="tinyphysics.onnx".
        Raises InputError for wrong names, values.
        """
        require_render_mode(render_mode)
        super().__init__(make_task(env, races=1, first_race=first_race), render_mode)
        self.task.keep_picture = render_mode is not None

    def _info(self, *, ended: bool) -> dict[str, Any]:
        """See TaskEnv."""
        return self.task.last_episode(0) if ended else {}

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Plan and how it is followed, (480, 480, 3) uint8; after the last step of an episode still of that one."""
        if self.render_mode != "rgb_array":
            return None
        return self.task.last_picture if self._ended else self.task.render()


class LateralVectorEnv(TaskVectorEnv):
    """Many cars, stepped together; see LateralEnv."""

    task: LateralTask

    def __init__(self, num_envs: int = 1, render_mode: str | None = None, **env: Any) -> None:
        """num_envs: number of cars N; the other arguments as of LateralEnv. Raises InputError."""
        require_render_mode(render_mode)
        super().__init__(make_task(env, races=num_envs), render_mode)

    def _running(self) -> dict[str, npt.NDArray[Any]]:
        """See TaskVectorEnv: nothing."""
        return {}

    def _final(self, i: int) -> dict[str, Any]:
        """See TaskVectorEnv."""
        return self.task.last_episode(i)
