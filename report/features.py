"""Network policy: what VPC CNI and Cilium can do, from their documentation. Nothing is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Answer = Literal["yes", "partly", "no"]

READ_ON: Final = "November 2026"
"""When the documentation was looked up; it changes faster than this file."""


@dataclass(frozen=True, slots=True)
class Support:
    """Whether a CNI has a feature, with what limits it, and where its documentation says so."""

    answer: Answer
    how: str
    source: str


@dataclass(frozen=True, slots=True)
class Feature:
    """One kind of policy; ``support`` is by CNI as settings name it."""

    name: str
    meaning: str
    support: Mapping[str, Support]


CNIS: Final[Mapping[str, str]] = {"vpc-cni": "AWS VPC CNI", "cilium": "Cilium 1.16"}

_EKS = "https://docs.aws.amazon.com/eks/latest/userguide"
_CILIUM = "https://docs.cilium.io/en/v1.16"

FEATURES: Final[tuple[Feature, ...]] = (
    Feature(
        "L3/L4",
        "by pod, namespace, address and port",
        {
            "vpc-cni": Support(
                "yes",
                "Kubernetes NetworkPolicy from 1.14 on, enforced by eBPF; off until it is enabled",
                f"{_EKS}/cni-network-policy.html",
            ),
            "cilium": Support(
                "yes",
                "Kubernetes NetworkPolicy and CiliumNetworkPolicy, by identity",
                f"{_CILIUM}/network/kubernetes/policy/",
            ),
        },
    ),
    Feature(
        "L7",
        "by HTTP method and path, DNS name, Kafka topic",
        {
            "vpc-cni": Support(
                "no",
                "layers 3 and 4 only",
                f"{_EKS}/cni-network-policy.html",
            ),
            "cilium": Support(
                "yes",
                "HTTP, DNS, Kafka (beta), through Envoy on each node, which adds latency to what "
                "it reads",
                f"{_CILIUM}/security/policy/language/#layer-7-examples",
            ),
        },
    ),
    Feature(
        "FQDN",
        "egress by domain name",
        {
            "vpc-cni": Support(
                "partly",
                "ApplicationNetworkPolicy, in EKS Auto Mode clusters only; not on nodes of one's "
                "own",
                "https://aws.amazon.com/blogs/containers/"
                "amazon-eks-introduces-enhanced-network-policy-capabilities",
            ),
            "cilium": Support(
                "yes",
                "toFQDNs, through the agent's DNS proxy",
                f"{_CILIUM}/security/policy/language/#dns-based",
            ),
        },
    ),
    Feature(
        "Cluster-wide",
        "rules of the platform's team above those of namespaces",
        {
            "vpc-cni": Support(
                "partly",
                "ClusterNetworkPolicy from 1.21 on and Kubernetes 1.29; not in the 1.19 that is "
                "measured here",
                f"{_EKS}/cni-network-policy-configure.html",
            ),
            "cilium": Support(
                "yes",
                "CiliumClusterwideNetworkPolicy",
                f"{_CILIUM}/network/kubernetes/policy/#ciliumclusterwidenetworkpolicy",
            ),
        },
    ),
    Feature(
        "Host-level",
        "the node's own traffic, and pods in its network",
        {
            "vpc-cni": Support(
                "no",
                "enforced at each pod's veth interface, where the node's own traffic does not "
                "pass; security groups guard nodes",
                "https://github.com/aws/aws-network-policy-agent",
            ),
            "cilium": Support(
                "yes",
                "host firewall (hostFirewall.enabled): cluster-wide policies with a node selector",
                f"{_CILIUM}/security/host-firewall/",
            ),
        },
    ),
    Feature(
        "Visibility",
        "which flow was let through or dropped, and why",
        {
            "vpc-cni": Support(
                "partly",
                "the policy agent's decisions as log lines, on the node or in CloudWatch",
                f"{_EKS}/network-policies-troubleshooting.html",
            ),
            "cilium": Support(
                "yes",
                "Hubble: flows with identities, verdicts and L7 fields, metrics, a service map; "
                "the toggle hubbleOff takes it away",
                f"{_CILIUM}/observability/hubble/",
            ),
        },
    ),
)
