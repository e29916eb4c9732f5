"""Many objects created or deleted at a time, by one thread.

The API server answers one creation in one to a few milliseconds, most of which it waits for etcd,
so one connection leaves it idle. Several threads would not do: a request is a few short spells of
work between waits, and threads of Python hand the interpreter to each other at every one of them.
On a machine with other work sixteen threads created 147 objects/s where kubectl, one after the
other, made 238.
"""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from aiohttp import AddrInfoType, ClientError, ClientSession, ClientTimeout, TCPConnector
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt
from tenacity.wait import wait_exponential_jitter

from kube import client
from kube.client import Kube
from kube.objects import ApiError, Kind, Manifest

#: Gets a line every two seconds.
Progress = Callable[[str], None]
Answer = tuple[int, bytes]

_SAY_SECONDS = 2.0
_ATTEMPTS = 6
_WAIT_SECONDS = 0.2
# The manifests are our own: looking for unknown fields makes the server decode each once more.
_UNCHECKED = "?fieldValidation=Ignore"
_NOT_NOW = client.PASSING | {client.UNAUTHORIZED}


class Send(Protocol):
    """One request: its status (0 without an answer) and the answer's text."""

    async def __call__(self, method: str, path: str, body: bytes | None) -> Answer: ...


def create(kube: Kube, manifests: Sequence[Manifest], namespace: str, say: Progress) -> None:
    """Create objects in a namespace; those that exist are left as they are.

    :raises ApiError: the first failure, which ends it.
    """
    requests: list[tuple[str, bytes | None]] = [
        (
            kube.path(Kind.of(manifest), namespace) + _UNCHECKED,
            json.dumps(manifest, separators=(",", ":")).encode(),
        )
        for manifest in manifests
    ]
    _run(kube, "POST", requests, client.CONFLICT, "created", say)


def delete(kube: Kube, manifests: Sequence[Manifest], namespace: str, say: Progress) -> None:
    """Delete objects of a namespace; those that are gone already are passed over.

    :raises ApiError: the first failure, which ends it.
    """
    requests: list[tuple[str, bytes | None]] = [
        (kube.path(Kind.of(manifest), namespace, manifest["metadata"]["name"]), None)
        for manifest in manifests
    ]
    _run(kube, "DELETE", requests, client.NOT_FOUND, "deleted", say)


def _run(
    kube: Kube,
    method: str,
    requests: Sequence[tuple[str, bytes | None]],
    fine: int,
    verb: str,
    say: Progress,
) -> None:
    """Send all; the first failure, or an interruption, ends it.

    :param fine: a status besides success that is as good.
    """
    left = iter(requests)
    start = said = time.monotonic()
    done = 0

    async def work(send: Send) -> None:
        nonlocal done, said
        for path, body in left:
            await _sent(send, method, path, body, fine)
            done += 1
            if time.monotonic() - said > _SAY_SECONDS:
                said = time.monotonic()
                say(f"{done:,} of {len(requests):,} objects {verb}, {said - start:.0f} s")

    async def run() -> None:
        async with connections(kube) as send, asyncio.TaskGroup() as group:
            for _ in range(min(client.CONNECTIONS, len(requests))):
                group.create_task(work(send))

    if requests:
        try:
            # With a loop of its own: `asyncio.run` would take away the thread's, which Pulumi uses.
            with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                runner.run(run())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None


@asynccontextmanager
async def connections(kube: Kube) -> AsyncIterator[Send]:
    """Connections of one event loop, for the length of the block."""

    def make_socket(address: AddrInfoType) -> socket.socket:
        with kube.network():
            return socket.socket(*address[:3])

    connector = TCPConnector(
        ssl=kube.tls,
        limit=client.CONNECTIONS,
        socket_factory=make_socket,
        keepalive_timeout=15,
    )
    timeout = ClientTimeout(total=client.REQUEST_TIMEOUT[1])
    headers = {"accept": client.JSON, "content-type": client.JSON}
    # No proxy of the environment: what is said in a sandbox stays in it.
    async with ClientSession(
        connector=connector, timeout=timeout, headers=headers, trust_env=False
    ) as session:

        async def send(method: str, path: str, body: bytes | None) -> Answer:
            url, login = kube.host + path, kube.authorization
            try:
                async with session.request(method, url, data=body, headers=login) as answer:
                    return answer.status, await answer.read()
            except (TimeoutError, OSError, ClientError) as error:
                return 0, str(error).encode()

        yield send


async def _sent(send: Send, method: str, path: str, body: bytes | None, fine: int) -> None:
    status, text = await send(method, path, body)
    if status in _NOT_NOW:
        status, text = await AsyncRetrying(**_PATIENCE)(send, method, path, body)
    if status != fine and not 200 <= status < 300:
        message = client.status_message(text.decode(errors="replace"))
        raise ApiError(method, path, status, message)


def _last_answer(state: RetryCallState) -> Answer:
    assert state.outcome is not None
    answer: Answer = state.outcome.result()
    return answer


# A creation that is repeated may meet the object that it made; the conflict is fine.
_PATIENCE: dict[str, Any] = {
    "stop": stop_after_attempt(_ATTEMPTS),
    "wait": wait_exponential_jitter(multiplier=_WAIT_SECONDS, max=5, jitter=_WAIT_SECONDS),
    "retry": retry_if_result(lambda answer: answer[0] in _NOT_NOW),
    "retry_error_callback": _last_answer,
}
