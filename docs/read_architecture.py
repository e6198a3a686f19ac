"""What docs/img/architecture.svg shows: the rooms of the code and their imports, read from the code and from the SVG.

A room is a folder or module of racing/, or racing_launchers; it stands on a floor of tests/test_floors.py.
"""

from __future__ import annotations

import ast
import html
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout that this file belongs to

from tests.test_floors import FLOOR, FLOORS, MODULES, arrows, room

PICTURE = Path(__file__).resolve().parent / "img" / "architecture.svg"


@dataclass(kw_only=True)
class Room:
    """A folder or module. text: first line of its docstring. lines: of code; parts: those of the folders in it.

    files: its modules under "", those of the folders in it under their names.
    """

    name: str
    text: str = ""
    lines: int = 0
    parts: Counter[str] = field(default_factory=Counter)
    files: dict[str, list[str]] = field(default_factory=dict)


def read_rooms() -> dict[str, Room]:
    """Read all rooms; __main__ is left out."""
    rooms: dict[str, Room] = {}
    for module, path in sorted(MODULES.items()):
        if module in ("racing", "racing.__main__"):
            continue
        name = room(module)
        here = rooms.setdefault(name, Room(name=name))
        source = path.read_text()
        lines = len(source.splitlines())
        here.lines += lines
        folder, _, file = module.removeprefix(name).strip(".").rpartition(".")
        if path.name == "__init__.py":
            folder, file = f"{folder}.{file}".strip("."), ""
        if folder:
            here.parts[folder] += lines
        if file:
            here.files.setdefault(folder, []).append(file)
        if module == name:
            here.text = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0].rstrip(".").replace("`", "")
    return rooms


def read_imports() -> dict[str, list[str]]:
    """Read room -> the rooms on lower floors that it imports, sorted; __main__ is left out."""
    found: dict[str, set[str]] = {
        name: set() for name in sorted(set(map(room, MODULES)) - {"racing", "racing.__main__"})
    }
    for module, targets in arrows().items():
        here = room(module)
        if here in found:
            below = {room(target) for target in targets if target != "racing"}
            found[here] |= {name for name in below if FLOOR[name] < FLOOR[here]}
    return {name: sorted(below) for name, below in found.items()}


def main_imports(imports: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Select the imports that no others imply (transitive reduction), without those of the ground floor."""

    @cache
    def reach(name: str) -> frozenset[str]:
        return frozenset().union(*({below} | reach(below) for below in imports[name]))

    ground = (*FLOORS[0], *FLOORS[1])
    pairs = [(name, below) for name, found in imports.items() for below in found if below not in ground]
    return [(a, b) for a, b in pairs if not any(b in reach(c) for c in imports[a] if c != b)]


def read_code() -> dict[str, Any]:
    """Read what the picture shows, as plain data."""
    rooms = {name: {"text": here.text, "lines": here.lines, "files": here.files} for name, here in read_rooms().items()}
    return {"rooms": rooms, "imports": read_imports()}


def read_picture() -> dict[str, Any]:
    """Read `read_code` as it was when the SVG was drawn, from its description."""
    description = re.search(r"<dc:description>(.*?)</dc:description>", PICTURE.read_text(), re.DOTALL)
    assert description is not None
    shown: dict[str, Any] = json.loads(html.unescape(description[1]))
    return shown
