"""Functions, calls and their inputs: who waits, who runs, who is tried again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

if TYPE_CHECKING:
    from tests.launchers.modal_box.server import Box

Result = api_pb2.GenericResult
MOST_LOST = 2  # times that an input may lose its container before it fails


@dataclass
class Function:
    """ranks: its definitions in the order of preference, which differ in their GPU."""

    id: str
    app_id: str
    name: str
    data: api_pb2.FunctionData
    ranks: list[api_pb2.Function]
    metadata: api_pb2.FunctionHandleMetadata

    @property
    def definition(self) -> api_pb2.Function:
        return self.ranks[0]


@dataclass
class Input:
    """state: waiting, running or done. tries: how often it failed; lost: how often its container vanished."""

    id: str
    call: Call
    idx: int
    item: api_pb2.FunctionInput
    state: str = "waiting"
    not_before: float = 0.0
    tries: int = 0
    lost: int = 0
    cancelled: bool = False


@dataclass
class Call:
    """outputs: by the input's index."""

    id: str
    function: Function
    kind: int
    inputs: list[Input] = field(default_factory=list)
    outputs: dict[int, api_pb2.FunctionGetOutputsItem] = field(default_factory=dict)
    data_in: list[api_pb2.DataChunk] = field(default_factory=list)
    data_out: list[api_pb2.DataChunk] = field(default_factory=list)


