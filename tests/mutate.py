"""`make mutate`: hundreds of small faults put into the code, one at a time, and which of them no test notices.

    python -m tests.mutate [COUNT] [RESULTS]

The faults are those of cosmic-ray. COUNT of them are drawn, always the same ones for the same code, and tried in copies
of the checkout against the nearest tests, then against those further away. RESULTS (JSON lines) is written as they are
tried; the same command goes on where it was stopped.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import json
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
COUNT, COPIES, PATIENCE = 300, 2, 900  # faults; copies tried side by side; [s] for one set of tests
# Folder or file -> the nearest tests, then those further away (pytest's arguments). The first that fits counts.
FAST, SLOW = ["-m", "not slow"], ["-m", "slow"]
FAR = ["tests/training", "tests/evaluation", "tests/tracks", *FAST]
TESTS: dict[str, tuple[list[str], ...]] = {
    "racing/sim/camera": (["tests/sim/test_camera.py"], ["tests/envs/test_vision.py"]),
    "racing/sim": (["tests/sim", "tests/envs/test_sensors.py", "--ignore=tests/sim/test_camera.py"], FAR),
    "racing/envs": (["tests/envs"], FAR),
    "racing/runs": (
        ["tests/runs"],
        ["tests/training/test_continue.py", "tests/commands/test_runs.py", "tests/commands/test_damaged_runs.py"],
    ),
    "racing/tracking": (["tests/tracking", *FAST], ["tests/tracking", *SLOW]),
    "launchers/racing_launchers/slurm": (["tests/launchers/slurm/test_slurm.py"],),
    "launchers/racing_launchers/local": (["tests/launchers/test_local.py"], ["tests/launchers/test_sweep.py"]),
    "launchers/racing_launchers": (
        ["tests/launchers", "--ignore=tests/launchers/modal", *FAST],
        ["tests/launchers/test_local.py", "tests/launchers/test_sweep_names.py"],
        ["tests/launchers/test_sweep.py", "tests/launchers/slurm/test_slurm.py"],
    ),
}
AREAS = ("racing/sim", "racing/envs", "racing/runs", "racing/tracking", "launchers/racing_launchers")  # equal shares
WITHOUT = ("launchers/racing_launchers/modal", "racing/sim/kernels/cache.py")  # tested by a box of their own; a cache
# They need arguments, change no behavior, fail on tuples of exceptions; or make what a type checker, or the compiler of
# the kernels, refuses: bits of numbers that aren't whole, and identity in place of equality.
OPERATORS_WITHOUT = re.compile(
    r"VariableInserter|VariableReplacer|RemoveDecorator|ExceptionReplacer|_(LShift|RShift|Bit\w+|Pow|Is|IsNot)$"
    r"|BinaryOperator_Bit(Or|And)"
)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A small change to one file. operator, occurrence: as cosmic-ray counts them. diff: of the changed lines."""

    path: str
    operator: str
    occurrence: int
    code: str
    diff: str

    @property
    def name(self) -> str:
        return f"{self.path} {self.operator} {self.occurrence}"


def files() -> list[str]:
    """All files that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for path in listed.split("\0") if path and (ROOT / path).is_file()]


def meaning(code: str) -> str:
    """The code without annotations, which never run; empty for what is no code, such as a bare `*` replaced."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(value=None)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return ast.dump(tree)


def faults_of(path: str) -> Iterator[tuple[str, int]]:
    """Operator and occurrence of every fault that can be put into a file."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    tree = get_ast((ROOT / path).read_text())
    for name in operator_names():
        if not OPERATORS_WITHOUT.search(name):
            operator = get_operator(name)()
            places = sum(len(list(operator.mutation_positions(node))) for node in ast_nodes(tree))
            yield from ((name, number) for number in range(places))


def drawn(count: int) -> list[Fault]:
    """`count` faults that change what the code does, spread over all files; the same for the same code."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    named = [path for path in files() if path.endswith(".py") and not path.startswith(WITHOUT)]
    found: list[Fault] = []
    for area in AREAS:
        possible = [(path, *fault) for path in named if path.startswith(f"{area}/") for fault in faults_of(path)]
        random.Random(0).shuffle(possible)
        share: dict[tuple[str, str], Fault] = {}  # one a line
        for path, operator, occurrence in possible:
            before = (ROOT / path).read_text()
            code = mutate_code(before, get_operator(operator)(), occurrence)
            if code is not None and meaning(code) not in (meaning(before), ""):
                diff = list(difflib.unified_diff(before.splitlines(), code.splitlines(), lineterm="", n=0))[2:]
                made = Fault(path=path, operator=operator, occurrence=occurrence, code=code, diff="\n".join(diff))
                share.setdefault((path, diff[0]), made)
            if len(share) == count // len(AREAS):
                break
        found += share.values()
    return found


