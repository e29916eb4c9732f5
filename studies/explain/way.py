"""The way of one packet: devices, hooks, BPF programs, rules and lookups, in order.

From three things that the kernel tells while many such packets pass. Its tracepoints of devices and
of route lookups, with the call chains that lead to them, give the order: a packet is carried on one
CPU from the sender's call to the receiver's socket, as the same buffer all the way. Functions in
the chains tell at which hooks it was (``ip_forward``: FORWARD), and whether it was in a tunnel.
What programs and rules have counted before and after so many packets tells which of those at that
place it met. Packets are taken in hundreds, and the way is what most of them went.

The function tracer would tell more, but a kernel that is locked down does not let anybody choose
functions for it.
"""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from bench.environment import Model
from bench.text import ParseError
from studies.experiments.capabilities import AtDevice
from studies.explain.parts import plain, program_of

QUEUE, RECEIVE, LOOKUP = "net:net_dev_queue", "net:netif_receive_skb", "fib:fib_table_lookup"
READY: Final = "sock:sk_data_ready"
_NOT_WITHIN: Final = 'name != "lo"'
POINTS: Final[Mapping[str, str]] = {
    QUEUE: _NOT_WITHIN, RECEIVE: _NOT_WITHIN, LOOKUP: "", READY: "protocol == 6",
}  # fmt: skip
"""The tracepoints, each with its filter: a packet is given to a device, comes in at one; a table of
routes is looked up; a socket of TCP has data."""

Kind = Literal["device", "program", "redirect", "hook", "lookup", "tunnel", "socket"]

_FRAMES: Final[Mapping[str, tuple[Kind, str]]] = {
    "ip_rcv": ("hook", "PREROUTING"),
    "ip_list_rcv": ("hook", "PREROUTING"),
    "ip_local_deliver": ("hook", "INPUT"),
    "ip_forward": ("hook", "FORWARD"),
    "ip_local_out": ("hook", "OUTPUT"),
    "__ip_local_out": ("hook", "OUTPUT"),
    "__ip_queue_xmit": ("hook", "OUTPUT"),
    "iptunnel_xmit": ("hook", "OUTPUT"),
    "ip_output": ("hook", "POSTROUTING"),
    "vxlan_xmit": ("tunnel", "packed into VXLAN"),
    "vxlan_rcv": ("tunnel", "unpacked from VXLAN"),
    "skb_do_redirect": ("redirect", "redirected by BPF"),
}
"""What a function in a call chain tells of the way."""
_SOFTIRQ: Final = "handle_softirqs"
_ARRIVES: Final = "tcp_v4_rcv"
_BACK: Final = "fib_validate_source"
_TO_IP: Final = re.compile("__netif_receive_skb|ip_(rcv|list_rcv|sublist_rcv|forward)")
"""What ip_output is under where a packet is forwarded: ip_forward itself is no more on the stack
then, as its last call was a jump."""
_LONGEST: Final = 100
_FEWEST: Final = 20
"""Packets that must have been seen whole."""
_MET: Final = 0.3
"""Of one packet: what happens less often is not on its way."""

_HEAD: Final = re.compile(
    r"(?P<comm>.*\S) +(?P<tid>\d+) +\[(?P<cpu>\d+)\] +(?P<at>\d+\.\d+): +"
    r"(?P<name>\w+:\w+): +(?P<said>.*)"
)
_DEVICE: Final = re.compile(r"\bdev=(\S+) skbaddr=(\S+)")
_FOUND: Final = re.compile(r"table (\d+) .* ==> dev (\S+) .* err (-?\d+)")
_TABLES: Final = {"255": "local", "254": "main", "253": "default"}


@dataclass(frozen=True, slots=True)
class Event:
    """A tracepoint was passed. ``chain`` has the functions that led there, outermost first."""

    cpu: int
    at: float
    name: str
    said: str
    chain: tuple[str, ...]


