"""The house keeps its shape: floors import downwards, no circles, no crowded folders, only cli.py imports commands/."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

# From the ground up; a room may import its own floor's other rooms nowhere, and every floor below.
FLOORS = [
    ["racing.reading", "racing.resolvers"],
    [
        "racing.errors",
        "racing.files",
        "racing.observations",
        "racing.renamed_keys",
        "racing.processes",
    ],
    ["racing.naming"],
    ["racing.config", "racing.figures", "racing.onnx_files", "racing.sim", "racing.algos"],
    ["racing.tracks", "racing.runs"],
    ["racing.envs", "racing.tracking"],
    ["racing.evaluation"],
    ["racing.policies"],
    ["racing.league", "racing.viewer"],
    ["racing.training"],
    ["racing.tuning"],
    ["racing_launchers"],
    ["racing.campaigns"],
    ["racing.commands"],
    ["racing.cli"],
    ["racing.__main__"],
]
MOST_FILES = 16
PACKAGES = {"racing": REPOSITORY / "racing", "racing_launchers": REPOSITORY / "launchers/racing_launchers"}
PLUGINS = REPOSITORY / "launchers/hydra_plugins"  # Hydra's side: they import racing_launchers, nothing imports them
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def module_files() -> dict[str, Path]:
    """Dotted name -> file of every module."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = module_files()


def room(module: str) -> str:
    return "racing_launchers" if module.startswith("racing_launchers") else ".".join(module.split(".")[:2])


def imports(path: Path) -> Iterator[str]:
    """Modules of the house that a file imports: at its top, inside functions, and by a string that names one."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # "racing.envs.gym_env:SensorsEnv", "-m racing.tracking.sender", import_module("racing_launchers.worker")
            names = [node.value.partition(":")[0]]
        else:
            continue
        yield from (name for name in names if (name in MODULES and "." in name) or name in FLOOR)


@cache
def arrows() -> dict[str, set[str]]:
    """What each module imports: not read by the processes of pytest-xdist that have other tests."""
    return {name: {target for target in imports(path) if target != name} for name, path in MODULES.items()}


def test_every_module_stands_on_a_floor():
    assert {room(module) for module in MODULES} - {"racing"} == set(FLOOR)


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"racing"}))
def test_imports_go_down(module):
    """A room imports rooms of lower floors only: not those above, not its neighbours."""
    here = room(module)
    others = {room(target) for target in arrows()[module]} - {here}
    assert {other: FLOORS[FLOOR[other]] for other in others if FLOOR[other] >= FLOOR[here]} == {}


def test_there_are_no_circles():
    try:
        TopologicalSorter(arrows()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_folder_is_crowded():
    folders = {path.parent for path in (*MODULES.values(), *PLUGINS.glob("*.py"), *REPOSITORY.glob("tests/**/*.py"))}
    crowded = {str(folder.relative_to(REPOSITORY)): len(list(folder.glob("*.py"))) for folder in folders}
    assert {folder: files for folder, files in crowded.items() if files > MOST_FILES} == {}


def test_only_the_command_line_imports_commands():
    users = {
        module for module, targets in arrows().items() for target in targets if target.startswith("racing.commands")
    }
    assert {user for user in users if not user.startswith("racing.commands")} <= {"racing.cli"}
