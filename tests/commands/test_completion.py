"""Shell completion of `racing`: what is offered, and that a real bash takes it."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from racing.cli import main

PATIENCE = 120.0  # [s]


def offered(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str) -> list[str]:
    monkeypatch.setenv("COMP_LINE", line)
    capsys.readouterr()
    assert main(["train", "--shell-completion", "query=bash"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("racing train alg", ["algo.", "algo="]),
        ("racing train algo=ppo_", ["algo=ppo_cnn", "algo=ppo_fast", "algo=ppo_scratch"]),
        ("racing train -m seed=1,2 algo=ppo,s", ["algo=ppo,sac", "algo=ppo,sac_cnn"]),
        ("racing train algo=sac algo.ta", ["algo.target_entropy=", "algo.tau="]),
        ("racing train seed=1 algo.gam", ["algo.gamma="]),
        ("racing train env=vision env.frame_stack=", ["env.frame_stack=1"]),
        ("racing train launcher=s", ["launcher=slurm"]),
        ("racing train seed=1 -m launc", ["launcher.", "launcher="]),
        ("racing train tun", ["tuning="]),
        ("racing train tuning=tpe tuning.n_t", ["tuning.n_trials="]),
        ("racing train experiment=null experiment=vision_r", ["experiment=vision_rgb"]),
        ("racing train --config-d", ["--config-dir"]),
        ("racing train -c ", ["all", "hydra", "job"]),
        ("racing train seed=1 --info def", ["defaults", "defaults-tree"]),
        ("racing evaluate ep", ["episodes="]),
        ("racing jobs paths.", ["paths.outputs="]),
        ("racing train verb", []),
        ("racing train launcher/p", []),
        ("racing train seed al", []),
        ("racing train 'tra", []),
    ],
)
def test_what_is_offered(line: str, expected: list[str], capsys, monkeypatch):
    assert offered(capsys, monkeypatch, line) == expected


def test_own_choices_and_files_are_offered(tmp_path: Path, capsys, monkeypatch):
    (tmp_path / "my conf" / "experiment").mkdir(parents=True)
    (tmp_path / "my conf" / "experiment" / "zebra.yaml").write_text("# @package _global_\nseed: 7\n")
    (tmp_path / "maps").mkdir()
    monkeypatch.chdir(tmp_path)
    for line in (
        "racing train -cd 'my conf' experiment=z",
        "racing train experiment=vision_rgb -cd my\\ conf experiment=z",
    ):
        assert offered(capsys, monkeypatch, line) == ["experiment=zebra"]
    assert offered(capsys, monkeypatch, "racing train -cd 'my conf' experiment=zebra seed=") == ["seed=7"]
    assert offered(capsys, monkeypatch, "racing train track=./ma") == ["track=./maps"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("action", ["install", "uninstall"])
def test_scripts_are_what_the_shell_understands(shell: str, action: str, tmp_path: Path, capsys):
    assert main(["train", "-sc", f"{action}={shell}"]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not here: run .ci/packages")
    assert subprocess.run([program, "-n", script], capture_output=True, text=True).stderr == ""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not here: run .ci/packages")
def test_a_real_fish_completes_verbs_groups_choices_and_keys(tmp_path: Path, capsys):
    assert main(["train", "-sc", "install=fish"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    for line, expected in {
        "racing ev": "evaluate",
        "racing train vehi": "vehicle=",
        "racing train algo=ppo_c": "algo=ppo_cnn",
        "racing train algo.total": "algo.total_timesteps=",
    }.items():
        command = f"source {tmp_path / 'script'}; complete -C '{line}'"
        done = subprocess.run(["fish", "--no-config", "-c", command], env=environment(), capture_output=True, text=True)
        assert expected in done.stdout.split(), done.stderr


def environment() -> dict[str, str]:
    """As a person has it whose PATH finds `racing`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PS1": "> ", "TERM": "dumb"}


class Terminal:
    """A bash at a terminal, as a person has it."""

    def __init__(self) -> None:
        self.pid, self.file = pty.fork()
        if not self.pid:
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environment())

    def type(self, keys: str, until: str) -> str:
        """Press keys; what is shown until `until` is."""
        os.write(self.file, keys.encode())
        shown, deadline = "", time.monotonic() + PATIENCE
        while until not in shown:
            assert time.monotonic() < deadline, shown
            if select.select([self.file], [], [], 1.0)[0]:
                shown += os.read(self.file, 4096).decode().replace("\a", "")  # the bell: several fit
        return shown

    def close(self) -> None:
        os.write(self.file, b"\x15exit\n")  # Ctrl-U first
        os.waitpid(self.pid, 0)
        os.close(self.file)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
def test_a_real_bash_completes_verbs_groups_choices_and_keys():
    bash = Terminal()
    try:
        bash.type('eval "$(racing train -sc install=bash)"; echo rea""dy\n', "ready")
        bash.type("racing ev\t", "racing evaluate")
        bash.type("\x15racing train vehi\t", "racing train vehicle")
        bash.type("=ka\t", "=kart")
        bash.type(" algo.total\t", "algo.total_timesteps=")
        bash.type("9 tuning=cm\t", "tuning=cmaes")
        shown = bash.type("\x15racing train algo=pp\t\t\t", "ppo_fast")  # several: they are listed
        assert "ppo_cnn" in shown
        bash.type('\x15eval "$(racing train -sc uninstall=bash)"; complete -p racing; echo do""ne\n', "no completion")
    finally:
        bash.close()
