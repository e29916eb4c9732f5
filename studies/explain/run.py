"""Measure where time goes: labs in turns, with samples of what their CPUs run meanwhile.

Turns take a tenth of a second, longer than those of the instrument (:mod:`bench.turns`): agents
that work on what has happened do so within the turn, and there are some hundred samples in each.
The order of each cycle is random, so that drift meets all alike.
"""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Final

from bench.plan import Plan
from bench.preparation import Ready, make_ready
from bench.probes import turns
from bench.probes.base import GRACE_SECONDS, Bench
from bench.readiness import Calibrations
from bench.session import Clock, Opener, Session, SessionError
from bench.text import ParseError
from bench.turns import Turns, parse, plan
from studies.experiments.capabilities import Sampler, Tracer, lacking
from studies.explain.profile import Profile, profiles, windows_of
from studies.explain.samples import fold, read
from studies.explain.way import (
    POINTS,
    Counters,
    Followed,
    Node,
    Way,
    events,
    runs,
    tables,
    way,
)
from studies.matrix.run import Display, StackFailedError, Stacks

_AT_ONCE: Final = 2
_PREPARING_SECONDS: Final = 600.0
_FEWEST_TURNS: Final = 3
_FOLLOWED, _FOLLOWED_PAUSE_US, _FOLLOWED_SECONDS = 10, 1_000, 0.4
"""Operations whose packets are followed: of a turn, how far apart, and how long."""


class ExplainError(Exception):
    """Nothing can be explained; one line says why."""


@dataclass(frozen=True, slots=True)
class Kind:
    """An operation: what one of it is called, the probe that does it, how many make a turn, and
    how many of what is told one of them is. ``packet``: which of its packets is followed, from the
    call of the function that it ``begins`` with; none where that is empty."""

    name: str
    what: str
    probe: str
    batch: int
    units: float = 1.0
    packet: str = ""
    begins: str = ""
    pause_us: int = 0

    @property
    def turn(self) -> turns.Kind:
        """As the generator of turns has it."""
        kind = next(each for each in turns.KINDS if each.name == self.probe)
        task = kind.task
        # Of so many, the first ones, which meet caches as others left them, count for little.
        task = replace(task, batch=self.batch, drop=0, pause_us=self.pause_us or task.pause_us)
        return replace(kind, task=task)


_CONNECTING: Final = "tcp_v4_connect"
_MEGABYTES: Final = turns.in_turns("transfer", 0.0).kind.task.bytes / 1e6
KINDS: Final = (
    Kind(
        "roundtrip",
        "round trip",
        "rtt",
        2_000,
        packet="data on an open connection, pod to pod",
        begins="tcp_sendmsg",
    ),
    Kind(
        "connection",
        "connection",
        "connect",
        50,
        packet="the first packet of a connection to a Service",
        begins=_CONNECTING,
    ),
    Kind("request", "HTTP request", "http", 500),
    Kind("megabyte", "megabyte", "transfer", 40, _MEGABYTES),
)


def take(kind: Kind, benches: Sequence[Bench], seconds: float) -> Turns:
    """Have sides take turns.

    :param seconds: of each side.
    :raises ExplainError: a side has no turns, or too few.
    """
    first, together = benches[0], seconds * len(benches)
    try:
        subjects = [turns.subject(kind.turn, place, bench) for place, bench in enumerate(benches)]
        seed = zlib.crc32(f"explain {kind.name} {first.clock.monotonic()}".encode())
        asked = plan(kind.turn.task, subjects, seconds=together, seed=seed)
        pod = first.targets.one(turns.CLIENT)
        made = parse(first.session.take_turns(pod, asked, timeout=3 * together + GRACE_SECONDS))
    except (SessionError, ParseError) as error:
        raise ExplainError(f"{kind.what}: {error}") from error
    if why := next(filter(None, made.errors), None):
        raise ExplainError(f"{kind.what}: {why}")
    fewest = min(int(made.of(place)[:-1].sum()) for place in range(len(benches)))
    if fewest < _FEWEST_TURNS:
        raise ExplainError(f"{kind.what}: {fewest} turns are too few. Fix: --seconds")
    return made


def profile(kind: Kind, benches: Sequence[Bench], seconds: float) -> list[Profile]:
    """Where the time of one operation goes, on each side.

    :raises ExplainError: samples or turns cannot be had.
    """
    samplers = [each.session for each in benches if isinstance(each.session, Sampler)]
    if len(samplers) < len(benches):
        lacks = next(filter(None, (lacking(each.session, [Sampler]) for each in benches)))
        raise ExplainError(f"nothing is explained: {lacks}")
    try:
        with samplers[0].sampling() as samples:
            made = take(kind, benches, seconds)
            samples.stop()
            seen = read(samples.data(), samples.symbols())
            folded = fold(seen, windows_of(made), [each.node_cgroups() for each in samplers])
            return profiles(made, folded, kind.units)
    except (SessionError, ParseError) as error:
        raise ExplainError(f"{kind.what}: {error}") from error


