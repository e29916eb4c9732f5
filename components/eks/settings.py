"""The EKS cluster's settings, checked alone and against each other; its name and its tags."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from cni.platform import version_numbers
from cni.registry import DATAPLANES
from cni.scenario import Scenario
from cni.settings import SETTINGS as MODEL
from cni.settings import Cidr, Problem, did_you_mean, property_path
from components.kubernetes.unexplained import UNEXPLAINED
from components.settings import PROJECT, Settings, TargetSettings, overlapping_ranges, small_pool

CALLER = "caller"
"""In `apiCidrs`: the public address that this machine's own requests come from."""

# A quota of EKS, "Public endpoint access CIDR ranges per cluster".
_MAX_API_CIDRS = 40
# EKS refuses what no packet from the internet can come from ("Cluster API server endpoint").
_NOT_PUBLIC = tuple(
    IPv4Network(cidr)
    for cidr in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
    )
)
_NFTABLES_FROM = (1, 33)
# As many zones as any region has.
_MAX_ZONES = 6
_MOST_TOGETHER = 3
# AWS allows 50 tags to a resource; some of them are ours and its services'.
_MAX_TAGS = 30
_TAG_TEXT = r"[\w .:/=+\-@]+"
_OWN_TAGS = re.compile(r"(aws:|cni-benchmark:|eks:|io\.cilium/|kubernetes\.io/).*|Name")


def _kubernetes_version(text: str) -> str:
    if not re.fullmatch(r"\d+\.\d+", text):
        raise ValueError("must be a Kubernetes minor version such as 1.35")
    return text


def _vpc_network(cidr: str) -> str:
    if not 16 <= IPv4Network(cidr).prefixlen <= 20:
        raise ValueError("must be a /16 to a /20: EC2's largest, and room for every pod")
    return cidr


def _who(text: str) -> str:
    if text == CALLER:
        return text
    try:
        network = IPv4Network(text)
    except ValueError:
        network = None
    # Without a length it would be the one address, which is not what was written.
    if network is None or "/" not in text:
        raise ValueError(
            f"must be {CALLER} or an IPv4 network such as 203.0.113.7/32"
            f"{did_you_mean(text, [CALLER])}"
        )
    if any(network.subnet_of(reserved) for reserved in _NOT_PUBLIC):
        raise ValueError("must be public addresses: the endpoint is reached over the internet")
    return text


def _some_once_each(networks: tuple[str, ...]) -> tuple[str, ...]:
    # Not a constraint of the field: pydantic would report it beside every wrong item.
    if not networks:
        raise ValueError("must have at least 1")
    if len(set(networks)) < len(networks):
        raise ValueError("must not have a network twice")
    return networks


def _number(value: object) -> object:
    """`pulumi config set --path` writes 2.5 as text."""
    if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    return value


class EksSettings(BaseModel):
    """The EKS cluster. Shared by all scenarios: its values stand in Pulumi.yaml."""

    model_config = MODEL

    version: Annotated[str, AfterValidator(_kubernetes_version)] = Field(examples=["1.35"])
    region: str = Field(examples=["ap-northeast-2"])
    zones: tuple[str, ...] = Field(
        min_length=2,
        max_length=_MAX_ZONES,
        strict=False,
        examples=[["ap-northeast-2a", "ap-northeast-2c"]],
    )
    """Of the cluster's subnets: EKS wants two."""
    node_zone: str = Field(examples=["ap-northeast-2a"])
    """All nodes are in it, so that no measurement crosses zones."""
    instance_type: str = Field(examples=["m6i.xlarge"])
    nodes: int = Field(ge=2, examples=[3])
    vpc_cidr: Annotated[Cidr, AfterValidator(_vpc_network)] = Field(examples=["10.0.0.0/16"])
    service_cidr: Cidr = Field(examples=["10.100.0.0/16"])
    api_cidrs: Annotated[
        tuple[Annotated[str, AfterValidator(_who)], ...],
        Field(max_length=_MAX_API_CIDRS, strict=False, examples=[[CALLER]]),
        AfterValidator(_some_once_each),
    ] = (CALLER,)
    """Who may reach the API server's public endpoint: IPv4 networks, or `caller`."""
    max_cost_usd: Annotated[float, BeforeValidator(_number)] = Field(
        default=10.0, gt=0, allow_inf_nan=False, examples=[10]
    )
    """Ceiling of one run's estimated cost, in US dollars; a preview above it is refused."""
    ttl_hours: Annotated[float, BeforeValidator(_number)] = Field(
        default=12.0, gt=0, allow_inf_nan=False, examples=[12]
    )
    """For how long the stack is meant to exist: past it, whatever touches it warns of its cost."""
    placement_group: bool | None = Field(default=None, examples=[True])
    """All nodes are in one cluster placement group, near each other in their zone; None: up to
    three nodes are, if their type can be. It is harder to find room for more of them."""
    profile: str | None = Field(default=None, min_length=1, examples=["default"])
    """The AWS profile; None is the AWS tools' own choice."""
    tags: dict[str, str] = Field(default_factory=dict, max_length=_MAX_TAGS)
    """Tags of everything that is made, beside this project's own."""

    def together(self, *, possible: bool) -> bool:
        """Whether nodes are in a cluster placement group.

        :param possible: their type can be.
        """
        if self.placement_group is None:
            return possible and self.nodes <= _MOST_TOGETHER
        return self.placement_group


