"""HTTP: blobs that are too large for a message, blocks of files, and the web endpoints of deployed functions."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from modal._serialization import deserialize_data_format, serialize, serialize_data_format
from modal_proto import api_pb2

if TYPE_CHECKING:
    from tests.launchers.modal_box.server import Box

PROXY_TOKEN = ("wk-box", "ws-box")
ASGI = api_pb2.DATA_FORMAT_ASGI


class Web:
    """One server for all of it."""

    def __init__(self, box: Box) -> None:
        self.box = box

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def content(self, sha256: str) -> Path:
        """Where contents are kept by their hash."""
        return self.box.folder / "contents" / sha256

    def blob(self, name: str) -> Path:
        return self.box.folder / "blobs" / name

    def keep(self, content: bytes) -> str:
        """Keep a block; returns the address that it can be fetched from."""
        sha256 = hashlib.sha256(content).hexdigest()
        self.content(sha256).write_bytes(content)
        return f"{self.url}/block/{sha256}"

    async def start(self) -> None:
        for folder in ("contents", "blobs"):
            (self.box.folder / folder).mkdir(parents=True, exist_ok=True)
        application = web.Application(client_max_size=1 << 30)
        application.router.add_put("/{kind:blob|block}/{name}", self.receive)
        application.router.add_get("/{kind:blob|block}/{name}", self.give)
        application.router.add_route("*", "/web/{function}{path:.*}", self.endpoint)
        self.runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        await self.runner.cleanup()

    def _place(self, request: web.Request) -> Path:
        name = request.match_info["name"]
        return self.blob(name) if request.match_info["kind"] == "blob" else self.content(name)

    async def receive(self, request: web.Request) -> web.Response:
        content = await request.read()
        self._place(request).write_bytes(content)
        md5 = hashlib.md5(content).hexdigest()
        return web.Response(headers={"ETag": f'"{md5}"'}, text="")

    async def give(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self._place(request).read_bytes())

    async def endpoint(self, request: web.Request) -> web.Response:
        """A request to a web endpoint becomes an input of its function."""
        function = self.box.functions.by_web_name(request.match_info["function"])
        if function is None:
            return web.Response(status=404, text="modal-http: invalid function call")
        definition = function.definition
        sent = (request.headers.get("Modal-Key"), request.headers.get("Modal-Secret"))
        if definition.webhook_config.requires_proxy_auth and sent != PROXY_TOKEN:
            return web.Response(status=401, text="modal-http: missing credentials for proxy authorization")
        body = await request.read()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": request.match_info["path"] or "/",
            "raw_path": (request.match_info["path"] or "/").encode(),
            "root_path": "",
            "query_string": request.query_string.encode(),
            "headers": [(key.lower().encode(), value.encode()) for key, value in request.headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", self.port),
        }
        item = api_pb2.FunctionInput(args=serialize(((scope,), {})), data_format=api_pb2.DATA_FORMAT_PICKLE)
        call = self.box.functions.new_call(function, api_pb2.FUNCTION_CALL_INVOCATION_TYPE_SYNC)
        message = {"type": "http.request", "body": body, "more_body": False}
        call.data_in.append(api_pb2.DataChunk(data_format=ASGI, index=1, data=serialize_data_format(message, ASGI)))
        self.box.functions.add_input(call, api_pb2.FunctionPutInputsItem(idx=0, input=item))
        return await self._response(call)

    async def _response(self, call: Any) -> web.Response:
        status, headers, body, seen = 500, [], b"", 0
        for _ in range(6000):
            while seen < len(call.data_out):
                message = deserialize_data_format(call.data_out[seen].data, ASGI, None)
                seen += 1
                if message["type"] == "http.response.start":
                    status, headers = message["status"], message.get("headers", [])
                elif message["type"] == "http.response.body":
                    body += message.get("body", b"")
                    if not message.get("more_body"):
                        await self._free(call)
                        found = {bytes(k).decode(): bytes(v).decode() for k, v in headers}
                        found.pop("content-length", None)
                        return web.Response(status=status, headers=found, body=body)
            if call.outputs and seen == len(call.data_out):
                return web.Response(status=500, text="modal-http: internal error: function did not answer")
            await asyncio.sleep(0.01)
        return web.Response(status=504, text="modal-http: time is over")

    async def _free(self, call: Any) -> None:
        """Wait until the container has ended the call: then the next request finds it free."""
        for _ in range(500):
            if call.outputs:
                return
            await asyncio.sleep(0.01)
