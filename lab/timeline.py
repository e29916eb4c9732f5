"""Where a lab's bring-up spends its time: a line per step in a file of the lab.

Seconds of CPU tell more than seconds: where several labs share two CPUs, a step takes as long as
the others let it. Each component of a lab has its own cgroup, whose CPU time counts whatever it
starts; the program's own is what it and the commands that it waits for have used.
"""

import resource
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from lab import cgroups

PROGRAM = "program"
"""The name of what is no component: this program and the commands that it waits for."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a bring-up.

    :param seconds: from its beginning to its end.
    :param cpu: seconds of CPU meanwhile, by component, of all nodes together.
    """

    name: str
    seconds: float
    cpu: dict[str, float]


_STEP = TypeAdapter(Step)


class Timeline:
    """The steps of one lab's bring-up, in the order of their ends.

    :param file: where they are kept, a JSON object a line.
    :param cgroup: the lab's.
    """

    def __init__(self, file: Path, cgroup: Path) -> None:
        self._file = file
        self._cgroup = cgroup

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Around a step; one that fails is not recorded."""
        start, before = time.monotonic(), self._used()
        yield
        used = {part: now - before.get(part, 0.0) for part, now in self._used().items()}
        cpu = {part: round(seconds, 3) for part, seconds in used.items() if seconds >= 0.001}
        made = Step(name, round(time.monotonic() - start, 3), cpu)
        with self._file.open("ab") as file:
            file.write(_STEP.dump_json(made) + b"\n")

    def steps(self) -> Sequence[Step]:
        """All that were recorded."""
        lines = self._file.read_bytes().splitlines()
        return [_STEP.validate_json(line) for line in lines]

    def _used(self) -> dict[str, float]:
        used: defaultdict[str, float] = defaultdict(float)
        for component in cgroups.components(self._cgroup):
            used[component.name] += cgroups.cpu_seconds(component)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            times = resource.getrusage(who)
            used[PROGRAM] += times.ru_utime + times.ru_stime
        return used
