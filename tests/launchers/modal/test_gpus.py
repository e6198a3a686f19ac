"""Names of GPUs, and what they cost."""

from __future__ import annotations

import re

import pytest

from racing.errors import InputError
from racing_launchers.modal.gpus import Prices, listed_prices, live_prices, modal_name, normalize
from tests.launchers.modal_box import Box


def test_names():
    assert normalize(["L40S", "A100", "A10G", "T4"]) == ["L40S", "A100", "A10", "T4"]
    assert normalize("h100!") == ["H100!"]
    assert normalize("A100-80GB:2") == ["A100-80GB:2"]
    assert normalize(["a10", "A10G", "A10:1"]) == ["A10"]
    assert normalize(None) == normalize([]) == []


@pytest.mark.parametrize("wrong", ["L40", "A100-50GB", "T4:9", "T4:0", "T4:x", "", 4, ["T4", None], {"a": 1}])
def test_names_that_modal_does_not_have(wrong: object):
    with pytest.raises(InputError, match="launcher.gpu"):
        normalize(wrong)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("V100", "T4 or L4 comes near"),
        ("v100:2", "T4 or L4"),
        ("RTX 4090", "A10 or L40S"),
        ("A10X", "did you mean A10?"),
    ],
)
def test_what_comes_near_is_named(name: str, near: str):
    """Not what is spelt alike: H100 is no V100, and costs ten times as much."""
    with pytest.raises(InputError, match=re.escape(near)):
        normalize(name)


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        ("Tesla T4", "T4"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA A10G", "A10"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000"),
        ("Something new", "Something new"),
    ],
)
def test_what_drivers_call_them(driver: str, name: str):
    assert modal_name(driver) == name


def test_prices():
    listed = listed_prices()
    hour = 3600 * listed.second("T4", 8, 16 * 1024)
    assert hour == pytest.approx(0.59 + 8 * 0.047 + 16 * 0.008, rel=0.01)
    assert listed.gpu("A100") == listed.gpu("A100-80GB")  # it may become that
    assert listed.gpu("A100-40GB:2") == 2 * listed.gpu("A100-40GB")
    assert listed.gpu("Something new") == listed.gpu("B200")
    assert listed.gpu("") == 0
    assert listed.second("", 0.01, 0) == 0.125 * listed.core


def test_live_prices_count_where_they_make_sense(box: Box, monkeypatch: pytest.MonkeyPatch):
    listed = listed_prices()
    rates = {"gpu_l4": "0.000250", "GPU L40S per hour": "2.2", "gpu_t4": "99", "cpu_core": "0.00002", "disk": "0.1"}
    monkeypatch.setattr(box.registry, "rates", lambda: rates)
    live = live_prices(listed)
    assert live.gpu("L4") == 0.00025
    assert live.gpu("L40S") == pytest.approx(2.2 / 3600)
    assert live.gpu("T4") == listed.gpu("T4")  # nobody asks 600,000 times as much
    assert (live.core, live.memory) == (0.00002, listed.memory)
    assert live.source == "Modal's prices today"
    monkeypatch.setattr(box.registry, "rates", dict)
    assert live_prices(listed) == listed
    assert isinstance(listed, Prices)
