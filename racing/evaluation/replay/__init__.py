"""Replays: one page that shows how cars drove, without a server."""