class Calls:
    """All of them, and the queue."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.functions: dict[str, Function] = {}
        self.calls: dict[str, Call] = {}
        self.inputs: dict[str, Input] = {}

    # functions

    def layout(self, app_id: str) -> api_pb2.AppLayout:
        """The objects of an app, as its containers are told them."""
        mine = [function for function in self.functions.values() if function.app_id == app_id]
        objects = [api_pb2.Object(object_id=f.id, function_handle_metadata=f.metadata) for f in mine]
        needed = {d.object_id for f in mine for rank in f.ranks for d in rank.object_dependencies}
        for name in sorted(needed):
            volume = self.box.volumes.all.get(name)
            about = api_pb2.VolumeMetadata(version=volume.version, name=volume.name) if volume else None
            objects.append(api_pb2.Object(object_id=name, volume_metadata=about))
        return api_pb2.AppLayout(objects=objects, function_ids={f.name: f.id for f in mine})

    async def FunctionPrecreate(self, request: Any, task: str) -> Any:
        function_id = request.existing_function_id or self.box.id("fu")
        metadata = api_pb2.FunctionHandleMetadata(
            function_name=request.function_name,
            function_type=request.function_type,
            app_id=request.app_id,
            function_schema=request.function_schema,
            supported_input_formats=request.supported_input_formats,
            supported_output_formats=request.supported_output_formats,
            definition_id=f"de-{function_id}",
            web_url=self._web_url(request.app_id, request.function_name) if request.webhook_config.type else "",
        )
        return api_pb2.FunctionPrecreateResponse(function_id=function_id, handle_metadata=metadata)

    def _web_url(self, app_id: str, name: str) -> str:
        return f"{self.box.web.url}/web/{self.box.registry.apps[app_id].name}--{name}"

    def by_web_name(self, name: str) -> Function | None:
        for function in reversed(self.functions.values()):
            app = self.box.registry.apps[function.app_id]
            if f"{app.name}--{function.name}" == name and function.definition.webhook_config.type:
                return function
        return None

    async def FunctionCreate(self, request: Any, task: str) -> Any:
        single = request.HasField("function")
        data = api_pb2.FunctionData() if single else request.function_data
        if single:
            data.module_name, data.function_name = request.function.module_name, request.function.function_name
            data.timeout_secs = request.function.timeout_secs
            data.webhook_config.CopyFrom(request.function.webhook_config)
            data.ranked_functions.append(api_pb2.FunctionData.RankedFunction(rank=0, function=request.function))
        ranks = [ranked.function for ranked in sorted(data.ranked_functions, key=lambda ranked: ranked.rank)]
        name, function_id = ranks[0].function_name, request.existing_function_id or self.box.id("fu")
        web = self._web_url(request.app_id, name) if ranks[0].webhook_config.type else ""
        data.web_url = web
        metadata = api_pb2.FunctionHandleMetadata(
            function_name=name,
            function_type=ranks[0].function_type,
            app_id=request.app_id,
            function_schema=ranks[0].function_schema,
            supported_input_formats=ranks[0].supported_input_formats,
            supported_output_formats=ranks[0].supported_output_formats,
            definition_id=f"de-{function_id}",
            web_url=web,
        )
        self.functions[function_id] = Function(function_id, request.app_id, name, data, ranks, metadata)
        return api_pb2.FunctionCreateResponse(function_id=function_id, handle_metadata=metadata, function_data=data)

    async def FunctionGet(self, request: Any, task: str) -> Any:
        for function in reversed(self.functions.values()):
            app = self.box.registry.apps[function.app_id]
            if (app.name, function.name) == (request.app_name, request.object_tag) and self.box.registry.deployed(app):
                return api_pb2.FunctionGetResponse(
                    function_id=function.id, handle_metadata=function.metadata, function=function.data
                )
        raise GRPCError(Status.NOT_FOUND, f"Lookup failed for Function '{request.object_tag}' of '{request.app_name}'")

    # calls, from outside

    async def FunctionMap(self, request: Any, task: str) -> Any:
        call = self.new_call(self.functions[request.function_id], request.function_call_invocation_type)
        made = [self.add_input(call, item) for item in request.pipelined_inputs]
        return api_pb2.FunctionMapResponse(
            function_call_id=call.id, pipelined_inputs=made, retry_policy=call.function.definition.retry_policy
        )

    async def FunctionPutInputs(self, request: Any, task: str) -> Any:
        call = self.calls[request.function_call_id]
        return api_pb2.FunctionPutInputsResponse(inputs=[self.add_input(call, item) for item in request.inputs])

    async def FunctionFinishInputs(self, request: Any, task: str) -> Empty:
        return Empty()

    def new_call(self, function: Function, kind: int) -> Call:
        call = Call(self.box.id("fc"), function, kind)
        self.calls[call.id] = call
        return call

    def add_input(self, call: Call, item: api_pb2.FunctionPutInputsItem) -> api_pb2.FunctionPutInputsResponseItem:
        made = Input(self.box.id("in"), call, item.idx, item.input)
        call.inputs.append(made)
        self.inputs[made.id] = made
        return api_pb2.FunctionPutInputsResponseItem(idx=item.idx, input_id=made.id, input_jwt=made.id)

    async def FunctionGetOutputs(self, request: Any, task: str) -> Any:
        call = self.calls.get(request.function_call_id)
        if call is None:
            raise GRPCError(Status.NOT_FOUND, f"Function call {request.function_call_id} not found")
        deadline = time.monotonic() + min(request.timeout, 5)
        after = int(request.last_entry_id.partition("-")[0] or 0) if request.last_entry_id != "0-0" else 0
        while True:
            found = [call.outputs[idx] for idx in sorted(call.outputs)]
            if request.HasField("start_idx"):
                found = [item for item in found if request.start_idx <= item.idx <= request.end_idx]
            else:
                found = found[after:]
            if found or time.monotonic() > deadline:
                left = sum(item.state != "done" for item in call.inputs)
                last = f"{after + len(found)}-0"
                return api_pb2.FunctionGetOutputsResponse(outputs=found, num_unfinished_inputs=left, last_entry_id=last)
            await asyncio.sleep(0.02)

    async def FunctionCallFromId(self, request: Any, task: str) -> Any:
        call = self.calls[request.function_call_id]
        about = api_pb2.FunctionCallHandleMetadata(app_id=call.function.app_id, function_id=call.function.id)
        return api_pb2.FunctionCallFromIdResponse(function_call_id=call.id, num_inputs=len(call.inputs), metadata=about)

    async def FunctionGetCurrentStats(self, request: Any, task: str) -> Any:
        waiting = [
            i for i in self.inputs.values() if i.call.function.id == request.function_id and i.state == "waiting"
        ]
        return api_pb2.FunctionStats(backlog=len(waiting))

    async def FunctionCallCancel(self, request: Any, task: str) -> Empty:
        for item in self.calls[request.function_call_id].inputs:
            await self.cancel(item, kill=request.terminate_containers)
        return Empty()

    async def cancel(self, item: Input, *, kill: bool) -> None:
        """A waiting input ends; a running one is told to by the heartbeat of its container."""
        item.cancelled = True
        if item.state == "waiting":
            self.end(item, Result(status=Result.GENERIC_STATUS_TERMINATED, exception="Input was cancelled by user"))
        elif item.state == "running":
            await self.box.containers.cancel(item, kill=kill)

    async def stop_app(self, app_id: str) -> None:
        for item in list(self.inputs.values()):
            if item.call.function.app_id == app_id and item.state != "done":
                await self.cancel(item, kill=True)

    # calls, from inside a container

    async def FunctionGetInputs(self, request: Any, task: str) -> Any:
        item = await self.box.containers.next_input(task)
        if item is None:
            return api_pb2.FunctionGetInputsResponse(inputs=[api_pb2.FunctionGetInputsItem(kill_switch=True)])
        given = api_pb2.FunctionGetInputsItem(
            input_id=item.id,
            input=item.item,
            function_call_id=item.call.id,
            function_call_invocation_type=item.call.kind,
        )
        return api_pb2.FunctionGetInputsResponse(inputs=[given])

    async def FunctionPutOutputs(self, request: Any, task: str) -> Empty:
        for output in request.outputs:
            item = self.inputs[output.input_id]
            self.box.containers.finished(task, item)
            if item.state == "running":
                self.settle(item, output.result, output.data_format)
        return Empty()

    async def FunctionCallGetDataIn(self, request: Any, task: str) -> AsyncIterator[Any]:
        call = self.calls[request.function_call_id]
        for chunk in call.data_in:
            if chunk.index > request.last_index:
                yield chunk
        while not call.outputs:
            await asyncio.sleep(0.05)

    async def FunctionCallPutDataOut(self, request: Any, task: str) -> Empty:
        self.calls[request.function_call_id].data_out.extend(request.data_chunks)
        return Empty()

    # the rules

    def settle(self, item: Input, result: Any, data_format: int = 0) -> None:
        """An attempt has ended: the input is done, or tried again as its function's retry policy says."""
        policy = item.call.function.definition.retry_policy
        fine = (Result.GENERIC_STATUS_SUCCESS, Result.GENERIC_STATUS_TERMINATED)
        if result.status not in fine and item.tries < policy.retries and not item.cancelled:
            delay = policy.initial_delay_ms * max(policy.backoff_coefficient, 1.0) ** item.tries
            item.tries += 1
            item.state, item.not_before = "waiting", time.monotonic() + min(delay, policy.max_delay_ms) / 1000
        else:
            self.end(item, result, data_format)

    def lose(self, item: Input) -> None:
        """Its container is gone: the same input goes to another one, and no retry is used up."""
        item.lost += 1
        if item.cancelled:
            self.end(item, Result(status=Result.GENERIC_STATUS_TERMINATED, exception="Input was cancelled by user"))
        elif item.lost > MOST_LOST:
            self.end(
                item, Result(status=Result.GENERIC_STATUS_INTERNAL_FAILURE, exception="Containers crash in a loop")
            )
        else:
            item.state, item.not_before = "waiting", 0.0

    def end(self, item: Input, result: Any, data_format: int = 0) -> None:
        item.state = "done"
        item.call.outputs[item.idx] = api_pb2.FunctionGetOutputsItem(
            result=result, idx=item.idx, input_id=item.id, data_format=data_format
        )

    async def serve(self) -> None:
        """Give waiting inputs to containers."""
        while True:
            now = time.monotonic()
            for item in list(self.inputs.values()):
                if item.state == "waiting" and item.not_before <= now:
                    await self.box.containers.place(item)
            await asyncio.sleep(0.02)
