"""An aiohttp application, served by a thread of the test."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from aiohttp import web

from tests.components.kubernetes.tls import Certificate

_STREAMS = 32


@contextmanager
def serving(
    app: web.Application,
    certificate: Certificate,
    *,
    port: int = 0,
    at: socket.socket | None = None,
) -> Iterator[int]:
    """Serve for the length of the block; the port.

    :param port: of 127.0.0.1; 0 is a free one.
    :param at: a listening socket in place of that.
    """
    listening = at or socket.create_server(("127.0.0.1", port))
    started = threading.Event()
    loop = asyncio.new_event_loop()
    # Each exec stream takes two threads for as long as it is open.
    loop.set_default_executor(ThreadPoolExecutor(_STREAMS * 2))

    async def start() -> web.AppRunner:
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        await web.SockSite(runner, listening, ssl_context=certificate.context()).start()
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(_end(runner))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    if not started.wait(10):
        raise TimeoutError("the server for tests did not start in 10 s")
    try:
        yield listening.getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


async def _end(runner: web.AppRunner) -> None:
    """End the server with whatever is still being answered."""
    await runner.cleanup()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
