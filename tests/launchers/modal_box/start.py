"""Stands for a Python that a job starts in a container: python -I -S start.py ADDRESS PYTHON ... -m MODULE ..."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.support.fork_stub import stand_for

stand_for(sys.argv[1], sys.argv[2:], mounts="")
