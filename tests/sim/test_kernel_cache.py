"""What is compiled once is compiled for every copy of the same code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import racing

USE = """
import numpy as np
from racing.sim.kernels.trig import wrap
import racing
assert wrap(np.float32(0)) == 0
print(racing.__file__, sum(wrap.stats.cache_hits.values()), sum(wrap.stats.cache_misses.values()))
"""


def use(folder: Path, cache: Path) -> tuple[int, int]:
    """Call a kernel of the package in `folder`; how often its machine code was found in the cache and was not."""
    environment = os.environ | {"PYTHONPATH": str(folder), "RACING_CACHE": str(cache)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", USE], env=environment, cwd=folder, capture_output=True, text=True, check=True
    )
    file, hits, misses = done.stdout.split()
    assert Path(file).parents[1] == folder
    return int(hits), int(misses)


def test_a_copy_of_the_code_finds_what_another_compiled(tmp_path: Path):
    for name in ("here", "there"):
        shutil.copytree(Path(racing.__file__).parent, tmp_path / name / "racing")
    assert use(tmp_path / "here", tmp_path / "cache") == (0, 1)
    assert use(tmp_path / "there", tmp_path / "cache") == (1, 0)
    with (tmp_path / "there/racing/sim/kernels/trig.py").open("a") as file:
        file.write("# other code\n")
    assert use(tmp_path / "there", tmp_path / "cache") == (0, 1)
    assert use(tmp_path / "here", tmp_path / "cache") == (1, 0)
