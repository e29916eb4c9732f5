"""Labs of its own for the validation, and what is imposed in them.

They have the baseline's dataplane, EKS's default CNI and kube-proxy: nothing on the path that could
itself be in question. Their ids are fixed, so what a killed validation has left is ended by the
next.
"""

import json
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.probes.udp import kernel_counter, overflows
from bench.session import Session, SessionError
from bench.workloads import DNS_SERVICE, IPERF_PORT
from cni.kubernetes import DEFAULT, VERSIONS
from cni.registry import DATAPLANES
from components.lab import rollout
from components.lab.session import LabSession
from lab import machine
from lab.bpf import compile_bpf
from lab.cluster import Lab, LabSpec
from lab.errors import ToolchainError
from lab.sandbox import Place, only_one
from lab.toolchain.build import Toolchain
from lab.workloads import COREDNS
from studies.validate.testbed import LABELS, Link, LossCount, Passed, ValidationTestbed

LAB_ID = "cni-benchmark-validation"
"""And the label of each."""
_SERVER = "iperf3-server"
_DEVICE = "eth0"
"""Of a pod."""
_CNI = next(each for each in DATAPLANES.values() if each.eks_default)
"""The baseline's, without a program of its own on the packets' path."""
_TITLE = f"validation: {_CNI.title.removeprefix('the ')}, kube-proxy"
_SPEC = LabSpec(
    nodes=3,
    service_cidr="10.100.0.0/16",
    node_labels={},
    kubernetes=VERSIONS[DEFAULT].version,
    kube_proxy="iptables",
    cni=_CNI.name,
    cni_version=_CNI.default,
    values={},
)
_DATA = 100
"""Bytes of a packet: what iperf3 measures with is longer, what it begins with is shorter."""
_QUEUE_SECONDS = 0.05
_BURST_SECONDS = 0.01
"""A token bucket refills by a timer: with less than the timer's delay on a busy machine in the
bucket, the rate is not reached. 10 ms are 0.5 % of a two-second run."""
_SMALLEST_BURST_BYTES = 128 * 1024
_DELAY = """
static unsigned long long (*now)(void) = (void *) 5; /* bpf_ktime_get_ns */
__attribute__((section("classifier"), used)) int delay(void *packet) {
  unsigned long long end = now() + %dULL;
  for (int i = 0; i < 8192 && now() < end; i++);
  return 0; /* TC_ACT_OK */
}
char licence[] __attribute__((section("license"), used)) = "GPL";
"""
"""The verifier wants an end: 8,192 looks at the clock take 200 µs and more."""

Progress = Callable[[str], None]


class ValidationLabError(Exception):
    """The lab could not be brought up, or something in it could not be imposed."""


def benchstat_program() -> Path:
    """The program benchstat of the toolchain.

    :raises ValidationLabError: it is not built.
    """
    try:
        return Toolchain.default().program("benchstat")
    except ToolchainError as error:
        raise ValidationLabError(str(error)) from error


@contextmanager
def validation_labs(say: Progress) -> Iterator["LabTestbeds"]:
    """Labs for one validation: they can be brought up meanwhile, and none is left at the end.

    :raises ValidationLabError: another validation runs, or nothing can be imposed or removed.
    """
    try:
        # Alone from the first to the last: taking labs down at the end waits for nobody.
        with only_one(LAB_ID, "validation"), machine.measuring("a validation"):
            made = LabTestbeds(say)
            made.remove(LABELS)  # what was left by one that was killed
            yield made
    except rollout.FAILURES as error:
        raise ValidationLabError(f"the lab: {error}") from error


@dataclass(frozen=True, slots=True)
class LabTestbeds:
    """:class:`studies.validate.testbed.Testbeds` on this machine."""

    say: Progress

    @contextmanager
    def bring_up(self, labels: Sequence[str]) -> Iterator[Mapping[str, ValidationTestbed]]:
        """Equal labs side by side, made anew and removed at the end, whatever happens.

        :raises SessionError: one does not come up.
        """
        try:
            try:
                with ThreadPoolExecutor(len(labels), thread_name_prefix="lab") as pool:
                    booted = dict(zip(labels, pool.map(self._start, labels), strict=True))
            except rollout.FAILURES as error:
                raise SessionError(f"a lab does not come up: {error}") from error
            with ExitStack() as opened:
                yield {
                    label: opened.enter_context(_testbed(label, boot))
                    for label, boot in booted.items()
                }
        finally:
            self.remove(labels)

    def remove(self, labels: Sequence[str]) -> None:
        """End what runs under these labels, if anything does."""
        with ThreadPoolExecutor(len(labels)) as pool:
            list(pool.map(lambda label: lab_of(label).remove(), labels))

    def _start(self, label: str) -> str:
        def say(line: str) -> None:
            self.say(f"lab {label}: {line}")

        lab = lab_of(label)
        boot = lab.start(_SPEC, say)
        lab.install(say)
        rollout.deploy_workloads(lab, say)
        return boot


