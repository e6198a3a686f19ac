"""systemctl, as far as the user data needs it: runs one unit by the rules that stand in it.

python systemd.py FOLDER daemon-reload | enable --now UNIT
"""

import configparser
import os
import shlex
import signal
import subprocess
import sys
import time

UNITS = "/etc/systemd/system"


class Unit(configparser.RawConfigParser):
    def optionxform(self, text: str) -> str:
        return text


def run(folder: str, name: str) -> None:
    unit = Unit(strict=False, interpolation=None)
    unit.read(f"{UNITS}/{name}")
    service, limits = unit["Service"], unit["Unit"]
    known = ("AWS_ENDPOINT_URL", "PATH", "LANG", "OMP_", "RACING_TESTS_")  # the first stands for the network of AWS
    environment = {key: value for key, value in os.environ.items() if key.startswith(known)}
    with open(service["EnvironmentFile"]) as file:  # noqa: PTH123
        environment |= dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    prevented = {int(code) for code in service["RestartPreventExitStatus"].split()}
    starts: list[float] = []
    while True:
        starts.append(time.monotonic())
        assert service["StandardError"] == "inherit"
        with open(service["StandardOutput"].removeprefix("append:"), "ab") as log:  # noqa: PTH123
            options = {"env": environment, "cwd": service["WorkingDirectory"], "stdout": log, "stderr": log}
            child = subprocess.Popen(shlex.split(service["ExecStart"]), start_new_session=True, **options)
        with open(f"{folder}/unit.pid", "w") as file:  # noqa: PTH123
            file.write(str(child.pid))
        code = child.wait()
        print(f"systemd: {name} left with {code}", flush=True)
        hook = shlex.split(service["ExecStopPost"].lstrip("+"))
        subprocess.run(hook, env={**os.environ, **environment, "EXIT_STATUS": str(code)})
        kill_the_rest()
        clean = code == 0 or code in {int(code) for code in service["SuccessExitStatus"].split()}
        if clean or code in prevented or service["Restart"] != "on-failure":
            return
        recent = [start for start in starts if time.monotonic() - start < float(limits["StartLimitIntervalSec"])]
        if len(recent) >= int(limits["StartLimitBurst"]):
            assert limits["StartLimitAction"] == "poweroff"
            subprocess.run(["shutdown", "-h", "now"])
            return
        time.sleep(min(0.5, float(service["RestartSec"])))


def kill_the_rest() -> None:
    """What else the unit has started ends with it."""
    for name in os.listdir("/proc"):  # noqa: PTH208
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:  # noqa: PTH123
                if name.isdigit() and b"racing_launchers" in file.read():
                    os.kill(int(name), signal.SIGKILL)
        except OSError:
            continue


def main(folder: str, *arguments: str) -> None:
    if arguments[:2] == ("enable", "--now") and not os.fork():
        os.setsid()
        run(folder, arguments[2])


main(*sys.argv[1:])