def events(text: str) -> Iterator[Event]:
    """What perf script tells.

    :raises ParseError: it is no such text.
    """
    for block in text.split("\n\n"):
        first, *frames = block.strip("\n").splitlines() or [""]
        if not first:
            continue
        head = _HEAD.match(first.strip())
        if head is None:
            raise ParseError(f"perf script: {first!r} is no event")
        names = (plain(line.split(maxsplit=1)[-1].strip()) for line in reversed(frames))
        yield Event(int(head["cpu"]), float(head["at"]), head["name"], head["said"], tuple(names))


class Step(Model):
    """One thing on the way. ``place``: in whose network: a pod's, a node's, or between nodes.
    ``what`` is the thing itself, ``note`` what else is known of it, ``rules`` how many the packet
    is held against there."""

    place: str
    kind: Kind
    what: str
    note: str = ""
    rules: int = 0


class Way(Model):
    """A packet's way in one lab: of ``packets`` that were followed, ``share`` went so."""

    packets: int
    share: float
    steps: list[Step]


class Followed(Model):
    """A packet of an operation, in words, and its way on each side."""

    packet: str
    sides: dict[str, Way]


CLIENT_POD, CLIENT, BETWEEN = "the client's pod", "the client's node", "between the nodes"
SERVER, SERVER_POD = "the server's node", "the server's pod"
"""Where a way leads, in order."""
IN, OUT = "in", "out"

_SERVER: Final = 2
Places = tuple[tuple[str, frozenset[str]], ...]
"""In their order, with their devices; what none of them has is between the nodes."""


# -- order ----------------------------------------------------------------------------------------

Bare = tuple[str, Kind, str, str]
"""Place, kind, what, note."""


def _followed(
    seen: Iterable[Event], begins: str, client: frozenset[str], server: frozenset[str]
) -> tuple[int, int, list[Step]]:
    """The way that most packets went: of how many, how many, and its steps."""
    pod = frozenset({"eth0"})
    places = ((CLIENT_POD, pod), (CLIENT, client), (SERVER, server), (SERVER_POD, pod))
    by_cpu = defaultdict[int, list[Event]](list)
    for event in sorted(seen, key=lambda each: each.at):
        by_cpu[event.cpu].append(event)
    went: Counter[tuple[Bare, ...]] = Counter()
    for of_cpu in by_cpu.values():
        for packet in _packets(of_cpu, begins):
            steps = tuple(_steps(packet, places))
            # An answer begins with the same call, at the other end.
            if any(step[0] == CLIENT for step in steps):
                went[steps] += 1
    together = sum(went.values())
    if together < _FEWEST:
        raise ParseError(f"of {together} packets only the whole way was seen: too few")
    ((steps, most),) = went.most_common(1)
    return together, most, [Step(place=p, kind=k, what=w, note=n) for p, k, w, n in steps]


def _packets(of_cpu: Sequence[Event], begins: str) -> Iterator[list[Event]]:
    """Events of each packet, from the sender's call to the first one in the receiver's TCP."""
    packet: list[Event] = []
    buffer = ""
    for event in of_cpu:
        sent = begins in event.chain and _SOFTIRQ not in event.chain
        if sent and (not packet or _SOFTIRQ in packet[-1].chain):
            packet, buffer = [], ""
        if not (packet or sent):
            continue
        if _ARRIVES in event.chain:
            yield [*packet, event]
            packet, buffer = [], ""
            continue
        if device := _DEVICE.search(event.said):
            buffer = buffer or device[2]
            if device[2] != buffer:
                continue
        packet.append(event)
        if len(packet) > _LONGEST:
            packet, buffer = [], ""


