"""Samples of this machine's CPUs, by perf itself."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from bench.session import SessionError
from components.lab.perf import PERIOD_NS, recording
from lab.placement import machine_cpus
from studies.explain.samples import read

PERF = "/usr/bin/perf"


@pytest.mark.integration
def test_what_a_program_does_is_seen_for_as_long_as_it_runs() -> None:
    loop = "import os\nwhile True: os.stat('/proc')"
    with recording(PERF, machine_cpus()) as made, subprocess.Popen(["python3", "-c", loop]) as busy:
        began = time.time_ns()
        time.sleep(1)
        ended, used = time.time_ns(), _cpu_seconds(busy.pid)
        made.stop()
        busy.kill()
        samples = list(read(made.data(), made.symbols()))
    seen = [each for each in samples if began <= each.at <= ended]
    # All CPUs are looked at all the time; a timer of a busy machine is late.
    whole = len(machine_cpus()) * (ended - began)
    assert 0.4 < sum(each.lasts for each in seen) / whole < 1.2
    assert 0.3 < len(seen) * PERIOD_NS / whole < 1.5
    mine = [each for each in seen if each.cgroup == _cgroup()]
    calls = [each for each in mine if any("stat" in name for name in each.stack)]
    assert sum(each.lasts for each in calls) > 0.03e9 * used


@pytest.mark.integration
def test_perf_that_cannot_begin_says_why() -> None:
    with pytest.raises(SessionError, match="perf record"), recording("/bin/false", (0,)):
        pass


def _cgroup() -> str:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return next(line.removeprefix("0::") for line in lines if line.startswith("0::"))


def _cpu_seconds(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
