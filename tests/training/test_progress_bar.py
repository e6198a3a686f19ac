"""Progress is read at a glance, also in a terminal of 80 columns."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from racing.training import progress_bar
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


def test_plain_lines_say_how_long_it_takes_as_fast_as_it_is_now(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    clock = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: clock[0])
    bar = ProgressBar(1_000_000, NAME, where=" on cpu")
    bar.begin(10_000)
    for clock[0], step in ((4.0, 11_000), (20.0, 30_000), (60.0, 34_000), (90.0, 37_000)):
        bar.update(step, "note")
    left = ("16:10", "2:41:00", "2:40:30")
    assert capsys.readouterr().err.splitlines() == [
        f"{NAME}: 30,000/1,000,000 steps, {left[0]} left, note",
        f"{NAME}: 34,000/1,000,000 steps, {left[1]} left, note",
        f"{NAME}: 37,000/1,000,000 steps, {left[2]} left, note",
    ]


def test_it_begins_with_a_line(capsys: pytest.CaptureFixture[str]):
    with ProgressBar(1_000_000, NAME, where=" on cpu"):
        pass
    assert capsys.readouterr().err == f"{NAME}: 1,000,000 steps on cpu\n"
