"""What an exec stream does: the command's output and end, or what gets in its way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from subprocess import PIPE, Popen
from typing import IO, Any

from aiohttp import WSCloseCode, web

_STDIN, _STDOUT, _STDERR, _STATUS = 0, 1, 2, 3


@dataclass(frozen=True)
class Exec:
    """One exec request."""

    namespace: str
    pod: str
    container: str
    argv: tuple[str, ...]


@dataclass(frozen=True)
class Output:
    """A command that ends by itself, after ``seconds``; its output comes in ``piece`` bytes."""

    stdout: str | bytes = ""
    stderr: str | bytes = ""
    code: int = 0
    seconds: float = 0.0
    piece: int = 32 << 10


@dataclass(frozen=True)
class Torn:
    """The connection breaks after some output; ``politely`` it is closed, but with no Status."""

    stdout: str | bytes = ""
    politely: bool = False


@dataclass(frozen=True)
class Silence:
    """Nothing comes for ``seconds``, while the command runs on."""

    seconds: float


@dataclass(frozen=True)
class Refused:
    """No stream: an HTTP error in place of 101."""

    status: int
    message: str


@dataclass(frozen=True)
class Failed:
    """A stream whose Status has no exit code: the runtime's own words."""

    message: str


@dataclass(frozen=True)
class Process:
    """What a command on this machine does with the stream's standard input.

    As with a kubelet and version 4 of the protocol, it never sees an end of its input, as long as
    the client is there.

    :param owner: the user whose its outputs are, so that it may open them again.
    :param lasting: it runs on when the client has gone, as with containerd.
    """

    argv: tuple[str, ...]
    owner: int | None = None
    lasting: bool = False


@dataclass(frozen=True)
class FromInput:
    """What a command answers to its standard input: None until enough of it has come."""

    answer: Callable[[bytes], Output | None]


@dataclass(frozen=True)
class Conversing:
    """What a command says to each line of its standard input; with None the connection breaks."""

    answer: Callable[[], str | None]


Reply = Conversing | Output | Torn | Silence | Refused | Failed | Process | FromInput
Handler = Callable[[Exec], Reply]


async def answer(request: web.Request, call: Exec, handler: Handler) -> web.StreamResponse:
    """Answer an exec request with what a handler says, which may take its time."""
    reply = await _asked(handler, call)
    if isinstance(reply, Refused):
        return status(reply.status, reply.message)
    return await _streamed(request, await _opened(request), reply)


async def execute(request: web.Request, call: Exec, handler: Handler) -> web.StreamResponse:
    """Open the stream, then run what it is for: as a kubelet does."""
    stream = await _opened(request)
    return await _streamed(request, stream, await _asked(handler, call))


async def _asked(handler: Handler, call: Exec) -> Reply:
    return await asyncio.get_running_loop().run_in_executor(None, handler, call)


async def _opened(request: web.Request) -> web.WebSocketResponse:
    stream = web.WebSocketResponse(protocols=("v5.channel.k8s.io", "v4.channel.k8s.io"))
    await stream.prepare(request)
    # A kubelet opens with an empty message (remotecommand/websocket.go).
    await stream.send_bytes(bytes([_STDOUT]))
    return stream


async def _streamed(
    request: web.Request, stream: web.WebSocketResponse, reply: Reply
) -> web.StreamResponse:
    if isinstance(reply, Process):
        await _run(stream, reply)
    elif isinstance(reply, Conversing):
        await _converse(stream, reply, request.transport)
    elif isinstance(reply, FromInput):
        await _answered(stream, reply, request.transport)
    else:
        # Nobody reads what is sent, but it is taken.
        taking = asyncio.create_task(_take(stream, None))
        await _play(stream, reply, request.transport)
        taking.cancel()
    with suppress(ConnectionError):
        await stream.close(code=WSCloseCode.OK, drain=False)
    return stream


def status(code: int, message: str) -> web.Response:
    """A refusal, as an API server words it."""
    body = {"kind": "Status", "status": "Failure", "message": message, "code": code}
    return web.Response(status=code, text=json.dumps(body), content_type="application/json")


