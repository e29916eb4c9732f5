"""Many cycles of bringing a lab up and removing it, of each scenario, in one process: what the
machine and this process have must not grow with them."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import psutil

from lab import cgroups
from lab.toolchain.pulumi import stacks
from lab.wait import until
from tests.faults.ground import ROOT, Ground
from tests.faults.table import Injection, Seen
from tests.lab import leftovers
from tests.lab.leftovers import Footprint
from tests.lab.running import bring_up

CYCLES = 10
_TWO_NODES: dict[str, object] = {"lab.nodes": 2}
_SETTLED_SECONDS = 30.0
_WARM = 2
"""Cycles after which nothing is loaded or kept for the first time any more."""
_MEMORY = "MB of memory"
_MOST_MB_EACH = 1.0
"""By which a cycle may grow this process: an allocator gives back late, and never all."""
_PLACES = (Path("/tmp"), Path("/run"), Path("/dev/shm"), Path("/var/tmp"), Path("/etc/netns"))


def counted(ground: Ground) -> dict[str, float]:
    """What there is now, by what it is."""
    me = psutil.Process()
    programs, maps, links = leftovers.bpf_counts()
    host = leftovers.Host.now()
    return {
        "processes": len(ground.strays()),
        "namespaces": leftovers.count_namespaces(),
        "mounts": len(host.mounts),
        "cgroups": sum(1 for _ in os.walk(cgroups.hierarchy() / cgroups.BRANCH)),
        "links": len(host.links),
        "BPF programs": programs,
        "BPF maps": maps,
        "BPF links": links,
        "files": _files(ground.folder) + _of_ours(),
        "open files": me.num_fds(),
        "threads": me.num_threads(),
        _MEMORY: me.memory_info().rss / 1e6,
    }


def _files(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


def _of_ours() -> int:
    """Entries of folders that all share, by their names."""
    ours = ("cni-benchmark", "pytest-", "lab-")
    shared = [place for place in _PLACES if place.is_dir()]
    return sum(each.name.startswith(ours) for place in shared for each in place.iterdir())


def grown(taken: Sequence[Mapping[str, float]]) -> list[str]:
    """What has grown over cycles, in words.

    :param taken: what there was after each cycle.
    """
    first, last = taken[min(_WARM, len(taken)) - 1], taken[-1]
    limit = {_MEMORY: _MOST_MB_EACH * len(taken)}
    return [
        f"{name} from {first[name]:.0f} to {last[name]:.0f}"
        for name in first
        if last[name] > first[name] + limit.get(name, 0.0)
    ]


def cycled(ground: Ground, stack: str) -> Seen:
    """A scenario's lab comes and goes."""
    start = time.monotonic()
    taken: list[dict[str, float]] = []
    for _ in range(CYCLES):
        running = bring_up(stack, _TWO_NODES)
        footprint = Footprint.of(running.lab)
        running.session.close()
        running.lab.remove()
        footprint.wait_until_gone()
        del running
        gc.collect()
        taken.append(counted(ground))

    def more() -> str | None:
        taken[-1] = counted(ground)
        return "; ".join(grown(taken)) or None

    until("all to be as after the first cycles", more, timeout=_SETTLED_SECONDS, interval=1.0)
    first, last = taken[_WARM - 1], taken[-1]
    same = [name for name in last if name != _MEMORY]
    seconds = (time.monotonic() - start) / CYCLES
    told = (
        f"no more of {len(same)} things after cycle {CYCLES} than after cycle {_WARM}; {_MEMORY}: "
        f"{first[_MEMORY]:.0f}, {last[_MEMORY]:.0f}; {seconds:.0f} s each"
    )
    return Seen(told, "–")


def injections(ground: Ground) -> Iterator[Injection]:
    for stack in stacks(ROOT):
        what = f"{CYCLES} times up and destroy by the lab, {stack}"
        yield Injection("destroyed", "many cycles", what, partial(cycled, ground, stack))
