"""Which device a run gets, and what is said where it is not the one that was asked for."""

from __future__ import annotations

import pytest
import torch

from racing.config import compose_run
from racing.errors import InputError, warn_once
from racing.training.hardware import choose

WARNING = "warning: no gpu here, torch sees no CUDA device: this runs on the CPU\n"


@pytest.fixture(autouse=True)
def nothing_said_before() -> None:
    warn_once.cache_clear()


def chosen(monkeypatch: pytest.MonkeyPatch, *overrides: str, gpu: str = "") -> tuple[str, str]:
    """Device and reason. gpu: name of the GPU that torch sees, if it sees one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gpu))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: gpu)
    found = choose(compose_run(overrides)["hardware"])
    return found.device, found.reason


@pytest.mark.parametrize("name", ["auto", "gpu"])
def test_a_gpu_is_taken_where_there_is_one(name: str, monkeypatch: pytest.MonkeyPatch, capsys):
    assert chosen(monkeypatch, f"hardware={name}", gpu="H200") == ("cuda", "H200")
    assert chosen(monkeypatch, "hardware=cpu", gpu="H200") == ("cpu", "cpu")
    assert capsys.readouterr().err == ""


def test_asking_for_a_gpu_that_is_not_there_falls_back_with_a_warning(monkeypatch: pytest.MonkeyPatch, capsys):
    assert chosen(monkeypatch, "hardware=auto") == ("cpu", "cpu; no gpu here")
    assert capsys.readouterr().err == ""
    assert chosen(monkeypatch, "hardware=gpu") == ("cpu", "cpu; no gpu here")
    assert chosen(monkeypatch, "hardware=gpu") == ("cpu", "cpu; no gpu here")
    assert capsys.readouterr().err == WARNING  # once in a process


def test_people_are_told_in_a_few_words(monkeypatch: pytest.MonkeyPatch):
    def told(*overrides: str, gpu: str = "") -> str:
        chosen(monkeypatch, *overrides, gpu=gpu)
        return choose(compose_run(overrides)["hardware"]).where

    assert told("hardware=auto", gpu="H200") == " on cuda (H200)"
    assert told("hardware=auto") == " on cpu (no gpu here)"
    assert told("hardware=cpu") == " on cpu"


@pytest.mark.parametrize("name", ["auto", "gpu"])
def test_without_fallback_it_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="must be usable without fallback, torch sees no CUDA device; install"):
        chosen(monkeypatch, f"hardware={name}", "hardware.fallback=false")
