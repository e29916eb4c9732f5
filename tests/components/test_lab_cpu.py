"""CPU time of commands, processes and the machine, against CPU time that is known."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import pytest

from components.lab import cpu
from lab import kernel

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
    before = cpu.of_machine("here", ("n1", "n2"))
    burnt = cpu.run([sys.executable, "-c", BURN]).cpu_seconds
    after = cpu.of_machine("here", ("n1", "n2"))
    assert (after.name, after.nodes, after.cpus) == ("here", ("n1", "n2"), kernel.cpus())
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert after.busy_seconds - before.busy_seconds >= burnt - 5 * tick
    assert after.steal_seconds >= before.steal_seconds
