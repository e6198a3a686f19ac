"""The first process in an instance: python inside.py FOLDER [warm]. Network, user data; ends when it is shut down.

FOLDER holds imds.sock, aws.sock, user_data; the instance leaves console.log, off, dead-man there. warm: this process is
a fork that has everything imported, and serves forks itself: Python in the instance begins in them (start.py).
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

ADDRESSES = {("169.254.169.254", 80): "imds.sock", ("127.0.0.1", 9000): "aws.sock"}
ADDRESS = "racing-instance"  # of its server of forks; each network has its own
CLONE_NEWPID, CLONE_NEWNET, PR_SET_PDEATHSIG = 0x20000000, 0x40000000, 1
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


def leave_this_machine() -> None:
    """From here on be the first of processes of its own, in a network of its own; this one waits, and ends with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWPID | CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    first = os.fork()
    if first:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) & 0xFF)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if libc.mount(b"proc", b"/proc", b"proc", 0, None) != 0:
        raise OSError(ctypes.get_errno(), "mount /proc")


def beside(work: Callable[[], object]) -> None:
    """Do it in a process of its own."""
    if not os.fork():
        try:
            work()
        finally:
            os._exit(1)


def bring_network_up() -> None:
    configure("lo", None)
    configure("lo:0", "169.254.169.254")


def connect_to_aws(folder: str) -> None:
    """Bring what comes to the addresses outside, as long as this process lives."""
    for address, name in ADDRESSES.items():
        relay(socket.create_server(address), partial(to_unix, f"{folder}/{name}"))


def carry(folder: str) -> None:
    connect_to_aws(folder)
    threading.Event().wait()


def serve_forks(listener: socket.socket) -> None:
    sys.path.insert(0, os.path.abspath(f"{__file__}/../../../../.."))  # noqa: PTH100
    from tests.support.fork_server import ForkServer

    del sys.path[0]
    ForkServer(listener).serve()


def main(folder: str, *options: str) -> None:
    leave_this_machine()
    bring_network_up()
    beside(partial(carry, folder))
    if "warm" in options:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(f"\0{ADDRESS}")
        listener.listen(64)
        beside(partial(serve_forks, listener))
        listener.close()
    with open(f"{folder}/console.log", "ab") as log:  # noqa: PTH123
        subprocess.Popen(["bash", f"{folder}/user_data"], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    while not os.path.exists(f"{folder}/off"):  # noqa: PTH110
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.05)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
