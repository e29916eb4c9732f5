"""Many requests to an API server at a time, by one thread.

Several threads would not do: a request is a few short spells of work between waits, and threads of
Python hand the interpreter to each other at every one of them. On a machine with other work sixteen
threads created 147 objects/s where kubectl, one after the other, made 238.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

CONNECTIONS = 32
_SECONDS = 30.0


class Send(Protocol):
    """One request: its status (0 without an answer) and the answer's text."""

    async def __call__(
        self, method: str, path: str, body: bytes | None, content_type: str
    ) -> tuple[int, bytes]: ...


@dataclass(frozen=True, slots=True)
class Wire:
    """How an API server is reached.

    ``authorization`` are the headers of each request, ``make_socket`` makes a connection's socket
    where it is not to be made in this process's own network (as aiohttp's ``socket_factory``).
    """

    url: str
    tls: ssl.SSLContext
    authorization: Callable[[], Mapping[str, str]]
    make_socket: Callable[[tuple[Any, ...]], socket.socket] | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Send]:
        """Connections for the length of the block."""
        connector = TCPConnector(
            ssl=self.tls, limit=CONNECTIONS, socket_factory=self.make_socket, keepalive_timeout=15
        )
        # No proxy of the environment: what a sandbox says stays in it.
        async with ClientSession(
            connector=connector, timeout=ClientTimeout(total=_SECONDS), trust_env=False
        ) as session:

            async def send(
                method: str, path: str, body: bytes | None, content_type: str
            ) -> tuple[int, bytes]:
                headers = {
                    "accept": "application/json",
                    "content-type": content_type,
                    **self.authorization(),
                }
                try:
                    async with session.request(
                        method, self.url + path, data=body, headers=headers
                    ) as answer:
                        return answer.status, await answer.read()
                except (TimeoutError, OSError, ClientError) as error:
                    return 0, str(error).encode()

            yield send
