"""How long `pulumi preview` of each EKS stack takes, under the real engine, without a cloud.

    python -m tests.speed.preview                 # all scenarios, three times each
    python -m tests.speed.preview scenario-e

Providers and AWS are stand-ins on this machine (tests/engine/eks): what is timed is the engine, the
program, its preflight, and the start of the plugins. Prints a Markdown table. The CPU time is that
of the command and all that it starts, which depends less on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lab.toolchain import pulumi
from tests.engine import checkout as checkouts
from tests.engine.eks.world import World, world

LIMIT_SECONDS = 10.0
RUNS = 3


def preview(made: World) -> tuple[float, float]:
    """Seconds that one preview took, from the command to its end, and its seconds of CPU.

    :raises AssertionError: when it fails, with its output.
    """
    start, cpu = time.monotonic(), _cpu()
    told = made.pulumi("preview", "--non-interactive")
    seconds = time.monotonic() - start
    assert "to create" in told, told
    return seconds, _cpu() - cpu


def _cpu() -> float:
    """Seconds of CPU of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stacks", nargs="*", help="scenarios; all where none is named")
    stacks = parser.parse_args(arguments).stacks or pulumi.stacks(checkouts.ROOT)
    load = f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs"
    slow = []
    with tempfile.TemporaryDirectory(prefix="preview-") as name:
        folder = Path(name)
        checkout = checkouts.copy(folder / "checkout", folder / "home", stacks[0])
        print("| stack | preview (median) | of | CPU (median) |\n|---|---|---|---|", flush=True)
        for stack in stacks:
            with world(checkout, folder / stack, stack) as made:
                preview(made)  # compiles the providers' modules, as installing them does
                times, cpu = zip(*(preview(made) for _ in range(RUNS)), strict=True)
            median = statistics.median(times)
            slow += [stack] if median > LIMIT_SECONDS else []
            every = ", ".join(f"{seconds:.1f}" for seconds in times)
            used = statistics.median(cpu)
            print(f"| {stack} | {median:.1f} s | {every} | {used:.1f} s |", flush=True)
    print(load)
    if slow:
        sys.exit(f"longer than {LIMIT_SECONDS:.0f} s: {', '.join(slow)}")


if __name__ == "__main__":
    main()
