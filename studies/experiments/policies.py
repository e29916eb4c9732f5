"""Network policies: as data, and how many of them are in force.

Kubernetes' NetworkPolicy (networking.k8s.io/v1) and Cilium's own (cilium.io/v2), both about
ingress. A pod that any policy selects accepts only what some policy allows. So the first of the
many allows all that the benchmark's clients send, and each further one allows them a port of its
own, on which nobody listens: the rules of other teams' services. The target is selected as well,
and none of them allows the port on which it listens.

How many are in force --------------------- Policies are made, taken away, and awaited until the
dataplane has them. A target pod is denied to the clients by a policy of its own. The last of the
many policies allows them a port of it on which nobody listens: once that is at work a connection
there is refused by the target itself, and until then it gets no answer. That tells when a number of
policies is in force on the target's node, and when they are gone, from outside and on any CNI."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from bench.probes.base import Bench, Invocation, SampleError
from bench.probes.cost import read_usage
from bench.readiness import await_idle_agents
from bench.session import Pod, SessionError
from bench.text import number
from bench.workloads import NULL_HTTP_PORT, WORKLOADS, roles
from studies.experiments.capabilities import ObjectStore
from studies.experiments.model import Progress

Kind = Literal["NetworkPolicy", "CiliumNetworkPolicy"]
Manifest = dict[str, Any]

ROLE_LABEL: Final = "app.kubernetes.io/name"
"""On every pod, on every target; its value is the role."""
POLICY_LABEL: Final = "cni-benchmark/policy"
"""On every policy that is made here, so that what an ended run has left can be removed."""
TARGET_ROLE: Final = "policy-target"
TARGET_PORT: Final = NULL_HTTP_PORT
FIRST_PORT: Final = 20_000
_ALLOWING: Final = "many-0000"

API_VERSIONS: Final[Mapping[str, str]] = {
    "NetworkPolicy": "networking.k8s.io/v1",
    "CiliumNetworkPolicy": "cilium.io/v2",
    "CiliumClusterwideNetworkPolicy": "cilium.io/v2",
}
"""Of every kind of policies that clusters may have; those of :data:`Kind` are made here."""


def many(kind: Kind, numbers: range) -> list[Manifest]:
    """The policies of these numbers (0 …) on all pods of the benchmark and the target.

    Cilium keeps an entry per policy and client's identity in each pod's policy map, which has room
    for 16,384.
    """
    benchmark = [workload.role for workload in WORKLOADS]
    return [
        _policy(kind, f"many-{number:04}", [*benchmark, TARGET_ROLE], port_of(number))
        if number
        # Not of the target, whose own port it would allow as well.
        else _policy(kind, _ALLOWING, benchmark, None)
        for number in numbers
    ]


def removal(policies: Sequence[Manifest]) -> list[list[Manifest]]:
    """The order in which they can be deleted without denying the benchmark's own traffic: the one
    that allows it goes when no other selects its pods any more."""
    allowing = [each for each in policies if each["metadata"]["name"] == _name(_ALLOWING)]
    others = [each for each in policies if each["metadata"]["name"] != _name(_ALLOWING)]
    return [each for each in (others, allowing) if each]


def port_of(number: int) -> int:
    """The port that policy ``number`` (1 …) allows to the clients."""
    return FIRST_PORT + number


def deny(kind: Kind) -> Manifest:
    """Selects the target and allows nothing."""
    return _policy(kind, "target-deny", [TARGET_ROLE], None, nobody=True)


def allow(kind: Kind) -> Manifest:
    """Allows the clients the target's port."""
    return _policy(kind, "target-allow", [TARGET_ROLE], TARGET_PORT)


def admit(kind: Kind, servers: str, clients: str) -> Manifest:
    """Selects the pods of one role, and allows those of another all."""
    return _policy(kind, f"admit-{servers}", [servers], None, allowed=[clients])


def _policy(
    kind: Kind,
    name: str,
    selected: Sequence[str],
    port: int | None,
    *,
    allowed: Sequence[str] = roles("client"),
    nobody: bool = False,
) -> Manifest:
    """:param port: the only one that those who are allowed may use; None for all."""
    make = _kubernetes if kind == "NetworkPolicy" else _cilium
    return {
        "apiVersion": API_VERSIONS[kind],
        "kind": kind,
        "metadata": {"name": _name(name), "labels": {POLICY_LABEL: "true"}},
        "spec": make(_roles(selected), None if nobody else _roles(allowed), port),
    }


def _name(name: str) -> str:
    return f"cni-benchmark-{name}"


def _roles(names: Sequence[str]) -> Manifest:
    return {"matchExpressions": [{"key": ROLE_LABEL, "operator": "In", "values": list(names)}]}


def _kubernetes(selected: Manifest, allowed: Manifest | None, port: int | None) -> Manifest:
    rule: Manifest = {"from": [{"podSelector": allowed}]}
    if port is not None:
        rule["ports"] = [{"protocol": "TCP", "port": port}]
    return {
        "podSelector": selected,
        "policyTypes": ["Ingress"],
        "ingress": [] if allowed is None else [rule],
    }


def _cilium(selected: Manifest, allowed: Manifest | None, port: int | None) -> Manifest:
    rule: Manifest = {"fromEndpoints": [allowed]}
    if port is not None:
        rule["toPorts"] = [{"ports": [{"port": str(port), "protocol": "TCP"}]}]
    # An empty rule selects without allowing: the endpoint is put into default deny by it.
    return {"endpointSelector": selected, "ingress": [{} if allowed is None else rule]}


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
        """As :meth:`at`, without a block."""
        if count == self.count:
            return
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
    """Delete every policy of a kind that was ever made here, also by a run that was killed.

    :raises SessionError: the API server refuses.
    """
    left = store.list_objects(API_VERSIONS[kind], kind, f"{POLICY_LABEL}=true")
    named = [{**each, "apiVersion": API_VERSIONS[kind], "kind": kind} for each in left]
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
    try:
        await_idle_agents(bench, _SETTLE_SECONDS)
    except SampleError as error:
        raise SessionError(str(error)) from error


def _cpu(bench: Bench) -> float:
    """CPU seconds of all the CNI's components so far."""
    try:
        usage, _ = read_usage(bench)
    except SampleError as error:
        raise SessionError(str(error)) from error
    return sum(usage.cpu_seconds.values())
