"""Breaks things on purpose and writes down what follows: ``make faults``.

Every injection is one of a kind at a stage, on real processes; labs are shared by many of them. The
machine has to be quiet for nothing: what is asserted is that a sample beside a fault is missing,
and that the next one is not. Only what the run has started is touched, and never the machine's
clock.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from cli.common import interrupted_by_term
from tests.engine import checkout as checkouts
from tests.engine.checkout import Checkout
from tests.faults import (
    bringing_up,
    commands,
    cycles,
    destroying,
    engine,
    measuring,
    planted,
    reporting,
    setting_up,
    ups,
)
from tests.faults.ground import Ground
from tests.faults.table import STAGES, Injection, Row, plain, write
from tests.lab.leftovers import Host
from tests.lab.running import bring_up

DOCUMENT = Path("docs/faults.md")


_TWO_NODES: dict[str, object] = {"lab.nodes": 2}
_CILIUM = "scenario-c"
"""kube-proxy is replaced, there is an operator, and no cloud."""
_AWS = "scenario-a"
"""kube-proxy, the VPC CNI's daemon, and the emulated cloud."""


def in_a_lab(stack: str, *, whole: bool) -> Callable[[Ground], Iterator[Injection]]:
    """What is injected into one lab, to its end.

    :param whole: with what is alike in all labs.
    """

    def all_(ground: Ground) -> Iterator[Injection]:
        running = bring_up(stack, _TWO_NODES)
        try:
            measured = measuring.Measured(running)
            yield from measuring.injections(measured, whole=whole)
            if whole:
                yield from commands.injections(ground, measured)
            look = partial(planted.searched, ground.folder, running)
            yield Injection(
                "measuring", "planted secret", f"credentials and a token, {stack}", look
            )
            last = partial(destroying.last_look, running)
            yield Injection(
                "destroyed", "lab that is gone", f"{stack}, asked for its CNI's CPU time", last
            )
        finally:
            running.session.close()
            running.lab.remove()

    return all_


def in_a_checkout(
    injections: Callable[[Ground, Checkout], Iterator[Injection]],
) -> Callable[[Ground], Iterator[Injection]]:
    """What is injected into commands of a user's who has just cloned the project."""

    def all_(ground: Ground) -> Iterator[Injection]:
        folder = ground.place("user")
        made = checkouts.copy(folder / "checkout", folder / "home", _CILIUM)
        user = planted.Watched(made.folder, {**made.env, **planted.PASSPHRASE})
        with checkouts.ended_with_its_labs(user):
            yield from injections(ground, user)
        ground.end_strays()
        look = partial(planted.searched, ground.folder)
        yield Injection("destroyed", "planted secret", "credentials and a passphrase", look)

    return all_


PARTS: dict[str, Callable[[Ground], Iterator[Injection]]] = {
    "cycles": cycles.injections,
    "up": in_a_checkout(ups.injections),
    "set-up": in_a_checkout(setting_up.injections),
    "preview": in_a_checkout(engine.previews),
    "bring-up": bringing_up.injections,
    "cilium": in_a_lab(_CILIUM, whole=True),
    "aws": in_a_lab(_AWS, whole=False),
    "report": reporting.injections,
    "destroy": destroying.injections,
}
"""What shares a lab, or has none. Cycles come first: nothing has used this process's memory yet."""


def run(injection: Injection, ground: Ground) -> Row:
    """Inject one fault, and look that none of its processes is left."""
    start = time.monotonic()
    try:
        seen = injection.do()
        ground.assert_no_strays()
    except Exception as error:
        ground.end_strays()
        name = type(error).__name__
        return Row(injection, time.monotonic() - start, problem=plain(f"{name}: {error}"))
    return Row(injection, time.monotonic() - start, seen)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are named, or all; 0 if everything was as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--stage", choices=STAGES, help="what is injected at this stage alone")
    parser.add_argument("--out", type=Path, help=f"the table: {DOCUMENT} of a whole run")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - PARTS.keys():
        parser.error(f"no part {', '.join(unknown)}: choose of {', '.join(PARTS)}")
    # A shell starts what it runs in the background with SIGINT ignored, and commands inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rows: list[Row] = []
    torn, start, before = [], time.monotonic(), Host.now()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, interrupted_by_term():
        ground = Ground(Path(folder))
        try:
            for part in asked.parts or PARTS:
                try:
                    for injection in PARTS[part](ground):
                        if asked.stage not in (None, injection.stage):
                            continue
                        rows.append(run(injection, ground))
                        print(f"[{len(rows)}] {rows[-1].text()}", flush=True)
                except Exception as error:
                    torn.append(f"{part} was not done: {type(error).__name__}: {error}")
                    print(torn[-1], flush=True)
        finally:
            ground.end_strays()
    left = Host.now() != before
    seconds = time.monotonic() - start
    failed = sum(bool(row.problem) for row in rows)
    print(f"{len(rows)} injections in {seconds / 60:.1f} minutes, {failed} not as they should be")
    if left:
        print("the machine is not as it was before")
    out = asked.out or (None if asked.parts or asked.stage else DOCUMENT)
    if out and not torn:
        named = f' PARTS="{" ".join(asked.parts)}"' if asked.parts else ""
        write(out, rows, seconds, f"make faults{named}")
    return 1 if failed or left or torn else 0


if __name__ == "__main__":
    sys.exit(main())
