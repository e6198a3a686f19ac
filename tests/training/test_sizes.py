"""Sizes that fit no memory or patience are refused with an estimate; those that are usual are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from racing.cli import main
from racing.config import choices, compose, plain
from racing.errors import InputError
from racing.training import sizes
from racing.training.sizes import check_evaluation_size, check_sizes, on_machine_with

GIB = 1 << 30


def checked(*overrides: str, memory: int = 16 * GIB) -> None:
    with on_machine_with(memory):
        check_sizes(plain(compose("train", overrides)))


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ("algo.n_envs=1048576 algo.n_steps=64", "a rollout of 67,108,864 steps, algo.total_timesteps is 3,200,000"),
        (
            "algo.n_envs=1048576 algo.n_steps=128 algo.total_timesteps=1099511627776",
            "algo.n_envs is too large: about .* there are 16 GiB",
        ),
        ("algo.n_steps=16777216 algo.total_timesteps=1099511627776", "algo.n_envs is too large: about .* GiB would"),
        ("algo=sac algo.buffer_size=10000000000", "algo.buffer_size is too large: about .* GiB would be needed"),
        ("env=vision algo=sac algo.buffer_size=10000000", "algo.buffer_size is too large"),
        ("algo=masac algo.agents=60 algo.buffer_size=100000000", "algo.buffer_size is too large"),
        ("env=vision env.width=1024 env.height=1024 algo=ppo_cnn algo.n_envs=1024", "algo.n_envs is too large"),
        ("algo.net_arch=[65536,65536]", "algo.net_arch is too large: about 128 GiB would be needed"),
        ("eval.episodes=100000 eval.laps=1000", "eval.episodes=100000 of eval.laps=1000 laps would take 14 h or more"),
        ("eval.episodes=100000 eval.laps=100", "is too large: about 466 GiB would be needed"),
    ],
)
def test_what_cannot_fit(overrides: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        checked(*overrides.split())


@pytest.mark.slow
def test_what_is_usual_fits() -> None:
    for experiment in [*choices("experiment"), "[]"]:
        checked(f"experiment={experiment}", memory=8 * GIB)
    for algo in choices("algo"):
        checked(f"algo={algo}", "debug=fast", "eval.episodes=1000", memory=8 * GIB)
    checked("algo.n_envs=4096", "eval.episodes=10000")
    check_evaluation_size("episodes", "laps", 100_000, 100, telemetry=False)


def test_the_memory_is_that_of_this_machine_or_container() -> None:
    assert 0 < sizes.memory_here() <= 1 << 50
    with on_machine_with(1000), pytest.raises(InputError, match="algo.n_envs is too large"):
        check_sizes(plain(compose("train", [])))
    assert sizes._memory.get() is None


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["train", f"algo.net_arch=[{','.join(['64'] * 10_000)}]"], "has 30,015 characters, at most 10,000 are read"),
        (["train", "debug=fast", f"algo.net_arch=[{','.join(['8'] * 101)}]"], "at most 100 layers, got 101"),
        (["train", "algo.n_envs=1048576", "algo.n_steps=64"], "lower algo.n_envs"),
        (["train", "-m", "seed=1,2", "algo.n_envs=1048576", "algo.n_steps=64"], "lower algo.n_envs"),
        (["evaluate", "episodes=100000", "laps=1000"], "episodes=100000 of laps=1000 laps would take 14 h or more"),
    ],
    ids=["10000 layers", "101 layers", "n_envs", "sweep", "evaluate"],
)
def test_a_verb_says_it_in_one_line(
    arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, f"paths.outputs={tmp_path / 'outputs'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert not (tmp_path / "outputs").exists()
