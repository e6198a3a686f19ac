"""racing: train, compare and ship driving policies."""

import gymnasium

__version__ = "0.1.0"

# So that gymnasium.make("racing/Sensors-v0") works after `import racing`; the classes are imported when made.
gymnasium.register("racing/Sensors-v0", entry_point="racing.envs.gym_env:SensorsEnv")
gymnasium.register("racing/Vision-v0", entry_point="racing.envs.gym_env:VisionEnv")
