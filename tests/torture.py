"""Hundreds of kills, and what came of them.

python -m tests.torture [KILLS]   `make torture`: trainings here are killed
python -m tests.torture cloud [TIMES] [SETTING=VALUE ...]   `make torture ARGS=cloud`: their instances are taken away
python -m tests.torture boot [SCENARIO ...]   `make torture ARGS=boot`: instances boot with systemd, as root
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from racing_launchers.aws_spot.account.objects import Objects
from tests.launchers.aws_spot.instances import account
from tests.launchers.aws_spot.instances.booted import BootingHost, no_boot
from tests.launchers.aws_spot.instances.boots import Boots
from tests.launchers.aws_spot.instances.host import Host
from tests.launchers.aws_spot.instances.interruptions import AWS, Trouble
from tests.support import fork_client
from tests.support.processes import Killer, run_of, train_command
from tests.training.test_resume import PPO, SAC, check_equal


def torture(name: str, arguments: list[str], total: int, kills: int) -> None:
    """Print how often a run was killed, where, and whether it ended as one that was not."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="racing-torture-", ignore_cleanup_errors=True) as folder:
        calm = Path(folder) / "calm"
        subprocess.run(train_command(calm, arguments), check=True, capture_output=True)
        killer = Killer(Path(folder) / "disturbed", arguments, total, kills, seed=2)
        killer.torment(say=True)
        check_equal(killer.run, run_of(calm, arguments), total)
    where = ", ".join(f"{kind} {number}" for kind, number in sorted(killer.killed.items()))
    print(f"{name}: {where}; {time.monotonic() - began:.0f} s; state, journal and MLflow equal the calm run's")


def torture_cloud(name: str, arguments: list[str], total: int, times: int, settings: list[str]) -> None:
    """Print how often the instance of a training was taken away, and whether it ended as one here that was not.

    settings: of the launcher.
    """
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="racing-torture-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
        account.serve() as url,
    ):
        calm, home = Path(folder) / "calm", Path(folder) / "home"
        account.enter(url, Path(folder), patch)
        objects = Objects(account.client("s3"), account.make_stack(patch))
        subprocess.run(train_command(calm, arguments), check=True, capture_output=True)
        with Host(account.client("ec2"), url, Path(folder) / "host") as host:
            trouble = Trouble(host, objects, total, times, seed=times)
            command = train_command(home, [*arguments, *AWS, f"launcher.max_resubmits={times + 5}", *settings])
            said = Path(folder) / "said.txt"
            with said.open("wb") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            try:
                trouble.cause(process)
                assert process.wait() == 0, said.read_text()[-2000:]
            finally:
                process.kill()
        check_equal(run_of(home, arguments), run_of(calm, arguments), total)
    what = ", ".join(f"{kind} {number}" for kind, number in sorted(trouble.done.items()))
    print(f"{name}: {what}; {time.monotonic() - began:.0f} s; state, journal and MLflow equal those of a calm run here")


def torture_boot(chosen: list[str]) -> None:
    """Print what systemd makes of the unit of an instance. chosen: words of the scenarios; none: all of them."""
    if why := no_boot():
        sys.exit(f"make torture ARGS=boot {why}")
    with (
        tempfile.TemporaryDirectory(prefix="racing-boot-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
        account.serve() as url,
    ):
        account.enter(url, Path(folder), patch)
        account.make_stack(patch)
        with BootingHost(account.client("ec2"), url, Path(folder) / "host") as host:
            for what, scenario in Boots(host, Path(folder)).scenarios().items():
                if not chosen or any(word in what for word in chosen):
                    began = time.monotonic()
                    said = scenario()
                    print(f"{what}: {said}; {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    fork_client.install(f"racing-torture-{os.getpid()}", start=True)
    given = sys.argv[1:]
    if given[:1] == ["boot"]:
        torture_boot(given[1:])
        sys.exit()
    in_cloud = given[:1] == ["cloud"]
    numbers, settings = [int(text) for text in given if text.isdigit()], [text for text in given if "=" in text]
    count = numbers[0] if numbers else 20 if in_cloud else 200
    ppo = round(0.7 * count)
    sac = count - ppo
    if in_cloud:
        torture_cloud("ppo", [*PPO, f"algo.total_timesteps={24_576 * ppo}"], 24_576 * ppo, ppo, settings)
        torture_cloud("sac", [*SAC, f"algo.total_timesteps={1600 * sac}"], 1600 * sac, sac, settings)
        sys.exit()
    torture("ppo", [*PPO, f"algo.total_timesteps={8192 * ppo}"], 8192 * ppo, ppo)
    torture("sac", [*SAC, f"algo.total_timesteps={480 * sac}"], 480 * sac, sac)
