"""What instances cost: today's spot prices as AWS tells them, else a table that bears its date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from racing.config import conf_directory
from racing.errors import InputError
from racing_launchers.aws_spot.account.client import answered


@dataclass(frozen=True)
class Prices:
    """[$/h] by instance type. on_demand: what an instance costs at most. spot: by type, and by (type, zone).

    source: where the figures are from.
    """

    on_demand: Mapping[str, float] = field(default_factory=dict)
    spot: Mapping[str, float] = field(default_factory=dict)
    zones: Mapping[tuple[str, str], float] = field(default_factory=dict)
    source: str = ""

    def hour(self, kind: str, zone: str = "", lifecycle: str = "spot") -> float | None:
        """Of an instance; None where nobody knows."""
        if lifecycle != "spot":
            return self.on_demand.get(kind)
        return self.zones.get((kind, zone), self.spot.get(kind, self.on_demand.get(kind)))

    def dearest(self, kinds: Sequence[str], *, on_demand: bool) -> float | None:
        """The dearest of several types; None where that of one is not known."""
        found = [self.on_demand.get(kind) if on_demand else self.hour(kind) for kind in kinds]
        known = [price for price in found if price is not None]
        return max(known) if known and len(known) == len(found) else None


def listed_prices() -> Prices:
    """conf/launcher/prices/aws.yaml."""
    import yaml

    table = yaml.safe_load((conf_directory() / "launcher" / "prices" / "aws.yaml").read_text())
    on_demand = {str(kind): float(one["on_demand"]) for kind, one in table["types"].items()}
    spot = {str(kind): float(one["spot"]) for kind, one in table["types"].items()}
    return Prices(on_demand, spot, {}, f"estimates of {table['date']}, {table['region']}")


def live_prices(ec2: Any, kinds: Sequence[str], listed: Prices) -> Prices:
    """The listed prices with today's spot prices of these types, as far as AWS tells them to this user."""
    zones: dict[tuple[str, str], float] = {}
    try:
        with answered("spot prices"):
            pages = ec2.get_paginator("describe_spot_price_history").paginate(
                InstanceTypes=list(kinds), ProductDescriptions=["Linux/UNIX"], StartTime=datetime.now(UTC)
            )
            for page in pages:
                for row in page["SpotPriceHistory"]:
                    if row["InstanceType"] in kinds:
                        zones.setdefault((row["InstanceType"], row["AvailabilityZone"]), float(row["SpotPrice"]))
    except InputError:  # no right to ask: the table will do
        return listed
    dearest = {kind: max(price for (name, _), price in zones.items() if name == kind) for kind, _ in zones}
    if not zones:
        return listed
    source = "spot prices of today" if set(dearest) == set(kinds) else f"spot prices of today, else {listed.source}"
    return Prices(listed.on_demand, {**listed.spot, **dearest}, zones, source)
