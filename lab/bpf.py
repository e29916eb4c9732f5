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
    try:
        file, _ = _bpf(_ENABLE_STATS, struct.pack("<I", _RUN_TIME))
    except OSError as error:
        raise LabError(f"BPF programs are not counted: {error.strerror}") from None
    try:
        yield
    finally:
        os.close(file)


def _at(device: int, hook: int) -> Iterator[int]:
    found = (ctypes.c_uint32 * _MOST)()
    # The device, the hook, flags twice, where the numbers go, how many at most; then what is not
    # asked for.
    asked = struct.pack("<IIIIQI", device, hook, 0, 0, ctypes.addressof(found), _MOST)
    try:
        _, answer = _bpf(_QUERY, asked)
    except OSError as error:
        if error.errno == errno.EINVAL:  # a kernel that knows no tcx
            return
        raise LabError(f"programs at devices: {error.strerror}") from None
    (count,) = struct.unpack_from("<I", answer, 24)
    yield from found[:count]


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """The system call bpf(2): what it returns, and the attributes as it leaves them.

    :raises OSError: it fails.
    """
    changed = ctypes.create_string_buffer(attributes, 64)
    returned = _LIBC.syscall(_CALL[platform.machine()], command, changed, 64)
    if returned < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return returned, changed.raw
