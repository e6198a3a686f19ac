"""`python -m racing`: the command line, wherever its script is not on the path."""

import sys
from pathlib import Path

import racing


def leave_current_folder() -> None:
    """As the script does, import nothing from the current folder, where -m looks first; unless racing lies in it."""
    here = str(Path.cwd())
    if not sys.flags.safe_path and sys.path[:1] == [here] and Path(str(racing.__file__)).parents[1] != Path(here):
        del sys.path[0]


if __name__ == "__main__":
    leave_current_folder()
    from racing.cli import main

    sys.exit(main())
