"""What can go wrong with an optimal lap."""

from __future__ import annotations


class NotSolved(RuntimeError):
    """No optimal lap was found: IPOPT gave up, or two meshes disagree."""
