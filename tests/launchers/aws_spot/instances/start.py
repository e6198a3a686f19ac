"""Stands for a Python of an instance whose first process is warm: python -I -S start.py PYTHON ... -m MODULE ..."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[4]))

from tests.launchers.aws_spot.instances.inside import ADDRESS  # noqa: E402
from tests.support.fork_stub import stand_for  # noqa: E402

stand_for(ADDRESS, sys.argv[1:], mounts="")
