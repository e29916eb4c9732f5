"""Samples of what the lab's CPUs run, by perf(1)."""

import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
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
# To know its tracepoints perf mounts a file system, which is gone with its own mount namespace.
_APART: Final = ("unshare", "--mount")
_SAMPLES: Final = (
    # By cgroup and time of day it is told whose a sample is; tracepoints have no such clock.
    "--event", "cpu-clock", "--count", str(PERIOD_NS), "--all-cgroups",
    "--clockid", "CLOCK_REALTIME",
)  # fmt: skip


class Recording:
    """What perf sees on some CPUs, from its making until :meth:`stop`.

    :param events: perf's options that say what that is.
    :raises SessionError: perf does not run here.
    """

    def __init__(
        self, perf: str, cpus: Sequence[int], folder: Path, events: Sequence[str] = _SAMPLES
    ) -> None:
        self._perf = perf
        self._data = folder / "perf.data"
        # Both ends stay open as long as it runs: where its orders end, it gives up.
        (asked, ask), (answer, answered) = os.pipe(), os.pipe()
        self._pipes = (asked, ask, answer, answered)
        argv = [
            *_APART, perf, "record", *events, "--all-cpus", "--cpu", as_list(cpus),
            "--call-graph", "fp", "--kernel-callchains",
            "--mmap-pages", str(_PAGES), "--no-buildid", "--no-buildid-cache",
            "--output", str(self._data),
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

    def text(self) -> str:
        """The whole recording of tracepoints, as perf script tells it.

        :raises SessionError: it cannot be read.
        """
        self.stop()
        argv = [
            *_APART, self._perf, "script", "--input", str(self._data), "--ns",
            "--fields", "comm,tid,cpu,time,event,trace,ip,sym",
        ]  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise SessionError(f"perf script: {tail(done.stderr)}")
        return done.stdout


@contextmanager
def recording(
    perf: str, cpus: Sequence[int], points: Mapping[str, str] | None = None
) -> Iterator[Recording]:
    """Sample CPUs; the end of the block takes its samples away.

    :param points: instead of samples, every passing of these tracepoints that its filter lets be.
    :raises SessionError: perf does not run here.
    """
    events = list(_SAMPLES) if points is None else []
    for name, which in (points or {}).items():
        events += ["--event", name, *(("--filter", which) if which else ())]
    with tempfile.TemporaryDirectory(prefix="cni-benchmark-samples-") as folder:
        made = Recording(perf, cpus, Path(folder), events)
        try:
            yield made
        finally:
            made.stop()