def follow(kind: Kind, bench: Bench) -> Way:
    """The way of an operation's packet.

    :raises ExplainError: it cannot be followed.
    """
    session, few = bench.session, replace(kind, batch=_FOLLOWED, pause_us=_FOLLOWED_PAUSE_US)
    if not isinstance(session, Tracer):
        raise ExplainError(f"no packet is followed: {lacking(session, [Tracer])}")
    client = bench.targets.one(turns.CLIENT).node
    servers = sorted(bench.targets.nodes("server"))
    try:
        with session.counting_runs():
            before = [_counters(session, node) for node in (client, *servers)]
            number = take(few, [bench], _FOLLOWED_SECONDS).took.size
            after = [_counters(session, node) for node in (client, *servers)]
        begin = kind.begins == _CONNECTING
        nodes = [
            Node.of(*counters, number, begin=begin) for counters in zip(before, after, strict=True)
        ]
        with session.tracing(POINTS) as passings:
            take(few, [bench], _FOLLOWED_SECONDS)
            seen = events(passings.text())
        return way(seen, kind.begins, nodes[0], nodes[1:])
    except (SessionError, ParseError) as error:
        raise ExplainError(f"{kind.packet}: {error}") from error


def follow_all(
    kinds: Sequence[Kind], benches: Mapping[str, Bench]
) -> tuple[list[Followed], list[str]]:
    """The ways of all operations' packets, by side, and why some are not there."""
    found, missing = [], dict[str, None]()
    for kind in kinds:
        ways = {}
        for side, bench in benches.items():
            try:
                if kind.packet:
                    ways[side] = follow(kind, bench)
            except ExplainError as error:
                missing[f"{side}: {error}"] = None
        if ways:
            found.append(Followed(packet=kind.packet, sides=ways))
    return found, list(missing)


def _counters(session: Tracer, node: str) -> Counters:
    def told(*argv: str) -> str:
        return session.on_node(node, argv)

    return Counters(
        frozenset(told("ls", "/sys/class/net").split()),
        tables(told("iptables-save", "-c")),
        session.programs_at_devices(node),
        runs(told("bpftool", "-j", "prog")),
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be explained."""

    sides: tuple[str, ...]
    kinds: tuple[Kind, ...]
    seconds: float
    plan: Plan


def bring_up(
    asked: Asked, stacks: Stacks, display: Display, open_session: Opener, clock: Clock
) -> tuple[dict[str, dict[str, Profile]], list[Followed], list[str]]:
    """All operations in one bring-up of all sides: profiles by operation and side, packets' ways,
    and what marks them. Nothing is up afterwards.

    :raises ExplainError: a side does not come up, or nothing can be measured.
    """
    with ready(asked, stacks, display, open_session, clock) as (benches, marks):
        found = {}
        for kind in asked.kinds:
            display.phase(f"sampling: {kind.what}, {asked.seconds:g} s of turns of each side")
            profiles = profile(kind, benches, asked.seconds)
            found[kind.name] = dict(zip(asked.sides, profiles, strict=True))
        display.phase("following packets")
        ways, missing = follow_all(asked.kinds, dict(zip(asked.sides, benches, strict=True)))
        return found, ways, [*marks, *missing]


@contextmanager
def ready(
    asked: Asked, stacks: Stacks, display: Display, open_session: Opener, clock: Clock
) -> Iterator[tuple[list[Bench], list[str]]]:
    """All sides up and ready, in their order, and what marks them.

    :raises ExplainError: a side does not come up, or nothing can be measured.
    """
    with _up(asked.sides, stacks, display) as descriptors, ExitStack() as opened:
        display.phase("checking preconditions")
        sessions: dict[str, Session] = {
            side: opened.enter_context(closing(open_session(descriptors[side])))
            for side in asked.sides
        }
        deadline = clock.monotonic() + _PREPARING_SECONDS
        found = make_ready(
            sessions, asked.plan,
            clock=clock, deadline=deadline, say=display.about, calibrations=Calibrations(),
        )  # fmt: skip
        for side, each in found.items():
            if not isinstance(each, Ready):
                raise ExplainError(f"{side}: {each}")
        sides = {side: each for side, each in found.items() if isinstance(each, Ready)}
        marks = [f"{s}: {line}" for s, each in sides.items() for line in each.evidence.warnings]
        yield [replace(each.bench, deadline=math.inf) for each in sides.values()], marks


@contextmanager
def _up(
    sides: Sequence[str], stacks: Stacks, display: Display
) -> Iterator[dict[str, Mapping[str, object]]]:
    def up(side: str) -> Mapping[str, object]:
        state = stacks.up(side, lambda line: display.about(side, line))
        if state.session is None:
            raise StackFailedError("it came up without a session to measure in")
        display.about(side, "up")
        return state.session

    def down(side: str) -> None:
        stacks.destroy(side, lambda line: display.about(side, line))

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="lab") as pool:
        try:
            display.phase("bringing labs up")
            yield dict(zip(sides, pool.map(up, sides), strict=True))
        except StackFailedError as error:
            raise ExplainError(str(error)) from error
        finally:
            display.phase("taking labs down")
            list(pool.map(down, sides))
