"""A command in a container, by the API server's exec stream.

The stream is a websocket with numbered channels: 1 is standard output, 2 standard error, 3 a Status
object when the command has ended. Sources (Kubernetes 1.31): ``k8s.io/kubelet/pkg/cri/streaming/
remotecommand`` (channels, and that the Status follows the last output).

Version 4 of the protocol goes through the API server as it is; version 5 is translated into SPDY
there, which is work for the measured node too. 60,000 lines written one by one through a
kube-apiserver 1.31.4 to that streaming code took 1.0 s by version 4 and 4.9 s by version 5. And a
kubelet that cannot be reached is an HTTP error with version 4, so it is sure that nothing started;
with version 5 it is a Status like any other.

Without a terminal, the command's output is a pipe that belongs to the container's user, so it may
be opened again as ``/dev/stdout`` (containerd 1.7, ``pkg/process/io.go``: ``NewPipeIO``, and runc's
``fixStdioPermissions``).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential
from websocket import ABNF, WebSocket, WebSocketException, WebSocketTimeoutException

from components.kubernetes.api import Api
from components.kubernetes.errors import (
    ApiError,
    KubernetesError,
    NotStartedError,
    TornError,
    UnreachableError,
)

PROTOCOL = "v4.channel.k8s.io"
_STDOUT, _STDERR, _STATUS = 1, 2, 3
# Refusals that another attempt may not meet. Nothing was started where they come instead of 101.
_PASSING = frozenset({429, 500, 502, 503, 504})
_FIRST_WAIT_SECONDS = 0.25
_ATTEMPTS = 5
# How runtimes word that there is no such program (runc, crun), or no such container (kubelet).
_DID_NOT_START = re.compile(
    r"unable to start container process|executable file .*not found|container not found"
    r"|unable to upgrade connection"
)
# What may still come after the Status.
_LINGER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a running pod."""

    namespace: str
    pod: str
    name: str

    def __str__(self) -> str:
        return f"{self.pod} ({self.name})"


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended by itself; ``seconds`` is from the open stream to its end."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float


@dataclass(slots=True)
class _Output:
    """What has arrived so far; kept in pieces, as there may be many small ones."""

    pieces: dict[int, list[bytes]] = field(default_factory=dict)

    def add(self, frame: bytes) -> None:
        # Empty ones only say that the stream is there (remotecommand/websocket.go).
        if len(frame) > 1:
            self.pieces.setdefault(frame[0], []).append(frame[1:])

    def text(self, channel: int) -> str:
        return b"".join(self.pieces.get(channel, ())).decode(errors="replace")


def run(api: Api, container: Container, argv: Sequence[str], *, timeout: float) -> Finished:
    """Run ``argv`` and wait for at most ``timeout`` seconds, which hold all attempts to start it.

    It is tried again only where it surely did not start.

    :raises NotStartedError: it does not run: no such container or program, or the API server did
        not take the request.
    :raises TornError: it may run still: the time is over, or the connection broke.
    """
    deadline = time.monotonic() + timeout
    stream = _open(api, container, argv, deadline)
    start = time.monotonic()
    try:
        output = _read(stream, deadline, f"{container}: `{' '.join(argv)}`", timeout)
    finally:
        stream.shutdown()  # type: ignore[no-untyped-call]
    return Finished(
        _exit_code(output.text(_STATUS), container),
        output.text(_STDOUT),
        output.text(_STDERR),
        time.monotonic() - start,
    )


def _open(api: Api, container: Container, argv: Sequence[str], deadline: float) -> WebSocket:
    path = f"/api/v1/namespaces/{container.namespace}/pods/{container.pod}/exec"
    query = [("container", container.name), ("stdout", "true"), ("stderr", "true")]
    query += [("command", word) for word in argv]
    retrying = Retrying(
        stop=lambda state: stop_after_attempt(_ATTEMPTS)(state) or time.monotonic() >= deadline,
        wait=wait_exponential(multiplier=_FIRST_WAIT_SECONDS, max=2),
        retry=retry_if_exception(_surely_not_started),
        reraise=True,
    )

    def attempt() -> WebSocket:
        return api.websocket(path, query, PROTOCOL, max(deadline - time.monotonic(), 0.1))

    try:
        return retrying(attempt)
    except ApiError as error:
        kind = NotStartedError if _refused(error) else TornError
        raise kind(f"{container}: the command was not taken: {error}") from None
    except KubernetesError as error:
        raise NotStartedError(f"{container}: {error}") from None


def _refused(error: ApiError) -> bool:
    return error.status > 0 or isinstance(error, UnreachableError)


def _surely_not_started(error: BaseException) -> bool:
    return isinstance(error, UnreachableError) or (
        isinstance(error, ApiError) and error.status in _PASSING
    )


def _read(stream: WebSocket, deadline: float, what: str, timeout: float) -> _Output:
    """Everything until the stream is closed after the command's end."""
    output = _Output()
    try:
        while True:
            stream.settimeout(max(deadline - time.monotonic(), 0.01))
            opcode, frame = stream.recv_data_frame(True)
            if opcode == ABNF.OPCODE_CLOSE:
                break
            if opcode in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT):
                output.add(frame.data)
            if _STATUS in output.pieces:
                deadline = min(deadline, time.monotonic() + _LINGER_SECONDS)
            elif time.monotonic() >= deadline:
                raise WebSocketTimeoutException
    except WebSocketTimeoutException:
        if _STATUS not in output.pieces:
            raise TornError(f"{what} had not ended after {timeout:.0f} s") from None
    except (OSError, WebSocketException) as error:
        if _STATUS not in output.pieces:
            raise TornError(f"{what}: the connection broke: {error}") from None
    if _STATUS not in output.pieces:
        raise TornError(f"{what}: the connection was closed before the command had ended")
    return output


def _exit_code(text: str, container: Container) -> int:
    """The program's own code, from the Status (``metav1.Status``) of a command that has ended."""
    with suppress(ValueError, KeyError, TypeError, StopIteration):
        status = json.loads(text)
        if status["status"] == "Success":
            return 0
        causes = status["details"]["causes"]
        return int(next(each["message"] for each in causes if each["reason"] == "ExitCode"))
    with suppress(ValueError, KeyError, TypeError):
        text = json.loads(text)["message"]
    if _DID_NOT_START.search(text):
        raise NotStartedError(f"{container}: {text}")
    raise TornError(f"{container}: {text}")
