"""How long `pulumi up` takes, from the command to a ready lab and to its end with results.

Run by ``make speed`` (all stacks) or ``make speed STACKS="scenario-a scenario-e"``; each stack is
brought up from nothing and destroyed again, one after the other. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence

READY = "workloads created"
FLAGS = ("--yes", "--skip-preview", "--non-interactive", "--suppress-outputs")


def up(stack: str) -> tuple[float, float]:
    """Seconds until the workloads ran, and until `pulumi up` ended.

    :raises SystemExit: when it fails, with its output.
    """
    command = ["pulumi", "up", *FLAGS, "--stack", stack]
    start = time.monotonic()
    ready: float | None = None
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as engine:
        assert engine.stdout is not None
        for line in engine.stdout:
            lines.append(line)
            if READY in line:
                ready = time.monotonic() - start
    if engine.returncode != 0 or ready is None:
        sys.exit("".join(lines[-40:]) + f"pulumi up -s {stack} ended with {engine.returncode}")
    return ready, time.monotonic() - start


def destroy(stack: str) -> float:
    """Seconds that `pulumi destroy` took."""
    start = time.monotonic()
    command = ["pulumi", "destroy", *FLAGS, "--stack", stack]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stacks", nargs="+", help="stacks that are not up")
    stacks = parser.parse_args(arguments).stacks
    load = f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs"
    print("| stack | lab ready | whole up | destroy |\n|---|---|---|---|", flush=True)
    for stack in stacks:
        ready, whole = up(stack)
        print(f"| {stack} | {ready:.0f} s | {whole:.0f} s | {destroy(stack):.0f} s |", flush=True)
    print(load)


if __name__ == "__main__":
    main()
