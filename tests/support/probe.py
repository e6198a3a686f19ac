"""python -m tests.support.probe END ...: says how it was started, and ends so. Imports nothing that takes time.

END: a number (exit code), text (sys.exit(text)), raise, interrupt, wait (until it is killed), orphan (when who started
it is gone), parent (waits, after it has started an orphan and told its process id).
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import time


def main(end: str) -> None:
    if end == "parent":
        command = [sys.executable, "-m", "tests.support.probe", "orphan", str(os.getpid())]
        print(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).pid, flush=True)
        time.sleep(600)
    told = {"argv": sys.argv[1:], "cwd": os.getcwd(), "path": sys.path[0], "word": os.environ.get("WORD")}  # noqa: PTH109
    told |= {"home": "HOME" in os.environ, "parent": os.getppid(), "pid": os.getpid(), "stdin": sys.stdin.read()}
    atexit.register(print, "at the end")
    print(json.dumps(told), flush=end in ("wait", "orphan"))
    print("and on stderr", file=sys.stderr)
    if end == "wait":
        time.sleep(600)
    if end == "orphan":
        while os.getppid() == int(sys.argv[2]):
            time.sleep(0.01)
    if end == "raise":
        raise RuntimeError("as asked")
    if end == "interrupt":
        raise KeyboardInterrupt
    if end not in ("orphan", "0"):
        sys.exit(int(end) if end.isdecimal() else end)


if __name__ == "__main__":
    main(sys.argv[1])
