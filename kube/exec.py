"""A command in a container, by the API server's exec stream.

The stream is a websocket with numbered channels: 0 is standard input, 1 standard output, 2 standard
error, 3 a Status object when the command has ended. Sources (Kubernetes 1.31):
``k8s.io/kubelet/pkg/cri/streaming/remotecommand`` (channels, and that the Status follows the last
output).

Version 4 of the protocol goes through the API server as it is; version 5 is translated into SPDY
there, which is work for the measured node too. 60,000 lines written one by one through a
kube-apiserver 1.31.4 to that streaming code took 1.0 s by version 4 and 4.9 s by version 5. And a
kubelet that cannot be reached is an HTTP error with version 4, so it is sure that nothing started;
with version 5 it is a Status like any other. What version 4 lacks is an end of standard input: the
command must know by itself how much it reads.

The package's own ``WSClient`` opens a stream without a time limit, gives a refusal and a broken
connection the same error, and reads on for as long as a command prints (``kubernetes`` 37.0,
``stream/ws_client.py``). So the stream is opened and read here, on the same websocket library.

Without a terminal, the command's output is a pipe that belongs to the container's user, so it may
be opened again as ``/dev/stdout`` (containerd 1.7, ``pkg/process/io.go``: ``NewPipeIO``, and runc's
``fixStdioPermissions``).
"""

import json
import re
import socket
import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from kubernetes.stream import ws_client as channels
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential
from websocket import (
    ABNF,
    WebSocket,
    WebSocketBadStatusException,
    WebSocketConnectionClosedException,
    WebSocketException,
    WebSocketTimeoutException,
    create_connection,
)

from kube.client import PASSING, Kube, innermost_reason, status_message
from kube.objects import ApiError, KubernetesError, NotStartedError, TornError, UnreachableError

_FIRST_WAIT_SECONDS = 0.25
_ATTEMPTS = 5
# What may still come after the Status.
_LINGER_SECONDS = 2.0
# Of standard input in one message; streaming servers take 32 MB.
_PIECE_BYTES = 64 << 10
# How runtimes word that there is no such program (runc, crun), or no such container (kubelet).
_DID_NOT_START = re.compile(
    r"unable to start container process|executable file .*not found|container not found"
    r"|unable to upgrade connection"
)


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
    output: bytes
    stderr: str
    seconds: float

    @property
    def stdout(self) -> str:
        """The output as text."""
        return self.output.decode(errors="replace")


def run(
    kube: Kube, container: Container, argv: Sequence[str], *, timeout: float, stdin: bytes = b""
) -> Finished:
    """Run ``argv`` and wait for at most ``timeout`` seconds, which hold all attempts to start it.

    It is tried again only where it surely did not start.

    :param stdin: the command gets it, and no end of it. All of it is sent before output is read.
    :raises NotStartedError: it does not run: no such container or program, or the API server did
        not take the request.
    :raises TornError: it may run still: the time is over, or the connection broke.
    """
    deadline = time.monotonic() + timeout
    stream = _start(kube, container, argv, deadline, takes_input=bool(stdin))
    start = time.monotonic()
    try:
        output = _talk(stream, stdin, deadline, f"{container}: `{_shown(argv)}`", timeout)
    finally:
        stream.shutdown()  # type: ignore[no-untyped-call]
    seconds = time.monotonic() - start
    stderr, status = (
        output[channel].decode(errors="replace")
        for channel in (channels.STDERR_CHANNEL, channels.ERROR_CHANNEL)
    )
    stdout = bytes(output[channels.STDOUT_CHANNEL])
    return Finished(_exit_code(status, container), stdout, stderr, seconds)


class Conversation:
    """A command that lives as long as its stream. It answers each empty line with some lines of its
    own and an empty one: so a question takes one round trip, and not those of a new stream.

    :raises KubernetesError: see :func:`run`.
    """

    def __init__(
        self, kube: Kube, container: Container, argv: Sequence[str], *, timeout: float
    ) -> None:
        deadline = time.monotonic() + timeout
        self._what = f"{container}: `{_shown(argv)}`"
        self._stream = _start(kube, container, argv, deadline, takes_input=True)

    def ask(self, *, timeout: float) -> str:
        """The next answer.

        :raises TornError: none came in time, or the command has ended. It is of no use any more.
        """
        deadline = time.monotonic() + timeout
        try:
            output = _talk(self._stream, b"\n", deadline, self._what, timeout, _is_answered)
        except TornError:
            self.close()
            raise
        if channels.ERROR_CHANNEL in output:
            self.close()
            said = output[channels.STDERR_CHANNEL].decode(errors="replace").strip()[-300:]
            raise TornError(f"{self._what} has ended: {said}")
        return output[channels.STDOUT_CHANNEL].decode(errors="replace")

    def close(self) -> None:
        """The command finds the end of its input."""
        self._stream.shutdown()  # type: ignore[no-untyped-call]


def _is_answered(output: Mapping[int, bytearray]) -> bool:
    return output[channels.STDOUT_CHANNEL].endswith(b"\n\n")


def _shown(argv: Sequence[str]) -> str:
    """A command in an error's one line, which a script would not fit into."""
    return shorten(" ".join(argv), 100, placeholder=" …")


