"""What perf has recorded, sample by sample, and to whose turn each of them belongs.

A sample counts for a side if its task is in the cgroup of one of the side's nodes: in the side's
turn as what its operations cost, at other times as what the side's programs do at rest. Whatever
else runs on the CPUs (other sides' agents, the control planes, perf) is left out by that, but for
one thing. Where a task is woken on a CPU that another one has, the kernel charges it with the time
from then on, as the other's clock is not read again (``rq_clock_skip_update``). So the interrupt
that makes the CPU change over is the woken task's, which is the side's whose turn it is.

The file's format is that of perf.data-file-format.txt and linux/perf_event.h. ``perf script`` of
Debian 12 does not tell cgroups.
"""

import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.text import ParseError
from studies.explain.parts import plain

REST: Final = -1
"""In the place of a turn: at a time that is another side's."""
WOKEN: Final = "woken"
"""In the place of a cgroup: a CPU that another task has is made to change over."""
_WAKING: Final = frozenset(
    (
        "asm_sysvec_reschedule_ipi",
        "asm_sysvec_call_function_single",
        "flush_smp_call_function_queue",
    )
)

_MAGIC: Final = b"PERFILE2"
_LOST, _SAMPLE, _LOST_SAMPLES, _KSYMBOL, _CGROUP = 2, 9, 13, 17, 19
"""Kinds of records. A file begins with what is there already, so names come before samples."""
# Fields of a sample in their order, by their bits: identifier, address, task, time, id, CPU; then
# the call chain and the cgroup.
_WORDS: Final = (1 << 16, 1 << 0, 1 << 1, 1 << 2, 1 << 6, 1 << 7)
_ADDRESS, _TIME, _CHAIN, _OF_CGROUP = 1 << 0, 1 << 2, 1 << 5, 1 << 21
_NEEDED: Final = _ADDRESS | _TIME | _CHAIN | _OF_CGROUP
# What marks a change of context in a call chain (PERF_CONTEXT_MAX).
_CONTEXTS: Final = (1 << 64) - 4095
# Addresses of the kernel are the upper half of all; others are a program's own.
_KERNEL: Final = 1 << 63

Stack = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a CPU: at ``at``, ns of the wall clock. ``stack`` has the kernel's functions, the
    sampled one first; none where a program itself ran.

    It stands for ``lasts`` ns, the time between two looks at a CPU, whenever the look before it
    was: an idle CPU may not be looked at, as a virtual machine's timer does not fire then. Where a
    hypervisor takes a CPU away, looks are missing as well, of all that runs there alike.
    """

    at: int
    lasts: int
    cgroup: str
    stack: Stack


class Symbols:
    """The kernel's functions by address, and BPF programs, which come and go."""

    def __init__(self, kallsyms: str) -> None:
        named: dict[int, str] = {}
        for line in kallsyms.splitlines():
            address, kind, name, *_ = line.split()
            # Of several names, the plainest; __pfx_ is padding before a function.
            if kind in "tTwW" and not name.startswith("__pfx_"):
                at = int(address, 16)
                if at not in named or name.count("_") < named[at].count("_"):
                    named[at] = name
        self._starts = sorted(named)
        self._names = [plain(named[start]) for start in self._starts]
        self._programs: list[tuple[int, int, str]] = []
        self._known: dict[int, str] = {}

    def add(self, address: int, length: int, name: str) -> None:
        """A program that the kernel has loaded."""
        self._programs.append((address, address + length, name))

    def at(self, address: int) -> str:
        """The function that an address is in."""
        name = self._known.get(address)
        if name is None:
            name = self._known[address] = self._found(address)
        return name

    def _found(self, address: int) -> str:
        for start, end, name in reversed(self._programs):
            if start <= address < end:
                return name
        place = bisect_right(self._starts, address) - 1
        return self._names[place] if place >= 0 else hex(address)


