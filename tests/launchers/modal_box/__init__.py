"""Modal in a box: a server on this machine that the real `modal` client and the real container entrypoint talk to.

    server.py      the box: gRPC server, dispatch, what was called (`Box.calls`)
    registry.py    apps, images, mounts, blobs, secrets, dictionaries
    volumes.py     volumes on disk
    calls.py       functions, calls and their inputs, retries
    containers.py  a container: a process with private copies of its volumes, a GPU by name, a clock
    web.py         HTTP: blobs, blocks of files, web endpoints

What it proves: the requests that we send, and that our functions run. What it cannot prove: that Modal's scheduler
takes them (names of GPUs, quotas, image builds).
"""

from tests.launchers.modal_box.server import Box

__all__ = ["Box"]
