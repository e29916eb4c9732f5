"""What the lab says of the kernel, on kernels with and without module support."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from lab import kernel

BUILT_IN = """\
# Linux/x86 6.18.0 Kernel Configuration
CONFIG_IP_NF_IPTABLES=y
CONFIG_IP_NF_NAT=m
# CONFIG_IP_NF_RAW is not set
CONFIG_NETFILTER_XT_MATCH_SOCKET=y
CONFIG_LOCALVERSION="-x=y"
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty machine: a folder in place of /."""
    kernel_options = kernel.kernel_options
    monkeypatch.setattr(kernel, "Path", lambda text: tmp_path / text.lstrip("/"))
    monkeypatch.setattr(kernel, "kernel_options", lambda: kernel_options(tmp_path))
    for folder in ("proc/sys/net/ipv4", "boot"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def _names(listing: str) -> list[str]:
    return [line.split()[0] for line in listing.splitlines()]


def test_a_kernel_without_modules_lists_what_is_built_in(root: Path) -> None:
    (root / "proc/config.gz").write_bytes(gzip.compress(BUILT_IN.encode()))
    listing = kernel.modules_listing()
    assert _names(listing) == ["ip_tables", "xt_socket"]
    # Six columns and a line end each, as /proc/modules has them.
    assert all(len(line.split()) == 6 for line in listing.splitlines())
    assert listing.endswith("\n")


def test_loaded_modules_stay_on_the_list(root: Path) -> None:
    loaded = "ip_tables 32768 0 - Live 0xffffffffc0000000\n"
    (root / "proc/modules").write_text(loaded)
    assert kernel.modules_listing() == loaded


def test_the_configuration_of_a_distributions_kernel(root: Path) -> None:
    (root / f"boot/config-{kernel.release()}").write_text(BUILT_IN)
    found = kernel.kernel_options()
    assert found == {
        "IP_NF_IPTABLES": "y",
        "IP_NF_NAT": "m",
        "NETFILTER_XT_MATCH_SOCKET": "y",
        "LOCALVERSION": '"-x=y"',
    }


def test_an_unknown_configuration_claims_nothing(root: Path) -> None:
    assert kernel.kernel_options() is None
    assert kernel.modules_listing() == ""


def test_memory_and_congestion_controls(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = {"SC_PHYS_PAGES": 4_096_000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr("os.sysconf", machine.__getitem__)
    (root / "proc/sys/net/ipv4/tcp_available_congestion_control").write_text("reno bbr\n")
    assert kernel.memory_mib() == 16_000
    assert kernel.congestion_controls() == ["reno", "bbr"]
