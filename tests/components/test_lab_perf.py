"""Samples of this machine's CPUs, by perf itself."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import pytest

from bench.session import SessionError
from components.lab.perf import PERIOD_NS, recording
from lab.bpf import counting_runs
from lab.placement import machine_cpus
from studies.explain.samples import read
from studies.explain.way import LOOKUP, QUEUE, events

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
def test_what_passes_a_tracepoint_is_told_with_what_led_there_and_leaves_no_mount() -> None:
    mounted = Path("/proc/self/mounts").read_text().count("tracefs")
    with recording(PERF, machine_cpus(), {LOOKUP: "", QUEUE: 'name == "none"'}) as made:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            socket.create_connection(("127.0.0.1", port)).close()
        seen = list(events(made.text()))
    (first, *_) = [each for each in seen if f"-> 127.0.0.1/{port} " in each.said]
    assert first.name == LOOKUP
    assert {"tcp_v4_connect", "fib_table_lookup"} <= set(first.chain)
    assert first.chain.index("tcp_v4_connect") < first.chain.index("fib_table_lookup")
    assert not [each for each in seen if each.name == QUEUE]
    assert Path("/proc/self/mounts").read_text().count("tracefs") == mounted


@pytest.mark.integration
def test_runs_of_programs_are_counted_while_a_file_is_open_and_no_setting_changes() -> None:
    """So that nothing stays on where this process is killed."""
    setting = Path("/proc/sys/kernel/bpf_stats_enabled")
    before = setting.read_text()

    def files() -> int:
        open_ones = (each for each in Path("/proc/self/fd").iterdir() if each.is_symlink())
        return sum(str(each.readlink()) == "anon_inode:bpf-stats" for each in open_ones)

    with counting_runs():
        assert (files(), setting.read_text()) == (1, before)
    assert (files(), setting.read_text()) == (0, before)


@pytest.mark.integration
def test_perf_that_cannot_begin_says_why() -> None:
    with pytest.raises(SessionError, match="perf record"), recording("/bin/false", (0,)):
        pass


def _cgroup() -> str:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return next(line.removeprefix("0::") for line in lines if line.startswith("0::"))


def _cpu_seconds(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