def _problems(settings: Settings) -> Iterator[Problem]:
    """What is wrong between the section's settings, with its tags, or with a scenario on EKS."""
    scenario, eks = settings.scenario, settings.section(EksSettings)
    ranges = {"eks.serviceCidr": eks.service_cidr, "eks.vpcCidr": eks.vpc_cidr}
    yield from overlapping_ranges(scenario, ranges)
    yield from small_pool(scenario, eks.nodes)
    if scenario.pod_cidr is not None and scenario.toggles.asked("nativeRouting"):
        reason = "a VPC does not route a cluster pool's addresses; native routing wants ipam: eni"
        yield Problem("scenario.ipam", scenario.ipam, reason, "scenario.ipam", "eni")
    yield from _zones(eks)
    yield from _tags(eks)
    yield from _kube_proxy(eks, scenario)


def _zones(eks: EksSettings) -> Iterator[Problem]:
    for index, zone in enumerate(eks.zones):
        if not zone.startswith(eks.region):
            key = f"eks.zones[{index}]"
            yield Problem(key, zone, f"not a zone of {eks.region}", key, f"{eks.region}a")
    if len(set(eks.zones)) < len(eks.zones):
        reason = "the same zone twice: EKS wants subnets in two"
        yield Problem("eks.zones", eks.zones, reason, "eks.zones[1]", f"{eks.region}c")
    if eks.node_zone not in eks.zones:
        reason = f"not one of the cluster's zones, {', '.join(eks.zones)}"
        yield Problem("eks.nodeZone", eks.node_zone, reason, "eks.nodeZone", eks.zones[0])


def _tags(eks: EksSettings) -> Iterator[Problem]:
    for name, value in eks.tags.items():
        key = property_path(("eks", "tags", name))
        if _OWN_TAGS.fullmatch(name):
            reason = "a tag that AWS, the cluster or this project sets itself"
            yield Problem(key, value, reason, key)
        for text, what, longest in ((name, "name", 128), (value, "value", 256)):
            if len(text) > longest or not re.fullmatch(_TAG_TEXT, text):
                reason = f"a tag's {what} is 1 to {longest} letters, digits, spaces and .:/=+-@_"
                yield Problem(key, value, reason, key)


def _kube_proxy(eks: EksSettings, scenario: Scenario) -> Iterator[Problem]:
    """Where EKS's add-on has kube-proxy's nftables mode (EKS best practices, "nftables mode")."""
    if scenario.kube_proxy != "nftables":
        return
    key = "scenario.kubeProxy"
    cni, since = scenario.dataplane, scenario.dataplane.nftables_from
    if since and version_numbers(scenario.cni_version) < version_numbers(since):
        reason = f"{cni.title} goes with this mode from {since} on only"
        yield Problem(key, "nftables", reason, key, "iptables")
    elif version_numbers(eks.version) < _NFTABLES_FROM:
        reason = f"EKS's kube-proxy has this mode from 1.33 on, and eks.version is {eks.version}"
        yield Problem(key, "nftables", reason, key, "iptables")


SETTINGS = TargetSettings(
    name="eks",
    sections={"eks": EksSettings},
    problems=_problems,
    up_seconds=34 * 60.0,
    unexplained=UNEXPLAINED,
)

# -- names and tags ---------------------------------------------------------------------------

CLUSTER_TAG = f"{PROJECT}:cluster"
"""On everything that a stack makes, with the cluster's name as its value."""

STACK_TAG = f"{PROJECT}:stack"
"""The same, with the stack's name, for whoever looks for what a stack has made."""

# As cni.platform.ClusterEndpoint wants it: Cilium tags its ENIs with the name.
_LONGEST = 32
_DIGEST = 6


def cluster_name(organization: str, stack: str) -> str:
    """A stack's cluster: the same at every `up`, another for every stack of every organization.

    At most 32 of a-z, 0-9 and `-`. It must be known before there is a cluster (IAM conditions and
    Cilium's values hold it), so it is not left to the engine to make it unique.
    """
    identity = f"{organization}/{PROJECT}/{stack}".encode()
    digest = hashlib.sha256(identity).hexdigest()[:_DIGEST]
    readable = re.sub(r"[^a-z0-9]+", "-", f"{PROJECT}-{stack}".lower())
    return f"{readable[: _LONGEST - _DIGEST - 1].strip('-')}-{digest}"


def tags(cluster: str, stack: str, own: Mapping[str, str]) -> dict[str, str]:
    """The tags of everything that a stack makes: whose it is, then the user's own."""
    return {CLUSTER_TAG: cluster, STACK_TAG: stack, **own}


def interface_tags(cni: str, cluster: str) -> dict[str, str]:
    """The tags of every ENI that a CNI makes for a cluster."""
    return dict(DATAPLANES[cni].interface_tags(cluster, {CLUSTER_TAG: cluster}))