def _start(
    kube: Kube, container: Container, argv: Sequence[str], deadline: float, *, takes_input: bool
) -> WebSocket:
    retrying = Retrying(
        stop=lambda state: stop_after_attempt(_ATTEMPTS)(state) or time.monotonic() >= deadline,
        wait=wait_exponential(multiplier=_FIRST_WAIT_SECONDS, max=2),
        # Nothing was started where a status comes in place of 101.
        retry=retry_if_exception(
            lambda error: _was_refused(error) and getattr(error, "status", None) in PASSING
        ),
        reraise=True,
    )

    def attempt() -> WebSocket:
        path = f"/api/v1/namespaces/{container.namespace}/pods/{container.pod}/exec"
        query = [("container", container.name), ("stdout", "true"), ("stderr", "true")]
        query += [("stdin", "true")] if takes_input else []
        query += [("command", word) for word in argv]
        url = channels.get_websocket_url(kube.host + path, query)  # type: ignore[no-untyped-call]
        seconds = max(deadline - time.monotonic(), 0.1)
        return kube.with_login(lambda: _open(kube, path, url, seconds))

    try:
        return retrying(attempt)
    except ApiError as error:
        kind = NotStartedError if _was_refused(error) else TornError
        raise kind(f"{container}: the command was not taken: {error}") from None
    except KubernetesError as error:
        raise NotStartedError(f"{container}: {error}") from None


def _was_refused(error: BaseException) -> bool:
    return isinstance(error, UnreachableError) or (isinstance(error, ApiError) and error.status > 0)


def _open(kube: Kube, path: str, url: str, timeout: float) -> WebSocket:
    settings = kube.settings
    options: dict[str, Any] = {
        "header": [f"{name}: {value}" for name, value in kube.authorization.items()],
        "subprotocols": [channels.V4_CHANNEL_PROTOCOL],
    }
    if settings.proxy or settings.proxy_headers:
        channels.websocket_proxycare(options, settings, url, {})  # type: ignore[no-untyped-call]
    tls: dict[str, Any] = {"context": kube.tls, "check_hostname": kube.tls.check_hostname}
    if settings.tls_server_name:
        tls["server_hostname"] = settings.tls_server_name
    try:
        with kube.network():
            return create_connection(url, timeout=timeout, sslopt=tls, **options)
    except WebSocketBadStatusException as error:
        body = (error.resp_body or b"").decode(errors="replace")
        message = status_message(body) or str(error)
        raise ApiError("GET", path, error.status_code, message) from None
    except (ConnectionRefusedError, socket.gaierror, ssl.SSLCertVerificationError) as error:
        raise UnreachableError("GET", path, innermost_reason(error)) from None
    except (OSError, WebSocketException) as error:
        raise ApiError("GET", path, 0, innermost_reason(error)) from None


def _talk(
    stream: WebSocket,
    stdin: bytes,
    deadline: float,
    what: str,
    timeout: float,
    enough: Callable[[Mapping[int, bytearray]], bool] = lambda output: False,
) -> dict[int, bytearray]:
    """The channels' bytes, until the stream is closed after the command's end, or there is
    ``enough``."""
    output: dict[int, bytearray] = defaultdict(bytearray)
    torn = f"{what}: the connection was closed before the command had ended"
    try:
        _send(stream, stdin, deadline)
        while True:
            stream.settimeout(max(deadline - time.monotonic(), 0.01))
            opcode, frame = stream.recv_data_frame(True)
            if opcode == ABNF.OPCODE_CLOSE:
                break
            # Empty frames only say that the stream is there (remotecommand/websocket.go).
            if opcode in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) and len(frame.data) > 1:
                output[frame.data[0]] += frame.data[1:]
                if enough(output):
                    return output
            if channels.ERROR_CHANNEL in output:
                deadline = min(deadline, time.monotonic() + _LINGER_SECONDS)
            elif time.monotonic() >= deadline:
                raise WebSocketTimeoutException
    except WebSocketTimeoutException:
        torn = f"{what} had not ended after {timeout:.0f} s"
    except (OSError, WebSocketException) as error:
        torn = f"{what}: the connection broke: {error}"
    if channels.ERROR_CHANNEL not in output:
        raise TornError(torn)
    return output


def _send(stream: WebSocket, stdin: bytes, deadline: float) -> None:
    """Send standard input, until all is sent or nothing more is taken: a command may end early."""
    channel = bytes([channels.STDIN_CHANNEL])
    with suppress(BrokenPipeError, ConnectionResetError, WebSocketConnectionClosedException):
        for start in range(0, len(stdin), _PIECE_BYTES):
            stream.settimeout(max(deadline - time.monotonic(), 0.01))
            stream.send_binary(channel + stdin[start : start + _PIECE_BYTES])


def _exit_code(text: str, container: Container) -> int:
    """The program's own code, from the Status (``metav1.Status``) of a command that has ended."""
    with suppress(ValueError, KeyError, TypeError, StopIteration):
        status = json.loads(text)
        if status["status"] == "Success":
            return 0
        causes = status["details"]["causes"]
        return int(next(each["message"] for each in causes if each["reason"] == "ExitCode"))
    message = status_message(text)
    kind = NotStartedError if _DID_NOT_START.search(message) else TornError
    raise kind(f"{container}: {message}")
