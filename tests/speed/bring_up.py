"""How long labs take to come up and to go, and where the time goes.

Run by ``make speed`` (all stacks) or ``make speed STACKS="scenario-a scenario-e"``: each stack is
brought up from nothing, without measuring, and destroyed again, one after the other; then all of
them at once, as a matrix does. Prints Markdown. Seconds of CPU are the figure to compare on a
machine that does other things as well: those of a whole stack are of all processes that ran for it.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from components.benchmark import LATER, MEASURE
from lab import cgroups, machine
from lab.sandbox import LabPaths, state_root
from lab.timeline import PROGRAM, Step, Timeline
from studies.matrix.run import AT_ONCE

FLAGS = ("--yes", "--skip-preview", "--non-interactive", "--suppress-outputs")


@dataclass(frozen=True)
class BringUp:
    """One `pulumi up` to the running workloads."""

    seconds: float
    steps: Sequence[Step]


def up(stack: str) -> BringUp:
    """Bring a stack up.

    :raises SystemExit: when it fails, with the end of its output.
    """
    start = time.monotonic()
    done = subprocess.run(
        ["pulumi", "up", *FLAGS, "--stack", stack],
        env={**os.environ, MEASURE: LATER},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{done.stdout[-4000:]}pulumi up -s {stack} ended with {done.returncode}")
    return BringUp(time.monotonic() - start, _timeline(stack).steps())


def destroy(stack: str) -> float:
    """Seconds that `pulumi destroy` took."""
    start = time.monotonic()
    command = ["pulumi", "destroy", "--yes", "--skip-preview", "--non-interactive"]
    subprocess.run([*command, "--stack", stack], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def _timeline(stack: str) -> Timeline:
    """Of the stack's newest lab."""
    folders = state_root().glob(f"{stack}-*/")
    lab = max(folders, key=lambda folder: folder.stat().st_mtime).name
    return Timeline(LabPaths.of(lab).timeline, cgroups.lab_cgroup(lab))


def _commands_cpu() -> float:
    """Seconds of CPU of all commands that have ended, and of what they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _components(steps: Sequence[Step]) -> float:
    """Seconds of CPU of what no command waits for: the lab's own components."""
    return sum(cpu for step in steps for part, cpu in step.cpu.items() if part != PROGRAM)


def _step_rows(steps: Sequence[Step]) -> list[str]:
    rows = []
    for step in steps:
        parts = sorted(step.cpu.items(), key=lambda item: -item[1])
        listed = ", ".join(f"{part} {cpu:.1f}" for part, cpu in parts if cpu >= 0.05)
        rows.append(
            f"| · {step.name} | {step.seconds:.1f} s | {sum(step.cpu.values()):.1f} s | {listed} |"
        )
    return rows


def one_by_one(stacks: Sequence[str]) -> None:
    """Time each stack by itself, step by step."""
    print("| stack | up | CPU | of that |\n|---|---|---|---|", flush=True)
    for stack in stacks:
        before = _commands_cpu()
        made = up(stack)
        commands, components = _commands_cpu() - before, _components(made.steps)
        down = destroy(stack)
        print(
            f"| **{stack}** | **{made.seconds:.1f} s** | **{commands + components:.1f} s** | "
            f"Pulumi and its programs {commands:.1f}, components {components:.1f}; "
            f"destroyed in {down:.1f} s |"
        )
        print("\n".join(_step_rows(made.steps)), flush=True)


def at_once(stacks: Sequence[str], number: int) -> None:
    """Time all stacks together, so many at a time."""
    before, start = _commands_cpu(), time.monotonic()
    with ThreadPoolExecutor(number) as pool:
        made = list(pool.map(up, stacks))
        ups, cpu = time.monotonic() - start, _commands_cpu() - before
        list(pool.map(destroy, stacks))
    downs = time.monotonic() - start - ups
    cpu += sum(_components(each.steps) for each in made)
    print(
        f"\n{len(stacks)} stacks, {number} at a time: up in {ups:.1f} s with {cpu:.1f} s of CPU, "
    )
    print(f"down in {downs:.1f} s", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stacks", nargs="+", help="stacks that are not up")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="stacks at a time, at the end")
    asked = parser.parse_args(arguments)
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs\n", flush=True)
    with machine.measuring("timing bring-ups"):
        one_by_one(asked.stacks)
        if len(asked.stacks) > 1:
            at_once(asked.stacks, asked.at_once)


if __name__ == "__main__":
    main()