async def _play(stream: web.WebSocketResponse, reply: Reply, transport: Any) -> None:
    match reply:
        case Output():
            await asyncio.sleep(reply.seconds)
            for frame in _frames(reply):
                if transport.is_closing():  # the client has gone
                    return
                await stream.send_bytes(frame)
                await asyncio.sleep(0)  # lets the server notice that
            await _end(stream, _status(reply.code))
        case Torn():
            await stream.send_bytes(bytes([_STDOUT]) + _bytes(reply.stdout))
            if not reply.politely:
                transport.abort()
        case Silence():
            await asyncio.sleep(reply.seconds)
        case Failed():
            failure = {"status": "Failure", "reason": "InternalError", "message": reply.message}
            await _end(stream, {**failure, "code": 500})


async def _run(stream: web.WebSocketResponse, reply: Process) -> None:
    (stdout, out), (stderr, err) = _pipe(reply.owner), _pipe(reply.owner)
    process = Popen(
        reply.argv, stdin=PIPE, stdout=out, stderr=err, bufsize=0, start_new_session=True
    )
    os.close(out)
    os.close(err)
    assert process.stdin is not None
    taking = asyncio.create_task(_take(stream, process.stdin))
    outputs = ((_STDOUT, stdout), (_STDERR, stderr))
    passing = asyncio.gather(*(_pass_on(stream, *each) for each in outputs))
    ends: tuple[asyncio.Future[Any], ...] = (passing, taking)
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if passing.done():
            await _end(stream, _status(await asyncio.to_thread(process.wait)))
    finally:  # the command has ended, or the client has gone
        if not reply.lasting:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        taking.cancel()
        process.stdin.close()
        await asyncio.gather(*ends, return_exceptions=True)
        stdout.close()
        stderr.close()
        await asyncio.to_thread(process.wait)


def _pipe(owner: int | None) -> tuple[IO[bytes], int]:
    """A pipe, of another user where one is named: its end for reading, and the one for writing."""
    reading, writing = os.pipe()
    if owner is not None:
        os.fchown(writing, owner, owner)
    return os.fdopen(reading, "rb", buffering=0), writing


async def _answered(stream: web.WebSocketResponse, reply: FromInput, transport: Any) -> None:
    came = b""
    async for message in stream:
        came += message.data[1:]
        if output := reply.answer(came):
            await _play(stream, output, transport)
            return


async def _converse(stream: web.WebSocketResponse, reply: Conversing, transport: Any) -> None:
    async for _ in stream:
        said = reply.answer()
        if said is None:
            transport.abort()
            return
        await stream.send_bytes(bytes([_STDOUT]) + said.encode())


async def _take(stream: web.WebSocketResponse, into: IO[bytes] | None) -> None:
    """Take what the client sends, until it has gone."""
    async for message in stream:
        if into is not None and message.data[:1] == bytes([_STDIN]):
            with suppress(BrokenPipeError):  # the command reads no more
                await asyncio.to_thread(into.write, message.data[1:])


async def _pass_on(stream: web.WebSocketResponse, channel: int, output: IO[bytes] | None) -> None:
    while output and (data := await asyncio.to_thread(output.read, 32 << 10)):
        # What a command says to nobody is taken, too.
        with suppress(ConnectionError):
            await stream.send_bytes(bytes([channel]) + data)


async def _end(stream: web.WebSocketResponse, status: dict[str, Any]) -> None:
    await stream.send_bytes(bytes([_STATUS]) + json.dumps({"metadata": {}, **status}).encode())


def _frames(reply: Output) -> Iterator[bytes]:
    for channel, output in ((_STDOUT, reply.stdout), (_STDERR, reply.stderr)):
        data = _bytes(output)
        for start in range(0, len(data), reply.piece):
            yield bytes([channel]) + data[start : start + reply.piece]


def _status(code: int) -> dict[str, Any]:
    """As kubelet 1.31 words it (``pkg/cri/streaming/remotecommand/exec.go``)."""
    if code == 0:
        return {"status": "Success"}
    return {
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: exit code {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
