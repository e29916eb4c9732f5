"""Samples of what the lab's CPUs run, by perf(1)."""

import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench.session import SessionError
from bench.text import tail
from lab.placement import as_list

PERIOD_NS: Final = 866_161
"""Between two samples of a CPU. In a virtual machine a sample may cost 50 µs, which the task that
runs is charged with: with four times as many, round trips took a third more. It is in step with no
tick (1, 4 or 10 ms), so that what runs right after ticks is seen as often as it runs."""
_PAGES: Final = 16_384
"""Of buffer for each CPU: 64 MiB hold minutes, so that perf sleeps while others are measured."""
_BEGIN_SECONDS, _END_SECONDS = 10.0, 60.0
_KALLSYMS: Final = Path("/proc/kallsyms")


class Recording:
    """Samples of some CPUs, taken from its making until :meth:`stop`.

    :raises SessionError: perf does not run here.
    """

    def __init__(self, perf: str, cpus: Sequence[int], folder: Path) -> None:
        self._perf = perf
        self._data = folder / "perf.data"
        # Both ends stay open as long as it runs: where its orders end, it gives up.
        (asked, ask), (answer, answered) = os.pipe(), os.pipe()
        self._pipes = (asked, ask, answer, answered)
        argv = [
            perf, "record", "--event", "cpu-clock", "--count", str(PERIOD_NS),
            "--all-cpus", "--cpu", as_list(cpus), "--call-graph", "fp", "--kernel-callchains",
            # By cgroup and time of day it is told whose a sample is.
            "--all-cgroups", "--clockid", "CLOCK_REALTIME", "--mmap-pages", str(_PAGES),
            "--no-buildid", "--no-buildid-cache", "--output", str(self._data),
            "--delay=-1", f"--control=fd:{asked},{answered}",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            argv, pass_fds=(asked, answered), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
        )  # fmt: skip
        os.write(ask, b"enable\n")
        begun, _, _ = select.select([answer], [], [], _BEGIN_SECONDS)
        if not begun:
            self.stop()
            raise SessionError("perf record: it does not begin")

    def stop(self) -> None:
        """Take no more samples.

        :raises SessionError: it could take none.
        """
        if self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGINT)
        with ExitStack() as closing:
            for pipe in self._pipes:
                closing.callback(os.close, pipe)
            self._end()

    def _end(self) -> None:
        try:
            _, said = self._process.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise SessionError("perf record: it does not end") from None
        # Of a signal it dies once its file is whole.
        if self._process.returncode not in (0, -signal.SIGINT, 128 + signal.SIGINT):
            raise SessionError(f"perf record: {tail(said)}")

    def data(self) -> bytes:
        """The whole recording (perf.data)."""
        self.stop()
        return self._data.read_bytes()

    def symbols(self) -> str:
        """The kernel's functions with their addresses."""
        return _KALLSYMS.read_text()


@contextmanager
def recording(perf: str, cpus: Sequence[int]) -> Iterator[Recording]:
    """Sample CPUs; the end of the block takes its samples away.

    :raises SessionError: perf does not run here.
    """
    with tempfile.TemporaryDirectory(prefix="cni-benchmark-samples-") as folder:
        made = Recording(perf, cpus, Path(folder))
        try:
            yield made
        finally:
            made.stop()
