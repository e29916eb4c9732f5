"""A provider plugin's process: the engine's protocol over one package."""

from __future__ import annotations

import os
import select
import threading
from concurrent import futures
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from tests.engine.eks.standins.journal import Entry, Journal, StepFailedError
from tests.engine.eks.standins.package import Package, Props, Resource
from tests.engine.eks.standins.structs import message, plain, shown

# The engine's own limit (rpcutil.GrpcChannelOptions): Helm values and policies can be long.
_MAX_BYTES = 400 << 20


class Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """Echoes inputs as outputs, with what its package adds; every step goes into the journal."""

    def __init__(self, package: Package, journal: Journal) -> None:
        self._package = package
        self._journal = journal

    # -- the plugin ------------------------------------------------------------------------------

    def Handshake(self, request: Any, context: Any) -> provider_pb2.ProviderHandshakeResponse:  # noqa: N802
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    def GetPluginInfo(self, request: Any, context: Any) -> plugin_pb2.PluginInfo:  # noqa: N802
        return plugin_pb2.PluginInfo(version=self._package.version)

    def CheckConfig(self, request: provider_pb2.CheckRequest, context: Any) -> Any:  # noqa: N802
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: provider_pb2.DiffRequest, context: Any) -> Any:  # noqa: N802
        return self._diff(frozenset(), request)

    def Configure(self, request: provider_pb2.ConfigureRequest, context: Any) -> Any:  # noqa: N802
        self._package.configure(shown(plain(request.args), secrets=True))
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def Cancel(self, request: Any, context: Any) -> empty_pb2.Empty:  # noqa: N802
        return empty_pb2.Empty()

    # -- resources -------------------------------------------------------------------------------

    def Invoke(self, request: provider_pb2.InvokeRequest, context: Any) -> Any:  # noqa: N802
        arguments = shown(plain(request.args))
        self._journal.write(Entry("invoke", request.tok, "", inputs=arguments))
        try:
            answer = self._package.invoke(request.tok, arguments)
        except KeyError:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"the stand-in has no {request.tok}")
        answered = provider_pb2.InvokeResponse()
        getattr(answered, "return").update(answer)
        return answered

    def Check(self, request: provider_pb2.CheckRequest, context: Any) -> Any:  # noqa: N802
        resource = Resource(request.urn)
        checked = self._package.check(resource, plain(request.news), plain(request.olds))
        return provider_pb2.CheckResponse(inputs=message(checked))

    def Diff(self, request: provider_pb2.DiffRequest, context: Any) -> Any:  # noqa: N802
        return self._diff(self._package.replaces(Resource(request.urn)), request)

    def _diff(self, replaces: frozenset[str], request: provider_pb2.DiffRequest) -> Any:
        before, after = plain(request.old_inputs), plain(request.news)
        changed = sorted(
            key for key in before.keys() | after.keys() if before.get(key) != after.get(key)
        )
        changes = provider_pb2.DiffResponse
        return provider_pb2.DiffResponse(
            changes=changes.DIFF_SOME if changed else changes.DIFF_NONE,
            diffs=changed,
            replaces=sorted(replaces.intersection(changed)),
        )

    def Create(self, request: provider_pb2.CreateRequest, context: Any) -> Any:  # noqa: N802
        inputs = plain(request.properties)
        resource = Resource(request.urn)
        if request.preview:
            self._step(context, resource, "create", inputs, preview=True)
            return provider_pb2.CreateResponse(properties=message(inputs))
        self._step(context, resource, "create", inputs)
        id_, outputs = self._package.create(resource, inputs)
        return provider_pb2.CreateResponse(id=id_, properties=message(inputs | outputs))

    def Update(self, request: provider_pb2.UpdateRequest, context: Any) -> Any:  # noqa: N802
        inputs, olds = plain(request.news), plain(request.olds)
        resource = Resource(request.urn)
        self._step(context, resource, "update", inputs, id_=request.id, preview=request.preview)
        outputs = {} if request.preview else self._package.update(resource, inputs, olds)
        return provider_pb2.UpdateResponse(properties=message(inputs | outputs))

    def Read(self, request: provider_pb2.ReadRequest, context: Any) -> Any:  # noqa: N802
        resource = Resource(request.urn)
        self._step(context, resource, "read", {}, id_=request.id)
        try:
            if not self._package.present(resource):
                return provider_pb2.ReadResponse()
        except StepFailedError as told:
            context.abort(grpc.StatusCode.UNKNOWN, str(told))
        return provider_pb2.ReadResponse(
            id=request.id, properties=request.properties, inputs=request.inputs
        )

    def Delete(self, request: provider_pb2.DeleteRequest, context: Any) -> empty_pb2.Empty:  # noqa: N802
        inputs, resource = plain(request.old_inputs), Resource(request.urn)
        self._step(context, resource, "delete", inputs, id_=request.id)
        try:
            self._package.delete(resource, inputs)
        except StepFailedError as told:
            context.abort(grpc.StatusCode.UNKNOWN, str(told))
        return empty_pb2.Empty()

    def _step(
        self,
        context: Any,
        resource: Resource,
        op: str,
        inputs: Props,
        *,
        id_: str = "",
        preview: bool = False,
    ) -> None:
        entry = Entry(op, resource.type, resource.name, preview, shown(inputs), id_)
        try:
            self._journal.write(entry)
        except StepFailedError as told:
            context.abort(grpc.StatusCode.UNKNOWN, str(told))


def serve(package: Package) -> None:
    """Run a plugin until the engine ends; the port is the first line of its output."""
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=16),
        options=[("grpc.max_receive_message_length", _MAX_BYTES)],
    )
    servicer = Servicer(package, Journal.of_this_process())
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    end_with_the_engine()
    print(port, flush=True)
    server.wait_for_termination()


def end_with_the_engine() -> None:
    """An engine that is killed leaves its plugins behind."""
    engine = os.pidfd_open(os.getppid())

    def wait() -> None:
        select.select([engine], [], [])
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
