"""A lab of its own for the validation, and what is imposed in it.

The lab has the baseline's dataplane, EKS's default CNI and kube-proxy: nothing on its path that
could itself be in question. Its id is fixed, so what a killed validation has left is ended by the
next.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.probes.udp import overflows
from bench.session import Session
from bench.workloads import IPERF_PORT
from cni.registry import DATAPLANES
from components.lab import rollout
from components.lab.session import LabSession
from lab import machine
from lab.cluster import Lab, LabSpec
from lab.errors import ToolchainError
from lab.sandbox import Place, only_one
from lab.toolchain.build import Toolchain
from studies.validate.testbed import Link, LossCount, ValidationTestbed

LAB_ID = "cni-benchmark-validation"
_SERVER = "iperf3-server"
_SERVICE_CIDR = "10.100.0.0/16"
_CNI = next(each for each in DATAPLANES.values() if each.eks_default)
"""The baseline's, without a program of its own on the packets' path."""
_NODES = 3
_QUEUE_SECONDS = 0.05
_BURST_SECONDS = 0.01
"""A token bucket refills by a timer: with less than the timer's delay on a busy machine in the
bucket, the rate is not reached. 10 ms are 0.5 % of a two-second run."""
_SMALLEST_BURST_BYTES = 128 * 1024

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
def running_lab(say: Progress) -> Iterator[ValidationTestbed]:
    """Bring a lab up, and remove it at the end, whatever happens.

    :raises ValidationLabError: another validation runs, or the lab does not come up.
    """
    lab = Lab(LAB_ID)
    try:
        # Alone from the first to the last: taking the lab down at the end waits for nobody.
        with only_one(LAB_ID, "validation"), machine.measuring("a validation"):
            try:
                _bring_up(lab, say)
                title = f"validation: {_CNI.title.removeprefix('the ')}, kube-proxy"
                about = {"scenario": {"title": title}}
                with closing(LabSession(Lab(LAB_ID), about)) as session:
                    yield ValidationTestbed(session, _link(session), LabFaults(lab))
            finally:
                lab.remove()
    except rollout.FAILURES as error:
        raise ValidationLabError(f"the lab: {error}") from error


def _bring_up(lab: Lab, say: Progress) -> None:
    spec = LabSpec(
        nodes=_NODES,
        service_cidr=_SERVICE_CIDR,
        node_labels={},
        kube_proxy="iptables",
        cni=_CNI.name,
        cni_version=_CNI.versions[-1],
        values={},
    )
    lab.start(spec, say)
    lab.install(say)
    rollout.deploy_workloads(lab, say)


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
    def udp_loss(self, probability: float) -> Iterator[Callable[[], LossCount]]:
        """A random match of iptables in the server's pod, before its socket."""
        (server,) = self.lab.pods_of(_SERVER)
        place = Place(netns=server.name)
        match = f"PREROUTING -p udp --dport {IPERF_PORT}"
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
