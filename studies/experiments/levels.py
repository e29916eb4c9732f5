"""How many policies are in force: made, taken away, and awaited until the dataplane has them.

A target pod is denied to the clients by a policy of its own. The last of the many policies allows
them a port of it on which nobody listens: once that is at work a connection there is refused by the
target itself, and until then it gets no answer. That tells when a number of policies is in force on
the target's node, and when they are gone, from outside and on any CNI.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.checks.quiet import QUIET_MILLICORES, WINDOW_SECONDS
from bench.probes.base import Bench, Invocation, SampleError
from bench.probes.cost import idle_cost, read_usage
from bench.session import Pod, SessionError
from bench.text import number
from studies.experiments.base import Progress
from studies.experiments.capabilities import ObjectStore
from studies.experiments.policies import (
    POLICY_LABEL,
    TARGET_PORT,
    Kind,
    Manifest,
    api_version,
    many,
    port_of,
    removal,
)

MOST_SECONDS = 600.0
"""For a change to be at work."""
_SETTLE_SECONDS = 30.0
_ANSWER_SECONDS = 0.5
_PAUSE_SECONDS = 0.05
_CLIENT = "iperf3-client"
"""Its image has a shell."""


@dataclass(frozen=True, slots=True)
class Transition:
    """From one number of policies to another.

    ``written`` is when the API server had them all, ``enforced`` when the dataplane had, in seconds
    from the begin. ``cpu`` is what the CNI's agents used until they were quiet again, in CPU
    seconds over all nodes.
    """

    before: int
    after: int
    written: float
    enforced: float
    cpu: float


@dataclass(slots=True)
class Levels:
    """The many policies of one kind, of which ``count`` are in force."""

    bench: Bench
    store: ObjectStore
    kind: Kind
    target: Pod
    say: Progress
    count: int = 0
    transitions: list[Transition] = field(default_factory=list)

    @contextmanager
    def at(self, count: int) -> Iterator[None]:
        """Have so many in force; they stay so afterwards, until another number is asked for.

        :raises SessionError: the API server refuses one, or they are not enforced in time.
        """
        self.to(count)
        yield

    def to(self, count: int) -> None:
        """See :meth:`at`."""
        if count != self.count:
            self._change(count)

    def _change(self, count: int) -> None:
        before, clock = self.count, self.bench.clock
        self.say(f"from {before:,} to {count:,} policies")
        used, start = _cpu(self.bench), clock.monotonic()
        numbers = range(min(before, count), max(before, count))
        manifests = many(self.kind, numbers)
        if count > before:
            self.store.create_objects(manifests, self.say)
        else:
            _delete(self.store, manifests, self.say)
        self.count = count
        written = clock.monotonic() - start
        # The first policy allows no port of its own: by the others alone is a number told.
        if numbers[-1] > 0:
            self._await(port_of(numbers[-1]), there=count > before)
        enforced = clock.monotonic() - start
        _settle(self.bench)
        spent = _cpu(self.bench) - used
        self.transitions.append(Transition(before, count, written, enforced, spent))
        self.say(
            f"{count:,} policies: written in {number(written)} s, enforced after "
            f"{number(enforced)} s, {number(spent)} CPU s of the agents"
        )

    def _await(self, port: int, *, there: bool) -> None:
        end = self.bench.clock.monotonic() + MOST_SECONDS
        while let_through(self.bench, self.target, port) != there:
            if self.bench.clock.monotonic() > end:
                state = "allowed" if there else "denied again"
                raise SessionError(
                    f"port {port} of {self.target.name} was not {state} {MOST_SECONDS:.0f} s after "
                    "the policies were written"
                )
            self.bench.clock.sleep(_PAUSE_SECONDS)

    def clear(self) -> None:
        """Delete every policy of this kind that was ever made here, also by a run that was killed.

        :raises SessionError: the API server refuses.
        """
        clear(self.store, self.kind, self.say)
        self.count = 0

    def facts(self, count: int) -> Mapping[str, str | int | float]:
        """How a number of policies came to be in force: medians would hide how few they are."""
        risen = [each for each in self.transitions if each.after == count > each.before]
        if not risen:
            return {"policies": count}

        def listed(values: list[float]) -> str:
            return ", ".join(number(value) for value in values)

        return {
            "policies": count,
            "added to": risen[0].before,
            "written after s": listed([each.written for each in risen]),
            "enforced after s": listed([each.enforced for each in risen]),
            "agents' CPU s": listed([each.cpu for each in risen]),
        }


def clear(store: ObjectStore, kind: Kind, say: Progress) -> None:
    """Delete every policy of a kind that was ever made here.

    :raises SessionError: the API server refuses.
    """
    left = store.list_objects(api_version(kind), kind, f"{POLICY_LABEL}=true")
    named = [{**each, "apiVersion": api_version(kind), "kind": kind} for each in left]
    _delete(store, named, say)


def _delete(store: ObjectStore, policies: Sequence[Manifest], say: Progress) -> None:
    for each in removal(policies):
        store.delete_objects(each, say)


def let_through(bench: Bench, target: Pod, port: int = TARGET_PORT) -> bool:
    """Whether a connection to a port of the target gets an answer, be it a refusal.

    :raises SessionError: that cannot be tried.
    """
    attempt = f"exec 3<>/dev/tcp/{target.ip}/{port}"
    script = f"timeout {_ANSWER_SECONDS} bash -c {attempt!r}"
    try:
        result = bench.run(Invocation(_CLIENT, ("bash", "-c", script)), _ANSWER_SECONDS)
    except SampleError as error:
        raise SessionError(str(error)) from error
    return result.returncode == 0 or "refused" in result.stderr


def _settle(bench: Bench) -> None:
    """Wait until the agents rest again, for a bounded time."""
    end = bench.clock.monotonic() + _SETTLE_SECONDS
    try:
        while idle_cost(bench, WINDOW_SECONDS).millicores > QUIET_MILLICORES:
            if bench.clock.monotonic() > end:
                return
    except SampleError as error:
        raise SessionError(str(error)) from error


def _cpu(bench: Bench) -> float:
    """CPU seconds of all the CNI's components so far."""
    try:
        usage, _ = read_usage(bench)
    except SampleError as error:
        raise SessionError(str(error)) from error
    return sum(usage.cpu_seconds.values())
