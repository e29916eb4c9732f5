"""Stand-ins for what a lab has no part of: the kubelet's server, and a way to its API server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from aiohttp import web

from lab.sandbox import network_namespace
from tests.components.kubernetes.background import serving
from tests.components.kubernetes.exec_replies import Exec, Handler, execute
from tests.components.kubernetes.tls import Certificate

PORT = 10250


Log = Callable[[str, str, str], bytes]
"""What a container has said so far, by namespace, pod and name."""


def _nothing(_namespace: str, _pod: str, _container: str) -> bytes:
    return b""


@contextmanager
def kubelet(namespace: Path, address: str, handler: Handler, log: Log = _nothing) -> Iterator[None]:
    """Serve a node's exec requests and logs, as its API server passes them on.

    :param namespace: the node's network namespace.
    """

    async def run(request: web.Request) -> web.StreamResponse:
        asked = request.match_info
        argv = tuple(request.query.getall("command"))
        call = Exec(asked["namespace"], asked["pod"], asked["container"], argv)
        return await execute(request, call, handler)

    async def said(request: web.Request) -> web.StreamResponse:
        asked, query = request.match_info, request.query
        text = log(asked["namespace"], asked["pod"], asked["container"])
        if lines := query.get("tailLines"):
            text = b"".join(text.splitlines(keepends=True)[-int(lines) :])
        return web.Response(body=text, content_type="text/plain")

    app = web.Application()
    app.router.add_get("/exec/{namespace}/{pod}/{container}", run)
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", said)
    with network_namespace(namespace):
        listening = socket.create_server((address, PORT))
    with serving(app, Certificate.make(), at=listening):
        yield


@contextmanager
def relay(namespace: Path, host: str, port: int) -> Iterator[int]:
    """Carry connections from a port of 127.0.0.1 here into a network namespace; the port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def accept() -> None:
            with suppress(OSError):  # until it is closed
                while True:
                    near, _ = listening.accept()
                    with network_namespace(namespace):
                        far = socket.create_connection((host, port))
                    for source, sink in ((near, far), (far, near)):
                        threading.Thread(target=_carry, args=(source, sink), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
