"""Routes: what is to be followed, how fast the car goes, how the road rolls. From a generator or comma's CSV files."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.envs.lateral.rules import CONTROL_START, COST_END, GRAVITY, MOST_STEER, ROWS, STEPS
from racing.errors import InputError, read_bytes, require

Array = npt.NDArray[Any]

COLUMNS = ("vEgo", "aEgo", "roll", "targetLateralAcceleration", "steerCommand")
MOST_CSV = 1 << 24  # [bytes] one of comma's has 59,372
UNUSED = 80  # random numbers of the challenge's stream that are drawn before a controller steers
FAR = 1e3  # [SI units] beyond which no value of a route lies


@dataclass(frozen=True, kw_only=True)
class Routes:
    """R routes, row by row at 10 Hz.

    names: of each; the noise of evaluations follows from it, as from the path in the challenge. plans: (R, ROWS, 4)
    float64 target lateral acceleration [m/s^2], lateral acceleration by the road's roll [m/s^2], speed [m/s],
    acceleration [m/s^2]. steer: (R, CONTROL_START) commands of the log, right positive, in [-2, 2]. source:
    generated, or the folder.
    """

    names: tuple[str, ...]
    plans: npt.NDArray[np.float64]
    steer: npt.NDArray[np.float64]
    source: str

    def __len__(self) -> int:
        """R."""
        return len(self.names)

    def part(self, first: int, last: int) -> Routes:
        """Routes first .. last - 1."""
        cut = slice(first, last)
        return Routes(names=self.names[cut], plans=self.plans[cut], steer=self.steer[cut], source=self.source)

    def sha256(self) -> str:
        """Checksum of what is driven."""
        digest = hashlib.sha256(self.plans.tobytes())
        digest.update(self.steer.tobytes())
        return digest.hexdigest()


def challenge_noise(name: str, repeat: int = 0) -> npt.NDArray[np.float64]:
    """Uniform numbers (STEPS,) of a route's steps, those of the challenge's numpy.random.choice for the path `name`.

    repeat: 0, or the number of another drive of the same route, with other noise.
    """
    text = name if repeat == 0 else f"{name}#{repeat}"
    seed = int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(), 16) % 10**4
    return np.random.RandomState(seed).random_sample(UNUSED + STEPS)[UNUSED:]


def find_routes(folder: Path) -> list[Path]:
    """The CSV files of a folder, sorted by name. Raises InputError if it is none, or holds none."""
    rule = f"routes must be generated or a folder with CSV files of the challenge, got {folder}"
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".csv")
    except (OSError, ValueError) as error:
        raise InputError(f"{rule}; {getattr(error, 'strerror', None) or error}") from None
    require(bool(files), f"{rule}; there is no .csv in it")
    return files


def load_routes(files: Sequence[Path], source: str) -> Routes:
    """Read CSV files of the challenge. Raises InputError for what is none, or too short."""
    read = [read_route(path) for path in files]
    return Routes(
        names=tuple(str(path) for path in files),
        plans=np.stack([plan for plan, _ in read]),
        steer=np.stack([steer for _, steer in read]),
        source=source,
    )


def read_route(path: Path) -> tuple[Array, Array]:
    """(ROWS, 4) plan and (CONTROL_START,) steering commands of a CSV file with the columns of the challenge.

    Steering, left positive in the file, may be empty from row CONTROL_START on. A file that ends early, but after row
    COST_END - 1, is continued by its last row. Raises InputError.
    """
    try:
        text = read_bytes(path, MOST_CSV, "a CSV file of the controls challenge").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"route {path} must be a CSV file in UTF-8; give one of the controls challenge") from None
    try:
        header, *rows = csv.reader(io.StringIO(text))
    except (ValueError, csv.Error) as error:
        raise InputError(f"route {path} must be a CSV file with a header, {error}; give another") from None
    missing = [name for name in COLUMNS if name not in header]
    require(not missing, f"route {path} must have the columns {', '.join(COLUMNS)}, it lacks {', '.join(missing)}")
    rows = [row for row in rows if row][:ROWS]
    rule = f"route {path} must have at least {COST_END} rows of 0.1 s, it has {len(rows)}"
    require(len(rows) >= COST_END, f"{rule}; give a longer one, or take it out of the folder")
    speed, acceleration, roll, target = (column(path, rows, header, name, len(rows)) for name in COLUMNS[:4])
    steer = -column(path, rows, header, COLUMNS[4], CONTROL_START)
    plan = np.stack([target, np.sin(roll) * GRAVITY, speed, acceleration], axis=1)
    plan = np.concatenate([plan, np.repeat(plan[-1:], ROWS - len(plan), axis=0)])
    return plan, np.clip(steer, -MOST_STEER, MOST_STEER)


def column(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str], name: str, count: int) -> Array:
    """The first `count` numbers (count,) of a column. Raises InputError for what is no number, with its line."""
    place, values = header.index(name), np.empty(count)
    for k in range(count):
        text = rows[k][place] if place < len(rows[k]) else ""
        try:
            values[k] = float(text)
        except ValueError:
            values[k] = np.nan
        if not abs(values[k]) <= FAR:
            rule = f"route {path}, row {k}: {name} must be a number within +-{FAR:g}, got {text[:40]!r}"
            raise InputError(f"{rule}; correct it, or take the file out of the folder")
    return values
