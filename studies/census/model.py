"""What a census holds: numbers, and words of closed lists.

The model is the guard. Text of a cluster has no field to be in: every text here is one of a few
words, or a version in digits, so that what a reader puts in by mistake is refused.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationError, model_validator

from bench.environment import Model
from bench.text import load_json, number, problem
from cni.registry import DATAPLANES

SCHEMA: Final = "cni-benchmark/census/v1"

Count = Annotated[int, Field(ge=0, le=10**9)]
Version = Annotated[str, Field(pattern=r"^\d{1,4}(\.\d{1,4}){1,2}$")]
_INSTANCE_TYPE = (
    r"(a|c|d|dl|f|g|gr|h|hpc|i|im|inf|is|m|mac|p|r|t|trn|u|vt|x|z)\d{1,2}[a-z]{0,4}"
    r"(-[a-z\d]{1,6})?\.(nano|micro|small|medium|large|\d{0,3}xlarge|metal(-\d{1,3}xl)?)"
)
InstanceType = Annotated[str, Field(pattern=rf"^({_INSTANCE_TYPE}|unknown)$")]
"""EC2's; ``unknown`` for nodes that are no instances."""

ServiceType = Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]
KubeProxyMode = Literal["iptables", "ipvs", "nftables", "none", "other"]
PolicyKind = Literal["NetworkPolicy", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"]
Part = Literal[
    "the API server's version", "nodes", "the CNI", "the CNI's settings", "kube-proxy's mode",
    "pods", "Services", "endpoints", "changes of endpoints", PolicyKind,
]  # fmt: skip
Reason = Literal[
    "may not be read (403)",
    "the cluster does not have it (404)",
    "the API server did not answer in time, or broke off",
    "not asked for: the API server had not answered before",
    "the API server had forgotten its beginning (410)",
    "the API server refused it",
    "its answer makes no sense",
    "the cluster does not tell it",
]


def is_instance_type(text: str) -> bool:
    """Whether EC2 may call instances so."""
    return re.fullmatch(_INSTANCE_TYPE, text) is not None


class CensusError(Exception):
    """A file that is no census of this version; the message says so in one line, with the fix."""


class CensusModel(Model):
    """Data of a census, which takes no value for another's kind."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Tally(CensusModel):
    """So many have this number."""

    value: Count
    count: Count


class ServiceShape(CensusModel):
    """Services that are alike.

    ``endpoints``: ready ones, each address once, of the IP family that has more; None where they
    could not be read.
    """

    type: ServiceType
    headless: bool
    ports: Count
    endpoints: Count | None
    count: Count


class PolicyShape(CensusModel):
    """Policies that are alike: their rules in both directions, with what those name in all.

    ``peers`` are selectors, address ranges, entities, names and Services, ``layer_7`` the lists of
    ports with rules by HTTP, DNS and the like.
    """

    kind: PolicyKind
    rules: Count
    peers: Count
    ports: Count
    layer_7: Count
    count: Count


class Churn(CensusModel):
    """What became of EndpointSlices in a time of ``seconds``.

    ``writes`` of them were told, of which ``changes`` changed a ready endpoint or a port. ``came``
    and ``went`` are endpoints. ``services`` has how many changes those Services had that had any.
    """

    seconds: Annotated[float, Field(ge=1, le=10**7)]
    writes: Count
    changes: Count
    came: Count
    went: Count
    services: tuple[Tally, ...]

    @property
    def per_minute(self) -> float:
        """Changes per minute."""
        return 60 * self.changes / self.seconds


class NodeShape(CensusModel):
    """Nodes that are alike. ``kernel`` is without what its maker has added to the version."""

    kernel: Version | Literal["unknown"]
    instance_type: InstanceType
    architecture: Literal["amd64", "arm64", "other"]
    count: Count


class CniShape(CensusModel):
    """The CNI: the name that scenarios have for it, ``other`` or ``none``; ``version`` None if not
    told. ``settings`` are those that it has declared to be public."""

    kind: str
    version: Version | None
    settings: dict[str, str]

    @model_validator(mode="after")
    def _says_nothing_of_its_user(self) -> "CniShape":
        dataplane = DATAPLANES.get(self.kind)
        if dataplane is None and (self.kind not in ("other", "none") or self.settings):
            raise ValueError("a CNI that is not known here")
        if dataplane is not None and dataplane.told(self.settings) != self.settings:
            raise ValueError("a setting that is not told of others")
        return self


class Missing(CensusModel):
    """What a census lacks, and why."""

    what: Part
    why: Reason

    @property
    def is_known(self) -> bool:
        """The answer is known to be none: the cluster has no such kind."""
        return self.why == "the cluster does not have it (404)"


class Census(CensusModel):
    """The shape of a cluster; None stands for what could not be read.

    ``pods_per_node`` counts those that have not ended.
    """

    schema_: Literal["cni-benchmark/census/v1"] = Field(default=SCHEMA, alias="schema")
    kubernetes: Version | None
    nodes: tuple[NodeShape, ...] | None
    cni: CniShape | None
    kube_proxy: KubeProxyMode | None
    pods_per_node: tuple[Tally, ...] | None
    services: tuple[ServiceShape, ...] | None
    churn: Churn | None
    policies: tuple[PolicyShape, ...]
    missing: tuple[Missing, ...]

    @property
    def partial(self) -> str | None:
        """What is missing, in one line; None where nothing is that the cluster has."""
        lacking = [f"{each.what}: {each.why}" for each in self.missing if not each.is_known]
        return f"a partial census, without {'; '.join(lacking)}" if lacking else None

    @property
    def service_count(self) -> int:
        """All Services."""
        return sum(each.count for each in self.services or ())

    @property
    def policy_count(self) -> int:
        """All policies."""
        return sum(each.count for each in self.policies)

    def to_json(self) -> str:
        """The file."""
        return self.model_dump_json(by_alias=True, indent=1) + "\n"


def read_census(path: Path) -> Census:
    """Read a census from its file.

    :raises CensusError: there is none in it, or one of another version.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = load_json(text)
    except OSError as error:
        raise CensusError(f"{path}: no census: {error.strerror}") from None
    except ValueError as error:
        raise CensusError(f"{path}: no census: {error}") from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        told = f"its schema is {schema!r}" if isinstance(schema, str) else "it has no schema"
        raise CensusError(
            f"{path}: {told}, and this version reads {SCHEMA!r}. Fix: take the census anew with "
            f"this version: python -m bench census --kubeconfig FILE --out {path}"
        )
    try:
        return Census.model_validate_json(text)
    except ValidationError as error:
        raise CensusError(
            f"{path}: no census: {problem(error)}. Fix: take it anew, files are not made by hand"
        ) from None


# -- in words -------------------------------------------------------------------------------------


def described(census: Census) -> list[str]:
    """The census in a few lines for people; nothing but what it holds."""
    lines = [_cluster(census)]
    if census.services is not None:
        lines.append(_services(census.services))
    if census.churn is not None:
        lines.append(_churn(census.churn))
    if not any(each.what == "NetworkPolicy" for each in census.missing) or census.policies:
        lines.append(_policies(census.policies))
    return lines


def _cluster(census: Census) -> str:
    parts = []
    if census.cni is not None:
        parts.append(f"CNI {census.cni.kind} {census.cni.version or '(version not told)'}")
    if census.kube_proxy is not None:
        parts.append(f"kube-proxy {census.kube_proxy}")
    if census.kubernetes is not None:
        parts.append(f"Kubernetes {census.kubernetes}")
    if census.nodes is not None:
        kernels = _by(census.nodes, lambda each: f"kernel {each.kernel}")
        types = _by(census.nodes, lambda each: each.instance_type)
        parts.append(f"{_total(census.nodes):,} nodes ({kernels}; {types})")
    if census.pods_per_node is not None:
        pods = sum(each.value * each.count for each in census.pods_per_node)
        parts.append(f"{pods:,} pods, per node {spread(census.pods_per_node)}")
    return "; ".join(parts) or "nothing is known of the cluster itself"


def _services(shapes: Sequence[ServiceShape]) -> str:
    headless = _total(each for each in shapes if each.headless)
    kinds = _by(shapes, lambda each: each.type) + f", {headless:,} headless" * (headless > 0)
    ports = spread(tallied({each.ports: each.count} for each in shapes))
    known = [{each.endpoints: each.count} for each in shapes if each.endpoints is not None]
    endpoints = f"; endpoints {spread(tallied(known))}" if known else ""
    return f"{_total(shapes):,} Services ({kinds}); ports {ports}{endpoints}"


def _churn(churn: Churn) -> str:
    services = _total(churn.services)
    return (
        f"{churn.changes:,} changes of endpoints in {number(churn.seconds)} s "
        f"({number(churn.per_minute)} a minute), of {services:,} Services: "
        f"{churn.came:,} came, {churn.went:,} went"
    )


def _policies(shapes: Sequence[PolicyShape]) -> str:
    if not shapes:
        return "no policies"
    rules = spread(tallied({each.rules: each.count} for each in shapes))
    peers = spread(tallied({each.peers: each.count} for each in shapes))
    kinds = _by(shapes, lambda each: each.kind)
    return f"{_total(shapes):,} policies ({kinds}); rules {rules}; peers {peers}"


T = TypeVar("T", NodeShape, PolicyShape, ServiceShape, Tally)


def _total(shapes: Iterable[T]) -> int:
    return sum(each.count for each in shapes)


def _by(shapes: Iterable[T], name: Any) -> str:
    counts: dict[str, int] = {}
    for each in shapes:
        counts[name(each)] = counts.get(name(each), 0) + each.count
    largest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{text} {count:,}" for text, count in largest)


def tallied(counts: Iterable[Mapping[int, int]]) -> tuple[Tally, ...]:
    """How often each number is there, in the order of the numbers."""
    totals: dict[int, int] = {}
    for each in counts:
        for value, count in each.items():
            totals[value] = totals.get(value, 0) + count
    return tuple(Tally(value=value, count=totals[value]) for value in sorted(totals))


def spread(tallies: Sequence[Tally]) -> str:
    """The least, the median and the most: ``0 to 120, median 3``."""
    if not tallies:
        return "none"
    least, most = tallies[0].value, tallies[-1].value
    if least == most:
        return f"{least:,} each"
    return f"{least:,} to {most:,}, median {at_share(tallies, 0.5):,}"


def at_share(tallies: Sequence[Tally], share: float) -> int:
    """The smallest number that so large a share of all has at most.

    :param tallies: in the order of their numbers; some.
    """
    left = share * _total(tallies)
    for each in tallies:
        left -= each.count
        if left <= 0:
            return each.value
    return tallies[-1].value
