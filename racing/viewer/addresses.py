"""By which names and addresses the page's server is reached."""

from __future__ import annotations

import ipaddress
import socket

import psutil

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::", "")


def is_address(name: str) -> bool:
    """Whether it is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def names_of(host: str) -> list[str]:
    """What others call a server that listens on `host`: names, then addresses; none where it is loopback."""
    if host in LOOPBACK:
        return []
    if host not in EVERYWHERE:
        return [str(ipaddress.ip_address(host)) if is_address(host) else host.lower()]
    # `::` listens on addresses of both kinds.
    kinds = [socket.AF_INET, socket.AF_INET6] if host == "::" else [socket.AF_INET]
    entries = [entry for found in psutil.net_if_addrs().values() for entry in found if entry.family in kinds]
    addresses = {ipaddress.ip_address(entry.address.partition("%")[0]) for entry in entries}
    # Of IPv6's link-local ones no page's address can say on which interface they are.
    usable = [one for one in addresses if not (one.is_loopback or (one.version == 6 and one.is_link_local))]
    usable.sort(key=lambda one: (one.version, int(one)))
    return [socket.gethostname().lower(), *map(str, usable)]