def _steps(packet: Sequence[Event], places: Places) -> Iterator[Bare]:
    at, place, before = 0, CLIENT_POD, tuple[str, ...]()
    pending: list[tuple[Kind, str, str]] = []
    *passed, arrives = packet
    for event in passed:
        pending += ((kind, what, "") for kind, what in _new(event.chain, before))
        before = event.chain
        if device := _DEVICE.search(event.said):
            at, place = _place(device[1], at, places)
            pending.append(("device", shown(device[1]), OUT if event.name == QUEUE else IN))
            yield from ((place, *each) for each in pending)
            pending = []
        elif found := _FOUND.search(event.said):
            table, out, error = found.groups()
            note = f"to {shown(out)}" if error == "0" else "no route"
            if _BACK in event.chain:
                note = f"back to the sender, {note}"
            pending.append(("lookup", f"table {_TABLES.get(table, table)}", note))
    # A program may hand it to a pod without any device telling so.
    pending += ((kind, what, "") for kind, what in _new(arrives.chain, before))
    yield from ((SERVER_POD, *each) for each in pending)
    yield SERVER_POD, "socket", "TCP", ""


def shown(device: str) -> str:
    """A device's name, of many that are alike one: those of pods are numbered at random, and those
    between nodes by the node."""
    alike = re.sub(r"^([a-z]{3}[g-z]?)[0-9a-f]{8,}$", r"\1…", device)
    return re.sub(r"-\d+-", "-…-", alike)


def _place(device: str, at: int, places: Places) -> tuple[int, str]:
    """The next place on the way that has the device."""
    for further, (name, devices) in enumerate(places[at:], at):
        if device in devices:
            return further, name
    return _SERVER, BETWEEN


def _new(chain: Sequence[str], before: Sequence[str]) -> Iterator[tuple[Kind, str]]:
    """What functions tell that the event before was not in."""
    same = 0
    for one, other in zip(chain, before, strict=False):
        if one != other:
            break
        same += 1
    told: list[tuple[Kind, str]] = []
    for caller, function in zip(("", *chain)[same:], chain[same:], strict=False):
        program = program_of(function)
        found = ("program", program) if program else _FRAMES.get(function)
        if function == "ip_output" and _TO_IP.match(caller):
            told.append(("hook", "FORWARD"))
        if found and found not in told:
            told.append(found)  # type: ignore[arg-type]
    yield from told


# -- rules ----------------------------------------------------------------------------------------

_CHAIN_LINE: Final = re.compile(r":(\S+) (\S+) \[(\d+):\d+\]")
_RULE_LINE: Final = re.compile(r"\[(\d+):\d+\] -A (\S+)(.*)")
_TARGET: Final = re.compile(r"-[jg] (\S+)")
_ENDS: Final = frozenset(
    ("ACCEPT", "DROP", "REJECT", "QUEUE", "NFQUEUE", "SNAT", "DNAT", "MASQUERADE", "REDIRECT")
)
_NAT: Final = "nat"
_ORDER: Final = ("raw", "mangle", _NAT, "filter", "security")


@dataclass(slots=True)
class _Chain:
    """Packets to its policy (of a base chain; None of others), and its rules: packets, the rule."""

    policy: int | None
    rules: list[tuple[int, str]]


Tables = dict[str, dict[str, _Chain]]


def tables(saved: str) -> Tables:
    """What iptables-save -c tells."""
    found: Tables = {}
    table: dict[str, _Chain] = {}
    for line in saved.splitlines():
        if line.startswith("*"):
            table = found.setdefault(line[1:].strip(), {})
        elif chain := _CHAIN_LINE.match(line):
            table[chain[1]] = _Chain(int(chain[3]) if chain[2] != "-" else None, [])
        elif rule := _RULE_LINE.match(line):
            table[rule[2]].rules.append((int(rule[1]), rule[3].strip()))
    return found


class Looked(Model):
    """What packets met of a table at a hook: how many of an operation came, the rules that each of
    them was held against, and those that matched (as chain and target) at least every third."""

    table: str
    packets: float
    rules: float
    matched: list[str]