def read(data: bytes, kallsyms: str) -> Iterator[Sample]:
    """The samples of a recording (perf.data).

    :raises ParseError: it is none, it lacks what is needed, or samples were lost.
    """
    if data[:8] != _MAGIC or len(data) < 104:
        raise ParseError("perf: what it has written is no recording")
    attributes, _, start, size = struct.unpack_from("<4Q", data, 24)
    period, kinds = struct.unpack_from("<2Q", data, attributes + 16)
    known = sum(_WORDS) | _CHAIN | _OF_CGROUP
    if kinds & _NEEDED != _NEEDED or kinds & ~known:
        raise ParseError(f"perf: samples of type {kinds:#x} cannot be read")
    fields = [bit for bit in _WORDS if kinds & bit]
    address, time = map(fields.index, (_ADDRESS, _TIME))
    chain = len(fields)
    symbols, cgroups = Symbols(kallsyms), dict[int, str]()
    stacks: dict[tuple[int, ...], Stack] = {}
    place, end = start, start + size
    while place + 8 <= end:
        kind, _, length = struct.unpack_from("<IHH", data, place)
        if length < 8 or place + length > len(data):
            raise ParseError("perf: its recording is cut off")
        body = data[place + 8 : place + length]
        place += length
        if kind == _SAMPLE:
            words = struct.unpack(f"<{len(body) // 8}Q", body)
            found = words[chain + 1 : chain + 1 + words[chain]] or words[address : address + 1]
            if found not in stacks:
                stacks[found] = tuple(map(symbols.at, _functions(found)))
            group = words[chain + 1 + words[chain]]
            yield Sample(words[time], period, cgroups.get(group, ""), stacks[found])
        elif kind == _CGROUP:
            cgroups[struct.unpack_from("<Q", body)[0]] = _text(body[8:])
        elif kind == _KSYMBOL:
            at, extent, _, flags = struct.unpack_from("<QIHH", body)
            if not flags & 1:  # it goes
                symbols.add(at, extent, _text(body[16:]))
        elif kind in (_LOST, _LOST_SAMPLES):
            raise ParseError("perf: samples were lost")


def _functions(chain: Iterable[int]) -> Iterator[int]:
    """Addresses within the kernel's functions: those of callers are behind the call."""
    for number, address in enumerate(each for each in chain if each < _CONTEXTS):
        if address >= _KERNEL:
            yield address - bool(number)


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Windows:
    """The turns, in their order: ``began`` in ns of the wall clock, and whose each is. A turn ends
    where the next one begins, and the last one at ``ended``."""

    began: NDArray[np.int64]
    side: NDArray[np.int64]
    ended: int

    def at(self, when: int) -> int:
        """The turn that a time is in; -1 for a time before the first and after the last."""
        if when >= self.ended:
            return -1
        return int(np.searchsorted(self.began, when, side="right")) - 1


Key = tuple[int, str, str, Stack]
"""A turn or :data:`REST`; the node; the place in its cgroup; the stack."""


@dataclass(frozen=True, slots=True)
class Folded:
    """Samples that are equal, put together, in ns: of each side. ``beside`` are those of softirqs
    in a side's turns that no task of a cgroup was charged with: the idle task's, ksoftirqd's."""

    sides: tuple[Counter[Key], ...]
    beside: tuple[Counter[Stack], ...] = field(repr=False)


def fold(samples: Iterable[Sample], windows: Windows, nodes: Sequence[Mapping[str, str]]) -> Folded:
    """Add samples up by side, turn, place and stack.

    :param nodes: of each side, the nodes by their cgroup.
    """
    sides: tuple[Counter[Key], ...] = tuple(Counter() for _ in nodes)
    beside: tuple[Counter[Stack], ...] = tuple(Counter() for _ in nodes)
    places: dict[str, tuple[int, str, str] | None] = {}
    for each in samples:
        if (turn := windows.at(each.at)) < 0:
            continue
        if each.cgroup not in places:
            places[each.cgroup] = _place(each.cgroup, nodes)
        place = places[each.cgroup]
        owner = int(windows.side[turn])
        if (place is None or place[0] != owner) and not _WAKING.isdisjoint(each.stack):
            sides[owner][turn, WOKEN, "", each.stack] += each.lasts
        elif place is not None:
            side, node, below = place
            sides[side][turn if side == owner else REST, node, below, each.stack] += each.lasts
        elif each.cgroup == "/" and "handle_softirqs" in each.stack:
            beside[owner][each.stack] += each.lasts
    return Folded(sides, beside)


def _place(cgroup: str, nodes: Sequence[Mapping[str, str]]) -> tuple[int, str, str] | None:
    """Side, node, and the path below the node's cgroup."""
    for side, mine in enumerate(nodes):
        for folder, node in mine.items():
            if cgroup == folder or cgroup.startswith(f"{folder}/"):
                return side, node, cgroup[len(folder) + 1 :]
    return None
