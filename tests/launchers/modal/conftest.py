"""A box for each test, and the client pointed at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.launchers.modal_box import Box
from tests.launchers.modal_box.server import hindrance


@pytest.fixture(scope="session")
def able() -> None:
    """Skips where the box cannot run."""
    why = hindrance()
    if why:
        pytest.skip(f"Modal in a box {why}")


@pytest.fixture
def make_box(able: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Box]]:
    """make_box(gpus=..., background_commit=...) starts one and points the client at it."""
    boxes: list[Box] = []

    def make(**options: Any) -> Box:
        box = Box(tmp_path / f"box{len(boxes)}", **options)
        box.__enter__()
        boxes.append(box)
        for name in (
            "MODAL_PROFILE",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "http_proxy",
            "https_proxy",
            "all_proxy",
        ):
            monkeypatch.delenv(name, raising=False)
        point_at(box, monkeypatch)
        return box

    yield make
    forget_client()
    for box in boxes:
        box.__exit__()
        assert box.failures == []
        assert box.unknown == []


@pytest.fixture
def box(make_box: Callable[..., Box]) -> Box:
    return make_box()


def point_at(box: Box, monkeypatch: pytest.MonkeyPatch, **other: str) -> None:
    """Make the client of this process, and of those that it starts, talk to that box."""
    for name, value in (box.env() | other).items():
        monkeypatch.setenv(name, value)
    forget_client()


def forget_client() -> None:
    """The client library keeps one connection for a process."""
    import modal

    modal.client._Client._client_from_env = None
