"""Keeps idle CPUs from sleeping deeply while something is measured.

A virtual CPU that goes idle halts, and waking it takes tens of microseconds: more than any CNI
costs. Holding ``/dev/cpu_dma_latency`` open with 0 forbids that for the whole machine until the
file is closed, by us or by our end (Linux, "PM Quality Of Service Interface").
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

_DEVICE = Path("/dev/cpu_dma_latency")

HELD = (
    "CPUs are kept from deep idle states while measuring (/dev/cpu_dma_latency held at 0 µs): "
    "waking a virtual CPU would cost more than what is measured."
)
NOT_HELD = (
    "CPUs may sleep between packets (/dev/cpu_dma_latency cannot be held here): latencies include "
    "their waking up."
)


@dataclass(slots=True)
class IdleHold:
    """A request for no idle latency, in force until :meth:`release` or the end of the process."""

    fd: int | None = None

    @classmethod
    def take(cls, device: Path = _DEVICE) -> IdleHold:
        """Ask for 0 µs; where the kernel has no such device nothing is held."""
        try:
            fd = os.open(device, os.O_WRONLY)
        except OSError:
            return cls(None)
        os.write(fd, struct.pack("i", 0))
        return cls(fd)

    @property
    def adaptation(self) -> str:
        return NOT_HELD if self.fd is None else HELD

    def release(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
