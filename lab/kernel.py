"""The running kernel: its options as the lab's programs ask for them, memory, idle CPUs.

The standard library only: a machine is checked before anything is installed.
"""

import gzip
import os
import platform
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Kernel options behind the modules that cilium-agent 1.16 looks for (pkg/datapath/iptables).
_MODULE_OPTIONS = {
    "ip_tables": "IP_NF_IPTABLES",
    "iptable_nat": "IP_NF_NAT",
    "iptable_mangle": "IP_NF_MANGLE",
    "iptable_raw": "IP_NF_RAW",
    "iptable_filter": "IP_NF_FILTER",
    "ip6_tables": "IP6_NF_IPTABLES",
    "ip6table_mangle": "IP6_NF_MANGLE",
    "ip6table_raw": "IP6_NF_RAW",
    "ip6table_filter": "IP6_NF_FILTER",
    "xt_socket": "NETFILTER_XT_MATCH_SOCKET",
}

_CPU_LATENCY = Path("/dev/cpu_dma_latency")

HELD = (
    "CPUs are kept from deep idle states while measuring (/dev/cpu_dma_latency held at 0 µs): "
    "waking a virtual CPU would cost more than what is measured."
)
NOT_HELD = (
    "CPUs may sleep between packets (/dev/cpu_dma_latency cannot be held here): latencies include "
    "their waking up."
)


def release() -> str:
    """The running kernel's release, e.g. ``6.1.0-25-amd64``."""
    return platform.release()


def cpus() -> int:
    """The machine's CPUs; all nodes of a lab share them."""
    return os.cpu_count() or 1


def memory_mib() -> int:
    """The machine's memory in MiB."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (1 << 20)


def congestion_controls() -> list[str]:
    """The TCP congestion controls that the kernel offers."""
    return Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()


def modules_listing() -> str:
    """The content of /proc/modules for the agents, also on a kernel without module support.

    cilium-agent 1.16 ends when that file is missing, and takes a function that is built in without
    a ``modules.builtin`` file for absent; without ``xt_socket`` it would switch early
    demultiplexing off for native routing only, which no comparison with an overlay should suffer.
    """
    loaded = Path("/proc/modules")
    text = loaded.read_text() if loaded.exists() else ""
    options = kernel_options() or {}
    builtin = (name for name, option in _MODULE_OPTIONS.items() if options.get(option) == "y")
    return text + "".join(f"{name} 0 0 - Live 0x0\n" for name in builtin)


def kernel_options(root: Path = Path("/")) -> dict[str, str] | None:
    """Options by name without ``CONFIG_``, from ``/proc/config.gz`` or ``/boot/config-<release>``.

    None where neither can be read; an option that is not set is not in it.
    """
    candidates: tuple[tuple[Path, Callable[[bytes], bytes]], ...] = (
        (root / "proc/config.gz", gzip.decompress),
        (root / "boot" / f"config-{platform.release()}", bytes),
    )
    for path, read in candidates:
        try:
            return parse_options(read(path.read_bytes()).decode())
        except (OSError, ValueError):
            continue
    return None


def parse_options(text: str) -> dict[str, str]:
    """``CONFIG_X=y`` lines of a kernel's configuration."""
    lines = (line for line in text.splitlines() if line.startswith("CONFIG_"))
    pairs = (line.removeprefix("CONFIG_").split("=", 1) for line in lines)
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


@dataclass(slots=True)
class IdleHold:
    """Keeps idle CPUs from sleeping deeply while something is measured.

    A virtual CPU that goes idle halts, and waking it takes tens of microseconds: more than any CNI
    costs. Holding ``/dev/cpu_dma_latency`` open with 0 forbids that for the whole machine until
    :meth:`release` or the end of the process (Linux, "PM Quality Of Service Interface").
    """

    fd: int | None = None

    @classmethod
    def take(cls, device: Path = _CPU_LATENCY) -> "IdleHold":
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
