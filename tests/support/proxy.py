"""A proxy before a real server that can make it look sick."""

import contextlib
import socket
import threading

SICK = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Proxy:
    """Forwards to `port`. `mode`: pass, 500 (answers so), or hang (takes requests, never answers).

    `budget`: bytes of requests that it still forwards before it falls into `hang` by itself; None: no limit.
    """

    def __init__(self, port: int) -> None:
        self.mode = "pass"
        self.budget = None
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=[self._listener.accept()[0]], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self._port)) as server:
            threading.Thread(target=_pump, args=[server, client], daemon=True).start()
            while data := client.recv(1 << 16):
                if self.budget is not None:
                    self.budget -= len(data)
                    if self.budget < 0:
                        self.mode, self.budget = "hang", None
                if self.mode == "hang":
                    continue
                if self.mode == "500":
                    client.sendall(SICK)
                    return
                server.sendall(data)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
