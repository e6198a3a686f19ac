"""Draw docs/img/architecture.svg, the packages on their floors with their imports, from the code itself: `make docs`.

The area of a room is its lines of code. The SVG holds its data as JSON in its description, which a test compares with
the code: see read_architecture.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path as Outline
from matplotlib.textpath import text_to_path
from read_architecture import FLOORS, PICTURE, Room, main_imports, read_code, read_imports, read_rooms

THEMES = {  # theme -> colours of a room, of the folders in it, of its edge, of its text
    "command line": ("#fbe4dd", "#f5cfc4", "#d98f78", "#8c3a22"),
    "jobs on other machines": ("#eae3f6", "#dacfed", "#a48dcb", "#54397f"),
    "training and evaluation": ("#deeaf9", "#c8dbf3", "#85a8d9", "#264d86"),
    "records of a run": ("#fcf1d2", "#f6e3ae", "#d3ae54", "#735512"),
    "the simulated world": ("#dff1e2", "#c9e6ce", "#84ba90", "#285f36"),
    "foundation": ("#e6e8ec", "#d5d8de", "#a3a9b5", "#444a57"),
}
ROOMS = {  # room -> theme, on each floor from left to right
    "racing.cli": "command line",
    "racing.commands": "command line",
    "racing.campaigns": "jobs on other machines",
    "racing_launchers": "jobs on other machines",
    "racing.tuning": "training and evaluation",
    "racing.training": "training and evaluation",
    "racing.league": "training and evaluation",
    "racing.viewer": "the simulated world",
    "racing.policies": "training and evaluation",
    "racing.evaluation": "training and evaluation",
    "racing.tracking": "records of a run",
    "racing.envs": "the simulated world",
    "racing.runs": "records of a run",
    "racing.tracks": "the simulated world",
    "racing.sim": "the simulated world",
    "racing.config": "foundation",
    "racing.naming": "foundation",
    "racing.algos": "training and evaluation",
}
PER_LINE = 0.0036  # [inch^2] area of a room per line of code, less where a floor would be too wide
# Least lines of a floor -> its height [inch].
HEIGHTS = {8000: 2.5, 6000: 2.0, 4000: 1.6, 2500: 1.3, 1400: 1.15, 500: 0.95, 200: 0.66, 0: 0.46}
SIDES = {  # room -> share of its floor's free space that is left of the floor's rooms, else half
    "racing.tracks": 0.0,
    "racing.tracking": 0.0,
    "racing.evaluation": 0.62,
    "racing.policies": 0.4,
    "racing.training": 0.4,
    "racing.tuning": 0.4,
}
SMALL, BESIDE = 1.5, (1.75, 3.3)  # [inch] a narrower room has its text beside it, of this width
WALLS = 12.9  # [inch] between the walls
INSET, GAP, ASIDE = 0.3, 0.42, 0.26  # [inch] rooms from the walls, between floors, between rooms
ROOF = 1.25  # [inch] height
INK, FAINT, WALL = "#2b2f38", "#7d8390", "#faf9f6"
TITLE, TEXT, NOTE = 11.5, 8.2, 7.1  # [points]


@dataclass(kw_only=True)
class PlacedRoom(Room):
    """A room in its place. x, y, width, height: of its box; beside: width of the text beside it, if any [inch]."""

    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    beside: float = 0.0

    @property
    def right(self) -> float:
        """Right edge of the box [inch]."""
        return self.x + self.width

    @property
    def end(self) -> float:
        """Right edge of the text beside the box, or of the box [inch]."""
        return self.right + (self.beside + 0.1 if self.beside else 0.0)

    @property
    def colours(self) -> tuple[str, str, str, str]:
        """Colours of its theme."""
        return THEMES[ROOMS.get(self.name, "foundation")]


def place(rooms: Mapping[str, PlacedRoom]) -> list[list[PlacedRoom]]:
    """Put every room in its place; returns the floors that have rooms, from below."""
    order = list(ROOMS)
    floors = [[rooms[name] for name in names if name in rooms] for names in FLOORS]
    floors = [sorted(floor, key=lambda r: order.index(r.name) if r.name in order else 99) for floor in floors if floor]
    per_line, y = PER_LINE, 0.0
    while any(resize(floor, per_line) < 0 for floor in floors):
        per_line *= 0.99
        if per_line < PER_LINE / 100:
            raise ValueError("a floor has more rooms than fit between the walls; move WALLS apart")
    for floor in floors:
        side = next((SIDES[here.name] for here in floor if here.name in SIDES), 0.5)
        x = INSET + resize(floor, per_line) * side
        for here in floor:
            here.x, here.y = x, y
            x = here.end + ASIDE
        y += floor[0].height + GAP
    return floors


def resize(floor: Sequence[PlacedRoom], per_line: float) -> float:
    """Give the rooms of a floor their widths and heights; returns the width that is left [inch]."""
    lines = sum(here.lines for here in floor)
    height = next(height for least, height in HEIGHTS.items() if lines >= least)
    for here in floor:
        here.height, here.width = height, here.lines * per_line / height
    free = WALLS - 2 * INSET - lines * per_line / height - ASIDE * (len(floor) - 1)
    small = [here for here in floor if here.width < SMALL]
    for here in small:
        here.beside = float(np.clip(free / len(small) - 0.1, *BESIDE))
    return free - sum(here.beside + 0.1 for here in small)


def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """Measure the width [inch] of a line of text in DejaVu Sans."""
    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def wrapped(text: str, size: float, width: float) -> str:
    """Break text into lines of at most `width` [inch]."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if width_of(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines).strip()


