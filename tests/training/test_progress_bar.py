"""Progress is read at a glance, also in a terminal of 80 columns."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from racing.training.progress_bar import ProgressBar

NAME = "mlp_preview-circuit-ppo-0ed2cbb4"


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_bar_is_whole_in_narrow_terminals(width: int):
    screen = io.StringIO()
    bar = ProgressBar(3_000_000, NAME)
    bar._console = Console(file=screen, width=width, force_terminal=True, color_system=None)
    with bar:
        bar.begin(0)
        bar.update(1_000_000, "1,412,345 steps/s, last laps 123.4 s")
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()))
    assert lines[0] == f"{NAME}: 3,000,000 steps"
    last = [line for line in lines if "33 %" in line][-1]
    assert re.search(r"━.*  *33 % 0:00:0\d \S+ 1,412,345 steps/s, last laps 123.4 s *$", last), last
    assert "…" not in screen.getvalue()
    assert max(map(len, lines)) <= width
