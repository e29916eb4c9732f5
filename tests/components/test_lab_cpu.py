"""CPU time of commands, processes and the machine, against CPU time that is known."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from components.lab import cpu
from lab import kernel

_KTHREADD = 2
BURN = "import time\nwhile time.process_time() < 0.3: pass\nprint('done')"


def test_a_commands_output_code_and_cpu_time() -> None:
    done = cpu.run([sys.executable, "-c", BURN])
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert 0.3 <= done.cpu_seconds < 2


def test_the_cpu_time_of_what_a_command_waits_for_is_its_own() -> None:
    done = cpu.run(["sh", "-c", 'timeout 10 "$0" -c "$1"; exit 3', sys.executable, BURN])
    assert done.returncode == 3
    assert done.cpu_seconds >= 0.3


def test_both_streams_are_read_however_much_comes() -> None:
    script = "import sys\nfor s in (sys.stderr, sys.stdout): s.write('x' * 1_000_000)"
    done = cpu.run([sys.executable, "-c", script])
    assert len(done.stdout) == len(done.stderr) == 1_000_000


def test_bytes_that_are_no_text_and_a_signal_are_told() -> None:
    done = cpu.run(["sh", "-c", "printf '\\377'; kill -9 $$"])
    assert done.returncode == -9
    assert done.stdout == "\N{REPLACEMENT CHARACTER}"


def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        cpu.run(["/no/such/program"])


def test_a_process_is_read_with_all_its_threads() -> None:
    mine = Path("/proc/self")
    before = cpu.of_process(mine)
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    used = resource.getrusage(resource.RUSAGE_SELF)
    assert cpu.of_process(mine) - before == pytest.approx(0.2, abs=0.05)
    assert cpu.of_process(mine) == pytest.approx(used.ru_utime + used.ru_stime, abs=0.1)


def test_the_machine_is_at_least_as_busy_as_its_processes() -> None:
    before = cpu.of_machine("here", ("n1", "n2"), ())
    burnt = cpu.run([sys.executable, "-c", BURN]).cpu_seconds
    after = cpu.of_machine("here", ("n1", "n2"), ())
    assert (after.name, after.nodes, after.cpus) == ("here", ("n1", "n2"), kernel.cpus())
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert after.busy_seconds - before.busy_seconds >= burnt - 5 * tick
    assert after.steal_seconds >= before.steal_seconds


_WORK = f"""
import subprocess, sys, time
subprocess.run([sys.executable, "-c", {BURN!r}], check=True, stdout=subprocess.DEVNULL)
print("burnt", flush=True)
time.sleep(60)
"""


@contextmanager
def _at_work(program: str) -> Iterator[int]:
    """A process whose child has burnt CPU time and ended; or the one that was left by it."""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as it:
        assert it.stdout is not None
        try:
            pid = it.pid if program == _WORK else int(it.stdout.readline())
            assert it.stdout.readline() == "burnt\n"
            yield pid
        finally:
            os.killpg(it.pid, signal.SIGKILL)


_LEFT = f"import os\nif os.fork(): os._exit(0)\nprint(os.getpid(), flush=True)\n{_WORK}"


def test_others_are_told_with_what_their_children_used() -> None:
    rounded_down = 4 / os.sysconf("SC_CLK_TCK")  # user and system, own and of children: each
    with _at_work(_LEFT) as orphan:
        assert 0.3 - rounded_down <= cpu.of_others(())[orphan] < 2


def test_measured_namespaces_and_what_this_process_started_are_no_others() -> None:
    here = str(Path("/proc/self/ns/pid").readlink())
    with _at_work(_LEFT) as orphan, _at_work(_WORK) as child:
        found = cpu.of_others(())
        assert orphan in found
        assert not found.keys() & {child, os.getpid(), _KTHREADD}
        assert orphan not in cpu.of_others({here})


def test_the_time_of_day_is_ahead_of_the_monotonic_clock_by_as_much_as_it_was() -> None:
    first = cpu.time_of_day()
    time.sleep(0.2)
    second = cpu.time_of_day()
    assert abs(second.ahead - first.ahead) <= first.error + second.error + 1e-4
    assert second.error < 0.01


def test_a_nodes_own_cpus_are_told_beside_the_machines() -> None:
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        pytest.skip("one CPU")
    cpus = {"n1": (first,), "n2": tuple(others), "n3": tuple(others)}
    before = cpu.of_machine("m", ("n1", "n2", "n3"), (), cpus)
    with subprocess.Popen(["taskset", "-c", str(first), sys.executable, "-c", BURN]) as burning:
        assert burning.wait() == 0
    after = cpu.of_machine("m", ("n1", "n2", "n3"), (), cpus)
    assert [(part.nodes, part.cpus) for part in after.parts] == [
        (("n1",), 1),
        (("n2", "n3"), len(others)),
    ]
    assert after.parts[0].busy_seconds - before.parts[0].busy_seconds >= 0.25
    assert after.busy_seconds - before.busy_seconds >= 0.25
    assert after.cpus == kernel.cpus()
