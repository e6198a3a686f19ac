"""Pictures of laps are put together, but not drawn: that takes as long as all else in a short training.

What draws is matplotlib. Real ones come from what is started as a user starts it, and in tests that are marked `cold`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from racing import figures
from racing.files import atomic_path

save = figures.save
BLANK = cv2.imencode(".png", np.full((4, 4, 3), 255, np.uint8))[1].tobytes()


def save_blank(figure: Any, path: Path) -> Path:
    """What racing.figures saves a picture with."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(BLANK)
    return path


def install() -> None:
    """From now on, save blank ones."""
    figures.save = save_blank


@contextlib.contextmanager
def real_pictures() -> Iterator[None]:
    """Draw every picture as a user's is drawn."""
    installed, figures.save = figures.save, save
    try:
        yield
    finally:
        figures.save = installed
