"""CPU time, as the lab's machine accounts for it."""

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from bench.session import MachineUsage
from lab import kernel

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended; ``cpu_seconds`` is that of all processes it waited for."""

    returncode: int
    stdout: str
    stderr: str
    cpu_seconds: float


def run(argv: Sequence[str]) -> Done:
    """Run a command to its end, with pipes for its output and no input."""
    # wait4(2) is the only call that tells the CPU time of one child; Popen's own do not.
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout as stdout, process.stderr as stderr, ThreadPoolExecutor(1) as pool:
        errors = pool.submit(_text, stderr)
        try:
            output, said = _text(stdout), errors.result()
        except BaseException:
            process.kill()
            raise
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Done(process.returncode, output, said, used.ru_utime + used.ru_stime)


def _text(stream: IO[bytes]) -> str:
    return stream.read().decode(errors="replace")


def of_process(proc: Path) -> float:
    """CPU seconds of a process's threads, those that ended included (proc_pid_stat(5)).

    Not by psutil, which knows processes by their numbers in its own PID namespace only.

    :param proc: its folder in a /proc, which may be that of another PID namespace.
    """
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def of_machine(name: str, nodes: tuple[str, ...]) -> MachineUsage:
    """What all CPUs have done so far."""
    times = psutil.cpu_times()
    return MachineUsage(
        name=name,
        nodes=nodes,
        cpus=kernel.cpus(),
        busy_seconds=times.user + times.nice + times.system + times.irq + times.softirq,
        steal_seconds=times.steal,
    )
