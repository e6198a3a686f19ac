"""Jobs on instances: every way to end, looked after from anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launchers.aws_spot.driving import run
from tests.launchers.aws_spot.instances.host import Host
from tests.launchers.payloads import Act, endings

pytestmark = pytest.mark.slow


def test_every_way_to_end_is_told(host: Host, tmp_path: Path):
    _, jobs = run(tmp_path, [Act("work"), Act("fail"), Act("refuse"), Act("die")])
    assert endings(jobs) == ["DONE", "FAILED", "REFUSED", "FAILED"]