def columns(here: PlacedRoom) -> list[list[str]]:
    """The folders of a room as columns, from the right: those that are too narrow for their names share one."""
    found: list[list[str]] = [[]]
    for part, lines in sorted(here.parts.items(), key=lambda item: item[1]):
        if here.width * lines / here.lines < width_of(part, TEXT, bold=True) + 0.14:
            found[0].append(part)
        else:
            found.append([part])
    return [parts for parts in found if parts]


class Drawing:
    """The figure, one unit an inch."""

    def __init__(self, floors: Sequence[Sequence[PlacedRoom]], imports: dict[str, list[str]]) -> None:
        """floors: in their places."""
        self.floors, self.imports = floors, imports
        self.rooms = {here.name: here for floor in floors for here in floor}
        self.level = {here.name: number for number, floor in enumerate(floors) for here in floor}
        self.used: list[tuple[float, float, float]] = []  # x, lower and upper end of the vertical arrows
        top = floors[-1][0].y
        width, height = WALLS + 0.5, top + ROOF + 0.55
        self.figure = Figure(figsize=(width, height), facecolor="white")
        FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(-0.25, width - 0.25), ylim=(-0.4, height - 0.4))
        self.axes.set_axis_off()

    def box(self, x: float, y: float, width: float, height: float, fill: str, edge: str, **options: Any) -> None:
        """Draw a rectangle with rounded corners."""
        corner = min(0.08, width / 4, height / 4)
        style = f"round,pad=0,rounding_size={corner}"
        self.axes.add_patch(FancyBboxPatch((x, y), width, height, style, facecolor=fill, edgecolor=edge, **options))

    def text(self, x: float, y: float, text: str, size: float, colour: str, **options: Any) -> None:
        """Draw text whose upper left corner is at x, y."""
        options = {"va": "top", "ha": "left", "zorder": 6, **options}
        self.axes.text(x, y, text, fontsize=size, color=colour, family="DejaVu Sans", **options)

    def house(self) -> None:
        """Draw foundation, walls, floors and roof."""
        ground, top = self.floors[1][0].y - GAP / 2, self.floors[-1][0].y - GAP / 2
        self.axes.add_patch(
            Polygon(
                [(0, ground), (WALLS, ground), (WALLS, top), (WALLS / 2, top + ROOF), (0, top)],
                facecolor=WALL, edgecolor="#c9ccd3", linewidth=1.2, joinstyle="round", zorder=0,
            )
        )  # fmt: skip
        base = self.floors[0][0]
        self.box(-0.12, base.y - 0.16, WALLS + 0.24, base.height + 0.32, "#eceef1", "#c9ccd3", linewidth=1.2, zorder=0)
        for floor in self.floors[2:-1]:
            y = floor[0].y - GAP / 2
            self.axes.plot((0.08, WALLS - 0.08), (y, y), color="#e9e9e4", linewidth=0.9, zorder=0.5)

    def legend(self, x: float, y: float) -> None:
        """Explain colours and lines; x, y: upper left corner."""
        row, column, width = 0.23, 1.95, 3.95
        lines = ["the area of a room is its lines of code", "imports, always of a room on a floor below"]
        lines += ["imports that the arrows imply", "every room may import the foundation"]
        self.box(x, y - 0.2 - row * 7, width, 0.2 + row * 7, "white", "#dcdee3", linewidth=1.0, zorder=4)
        for number, (theme, (fill, _, edge, _)) in enumerate(THEMES.items()):
            left, top = x + 0.18 + column * (number // 3), y - 0.15 - row * (number % 3)
            self.box(left, top - 0.13, 0.2, 0.13, fill, edge, linewidth=1.0, zorder=5)
            self.text(left + 0.3, top, theme, TEXT, INK)
        edge = THEMES["training and evaluation"][2]
        for number, text in enumerate(lines):
            top = y - 0.15 - row * (3 + number)
            self.text(x + 0.48, top, text, TEXT, INK)
            if number == 1:
                self.line(Outline([(x + 0.14, top - 0.06), (x + 0.42, top - 0.06)]), edge, head=True, above=5)
            elif number == 2:
                self.line(Outline([(x + 0.14, top - 0.06), (x + 0.42, top - 0.06)]), edge, above=5)

    def line(self, outline: Outline, colour: str, *, head: bool = False, above: float = 2.0) -> None:
        """Draw an arrow, or without a head a faint line."""
        if head:
            style = "-|>,head_length=4.5,head_width=2.2"
            options = {"arrowstyle": style, "shrinkA": 0, "shrinkB": 0, "joinstyle": "round"}
            patch = FancyArrowPatch(path=outline, color=colour, linewidth=1.8, zorder=above, **options)
        else:
            patch = PathPatch(outline, facecolor="none", edgecolor=colour, linewidth=0.8, alpha=0.4, zorder=above)
        self.axes.add_patch(patch)

    def room(self, here: PlacedRoom) -> None:
        """Draw a box with the folders in it, and its text in it or beside it."""
        fill, inner, edge, ink = here.colours
        self.box(here.x, here.y, here.width, here.height, fill, edge, linewidth=1.1, zorder=4)
        left = here.right
        for parts in columns(here):
            width = here.width * sum(here.parts[part] for part in parts) / here.lines
            left -= width
            self.box(left + 0.03, here.y + 0.06, width - 0.09, here.height - 0.12, inner, "none", zorder=5)
            top = here.y + here.height - 0.13
            size = TEXT * min(1.0, (width - 0.14) / max(width_of(part, TEXT, bold=True) for part in parts))
            for number, part in enumerate(parts):
                self.text(left + 0.08, top - 0.16 * number, part, size, ink, weight="bold")
            if len(parts) == 1:
                self.names(left + 0.08, top - 0.2, here.files[parts[0]], width - 0.14, here.y + 0.06, ink)
        x = here.right + 0.1 if here.beside else here.x + 0.12
        y = here.y + here.height - (0.0 if here.height < 0.8 else 0.1)
        room_for_text = here.beside or left - here.x - 0.2
        name, count = here.name.removeprefix("racing."), f"{here.lines:,}"
        size = TITLE * min(1.0, (room_for_text - 0.08 - width_of(count, NOTE)) / width_of(name, TITLE, bold=True))
        self.text(x, y, name, size, ink, weight="bold")
        self.text(x + width_of(name, size, bold=True) + 0.08, y - 0.035, count, NOTE, FAINT)
        about = wrapped(here.text, TEXT, room_for_text)
        self.text(x, y - 0.24, about, TEXT, INK, linespacing=1.3)
        if not here.beside:
            below = y - 0.3 - 0.155 * len(about.splitlines())
            self.names(x, below, here.files.get("", []), room_for_text, here.y, ink)

    def names(self, x: float, y: float, names: Sequence[str], width: float, low: float, colour: str) -> None:
        """Draw the names of files, as many lines of them as fit above `low`."""
        size = NOTE * min(1.0, width / max((width_of(f"{name},", NOTE) for name in names), default=width))
        lines = wrapped(", ".join(names), size, width).splitlines()
        fit = max(1, int((y - low - 0.03) / 0.118))
        if len(lines) > fit:
            lines = [*lines[: fit - 1], f"{lines[fit - 1].rpartition(', ')[0]}, …"]
        self.text(x, y, "\n".join(lines), size, colour, alpha=0.75)

    def arrows(self) -> None:
        """Draw the main imports as arrows, those that they imply as faint lines behind the rooms."""
        main = main_imports(self.imports)
        for name, found in self.imports.items():
            for below in found:
                if (name, below) in main or self.level[below] == 0:
                    continue
                self.thread(self.rooms[name], self.rooms[below])
        for name, below in sorted(main, key=lambda pair: self.level[pair[0]] - self.level[pair[1]]):
            self.arrow(self.rooms[name], self.rooms[below])

    def thread(self, a: PlacedRoom, b: PlacedRoom) -> None:
        """Draw a faint line from `a` down to `b`, behind the rooms between them."""
        x, y, end = a.x + a.width / 2, a.y, b.y + b.height
        share = float(np.clip((b.x + b.width / 2 - x) / WALLS + 0.5, 0.1, 0.9))
        x, to = a.x + a.width * share, b.x + b.width * (1 - share)
        bend = (y - end) * 0.5
        curve = Outline([(x, y), (x, y - bend), (to, end + bend), (to, end)], [Outline.MOVETO, *[Outline.CURVE4] * 3])
        self.line(curve, a.colours[2], above=1)

    def arrow(self, a: PlacedRoom, b: PlacedRoom) -> None:
        """Draw an arrow down from `a` to `b`: straight, out of a side and down, or along the gap above `b`."""
        straight = [(a.x + a.width / 2, a.y), (b.x + b.width / 2, b.y + b.height)]
        _, way = min(self.ways(a, b), default=(0.0, straight))
        self.used.append((way[-1][0], way[-1][1], way[-2][1]))
        self.line(rounded(way), a.colours[2], head=True, above=3)

    def ways(self, a: PlacedRoom, b: PlacedRoom) -> Iterator[tuple[float, list[tuple[float, float]]]]:
        """Yield (cost, corners) of ways from `a` down to `b`; dearer behind other rooms or near other arrows."""
        between = [
            here for here in self.rooms.values() if self.level[b.name] < self.level[here.name] < self.level[a.name]
        ]
        beside = [here for here in self.floors[self.level[a.name]] if here is not a]
        inset, margin = min(0.15, b.width / 2), min(0.15, a.width / 3)
        for x in (*np.linspace(b.x + inset, b.right - inset, 60), a.x + a.width / 2):
            if not b.x < x < b.right:
                continue
            hidden = 30.0 * any(here.x - 0.12 < x < here.end + 0.12 for here in between)
            end = (float(x), b.y + b.height)
            near = any(abs(x - other) < 0.3 and low < a.y and end[1] < high for other, low, high in self.used)
            crowded = hidden + 4.0 * near
            if a.x + margin < x < a.right - margin:
                middle = (max(a.x, b.x) + min(a.right, b.right)) / 2
                yield abs(x - middle) + crowded, [(float(x), a.y), end]
            else:
                side = a.right if x > a.right else a.x
                low, high = sorted((side, float(x)))
                y, gap, start = a.y + a.height * 0.4, end[1] + 0.6 * GAP, side + 0.3 * (a.x + a.right - 2 * side)
                yield 20 + abs(x - side) + crowded, [(start, a.y), (start, gap), (float(x), gap), end]
                if abs(x - side) > 0.2 and not any(low < here.end and here.x < high for here in beside):
                    yield 10 + abs(x - side) + crowded, [(side, y), (float(x), y), end]


def rounded(corners: Sequence[tuple[float, float]]) -> Outline:
    """Join points by lines, with round corners."""
    points, codes = [corners[0]], [Outline.MOVETO]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        legs = [np.subtract(other, corner) for other in (before, after)]
        radius = min(0.16, *(float(np.linalg.norm(leg)) / 2 for leg in legs))
        begin, end = (corner + leg / np.linalg.norm(leg) * radius for leg in legs)
        points += [tuple(begin), corner, tuple(end)]
        codes += [Outline.LINETO, Outline.CURVE3, Outline.CURVE3]
    return Outline([*points, corners[-1]], [*codes, Outline.LINETO])


def main() -> None:
    """Write the picture."""
    rooms = {name: PlacedRoom(**vars(here)) for name, here in read_rooms().items()}
    imports = read_imports()
    drawing = Drawing(place(rooms), imports)
    drawing.house()
    for here in rooms.values():
        drawing.room(here)
    drawing.arrows()
    beside = rooms["racing.training"]
    drawing.legend(beside.right + 0.6, rooms["racing.tuning"].y + 0.75)
    with mpl.rc_context({"svg.hashsalt": "racing", "svg.fonttype": "path"}):
        about = {"Title": "The architecture of racing", "Description": json.dumps(read_code())}
        drawing.figure.savefig(PICTURE, format="svg", metadata={**about, "Date": None, "Creator": None})


if __name__ == "__main__":
    main()
