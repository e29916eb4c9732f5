"""How many pods with an address of their own fit on a node, by its instance type's limits.

`python -m cni.capacity m6i.xlarge` shows it for both CNIs, with and without prefix delegation.
"""

import sys
from dataclasses import dataclass

from cni.dataplane import Dataplane
from cni.platform import DESCRIPTIONS, PlatformFacts, known_facts
from cni.registry import DATAPLANES

PREFIX_SIZE = 16
"""Addresses of a delegated prefix, a /28, which takes one address's place on an ENI."""

# Without a limit of its own a kubelet should run at most so many pods, by the number of vCPUs
# (awslabs/amazon-eks-ami, max-pods-calculator.sh).
_FEW_CPUS = 30
_RECOMMENDED_FEW, _RECOMMENDED_MANY = 110, 250
# `aws-node` and `kube-proxy`, which the VPC CNI's own figure counts in (eni-max-pods.txt).
_HOST_NETWORK_PODS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """How many pods a node's addresses are enough for."""

    enis: int
    addresses: int
    """That ENIs can have besides their own, on one node."""
    own: int
    """Of these, what the CNI's agent takes for itself."""

    @property
    def pods(self) -> int:
        """Pods with an address of their own. Pods of the host's network come on top."""
        return self.addresses - self.own


def capacity(
    facts: PlatformFacts,
    dataplane: Dataplane,
    *,
    prefix_delegation: bool,
    health_endpoint: bool = True,
) -> Capacity:
    """The limit that a node's ENIs set.

    Every ENI's primary address is left alone; what else is not for pods, the CNI says.

    :raises ValueError: a platform without ENIs.
    """
    prefixes = prefix_delegation and dataplane.takes_prefixes(facts)
    enis, addresses = _addresses(facts, prefixes=prefixes)
    own = dataplane.own_addresses(health_endpoint=health_endpoint)
    return Capacity(enis=enis, addresses=addresses, own=own)


def _addresses(facts: PlatformFacts, *, prefixes: bool) -> tuple[int, int]:
    """A node's ENIs, and the addresses that they can have beside their own primary ones."""
    if facts.max_enis is None or facts.addresses_per_eni is None:
        raise ValueError(f"{facts.instance_type}: its limits of ENIs are not known")
    slots = facts.max_enis * (facts.addresses_per_eni - 1)
    return facts.max_enis, slots * PREFIX_SIZE if prefixes else slots


def in_short(
    facts: PlatformFacts,
    dataplane: Dataplane,
    *,
    prefix_delegation: bool,
    health_endpoint: bool = True,
) -> dict[str, object]:
    """A node's limits for a result's reader: as configured, and both ways."""
    single, prefixes = (
        capacity(facts, dataplane, prefix_delegation=each, health_endpoint=health_endpoint)
        for each in (False, True)
    )
    return {
        "instance_type": facts.instance_type,
        "enis": single.enis,
        "pods": prefixes.pods if prefix_delegation else single.pods,
        "pods_with_single_addresses": single.pods,
        "pods_with_prefixes": prefixes.pods,
        "recommended_max_pods": recommended_max_pods(facts),
    }


def vpc_cni_max_pods(facts: PlatformFacts, *, prefix_delegation: bool) -> int:
    """`max-pods` of an EKS node with the VPC CNI, pods of the host's network counted in.

    Without prefixes this is the table eni-max-pods.txt; with them, the calculator's recommendation.
    """
    fits = _addresses(facts, prefixes=prefix_delegation)[1] + _HOST_NETWORK_PODS
    return min(fits, recommended_max_pods(facts)) if prefix_delegation else fits


def recommended_max_pods(facts: PlatformFacts) -> int:
    """What a kubelet should run at most, whatever addresses there are."""
    return _RECOMMENDED_FEW if facts.vcpus <= _FEW_CPUS else _RECOMMENDED_MANY


def table(facts: PlatformFacts) -> str:
    """The four limits of an instance type, as lines for a terminal."""
    lines = [
        f"{facts.instance_type}: {facts.max_enis} ENIs of {facts.addresses_per_eni} addresses; "
        f"a kubelet should run at most {recommended_max_pods(facts)} pods",
        f"{'CNI':8} {'on ENIs':12} {'addresses':>9} {'pods':>5}  max-pods of an EKS node",
    ]
    for name, dataplane in DATAPLANES.items():
        for prefixes in (False, True):
            limits = capacity(facts, dataplane, prefix_delegation=prefixes)
            kind = "/28 prefixes" if prefixes else "addresses"
            maximum = (
                str(vpc_cni_max_pods(facts, prefix_delegation=prefixes))
                if dataplane.eks_default
                else "as its node group sets it"
            )
            lines.append(f"{name:8} {kind:12} {limits.addresses:9} {limits.pods:5}  {maximum}")
    return "\n".join(lines)


def main() -> None:
    """Show the limits of the instance types that are named, m6i.xlarge where none is."""
    for name in sys.argv[1:] or ["m6i.xlarge"]:
        facts = known_facts(name)
        if facts is None:
            sys.exit(f"{name}: not known here, which knows {', '.join(DESCRIPTIONS)}")
        print(table(facts))


if __name__ == "__main__":
    main()
