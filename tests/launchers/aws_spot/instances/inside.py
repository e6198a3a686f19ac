"""The first process in an instance: python inside.py FOLDER. Network, then the user data; ends when it is shut down.

FOLDER holds imds.sock, aws.sock, user_data; the instance leaves console.log, off, dead-man there.
"""

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

ADDRESSES = {("169.254.169.254", 80): "imds.sock", ("127.0.0.1", 9000): "aws.sock"}
SIOCSIFADDR, SIOCSIFNETMASK, SIOCGIFFLAGS, SIOCSIFFLAGS, UP = 0x8916, 0x891C, 0x8913, 0x8914, 1


def configure(interface: str, address: str | None) -> None:
    """Bring an interface up, with an address; an alias lo:0 gives the loopback a second one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        name = interface.encode()
        if address:
            for request, value in ((SIOCSIFADDR, address), (SIOCSIFNETMASK, "255.255.255.255")):
                packed = struct.pack("16sH2s4s8s", name, socket.AF_INET, b"", socket.inet_aton(value), b"")
                fcntl.ioctl(handle, request, packed)
        flags = struct.unpack("16sh", fcntl.ioctl(handle, SIOCGIFFLAGS, struct.pack("16sh", name, 0))[:18])[1]
        fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sh", name, flags | UP))


def relay(listening: socket.socket, connect: Callable[[], socket.socket]) -> None:
    """What comes to a listening socket goes to another one, and back."""

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        while True:
            inner, _ = listening.accept()
            outer = connect()
            for pair in ((inner, outer), (outer, inner)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()


def to_unix(path: str) -> socket.socket:
    """A socket outside, by its path."""
    outer = socket.socket(socket.AF_UNIX)
    outer.connect(path)
    return outer


def main(folder: str) -> None:
    configure("lo", None)
    configure("lo:0", "169.254.169.254")
    for address, name in ADDRESSES.items():
        relay(socket.create_server(address), partial(to_unix, f"{folder}/{name}"))
    with open(f"{folder}/console.log", "ab") as log:  # noqa: PTH123
        subprocess.Popen(["bash", f"{folder}/user_data"], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    while not os.path.exists(f"{folder}/off"):  # noqa: PTH110
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1])