def looked(
    before: Tables, after: Tables, operations: int, *, begin: bool = False
) -> dict[str, list[Looked]]:
    """What a packet that comes to a hook is held against there, by hook, its tables in their order.

    iptables-nft does not count what a policy is for, so how many came is told by rules that ended
    their way in any of a hook's tables; where none did, nothing matched, and all are held against
    all rules. To NAT only those come that begin a connection. Chains that were made anew meanwhile
    tell nothing.
    """
    by_hook: dict[str, list[tuple[str, _Through, float]]] = defaultdict(list)
    for name in sorted(after, key=lambda each: _ORDER.index(each) if each in _ORDER else 9):
        passed = _between(before.get(name, {}), after[name])
        for hook, chain in passed.items():
            if chain.policy is not None:
                through = _Through(passed, [])
                known = chain.policy + sum(through.rule(*each).ended for each in chain.rules)
                by_hook[hook].append((name, through, known))
    found: dict[str, list[Looked]] = {}
    for hook, of_tables in by_hook.items():
        most = max(known for name, _, known in of_tables if name != _NAT or len(of_tables) == 1)
        found[hook] = []
        for name, through, known in of_tables:
            came = max(known, begin * operations) if name == _NAT else most or operations
            if came:
                through = _Through(through.passed, [], _MET * came)
                held = through.chain(hook, came).held
                found[hook].append(
                    Looked(
                        table=name,
                        packets=came / operations,
                        rules=held / came,
                        matched=through.matched,
                    )
                )
    return found


def _between(before: Mapping[str, _Chain], after: Mapping[str, _Chain]) -> dict[str, _Chain]:
    passed = {}
    for name, chain in after.items():
        old = before.get(name)
        if old is None or [rule for _, rule in old.rules] != [rule for _, rule in chain.rules]:
            continue
        policy = None if chain.policy is None or old.policy is None else chain.policy - old.policy
        rules = [
            (now - then, rule)
            for (now, rule), (then, _) in zip(chain.rules, old.rules, strict=True)
        ]
        passed[name] = _Chain(policy, rules)
    return passed


class _Outcome(NamedTuple):
    """Packets whose way through the table ends, how often a rule was held against one of them, and
    packets that leave the chain by a rule."""

    ended: float
    held: float
    left: float = 0.0


@dataclass(frozen=True, slots=True)
class _Through:
    """Follows packets through the chains of a table. Where several rules lead to a chain, each
    packet of it is taken as coming from any of them, by their shares."""

    passed: Mapping[str, _Chain]
    matched: list[str]
    enough: float = math.inf

    def chain(self, name: str, came: float, share: float = 1.0) -> _Outcome:
        """Of the packets that come to a chain; ``share`` of all that do are meant."""
        ended, held, remaining = 0.0, 0.0, came
        for count, rule in self.passed[name].rules:
            held += remaining
            met = count * share
            if met >= self.enough:
                target = _TARGET.search(rule)
                self.matched.append(f"{name} → {target[1] if target else 'counted'}")
            of_rule = self.rule(met, rule)
            ended += of_rule.ended
            held += of_rule.held
            remaining -= of_rule.ended + of_rule.left
        return _Outcome(ended, held)

    def rule(self, met: float, rule: str) -> _Outcome:
        """Of the packets that match a rule."""
        target = _TARGET.search(rule)
        if target is None or not met:
            return _Outcome(0.0, 0.0)
        if target[1] in _ENDS:
            return _Outcome(met, 0.0)
        if target[1] == "RETURN":
            return _Outcome(0.0, 0.0, met)
        if target[1] not in self.passed:
            return _Outcome(0.0, 0.0)
        return self.chain(target[1], met, met / self._entered(target[1]))

    def _entered(self, name: str) -> float:
        """Packets that were sent into a chain that is no base chain."""
        return sum(
            count
            for chain in self.passed.values()
            for count, rule in chain.rules
            if (target := _TARGET.search(rule)) and target[1] == name
        )


# -- programs -------------------------------------------------------------------------------------


