"""A policy of racing as a controller of comma.ai's controls challenge: python eval.py ... --test_controller racing

Put this file and policy.onnx into the folder controllers/ of https://github.com/commaai/controls_challenge. It needs
numpy and onnxruntime. What is observed, and why: racing.envs.lateral.observation.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

POLICY = Path(__file__).with_name("policy").with_suffix(".onnx")
SCALES = {"delta": 0.25, "absolute": 2.0, "residual": 0.5}  # of an action, where env.action_scale is null
CONTROL_START, FIRST = 100, 20  # rows: from here on commands count; of the first call
PROPORTIONAL, INTEGRAL, DERIVATIVE = 0.195, 0.100, -0.053
AHEAD = (1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 40)
OLDER = (3, 4, 5, 6)
LEAD = 3
MOST_STEER, BOUND = 2.0, 10.0


def hold(lataccel: float, roll: float, speed: float) -> float:
    """Command that holds a lateral acceleration [m/s^2] in the steady state."""
    gain = 1.75 * speed**2 / (speed**2 + 9.0)
    return min(max((lataccel - roll) / max(gain, 0.3), -MOST_STEER), MOST_STEER)


class Controller:
    """Controls one route, from its row 20 on; a new one for each route."""

    def __init__(self) -> None:
        """Load policy.onnx, which lies beside this file."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(POLICY), options, providers=["CPUExecutionProvider"])
        env = json.loads(self.session.get_modelmeta().custom_metadata_map["env"])
        self.action = env["action"]
        self.scale = env["action_scale"] or SCALES[self.action]
        self.row, self.integral, self.error = FIRST, 0.0, 0.0
        self.steer = [0.0] * max(OLDER)  # commands, the last one at the end
        self.lataccel = [0.0] * max(OLDER)

    def update(self, target_lataccel: float, current_lataccel: float, state: Any, future_plan: Any) -> float:
        """Return the steering command of this row, right positive; see the challenge's BaseController."""
        self.lataccel.append(float(current_lataccel))
        error = target_lataccel - current_lataccel
        self.integral += error
        change, self.error = error - self.error, error
        pid = PROPORTIONAL * error + INTEGRAL * self.integral + DERIVATIVE * change
        if self.row < CONTROL_START:  # the log steers: it is not told how, this is near it
            command = self._hold_ahead(LEAD, target_lataccel, state, future_plan)
        else:
            seen = self._observe(target_lataccel, state, future_plan, change, pid)
            action = float(self.session.run(None, {"observation": seen})[0][0, 0])
            start = {"delta": self.steer[-1], "absolute": 0.0, "residual": pid}[self.action]
            command = min(max(start + self.scale * action, -MOST_STEER), MOST_STEER)
        self.steer.append(command)
        self.row += 1
        return command

    @staticmethod
    def _plan(ahead: int, target: float, state: Any, plan: Any) -> tuple[float, float, float]:
        """Target, roll and speed so many rows ahead, at most of the last row that is known."""
        known = min(ahead, len(plan.lataccel))
        if known == 0:
            return target, state.roll_lataccel, state.v_ego
        return plan.lataccel[known - 1], plan.roll_lataccel[known - 1], plan.v_ego[known - 1]

    def _hold_ahead(self, ahead: int, target: float, state: Any, plan: Any) -> float:
        return hold(*self._plan(ahead, target, state, plan))

    def _observe(self, target: float, state: Any, plan: Any, change: float, pid: float) -> Any:
        """(1, 46) float32."""
        y, u = self.lataccel, self.steer
        ahead = [self._plan(k, target, state, plan)[0] - y[-1] for k in AHEAD]
        commands = [self._hold_ahead(k, target, state, plan) - u[-1] for k in AHEAD]
        seen = [
            self.error,
            y[-1],
            (y[-1] - y[-2]) * 4.0,
            self.integral * 0.1,
            change * 4.0,
            u[-1],
            (u[-1] - u[-2]) * 4.0,
            min(max(pid, -MOST_STEER), MOST_STEER),
            hold(target, state.roll_lataccel, state.v_ego),
            state.v_ego * (1 / 35.0),
            state.a_ego * (1 / 3.0),
            state.roll_lataccel,
            *ahead,
            *commands,
            *((y[-k] - y[-1]) * 4.0 for k in OLDER),
            *((u[-k] - u[-1]) * 4.0 for k in OLDER),
        ]
        return np.clip(np.array([seen], np.float32), -BOUND, BOUND)
