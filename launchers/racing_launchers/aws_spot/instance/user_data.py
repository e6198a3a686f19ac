"""What an instance is started with: user_data.sh, filled in."""

from __future__ import annotations

import base64
import math
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from racing.errors import require

TEMPLATE = Path(__file__).with_name("user_data.sh")
LARGEST = 16 * 1024  # [bytes] that AWS takes, before base64
UV = "0.13.9"  # the version that is installed where an image has none
SPARE = 15  # [min] beyond launcher.timeout_min after which the instance ends itself, whatever it does
SAFE = re.compile(r"[A-Za-z0-9_./=-]*")


def user_data(*, setup: Sequence[str], timeout_s: float, **values: str) -> str:
    """The script as text. Raises InputError where it is larger than AWS takes.

    setup: shell lines before the job.
    timeout_s: [s] of the attempt.
    values: bucket, region, spec, spec_sha256, code, code_sha256, boot_log, group.
    """
    text = TEMPLATE.read_text()
    known = {name.upper(): value for name, value in values.items()}
    known |= {"MAX_MIN": str(math.ceil(timeout_s / 60) + SPARE), "UV": UV}
    known |= {"PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name, value in known.items():
        if not SAFE.fullmatch(value):
            raise ValueError(f"{name}={value!r} cannot stand in a script")
        text = text.replace(f"@{name}@", value)
    lines = [f"bash -Eeuo pipefail -c {shlex.quote(line)}" for line in setup]
    text = text.replace("@SETUP@\n", "".join(f"{line}\n" for line in lines))
    size = len(text.encode())
    rule = f"launcher.setup makes the user data {size:,} bytes long, AWS takes {LARGEST:,}"
    require(size <= LARGEST, f"{rule}; put them into a script of the image")
    return text


def encoded(text: str) -> str:
    """As AWS wants it."""
    return base64.b64encode(text.encode()).decode()
