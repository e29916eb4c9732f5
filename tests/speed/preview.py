"""How long `pulumi preview` of each EKS stack takes, under the real engine, without a cloud.

    python -m tests.speed.preview                 # all scenarios, three times each
    python -m tests.speed.preview scenario-e

Providers and AWS are stand-ins on this machine (tests/engine/eks): what is timed is the engine, the
program, its preflight, and the start of the plugins. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lab.toolchain import scenarios
from tests.engine import checkout as checkouts
from tests.engine.eks.world import World, world

LIMIT_SECONDS = 10.0
RUNS = 3


def preview(made: World) -> float:
    """Seconds that one preview took, from the command to its end.

    :raises AssertionError: when it fails, with its output.
    """
    start = time.monotonic()
    told = made.pulumi("preview", "--non-interactive")
    seconds = time.monotonic() - start
    assert "to create" in told, told
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stacks", nargs="*", help="scenarios; all where none is named")
    stacks = parser.parse_args(arguments).stacks or scenarios.stacks(checkouts.ROOT)
    load = f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs"
    slow = []
    with tempfile.TemporaryDirectory(prefix="preview-") as name:
        folder = Path(name)
        checkout = checkouts.copy(folder / "checkout", folder / "home", stacks[0])
        print("| stack | preview (median) | of |\n|---|---|---|", flush=True)
        for stack in stacks:
            with world(checkout, folder / stack, stack) as made:
                times = [preview(made) for _ in range(RUNS)]
            median = statistics.median(times)
            slow += [stack] if median > LIMIT_SECONDS else []
            every = ", ".join(f"{seconds:.1f}" for seconds in times)
            print(f"| {stack} | {median:.1f} s | {every} |", flush=True)
    print(load)
    if slow:
        sys.exit(f"longer than {LIMIT_SECONDS:.0f} s: {', '.join(slow)}")


if __name__ == "__main__":
    main()
