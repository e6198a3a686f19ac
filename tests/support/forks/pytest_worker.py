"""What pytest-xdist starts a worker with, `python -c BOOTSTRAP`, as a module, which can be forked."""

import sys

BOOTSTRAP = "import sys;exec(eval(sys.stdin.readline()))"  # execnet's

if __name__ == "__main__":
    exec(eval(sys.stdin.readline()))
