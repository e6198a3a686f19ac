"""Pictures are put together, but not drawn, those of laps not even that: it takes as long as all else in a training.

What draws is matplotlib. Real ones come from what is started as a user starts it, and in tests that are marked `cold`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from racing import figures
from racing.evaluation import plots
from racing.files import atomic_path

save = figures.save
OF_LAPS = (plots.lap_picture, plots.channels_picture)
BLANK = cv2.imencode(".png", np.full((4, 4, 3), 255, np.uint8))[1].tobytes()


def save_blank(figure: Any, path: Path) -> Path:
    """What racing.figures saves a picture with."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(BLANK)
    return path


def blank_if_all_are(picture: Callable[..., Path]) -> Callable[..., Path]:
    """A function that makes a picture of a lap, which saves a blank one at once while all are blank."""

    @functools.wraps(picture)
    def made(track: Any, lap: Any, title: str, path: Path, **options: Any) -> Path:
        blank = figures.save is save_blank
        return save_blank(None, path) if blank else picture(track, lap, title, path, **options)

    return made


def install() -> None:
    """From now on, save blank ones."""
    figures.save = save_blank
    plots.lap_picture, plots.channels_picture = map(blank_if_all_are, OF_LAPS)


@contextlib.contextmanager
def real_pictures() -> Iterator[None]:
    """Draw every picture as a user's is drawn."""
    installed, figures.save = figures.save, save
    try:
        yield
    finally:
        figures.save = installed
