"""Recipes of the shipped circuits. `racing tracks generate --shipped` reproduces tracks/ byte for byte."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from racing.sim.track import Track
from racing.tracks.formats.native import write_native
from racing.tracks.generator import generate


@dataclass(frozen=True)
class Recipe:
    """Arguments of the generator, and the scale of the picture. length, width [m]."""

    style: str
    seed: int
    length: float
    width: float
    metres_per_pixel: float


SHIPPED = {
    "circuit": Recipe("flowing", 13, 950.0, 11.5, 0.35),
    "figure_eight": Recipe("figure_eight", 8, 700.0, 11.0, 0.35),
    "karting": Recipe("kart", 47, 420.0, 7.0, 0.2),
    "mini": Recipe("tight", 3, 120.0, 2.0, 0.06),
    "oval": Recipe("oval", 0, 560.0, 12.0, 0.35),
    "speedway": Recipe("fast", 37, 1900.0, 14.0, 0.5),
    "technical": Recipe("tight", 111, 720.0, 9.0, 0.3),
}


def shipped_track(name: str) -> Track:
    """Generate a shipped circuit, before it is rendered."""
    recipe = SHIPPED[name]
    return generate(recipe.seed, recipe.style, recipe.length, recipe.width, name=name)


def draw_shipped(folder: Path) -> list[Path]:
    """Write every shipped circuit to folder/<name>/; returns the pictures."""
    return [write_native(shipped_track(n), folder / n, metres_per_pixel=r.metres_per_pixel) for n, r in SHIPPED.items()]
