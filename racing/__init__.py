"""racing: train, compare and ship driving policies."""

import contextlib

__version__ = "0.1.0"


def _register() -> None:
    """Make `gymnasium.make("racing/Sensors-v0")` work after `import racing`; classes are imported when made.

    Gymnasium has had no entry points for that since 1.0. Processes of a fork server, as Stable-Baselines3's
    SubprocVecEnv starts them, know what their server has imported: it imports racing, too.
    """
    import multiprocessing.forkserver

    import gymnasium

    places = {name: ("racing.envs.gym_env", "racing.envs.vector_env") for name in ("Sensors", "Vision", "Race")}
    places["Lateral"] = ("racing.envs.lateral.gym_env", "racing.envs.lateral.gym_env")
    for name, (single, many) in places.items():
        gymnasium.register(
            f"racing/{name}-v0",
            entry_point=f"{single}:{name}Env",
            vector_entry_point=f"{many}:{name}VectorEnv",
        )
    server = multiprocessing.forkserver._forkserver
    server.set_forkserver_preload([*getattr(server, "_preload_modules", []), "racing"])


with contextlib.suppress(ModuleNotFoundError):  # `racing doctor` says that gymnasium is missing
    _register()
