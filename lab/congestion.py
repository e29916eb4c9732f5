"""TCP's congestion control in the lab's network namespaces, whatever the host's own is.

A namespace is born with the host's default. It may choose only among the host's
``net.ipv4.tcp_allowed_congestion_control`` (Linux, "IP Sysctl"), which need not have what Amazon
Linux's default is. So that list is widened for the moment of the choice: sockets take what their
namespace has chosen, allowed or not. What the list was is on disk before it changes: whoever wants
the lock next, or removes a lab, puts it back after a crash. The file is gone with the next boot,
and so is the change.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from lab.sandbox import network_namespace

#: Linux's and Amazon Linux's default.
DEFAULT = "cubic"

_CHOICE = Path("/proc/sys/net/ipv4/tcp_congestion_control")


@dataclass(frozen=True, slots=True)
class AllowedList:
    """The host's list of what namespaces may choose among.

    :param kept: where its content is while it is widened; the file is the lock, too.
    """

    sysctl: Path = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
    kept: Path = Path("/run/cni-benchmark.tcp-allowed")

    @contextmanager
    def widened(self, name: str) -> Iterator[None]:
        """Let namespaces choose ``name`` for the length of the block; one at a time does.

        :raises OSError: the kernel does not have it, or this is not the host's own namespace.
        """
        with self._locked() as kept:
            before = self.sysctl.read_text()
            kept.write(before)
            kept.flush()
            self.sysctl.write_text(f"{before.strip()} {name}")
            yield

    def restore(self) -> None:
        """Put back what a process has left that was killed in such a block; waits for one that
        was not."""
        if self.kept.exists():
            with self._locked():
                pass

    @contextmanager
    def _locked(self) -> Iterator[TextIO]:
        """The file, locked and empty; at both ends of the block the list is what it was."""
        with self._open() as file:
            self._put_back(file)
            try:
                yield file
            finally:
                self._put_back(file)
                self.kept.unlink()

    def _open(self) -> TextIO:
        while True:
            file = self.kept.open("a+")
            fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), self.kept.stat()):
                    return file
            file.close()  # who held the lock has removed the file

    def _put_back(self, file: TextIO) -> None:
        file.seek(0)
        before = file.read()
        if before:
            self.sysctl.write_text(before)
            file.truncate(0)


ALLOWED = AllowedList()


def choose(name: str, namespace: Path) -> None:
    """Let new sockets of a network namespace have a congestion control.

    Where the kernel has none of that name, or the host's list cannot be widened (in a container),
    the namespace keeps what it has: :func:`of` tells, and a lab's adaptations list it.
    """
    try:
        _write(name, namespace)
    except PermissionError:
        with suppress(OSError), ALLOWED.widened(name):
            _write(name, namespace)


def _write(name: str, namespace: Path) -> None:
    with network_namespace(namespace), suppress(FileNotFoundError):
        _CHOICE.write_text(name)


def adaptations(wanted: str, found: str) -> tuple[str, ...]:
    """How TCP differs from Amazon Linux's, for a result's reader."""
    if found == DEFAULT:
        return ()
    why = "asked for" if found == wanted else f"this machine has no {wanted} for the lab"
    return (f"TCP congestion control is {found} ({why}); Amazon Linux's default is {DEFAULT}.",)


def of(namespace: Path) -> str:
    """What new sockets of a network namespace really have."""
    with network_namespace(namespace):
        return _CHOICE.read_text().strip()
