"""Which routes are trained on, which choose the best policy, which are reported: no route is in two of these."""

from __future__ import annotations

from pathlib import Path

from racing.envs.lateral.routes.generator import generate_routes
from racing.envs.lateral.routes.routes import Routes, find_routes, load_routes
from racing.envs.task import Part
from racing.errors import require, require_number

GENERATED = "generated"
MOST_ROUTES = 100_000
FIRST_GENERATED = {Part.TRAINING: 0, Part.VALIDATION: 1 << 24, Part.TEST: 1 << 25}  # numbers of generated routes


def route_set(source: str, part: Part, *, count: int, holdout: int, seed: int) -> Routes:
    """The routes of a part. Of a folder, in the order of names: the last `holdout` are TEST, those before VALIDATION.

    source: GENERATED, or a folder with CSV files. count: routes of TRAINING, where there are so many. seed: of
    generated ones. Raises InputError for values out of range, and a folder with too few files.
    """
    require_number("route_count", count, 1, MOST_ROUTES, whole=True, remedy="600 is the default")
    require_number("holdout_routes", holdout, 1, MOST_ROUTES, whole=True, remedy="48 is the default")
    require_number("route_seed", seed, 0, (1 << 31) - 1, whole=True, remedy="0 is the default")
    size = count if part == Part.TRAINING else holdout
    if source == GENERATED:
        first = FIRST_GENERATED[part]
        return generate_routes(range(first, first + size), seed)
    rule = f"routes must be {GENERATED} or a folder with CSV files of the challenge, got {source!r}"
    require(isinstance(source, str) and source != "", f"{rule}; give its path")
    files = find_routes(Path(source).expanduser())
    spare = len(files) - 2 * holdout
    rule = f"holdout_routes={holdout} twice must leave some of the {len(files)} files of {source} for training"
    require(spare > 0, f"{rule}; lower env.holdout_routes, or add files")
    chosen = {
        Part.TRAINING: files[:spare][:size],
        Part.VALIDATION: files[spare : spare + holdout],
        Part.TEST: files[spare + holdout :],
    }
    return load_routes(chosen[part], source)
