"""What docs/campaigns.md says of costs is what conf/launcher/prices says."""

from __future__ import annotations

import re

import pytest

from racing_launchers.backend import launcher_config
from racing_launchers.modal.gpus import listed_prices
from tests.conftest import REPOSITORY

ROW = re.compile(r"^\| (none|[A-Z0-9][\w-]*) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)


def test_the_table_of_costs_follows_from_the_prices():
    text = (REPOSITORY / "docs/campaigns.md").read_text()
    minutes = int(re.search(r"work for (\d+) minutes in all", text)[1])
    rows = ROW.findall(text)
    assert len(rows) > 4
    launcher = launcher_config("modal", [])
    for gpu, hour, campaign in rows:
        second = listed_prices().second(gpu.replace("none", ""), launcher["cpu"], launcher["memory"])
        assert float(hour) == pytest.approx(3600 * second, abs=0.006)
        assert float(campaign) == pytest.approx(60 * minutes * second, abs=0.006)