def lab_of(label: str) -> Lab:
    """The validation's lab of this label, running or not."""
    return Lab(f"{LAB_ID}-{label}")


@contextmanager
def _testbed(label: str, boot: str) -> Iterator[ValidationTestbed]:
    lab = lab_of(label)
    about = {"scenario": {"name": "validation", "title": _TITLE}, "bring_up": boot}
    with closing(LabSession(lab, about)) as session:
        yield ValidationTestbed(session, _link(session), LabFaults(lab))


def _link(session: Session) -> Link:
    facts = session.environment()
    pod, node = facts.pod_mtu, facts.node_mtu
    # One machine has one MTU of each kind.
    assert isinstance(pod, int)
    assert isinstance(node, int)
    return Link(mtu=pod, encapsulation=node - pod)


@dataclass(frozen=True, slots=True)
class LabFaults:
    """:class:`studies.validate.testbed.Faults` on the lab's fabric and in its pods."""

    lab: Lab

    @contextmanager
    def rate_limit(self, bits_per_second: int) -> Iterator[None]:
        """A token bucket (tc-tbf(8)) on the fabric's port to the server's node."""
        (server,) = self.lab.pods_of(_SERVER)
        port = self._port_towards(server.ip)
        burst = max(_SMALLEST_BURST_BYTES, math.ceil(_BURST_SECONDS * bits_per_second / 8))
        self.lab.sandbox.script(
            f"tc qdisc add dev {port} root tbf rate {bits_per_second}bit "
            f"burst {burst} latency {_QUEUE_SECONDS * 1e3:.0f}ms"
        )
        try:
            yield
        finally:
            self.lab.sandbox.script(f"tc qdisc del dev {port} root")

    def _port_towards(self, address: str) -> str:
        """The device by which the fabric's router reaches an address."""
        shown = self.lab.sandbox.script(f"ip -json route get {address}")
        return str(json.loads(shown)[0]["dev"])

    @contextmanager
    def delay(self, roles: Sequence[str], nanoseconds: int) -> Iterator[Callable[[], Passed]]:
        """A BPF program at the ingress of pods that looks at the clock until the time is over.

        Netfilter's rules would not do: what one costs depends on what is in the caches.
        """
        program = self.lab.paths.config / f"delay-{nanoseconds}.o"
        if not program.exists():
            compile_bpf(_DELAY % nanoseconds, program)
        apps = [COREDNS if role == DNS_SERVICE else role for role in roles]
        places = [Place(netns=pod.name) for app in apps for pod in self.lab.pods_of(app)]
        with ExitStack() as imposed:
            for place in places:
                self.lab.sandbox.script(f"tc qdisc add dev {_DEVICE} clsact", place)
                imposed.callback(
                    self.lab.sandbox.script, f"tc qdisc del dev {_DEVICE} clsact", place
                )
                self.lab.sandbox.script(
                    f"tc filter add dev {_DEVICE} ingress bpf da obj {shlex.quote(str(program))} "
                    "sec classifier",
                    place,
                )
            yield lambda: sum(map(self._passed, places), Passed())

    def _passed(self, place: Place) -> Passed:
        text = self.lab.sandbox.script("cd /proc/thread-self/net; cat snmp netstat", place)
        return Passed(
            kernel_counter(text, "Ip", "InReceives"), kernel_counter(text, "IpExt", "InOctets")
        )

    @contextmanager
    def udp_loss(self, probability: float) -> Iterator[Callable[[], LossCount]]:
        """A random match of iptables in the server's pod, before its socket."""
        (server,) = self.lab.pods_of(_SERVER)
        place = Place(netns=server.name)
        # iperf3 counts none of the short datagrams by which it begins.
        match = f"PREROUTING -p udp --dport {IPERF_PORT} -m length --length {_DATA}:65535"
        drop = f"{match} -m statistic --mode random --probability {probability:.6f} -j DROP"
        self.lab.sandbox.script(
            f"iptables -t raw -A {match}\niptables -t raw -A {drop}", place
        )  # the first rule only counts

        def counts() -> LossCount:
            listed = self.lab.sandbox.script("iptables -t raw -vnxL PREROUTING", place)
            seen, dropped = (int(line.split()[0]) for line in listed.splitlines()[2:4])
            snmp = self.lab.sandbox.script("cat /proc/thread-self/net/snmp", place)
            return LossCount(seen, dropped, overflows(snmp))

        try:
            yield counts
        finally:
            self.lab.sandbox.script("iptables -t raw -F PREROUTING", place)
