"""How a machine's CPUs are shared out among nodes, and that threads are put there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import placement
from lab.placement import shares

#: Threads of before, and what is started afterwards: a line for each thread's CPUs.
PROGRAM = """
import os, subprocess, sys, threading
stay = threading.Event()
threading.Thread(target=stay.wait, daemon=True).start()
print("ready", flush=True)
sys.stdin.readline()
code = "import os; print(sorted(os.sched_getaffinity(0)))"
subprocess.run([sys.executable, "-c", code])
"""


@pytest.mark.parametrize(
    ("cpus", "nodes", "shared"),
    [
        ([0, 1], ["n1", "n2"], {"n1": (0,), "n2": (1,)}),
        # Clients apart from servers is what matters most.
        ([0, 1], ["n1", "n2", "n3"], {"n1": (0,), "n2": (1,), "n3": (1,)}),
        ([0, 1, 2], list("abcd"), {"a": (0,), "b": (1, 2), "c": (1, 2), "d": (1, 2)}),
        ([0, 1, 2, 3], ["n1", "n2"], {"n1": (0, 1), "n2": (2, 3)}),
        ([4, 5, 6, 7, 8], ["n1", "n2"], {"n1": (4, 5), "n2": (6, 7)}),
        ([0, 1, 2, 3], ["n1", "n2", "n3"], {"n1": (0,), "n2": (1,), "n3": (2,)}),
        ([0], ["n1", "n2"], {}),
        ([], ["n1", "n2"], {}),
    ],
)  # fmt: skip
def test_nodes_have_equal_shares_in_order(
    cpus: list[int], nodes: list[str], shared: dict[str, tuple[int, ...]]
) -> None:
    assert shares(cpus, nodes) == shared


@pytest.fixture
def program() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_threads_and_what_they_start_are_put_on_the_cpus(
    program: subprocess.Popen[str], tmp_path: Path
) -> None:
    usable = tuple(sorted(os.sched_getaffinity(0)))
    if len(usable) < 2:
        pytest.skip("one CPU")
    agents = tmp_path / "agents" / "daemon"
    agents.mkdir(parents=True)
    (tmp_path / "cgroup.procs").write_text("")
    # The second has ended meanwhile.
    (agents / "cgroup.procs").write_text(f"{program.pid}\n{2**22 + 1}\n")
    assert placement.cpus_used(tmp_path) == {usable: 2}
    placement.pin(tmp_path, usable[-1:])
    assert placement.cpus_used(tmp_path) == {usable[-1:]: 2}
    told, _ = program.communicate("\n", timeout=10)
    assert told == f"[{usable[-1]}]\n"


def test_the_rule_is_told_as_it_is_at_work() -> None:
    at_work = placement.told({"node-1": (0,), "node-2": (1, 2)}, asked=True)
    assert "(node-1: 0; node-2: 1,2)" in at_work
    assert placement.told({}, asked=True).endswith("the machine has only one.")
    assert placement.told({}, asked=False).endswith("lab.placement is free.")