def tests_of(path: str) -> tuple[list[str], ...]:
    """Sets of tests that are near to a file, the nearest first; none: it isn't tried."""
    return next((tests for begin, tests in TESTS.items() if path.startswith(f"{begin}/") or path == begin), ())


def killed_by(copy: Path, tests: list[str]) -> bool:
    """Whether one of the tests fails in a copy of the checkout, or takes for ever."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(copy), str(copy / "launchers"))),
        "RACING_CACHE": str(copy / ".kernels"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "pytest", "-x", "-n", "0", "-p", "no:cacheprovider", *tests]
    process = subprocess.Popen(
        command,
        cwd=copy,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(PATIENCE) != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def survives(copy: Path, fault: Fault) -> bool:
    """Whether no test fails with the fault in the copy; afterwards it is whole again."""
    target = copy / fault.path
    before = target.read_text()
    try:
        target.write_text(fault.code)
        return not any(killed_by(copy, tests) for tests in tests_of(fault.path))
    finally:
        target.write_text(before)


def check_whole(copy: Path, faults: list[Fault]) -> None:
    """Raises SystemExit where tests fail without any fault: they would seem to notice every one."""
    for tests in sorted({tuple(tests) for fault in faults for tests in tests_of(fault.path)}):
        if killed_by(copy, list(tests)):
            raise SystemExit(f"{' '.join(tests)}: fails without a fault; mend that first")


def copied(folder: Path) -> Path:
    """A copy of the checkout, with the data beside it that some tests read."""
    copy = folder / "checkout"
    for path in files():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, copy / path)
    identity = ["-c", "user.name=mutate", "-c", "user.email=mutate@localhost"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "whole"]):  # runs record a commit
        subprocess.run(["git", *command], cwd=copy, check=True)
    if (ROOT.parent / "shared").exists():
        (folder / "shared").symlink_to(ROOT.parent / "shared")
    return copy


def main(count: int, results: Path) -> None:
    tried = {}
    if results.exists():
        tried = {row["name"]: row for row in map(json.loads, results.read_text().splitlines())}
    faults = drawn(count)
    waiting: queue.SimpleQueue[Fault] = queue.SimpleQueue()
    for fault in faults:
        if fault.name not in tried:
            waiting.put(fault)
    lock = threading.Lock()

    def work(copy: Path) -> None:
        while True:
            try:
                fault = waiting.get_nowait()
            except queue.Empty:
                return
            began = time.monotonic()
            row = {"name": fault.name, "survives": survives(copy, fault), "seconds": round(time.monotonic() - began)}
            with lock:
                tried[fault.name] = row | {"diff": fault.diff}
                results.parent.mkdir(parents=True, exist_ok=True)
                with results.open("a") as file:
                    file.write(json.dumps(tried[fault.name]) + "\n")
                progress.advance(bar)

    with (
        Progress(console=Console(stderr=True)) as progress,
        tempfile.TemporaryDirectory(prefix="racing-mutate-") as top,
    ):
        bar = progress.add_task("faults", total=len(faults), completed=len(faults) - waiting.qsize())
        copies = [copied(Path(top) / str(number)) for number in range(COPIES)]
        check_whole(copies[0], [fault for fault in faults if fault.name not in tried])
        workers = [threading.Thread(target=work, args=(copy,)) for copy in copies]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    rows = [tried[fault.name] for fault in faults]
    for row in rows:
        if row["survives"]:
            print(f"{row['name']}\n{row['diff']}\n")
    noticed = Counter(not row["survives"] for row in rows)[True]
    print(f"{noticed} of {len(rows)} faults were noticed, {noticed / len(rows):.1%}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]) if given else COUNT, Path(given[1] if len(given) > 1 else "outputs/mutants.jsonl"))
