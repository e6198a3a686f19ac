"""What is compiled once is compiled for every copy of the same code."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import racing
from racing.sim.kernels import cache

KERNELS = ("kernel", "inlined")
USE = """
import numpy as np
from racing.sim.kernels.trig import wrap
import racing
print("ready", flush=True)
input()
assert wrap(np.float32(0)) == 0
print(racing.__file__, sum(wrap.stats.cache_hits.values()), sum(wrap.stats.cache_misses.values()))
"""


def start(folder: Path, cache: Path) -> subprocess.Popen[str]:
    """A process that will call a kernel of the package in `folder`."""
    environment = os.environ | {"PYTHONPATH": str(folder), "RACING_CACHE": str(cache)}
    environment.pop("NUMBA_CACHE_DIR", None)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", USE], env=environment, cwd=folder, text=True, **pipes)
    assert process.stdout.readline() == "ready\n"
    return process


def found(process: subprocess.Popen[str], folder: Path) -> tuple[int, int]:
    """How often the machine code of the kernel was in the cache and was not."""
    file, hits, misses = process.communicate("\n")[0].split()
    assert Path(file).parents[1] == folder
    return int(hits), int(misses)


def use(folder: Path, cache: Path) -> tuple[int, int]:
    return found(start(folder, cache), folder)


@pytest.mark.slow
def test_a_copy_of_the_code_finds_what_another_compiled(tmp_path: Path):
    for name in ("here", "there"):
        shutil.copytree(Path(racing.__file__).parent, tmp_path / name / "racing")
    assert use(tmp_path / "here", tmp_path / "cache") == (0, 1)
    assert use(tmp_path / "there", tmp_path / "cache") == (1, 0)
    with (tmp_path / "there/racing/sim/kernels/trig.py").open("a") as file:
        file.write("# other code\n")
    assert use(tmp_path / "there", tmp_path / "cache") == (0, 1)
    assert use(tmp_path / "here", tmp_path / "cache") == (1, 0)


def test_what_lies_beside_a_kernel_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its constants are compiled in."""
    names = []
    for number in (1, 2, 1):
        package = tmp_path / str(len(names)) / "racing"
        package.mkdir(parents=True)
        (package / "kernels.py").write_text("from racing.constants import SIZE\n")
        (package / "constants.py").write_text(f"SIZE = {number}\n")
        monkeypatch.setattr(cache, "_PACKAGE", package)
        names.append(cache.folder_of(package))
    assert names[0] == names[2] != names[1]


def test_kernels_outside_the_simulator_take_nothing_from_far_away():
    """Their cache sees racing.sim and their own folder."""
    package = Path(racing.__file__).parent
    users = [path for path in package.rglob("*.py") if re.search(r"^@(kernel|inlined)$", path.read_text(), re.M)]
    outside = [path for path in users if package / "sim" not in path.parents]
    assert outside
    for path in outside:
        tree = ast.parse(path.read_text())
        near = ".".join(("racing", *path.parent.relative_to(package).parts))
        far = {
            name.asname or name.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module.startswith("racing.")
            if not node.module.startswith("racing.sim.") and node.module.rpartition(".")[0] != near
            for name in node.names
        }
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and any(ast.unparse(d) in KERNELS for d in node.decorator_list):
                used = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
                assert not used & far, f"{path.name}: {node.name} uses {used & far}"


@pytest.mark.slow
def test_of_several_processes_one_compiles_and_the_others_wait(tmp_path: Path):
    here = Path(racing.__file__).parents[1]
    processes = [start(here, tmp_path) for _ in range(3)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert sorted(found(process, here) for process in processes) == [(0, 1), (1, 0), (1, 0)]
