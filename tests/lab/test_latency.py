"""CPUs are kept awake for exactly as long as it is asked for."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from lab.kernel import HELD, NOT_HELD, IdleHold


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A file in the device's place."""
    file = tmp_path / "cpu_dma_latency"
    file.touch()
    return file


def _holders(device: Path) -> list[str]:
    """This process's open files of that name."""
    shown = (fd.readlink() for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink())
    return [str(path) for path in shown if path == device]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc")
def test_no_latency_is_asked_for_until_it_is_released(device: Path) -> None:
    hold = IdleHold.take(device)
    # A 32-bit number of microseconds; the request lasts while the file is open.
    assert struct.unpack("i", device.read_bytes()) == (0,)
    assert _holders(device)
    assert hold.adaptation == HELD
    hold.release()
    assert not _holders(device)
    hold.release()


def test_a_machine_without_the_device_says_so(tmp_path: Path) -> None:
    hold = IdleHold.take(tmp_path / "none")
    assert hold.adaptation == NOT_HELD
    hold.release()
    assert not (tmp_path / "none").exists()


def test_both_are_whole_sentences() -> None:
    assert all(each[0].isupper() and each.endswith(".") for each in (HELD, NOT_HELD))
