"""The first process in a container that is a fork: python inside.py ADDRESS. It becomes Modal's entrypoint.

Beside it is a server of forks in the same mounts: Python that jobs start begins in them (start.py), and ends with it.
"""

import os
import runpy
import socket
import sys
from pathlib import Path

LEASE = bytes(4)  # a request without a length, see fork_server


def serve_forks(listener: socket.socket) -> None:
    os.setsid()  # what kills the container lets it end by itself: its forks end with it
    sys.path.insert(0, str(Path(__file__).parents[3]))
    from tests.support.fork_server import ForkServer

    del sys.path[0]
    ForkServer(listener).serve()


def begin_server(address: str) -> socket.socket:
    """Start it; it lives as long as the connection."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"\0{address}")
    listener.listen(64)
    if not os.fork():
        try:
            serve_forks(listener)
        finally:
            os._exit(0)
    listener.close()
    lease = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    lease.connect(f"\0{address}")
    lease.sendall(LEASE)
    lease.recv(4)
    return lease


if __name__ == "__main__":
    sys.path[sys.path.index(str(Path(__file__).parent))] = str(Path.cwd())
    lease = begin_server(sys.argv.pop())
    runpy.run_module("modal._container_entrypoint", run_name="__main__", alter_sys=True)
