"""Instances whose first process is systemd: this machine's, in a root, network and process tree of its own.

systemctl, shutdown and the unit's rules are systemd's own, for which host.py has stand-ins. Python starts cold.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.launchers.aws_spot.instances.host import HERE, OWN, SETTINGS, Host, furnish, hindrance
from tests.support import fork_client

UNITS = "etc/systemd/system"  # of an instance: nothing that this machine has enabled starts there
# The network of AWS, and what runs the user data there: units that are ordered after the network are stopped before it.
CLOUD_INIT = """[Unit]
Description=Network, then user data
Before=network.target network-online.target
[Service]
ExecStart={python} -I {here}/cloud_init.py {folder}
StandardOutput=append:{folder}/console.log
StandardError=inherit
"""


class BootingHost(Host):
    """The same with systemd. `off` of a machine: it was shut down, by whomever."""

    def _start(self, folder: Path) -> subprocess.Popen[Any]:
        furnish(folder, None)
        units = folder / UNITS
        (units / "multi-user.target.wants").mkdir()
        (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
        text = CLOUD_INIT.format(python=sys.executable, here=HERE, folder=folder)
        (units / "cloud-init.service").write_text(text)
        (units / "multi-user.target.wants/cloud-init.service").symlink_to("../cloud-init.service")
        (folder / "var/log/journal").mkdir()  # so it is kept
        root = folder / "root"
        root.mkdir()
        own = [f"--bind={folder / name.strip('/')}:{name}" for name in OWN]
        values = " ".join(f"{name}={value}" for name, value in SETTINGS.items())
        (folder / "manager.conf").write_text(f"[Manager]\nDefaultEnvironment={values}\n")
        nspawn = ["systemd-nspawn", "--directory", f"{root}/whole", "--boot", "--private-network", "--console=pipe"]
        nspawn += ["--quiet", "--register=no", f"--bind={folder}", *own]
        nspawn += [] if Path("/run/systemd/system").exists() else ["--keep-unit"]
        shell = [
            f"mount -t tmpfs tmpfs {root}",
            f"mkdir {root}/new {root}/work {root}/whole",
            f"mount -t overlay overlay -o lowerdir=/,upperdir={root}/new,workdir={root}/work {root}/whole",
            f"cp {folder}/bin/uv {root}/whole/usr/local/bin/uv",
            f"install -D {folder}/manager.conf {root}/whole/etc/systemd/system.conf.d/racing.conf",
            f"{shlex.join(nspawn)}",
            f"touch {folder}/off",  # it was not killed
        ]
        with (folder / "console.log").open("ab") as log:
            options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "start_new_session": True}
            return fork_client.RealPopen(["unshare", "-m", "sh", "-ec", "\n".join(shell)], **options)


def no_boot() -> str:
    """Why instances cannot boot here, with the remedy; '' if they can."""
    if not shutil.which("systemd-nspawn") or not Path("/lib/systemd/systemd").exists():
        return "needs systemd-nspawn (apt-get install systemd-container)"
    return hindrance()
