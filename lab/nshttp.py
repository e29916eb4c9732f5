"""Connections from the host's program into a network namespace of a sandbox.

A socket belongs for good to the namespace it was made in, and setns(2) moves only the calling
thread: every connection's socket is made inside and the program itself stays on the host.
"""

from __future__ import annotations

import ctypes
import http.client
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def network_namespace(path: Path) -> Iterator[None]:
    """Put the calling thread into another network namespace for the length of the block."""
    with Path("/proc/thread-self/ns/net").open() as home, path.open() as away:
        _setns(away.fileno())
        try:
            yield
        finally:
            _setns(home.fileno())


def _setns(fd: int) -> None:
    if _LIBC.setns(fd, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def refusal(namespace: Path, host: str, port: int) -> str | None:
    """Why a TCP connection made inside a network namespace fails; None when it does not."""
    with network_namespace(namespace):
        probe = socket.socket()
    with probe:
        probe.settimeout(1)
        answer = probe.connect_ex((host, port))
    return None if answer == 0 else os.strerror(answer)


def http_get(namespace: Path, url: str, timeout: float = 2) -> tuple[int, str]:
    """Status and body of a plain HTTP GET made inside a network namespace.

    :raises OSError: when nothing answers within ``timeout`` seconds.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    with network_namespace(namespace):
        connection.connect()
    try:
        connection.request("GET", parts.path or "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()
