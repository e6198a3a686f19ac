"""What is only remembered: apps, environments, images, mounts, blobs, secrets, dictionaries."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

if TYPE_CHECKING:
    from tests.launchers.modal_box.server import Box

CREATE = (api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING, api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS)
TERMS = (api_pb2.OBJECT_CREATION_TYPE_ANONYMOUS_OWNED_BY_APP, api_pb2.OBJECT_CREATION_TYPE_EPHEMERAL)
RATES = {"cpu": "0.0000131", "memory": "0.00000222", "gpu_l40s": "0.000542", "gpu_a100_40gb": "0.000583"}


def known_file(sha256: str) -> Path:
    """Where a file is kept that is sent by its hash, for all boxes: as with Modal, it is sent once."""
    return Path(tempfile.gettempdir()) / "modal-contents" / sha256


@dataclass
class App:
    """state: of api_pb2.AppState."""

    id: str
    name: str
    state: int
    created: float = field(default_factory=time.time)
    function_ids: dict[str, str] = field(default_factory=dict)


class Registry:
    """Names and contents."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.apps: dict[str, App] = {}
        self.mounts: dict[str, dict[str, str]] = {}  # id -> file -> sha256
        self.images: dict[str, api_pb2.Image] = {}
        self.image_mounts: dict[str, list[str]] = {}
        self.secrets: dict[str, dict[str, str]] = {}
        self.named_secrets: dict[str, str] = {}
        self.dicts: dict[str, dict[bytes, bytes]] = {}
        self.named_dicts: dict[str, str] = {}

    def known(self, names: dict[str, str], request: Any, what: str) -> str | None:
        """The id of a named object; None if it is to be made."""
        name = request.deployment_name
        if name in names:
            return names[name]
        if request.object_creation_type in (*CREATE, *TERMS):
            return None
        raise GRPCError(Status.NOT_FOUND, f"{what} '{name}' not found in environment 'main'")

    # who is there

    async def ClientHello(self, request: Empty, task: str) -> Any:
        return api_pb2.ClientHelloResponse()

    async def AuthTokenGet(self, request: Any, task: str) -> Any:
        return api_pb2.AuthTokenGetResponse(token="e30.e30.box")

    async def EnvironmentGetOrCreate(self, request: Any, task: str) -> Any:
        settings = api_pb2.EnvironmentSettings(image_builder_version="2025.06")
        metadata = api_pb2.EnvironmentMetadata(name=request.deployment_name or "main", settings=settings)
        return api_pb2.EnvironmentGetOrCreateResponse(environment_id="en-box", metadata=metadata)

    async def WorkspaceNameLookup(self, request: Empty, task: str) -> Any:
        return api_pb2.WorkspaceNameLookupResponse(workspace_name="box", username="box")

    async def WorkspaceBillingRates(self, request: Any, task: str) -> Any:
        return api_pb2.WorkspaceBillingRatesResponse(rates=self.rates())

    def rates(self) -> dict[str, str]:
        return RATES

    # apps

    async def AppCreate(self, request: Any, task: str) -> Any:
        app = App(self.box.id("ap"), request.description, request.app_state)
        self.apps[app.id] = app
        return api_pb2.AppCreateResponse(app_id=app.id, app_page_url=f"https://box/{app.id}")

    async def AppGetByDeploymentName(self, request: Any, task: str) -> Any:
        found = [app for app in self.apps.values() if app.name == request.name and self.deployed(app)]
        return api_pb2.AppGetByDeploymentNameResponse(app_id=found[-1].id if found else "")

    def deployed(self, app: App) -> bool:
        return app.state == api_pb2.APP_STATE_DEPLOYED

    async def AppGetLayout(self, request: Any, task: str) -> Any:
        return api_pb2.AppGetLayoutResponse(app_layout=self.box.functions.layout(request.app_id))

    async def AppHeartbeat(self, request: Any, task: str) -> Empty:
        return Empty()

    async def AppPublish(self, request: Any, task: str) -> Any:
        app = self.apps[request.app_id]
        app.state, app.function_ids = request.app_state, dict(request.function_ids)
        app.name = request.name or app.name
        return api_pb2.AppPublishResponse(url=f"https://box/{app.id}", deployed_at=time.time())

    async def AppClientDisconnect(self, request: Any, task: str) -> Empty:
        """An app that is not detached ends with its client."""
        app = self.apps[request.app_id]
        if app.state == api_pb2.APP_STATE_EPHEMERAL:
            await self.stop(app)
        return Empty()

    async def AppStop(self, request: Any, task: str) -> Empty:
        await self.stop(self.apps[request.app_id])
        return Empty()

    async def stop(self, app: App) -> None:
        app.state = api_pb2.APP_STATE_STOPPED
        await self.box.functions.stop_app(app.id)

    async def AppGetLifecycle(self, request: Any, task: str) -> Any:
        app = self.apps[request.app_id]
        lifecycle = api_pb2.AppLifecycle(app_state=app.state, created_at=app.created)
        return api_pb2.AppGetLifecycleResponse(lifecycle=lifecycle)

    async def AppList(self, request: Any, task: str) -> Any:
        item = api_pb2.AppListResponse.AppListItem
        apps = [item(app_id=a.id, description=a.name, state=a.state, created_at=a.created) for a in self.apps.values()]
        return api_pb2.AppListResponse(apps=apps)

    async def AppGetLogs(self, request: Any, task: str) -> AsyncIterator[Any]:
        for batch in self.box.containers.logs(request.app_id, request.function_call_id):
            yield batch
        while self.apps[request.app_id].state != api_pb2.APP_STATE_STOPPED:
            await asyncio.sleep(0.1)
        yield api_pb2.TaskLogsBatch(app_done=True)

    async def AppFetchLogs(self, request: Any, task: str) -> Any:
        batches = self.box.containers.logs(request.app_id, request.function_call_id)
        return api_pb2.AppFetchLogsResponse(batches=batches)

    # images and the files that are put into them

    async def MountBatchedCheckExistence(self, request: Any, task: str) -> Any:
        missing = [sha for sha in request.sha256_hex_hashes if not known_file(sha).exists()]
        return api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    async def MountPutFile(self, request: Any, task: str) -> Any:
        place = known_file(request.sha256_hex)
        kind = request.WhichOneof("data_oneof")
        if kind and not place.exists():
            data = request.data if kind == "data" else self.box.web.blob(request.data_blob_id).read_bytes()
            assert hashlib.sha256(data).hexdigest() == request.sha256_hex
            place.parent.mkdir(exist_ok=True)
            part = place.with_name(f"{place.name}.{id(self.box)}")
            part.write_bytes(data)
            part.replace(place)
        return api_pb2.MountPutFileResponse(exists=place.exists())

    async def MountGetOrCreate(self, request: Any, task: str) -> Any:
        mount = self.box.id("mo")
        self.mounts[mount] = {file.filename: file.sha256_hex for file in request.files}
        return api_pb2.MountGetOrCreateResponse(mount_id=mount, handle_metadata=api_pb2.MountHandleMetadata())

    async def ImageGetOrCreate(self, request: Any, task: str) -> Any:
        image = self.box.id("im")
        self.images[image] = request.image
        done = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
        metadata = api_pb2.ImageMetadata(image_builder_version="2025.06", python_version_info="Python 3.11.7")
        return api_pb2.ImageGetOrCreateResponse(image_id=image, result=done, metadata=metadata)

    async def BlobCreate(self, request: Any, task: str) -> Any:
        blob = self.box.id("bl")
        urls = api_pb2.UploadUrlList(items=[f"{self.box.web.url}/blob/{blob}"])
        return api_pb2.BlobCreateResponse(blob_ids=[blob], upload_urls=urls)

    async def BlobGet(self, request: Any, task: str) -> Any:
        return api_pb2.BlobGetResponse(download_url=f"{self.box.web.url}/blob/{request.blob_id}")

    # secrets

    async def SecretGetOrCreate(self, request: Any, task: str) -> Any:
        secret = self.known(self.named_secrets, request, "Secret")
        if secret is None:
            secret = self.box.id("st")
            self.secrets[secret] = dict(request.env_dict)
            if request.deployment_name:
                self.named_secrets[request.deployment_name] = secret
        return api_pb2.SecretGetOrCreateResponse(secret_id=secret)

    # dictionaries

    async def DictGetOrCreate(self, request: Any, task: str) -> Any:
        found = self.known(self.named_dicts, request, "Dict")
        if found is None:
            found = self.box.id("di")
            self.dicts[found] = {entry.key: entry.value for entry in request.data}
            if request.deployment_name:
                self.named_dicts[request.deployment_name] = found
        metadata = api_pb2.DictMetadata(name=request.deployment_name)
        return api_pb2.DictGetOrCreateResponse(dict_id=found, metadata=metadata)

    async def DictHeartbeat(self, request: Any, task: str) -> Empty:
        return Empty()

    async def DictUpdate(self, request: Any, task: str) -> Any:
        content, created = self.dicts[request.dict_id], False
        for entry in request.updates:
            if not (request.if_not_exists and entry.key in content):
                content[entry.key], created = entry.value, True
        return api_pb2.DictUpdateResponse(created=created)

    async def DictGet(self, request: Any, task: str) -> Any:
        value = self.dicts[request.dict_id].get(request.key)
        return api_pb2.DictGetResponse(found=value is not None, value=value)

    async def DictPop(self, request: Any, task: str) -> Any:
        value = self.dicts[request.dict_id].pop(request.key, None)
        return api_pb2.DictPopResponse(found=value is not None, value=value)

    async def DictContains(self, request: Any, task: str) -> Any:
        return api_pb2.DictContainsResponse(found=request.key in self.dicts[request.dict_id])

    async def DictLen(self, request: Any, task: str) -> Any:
        return api_pb2.DictLenResponse(len=len(self.dicts[request.dict_id]))

    async def DictClear(self, request: Any, task: str) -> Empty:
        self.dicts[request.dict_id].clear()
        return Empty()

    async def DictContents(self, request: Any, task: str) -> AsyncIterator[Any]:
        for key, value in list(self.dicts[request.dict_id].items()):
            yield api_pb2.DictEntry(key=key if request.keys else b"", value=value if request.values else b"")

    async def DictDelete(self, request: Any, task: str) -> Empty:
        self.dicts.pop(request.dict_id)
        self.named_dicts = {name: found for name, found in self.named_dicts.items() if found != request.dict_id}
        return Empty()
