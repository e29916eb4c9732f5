"""What the project asks of a CNI.

Each CNI has one :class:`Dataplane` in a folder of its own, listed in :mod:`cni.registry`. Rooms ask
the object; none compares names. Two CNIs in one (the VPC CNI with Cilium chained to it) would be a
dataplane that is made of two.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

from cni.platform import ClusterEndpoint, Eni, Kernel, LabFabric, PlatformFacts
from cni.settings import Problem, ScenarioSettings, TunnelProtocol, Values, leaves
from cni.toggles import Decision, Evidence, EvidenceError, Flat, Toggle

ANOTHER = "another"
"""In place of a setting's value that is not told."""
_PLAIN = re.compile(r"true|false|[0-9]{1,10}(\.[0-9]{1,10})?")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the dataplane: as the stack asked for it, and as it is at work.

    ``effective`` is what every node reports (differing answers are all listed), None where none
    does.
    """

    name: str
    requested: str
    effective: str | None

    @classmethod
    def of(cls, name: str, requested: str, answers: set[str]) -> Self:
        """From what the agents answer, ``not reported`` where one says nothing."""
        reported = answers - {"not reported"}
        return cls(name, requested, ", ".join(sorted(answers)) if reported else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A part of a CNI whose CPU and memory are its cost.

    :ivar name: the container's name; the lab calls the process so, too.
    :ivar label: selects its pods.
    :ivar cluster_wide: it runs once, not on every node.
    :ivar counters: the command, beside it, that prints what it counts of itself; read by
        :meth:`Dataplane.read_counters`. Empty where there is none.
    """

    name: str
    label: str
    cluster_wide: bool = False
    counters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The objects by which a running CNI is known, found ready, and kept apart from others.

    :ivar daemonset: the agents'; their pods have the label ``k8s-app`` with its name.
    :ivar operator: its Deployment, and the label of its pods.
    :ivar crds: CustomResourceDefinitions that agents wait for.
    :ivar rivals: DaemonSets of other CNIs that must not run beside it.
    :ivar taint: on new nodes, taken away once an agent runs there.
    :ivar config_map: holds the agents' settings.
    """

    daemonset: str
    operator: tuple[str, str] | None = None
    crds: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    taint: str | None = None
    config_map: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """What a CNI does with network policies.

    :ivar kinds: the kinds of objects that it has.
    :ivar enforced: it enforces them as it is installed here.
    :ivar layer_7: it has rules by HTTP, DNS name and host.
    """

    kinds: frozenset[str] = frozenset()
    enforced: bool = False
    layer_7: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Agents:
    """How an agent on a node is asked for its evidence.

    :ivar commands: what to run in its pod, or in the node's namespaces: name → command line.
    :ivar container: of the DaemonSet's pods.
    :ivar summary: fields of its evidence that results tell, beside those of toggles.
    """

    container: str
    commands: Mapping[str, tuple[str, ...]]
    summary: tuple[str, ...] = ()


class InstalledValues(NamedTuple):
    """Values for an installation, and in one sentence each what they change from EKS's."""

    values: Values
    adaptations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What agents' summaries say for the report's rules; None where they do not tell.

    :ivar overlay: pods have addresses of their own between tunnels.
    :ivar flows: flows are observed, with identities and verdicts.
    """

    overlay: bool | None
    flows: bool | None


# -- services -----------------------------------------------------------------------------------
# How a node's dataplane leads connections to a Service's pods, and how it counts them. A mechanism
# is a command and a reader of its output. kube-proxy's are here, each read with 20 new connections
# before and after in the running dataplane; those of a CNI are in its folder.


class CountError(ValueError):
    """An output that is not that of the mechanism's command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSelector:
    """Whose pod on a node has a mechanism's program, and may run it."""

    label: str
    """A label selector, ``k8s-app=kube-proxy``."""
    container: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """One way from a Service's address to a pod.

    :ivar command: what to run on the client's node, with its agent's view of ``/sys/fs/bpf``.
    :ivar pods: those that can run it.
    :ivar count: connections translated so far, from the output and the Service's address and port;
        raises CountError where the output is not the command's.
    """

    name: str
    command: tuple[str, ...]
    pods: PodSelector
    count: Callable[[str, str, int], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """The mechanism that a dataplane's settings ask for, and all that can exist with them."""

    expected: Mechanism
    possible: tuple[Mechanism, ...]


def _iptables_count(stdout: str, host: str, port: int) -> int:
    """The rule of KUBE-SERVICES that names the ClusterIP counts the packets that the nat table
    sees, one per connection."""
    if "*nat" not in stdout:
        raise CountError("iptables-save: no nat table in its output")
    rule = re.compile(
        rf"^\[(\d+):\d+\] -A KUBE-SERVICES -d {re.escape(host)}/32 .*"
        rf"--dport {port} -j KUBE-(?:SVC|EXT)-",
        re.MULTILINE,
    )
    return sum(int(packets) for packets in rule.findall(stdout))


def _conntrack_count(stdout: str, host: str, port: int) -> int:
    """The verdict map of nftables has no counters, so this counts conntrack's entries whose
    original destination is the ClusterIP."""
    entry = re.compile(
        rf"^\w+ .*?src=\S+ dst={re.escape(host)} sport=\d+ dport={port} ", re.MULTILINE
    )
    return len(entry.findall(stdout))


KUBE_PROXY_PODS = PodSelector(label="k8s-app=kube-proxy", container="kube-proxy")
IPTABLES = Mechanism(
    name="kube-proxy iptables",
    command=("iptables-save", "-c", "-t", "nat"),
    pods=KUBE_PROXY_PODS,
    count=_iptables_count,
)
NFTABLES = Mechanism(
    name="kube-proxy nftables",
    command=("conntrack", "-L", "-f", "ipv4"),
    pods=KUBE_PROXY_PODS,
    count=_conntrack_count,
)


def of_kube_proxy(mode: str) -> tuple[Mechanism, ...]:
    """The mechanisms of kube-proxy in a mode; none where there is no kube-proxy."""
    return {"iptables": (IPTABLES,), "nftables": (NFTABLES,)}.get(mode, ())


# -- the interface ------------------------------------------------------------------------------


class Dataplane(ABC):
    """One CNI. The class attributes are facts; the methods answer for one scenario."""

    name: ClassVar[str]
    """As settings name it."""
    title: ClassVar[str]
    """As it stands in a sentence."""
    versions: ClassVar[Sequence[str]]
    """Those that the lab has programs of, oldest first."""
    default: ClassVar[str]
    """The version that messages suggest, and labs of no stack run."""
    toggles: ClassVar[Mapping[str, Toggle[Any]]] = {}
    rollout: ClassVar[Rollout]
    components: ClassVar[tuple[Component, ...]]
    agents: ClassVar[Agents | None] = None
    """None where its agents are not asked for evidence."""
    policies: ClassVar[Policies] = Policies()
    installable: ClassVar[bool] = False
    """It can be installed on a cluster that somebody else has made."""
    eks_default: ClassVar[bool] = False
    """EKS takes it for granted: its nodes' limit of pods is that of this CNI's addresses."""
    nftables_from: ClassVar[str | None] = None
    """Its first version that goes with kube-proxy's nftables mode on EKS; None for any."""
    serves_pods: ClassVar[bool] = False
    """It leads pods' connections to Services by itself, also beside kube-proxy."""
    public_settings: ClassVar[frozenset[str]] = frozenset()
    """The names of its agents' settings whose values are switches, numbers or words of its own."""
    words: ClassVar[frozenset[str]] = frozenset()
    """What such settings may have for a value, beside switches and numbers."""

    # -- settings -----------------------------------------------------------------------------

    @abstractmethod
    def problems(self, scenario: ScenarioSettings) -> Iterable[Problem]:
        """Every contradiction in a scenario with this CNI, in the order of its settings."""

    def overlay(self, scenario: ScenarioSettings) -> TunnelProtocol | None:
        """The tunnel between nodes, or None where packets are routed natively."""
        return None

    def cautions(self, version: str, kubernetes: str, kernel: Kernel | None) -> Iterable[str]:
        """What a user should know before a version runs on such a cluster, one line each.

        :param kubernetes: the cluster's minor version, 1.35 say.
        :param kernel: of its nodes; None where it is that of whoever tries things out.
        """
        return ()

    # -- installation -------------------------------------------------------------------------

    @abstractmethod
    def values(
        self, scenario: ScenarioSettings, decisions: Iterable[Decision], cluster: ClusterEndpoint
    ) -> Values:
        """What its installer takes: a chart's values, an add-on's configuration."""

    def lab_values(
        self,
        scenario: ScenarioSettings,
        decisions: Iterable[Decision],
        cluster: ClusterEndpoint,
        fabric: LabFabric,
    ) -> InstalledValues:
        """The same values with what the lab must change, and the list of what that is."""
        return InstalledValues(self.values(scenario, decisions, cluster))

    def unknown_values(self, version: str, values: Values) -> list[str]:
        """Values that the installer of a version does not have, each as one sentence."""
        return []

    def interface_tags(self, cluster: str, ours: Mapping[str, str]) -> Mapping[str, str]:
        """The tags of every ENI that it makes for a cluster.

        :param ours: those that the project has it set, where it has none of its own.
        """
        return ours

    # -- a CNI that is there already ----------------------------------------------------------

    def differences(self, scenario: ScenarioSettings, config: Mapping[str, str]) -> list[str]:
        """How a CNI that is measured as it is differs from the scenario, one sentence each.

        :param config: the settings in :attr:`Rollout.config_map`.
        """
        return []

    def adopted_values(self, config: Mapping[str, str]) -> Values:
        """The values of a CNI that is measured as it is, by its installer's names for them."""
        return {}

    def told(self, config: Mapping[str, str]) -> dict[str, str]:
        """Those of its agents' settings that say nothing of their user: known ones, with
        :data:`ANOTHER` for every value that is no switch, number or word of its own."""
        return {
            name: value if _PLAIN.fullmatch(value) or value in {*self.words, ANOTHER} else ANOTHER
            for name, value in sorted(config.items())
            if name in self.public_settings
        }

    # -- verification -------------------------------------------------------------------------

    def parse_evidence(self, node: str, outputs: Mapping[str, str]) -> Evidence:
        """Read the outputs of :attr:`Agents.commands`, by their names.

        :raises EvidenceError: names the node and the command whose output is unusable.
        """
        raise EvidenceError(f"{node}: {self.title} has no agents that are asked")

    def settings(self, values: Flat, evidence: Sequence[Evidence]) -> Iterable[Setting]:
        """Every setting that the values ask for, with what is at work.

        :param values: as they are installed, by their dotted paths.
        """
        for toggle in self.toggles.values():
            for aspect in toggle.aspects:
                wanted = aspect.requested(values)
                if wanted is not None:
                    answers = {aspect.effective(each) or "not reported" for each in evidence}
                    yield Setting.of(aspect.name, wanted, answers)

    def summary(self, evidence: Sequence[Evidence]) -> dict[str, object]:
        """The agents' effective settings in a few words; every differing answer is listed."""
        if not evidence or self.agents is None:
            return {}
        toggles = (name for toggle in self.toggles.values() for name in toggle.summary)
        return {name: _answers(name, evidence) for name in (*self.agents.summary, *toggles)}

    # -- what is measured ---------------------------------------------------------------------

    def component(self, name: str) -> Component | None:
        """Its component of this name, if it has it."""
        return next((each for each in self.components if each.name == name), None)

    def read_counters(self, output: str) -> str:
        """What a component's command has printed, in Prometheus's text format.

        :raises EvidenceError: it is not what the command prints.
        """
        return output

    def services(self, kube_proxy: str, values: Mapping[str, object]) -> ServicePlan:
        """By what connections of pods are led to Services.

        :param kube_proxy: iptables, nftables or none.
        """
        mechanism = NFTABLES if kube_proxy == "nftables" else IPTABLES
        return ServicePlan(expected=mechanism, possible=(mechanism,))

    def reported(self, agents: Mapping[str, Any]) -> Reported:
        """What results say for the report's rules.

        :param agents: as :meth:`summary` has put it into the results.
        """
        return Reported(overlay=False, flows=False)

    # -- addresses ----------------------------------------------------------------------------

    def enis(self, report: Mapping[str, Any]) -> tuple[Eni, ...]:
        """A node's ENIs, by device index, from what the CNI itself reports of them."""
        return ()

    def takes_prefixes(self, facts: PlatformFacts) -> bool:
        """Whether it can have delegated prefixes on such a node's ENIs."""
        return True

    def own_addresses(self, *, health_endpoint: bool) -> int:
        """How many of a node's addresses it takes for itself.

        :param health_endpoint: health checking between endpoints is on, where it has that.
        """
        return 0


def configuration(
    dataplane: Dataplane,
    values: Mapping[str, object],
    evidence: Sequence[Evidence],
    *,
    kube_proxy: tuple[str, str],
) -> tuple[Setting, ...]:
    """Every setting of the dataplane that is asked for, with what is at work.

    Only what the values decide is compared; what they leave open is the agents' own choice. A
    fall-back that was decided before the deployment is part of the values, so it is asked for here;
    that it was one is said with the toggles.

    :param kube_proxy: its mode as asked for and as it runs, ``none`` where there is none.
    """
    flat = dict(leaves(values))
    return (Setting("kube-proxy", *kube_proxy), *dataplane.settings(flat, evidence))


def _answers(name: str, evidence: Sequence[Evidence]) -> object:
    answers = {str(getattr(each, name)) for each in evidence}
    return answers.pop() if len(answers) == 1 else sorted(answers)
