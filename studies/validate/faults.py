"""What is imposed on a path, so that the truth is known: a rate or a loss.

:class:`ValidationTestbed` is the seam: the lab implements it with the kernel's own means. What an
imposed rate leaves for payload is arithmetic, and here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from bench.session import Session

_ETHERNET = 14
_IPV4 = 20
_UDP = 8
_TCP_WITH_TIMESTAMPS = 20 + 12


@dataclass(frozen=True, slots=True)
class LossCount:
    """The kernel's own counts of UDP datagrams at the server.

    ``dropped`` of those ``seen`` fell to the imposed loss; ``overflowed`` came through and found
    the socket's buffer full, because the receiver had to wait for a CPU.
    """

    seen: int = 0
    dropped: int = 0
    overflowed: int = 0

    def __add__(self, other: LossCount) -> LossCount:
        return LossCount(
            self.seen + other.seen,
            self.dropped + other.dropped,
            self.overflowed + other.overflowed,
        )

    def __sub__(self, other: LossCount) -> LossCount:
        return LossCount(
            self.seen - other.seen,
            self.dropped - other.dropped,
            self.overflowed - other.overflowed,
        )


class Faults(Protocol):
    """Impositions on the path from the client's to the servers' node; each ends with its block."""

    def rate_limit(self, bits_per_second: int) -> AbstractContextManager[None]:
        """At most so many bits/s of Ethernet frames (header counted, no preamble or gap)."""
        ...

    def udp_loss(self, probability: float) -> AbstractContextManager[Callable[[], LossCount]]:
        """Every UDP datagram that reaches the iperf3 server is dropped with this probability.

        The block gets a function that reads the kernel's counts; differences mean something.
        """
        ...


@dataclass(frozen=True, slots=True)
class Link:
    """How packets of pods lie on the wire.

    ``mtu`` is the largest IP packet of a pod in bytes; ``encapsulation`` is what a tunnel puts
    around each (50 for VXLAN over IPv4: Ethernet, IP, UDP and VXLAN headers), else 0.
    """

    mtu: int
    encapsulation: int

    def tcp_share(self) -> float:
        """Payload of a bulk transfer as a share of the bits on the wire, in full segments."""
        payload = self.mtu - _IPV4 - _TCP_WITH_TIMESTAMPS
        return payload / (self.mtu + self.encapsulation + _ETHERNET)

    def udp_share(self, datagram: int) -> float:
        """Payload as a share of the bits on the wire, for datagrams of so many bytes."""
        return datagram / (datagram + _UDP + _IPV4 + self.encapsulation + _ETHERNET)


@dataclass(frozen=True, slots=True)
class ValidationTestbed:
    """A cluster to validate on: the session to measure by, the wire, and what can be imposed."""

    session: Session
    link: Link
    faults: Faults
