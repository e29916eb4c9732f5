"""BPF programs: small ones of the lab's own, which of anybody's are at devices, and their runs."""

import ctypes
import errno
import os
import platform
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lab.errors import CommandError, LabError
from lab.sandbox import network_namespace
from lab.toolchain.programs import llvm_path


def compile_bpf(source: str, made: Path) -> None:
    """Make an object file of a program in C.

    :raises LabError: no Cilium version's compiler is installed, or it refuses the program.
    """
    clang = shutil.which("clang", path=llvm_path())
    if clang is None:
        raise LabError("clang is not installed. Fix: make setup")
    words = [clang, "-O2", "-target", "bpf", "-x", "c", "-c", "-", "-o", str(made)]
    done = subprocess.run(words, input=source, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CommandError(words, done.returncode, done.stderr)


_LIBC = ctypes.CDLL(None, use_errno=True)
_CALL: Final = {"x86_64": 321, "aarch64": 280}
_QUERY, _TCX_INGRESS, _TCX_EGRESS = 16, 46, 47
"""BPF_PROG_QUERY and its hooks, by linux/bpf.h. bpftool knows them from 7.3 on."""
_ENABLE_STATS, _RUN_TIME = 32, 0
"""BPF_ENABLE_STATS (Linux 5.8) and BPF_STATS_RUN_TIME, by linux/bpf.h."""
_MOST: Final = 64


def at_devices(netns: Path) -> list[tuple[str, bool, int]]:
    """The programs at a network namespace's devices (tcx, Linux 6.6): the device, whether it is for
    what comes in there, and the program's number.

    :raises LabError: the kernel does not tell.
    """
    with network_namespace(netns):
        return [
            (device, hook == _TCX_INGRESS, number)
            for index, device in socket.if_nameindex()
            for hook in (_TCX_INGRESS, _TCX_EGRESS)
            for number in _at(index, hook)
        ]


@contextmanager
def counting_runs() -> Iterator[None]:
    """The kernel counts the runs of each BPF program, which costs each run some time.

    It does for as long as a file is open, so that it ends with this process, however that ends: the
    setting ``kernel.bpf_stats_enabled`` would stay, and slow what is measured later.

    :raises LabError: the kernel does not count.
    """
    asked = ctypes.create_string_buffer(struct.pack("<I", _RUN_TIME), 64)
    file = _LIBC.syscall(_CALL[platform.machine()], _ENABLE_STATS, asked, 64)
    if file < 0:
        raise LabError(f"BPF programs are not counted: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        os.close(file)


def _at(device: int, hook: int) -> Iterator[int]:
    found = (ctypes.c_uint32 * _MOST)()
    # The device, the hook, flags twice, where the numbers go, how many at most; then what is not
    # asked for.
    asked = struct.pack("<IIIIQI", device, hook, 0, 0, ctypes.addressof(found), _MOST).ljust(
        64, b"\0"
    )
    answer = ctypes.create_string_buffer(asked, 64)
    if _LIBC.syscall(_CALL[platform.machine()], _QUERY, answer, 64) != 0:
        number = ctypes.get_errno()
        if number == errno.EINVAL:  # a kernel that knows no tcx
            return
        raise LabError(f"programs at devices: {os.strerror(number)}")
    (count,) = struct.unpack_from("<I", answer.raw, 24)
    yield from found[:count]