class Ran(NamedTuple):
    """A BPF program's name, and how often it has run."""

    name: str
    times: int


def runs(told: str) -> dict[int, Ran]:
    """By their numbers, as bpftool -j prog tells of programs where runs are counted.

    :raises ParseError: it is no such text.
    """
    try:
        return {
            each["id"]: Ran(each.get("name", ""), each.get("run_cnt", 0))
            for each in json.loads(told)
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ParseError(f"bpftool prog: {error!r}") from error


# -- together -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counters:
    """What a node tells: its devices, the rules and programs that it has, and how often each has
    been met so far."""

    devices: frozenset[str]
    tables: Tables
    programs: Sequence[AtDevice]
    runs: Mapping[int, Ran]


@dataclass(frozen=True, slots=True)
class Node:
    """What a node has on the way of an operation's packets: its devices, what they met of tables,
    by hook, and runs of the programs at its devices (and their names), for one operation."""

    devices: frozenset[str]
    rules: Mapping[str, Sequence[Looked]]
    programs: Mapping[tuple[AtDevice, str], float]

    @classmethod
    def of(
        cls, before: Counters, after: Counters, operations: int, *, begin: bool = False
    ) -> "Node":
        """From what was counted before and after so many operations.

        :param begin: each of them begins a connection.
        """
        times = {}
        for program in after.programs:
            now = after.runs.get(program.number, Ran("", 0))
            already = before.runs.get(program.number, now).times
            times[program, now.name] = (now.times - already) / operations
        met = looked(before.tables, after.tables, operations, begin=begin)
        return cls(after.devices, met, times)


def way(seen: Iterable[Event], begins: str, client: Node, servers: Sequence[Node]) -> Way:
    """The way of a packet from a pod of one node to a pod of another.

    :param begins: the function of the sender's call.
    :param servers: the nodes where the receiver may be.
    :raises ParseError: too few were seen.
    """
    there = frozenset[str]().union(*(node.devices for node in servers))
    packets, most, steps = _followed(seen, begins, client.devices, there)
    return Way(
        packets=packets,
        share=most / packets,
        steps=_completed(steps, {CLIENT: [client], SERVER: servers}),
    )


def _completed(steps: Sequence[Step], nodes: Mapping[str, Sequence[Node]]) -> list[Step]:
    """With the programs and rules at each place; hooks at which nothing is met are left out."""
    found: list[Step] = []
    for step in steps:
        there = nodes.get(step.place, ())
        if step.kind == "hook":
            if met := _met(step.what, there):
                rules = round(sum(each.rules for each in met))
                note = "; ".join(map(_table_note, met))
                found.append(step.model_copy(update={"note": note, "rules": rules}))
        elif step.kind == "device":
            programs = list(_programs(step, there))
            found += [step, *programs] if step.note == IN else [*programs, step]
        else:
            found.append(step)
    return found


def _programs(device: Step, there: Sequence[Node]) -> Iterator[Step]:
    """Those at a device, in its direction."""
    together: Counter[str] = Counter()
    for node in there:
        for (program, name), times in node.programs.items():
            at_it = shown(program.device) == device.what
            if at_it and program.incoming == (device.note == IN):
                together[name] += times  # type: ignore[assignment]
    for name, times in together.items():
        if times >= _MET:
            yield Step(place=device.place, kind="program", what=name)


def _met(hook: str, there: Sequence[Node]) -> list[Looked]:
    """The tables in their order, of the node that most packets came by."""
    of_nodes = [
        [each for each in node.rules.get(hook, ()) if each.packets >= _MET and each.rules]
        for node in there
    ]
    return max(of_nodes, key=lambda of: sum(each.packets for each in of), default=[])


def _table_note(met: Looked) -> str:
    matched = f" ({', '.join(met.matched)})" if met.matched else ""
    return f"{met.table}: {met.rules:,.0f} {'rule' if round(met.rules) == 1 else 'rules'}{matched}"
