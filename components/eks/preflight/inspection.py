"""What follows from AWS's answers: findings, the nodes' facts, and the cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bench.workloads import WORKLOADS
from cni.platform import PlatformError, PlatformFacts, al2023_kernel, from_describe_instance_types
from cni.problems import Problem
from components.eks.nodes import VOLUME_GIB
from components.eks.preflight import (
    cost,
    duration,
    existing,
    instance,
    permissions,
    prices,
    quota,
    region,
    versions,
    vpc_cni,
)
from components.eks.preflight.account import Questions
from components.eks.preflight.enquiry import Asked, Enquiry
from components.eks.preflight.findings import Caution, Finding, Refusal
from components.eks.preflight.subject import Subject

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

# Of the cluster on every node, beside the benchmark's: CNI, kube-proxy, node probe; and on some
# node CoreDNS twice and Cilium's operator.
_CLUSTER_PODS = 6
# As `components.eks.network` makes them: one gateway, with one address.
NAT_GATEWAYS = 1
PUBLIC_ADDRESSES = 1
# Images that a node pulls (agents, workloads, tools), compressed; an estimate.
_DOWNLOAD_GIB = 1.0


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What the checks lead to; None where a problem is in the way, which is a finding then."""

    facts: PlatformFacts | None
    cost: cost.Cost | None
    vpc_cni: str | None
    """The add-on's build, for a scenario that has it."""
    duration: duration.Duration
    findings: tuple[Finding, ...]


def conclude(enquiry: Enquiry, asked: Questions, subject: Subject, ec2: EC2Client) -> Conclusion:
    """Judge all answers; what lacks its answer is left out, which itself is a finding."""
    return _Inspection(enquiry, asked, subject, ec2).conclude()


class _Inspection:
    def __init__(
        self, enquiry: Enquiry, asked: Questions, subject: Subject, ec2: EC2Client
    ) -> None:
        self._enquiry, self._asked, self._subject, self._ec2 = enquiry, asked, subject, ec2
        self._eks = subject.eks
        self._found: list[Finding] = []

    def conclude(self) -> Conclusion:
        subject = self._subject
        cluster = self._enquiry.needed(self._asked.cluster)
        own = cluster if cluster and cluster.ours else None
        length = duration.estimate(subject.plan, cluster_exists=own is not None)
        self._zones()
        extended = self._version(own)
        build = self._vpc_cni()
        facts = self._instance()
        self._quotas(facts)
        self._found += existing.judge_cluster(
            cluster, subject.cluster, self._eks.region, subject.stack
        )
        self._leftovers(cluster_exists=cluster is not None)
        estimate = self._cost(length, extended_support=extended)
        self._permissions()
        findings = (*self._found, *self._enquiry.findings)
        return Conclusion(facts, estimate, build, length, findings)

    def _zones(self) -> None:
        zones = self._enquiry.needed(self._asked.zones)
        if zones is not None:
            self._found += region.judge_zones(self._eks, zones)

    def _version(self, own: existing.ExistingCluster | None) -> bool:
        """Whether the version is in extended support."""
        name = self._eks.version
        unchecked = f"whether EKS offers {name}; the estimate has the extended support's surcharge"
        offered = self._enquiry.wanted(self._asked.versions, unchecked)
        if offered is None:
            return True
        self._found += versions.judge(
            name, offered, self._subject.now, existing=own.version if own else None
        )
        found = versions.find(name, offered)
        return found is not None and found.extended

    def _vpc_cni(self) -> str | None:
        wanted, asked = self._subject.vpc_cni, self._asked.vpc_cni
        if wanted is None or asked is None:
            return None
        if any(isinstance(each, Problem) and each.key == "eks.version" for each in self._found):
            return None  # another version has other builds
        offers = self._enquiry.needed(asked)
        if offers is None:
            return None
        self._found += vpc_cni.judge(wanted, offers, self._eks)
        return vpc_cni.latest_build(offers, wanted)

    def _instance(self) -> PlatformFacts | None:
        eks = self._eks
        having = self._enquiry.needed(self._asked.zones_with_type)
        item = self._enquiry.needed(self._asked.description)
        if item is None:
            if self._asked.description.answer.exception() is None:
                every = self._enquiry.ask("ec2", partial(instance.all_types, self._ec2))
                known = self._enquiry.wanted(every, "which instance types there are")
                self._found += instance.judge_missing(eks, known or frozenset())
            return None
        if having is not None:
            self._found += instance.judge_zones(eks, having)
        try:
            facts = from_describe_instance_types(item, kernel=al2023_kernel(eks.version))
        except PlatformError as error:
            self._found.append(Refusal("instance type", str(error), "choose another type"))
            return None
        pods = sum(workload.replicas for workload in WORKLOADS) + _CLUSTER_PODS
        self._found += instance.judge_fit(eks, facts, pods)
        return facts

    def _quotas(self, facts: PlatformFacts | None) -> None:
        asked, eks = self._asked, self._eks
        checks: list[tuple[quota.Quota, Asked[float], Asked[quota.Use], int]] = [
            (quota.VPCS, asked.vpc_limit, asked.vpcs, 1),
            (quota.ADDRESSES, asked.address_limit, asked.addresses, PUBLIC_ADDRESSES),
        ]
        if facts is not None:
            vcpus = quota.vcpu_quota(eks.instance_type)
            checks.insert(0, (vcpus, asked.vcpu_limit, asked.vcpus, eks.nodes * facts.vcpus))
        for of, limit, use, needed in checks:
            value = self._enquiry.wanted(limit, f"the quota of {of.name}")
            used = self._enquiry.wanted(use, f"the quota of {of.name}")
            if value is not None and used is not None:
                self._found += quota.judge(of, value, used, needed, eks.region)

    def _leftovers(self, *, cluster_exists: bool) -> None:
        interfaces = self._enquiry.wanted(self._asked.interfaces, "leftover network interfaces")
        networks = self._enquiry.wanted(self._asked.vpcs, "leftover VPCs")
        if interfaces is not None and networks is not None:
            self._found += existing.judge_leftovers(
                interfaces,
                networks,
                cluster_exists=cluster_exists,
                region=self._eks.region,
                stack=self._subject.stack,
            )

    def _cost(self, length: duration.Duration, *, extended_support: bool) -> cost.Cost | None:
        eks = self._eks
        tried = {what: self._enquiry.tried(asked) for what, asked in self._asked.prices.items()}
        try:
            found = prices.complete(tried, eks.region, eks.instance_type)
        except prices.PriceError as error:
            unknown = f"{error}; so eks.maxCostUsd could not be kept"
            fix = "allow pricing:GetProducts, which costs nothing, or choose another type or region"
            self._found.append(Refusal("cost", unknown, fix))
            return None
        footprint = cost.Footprint(
            instance_type=eks.instance_type,
            nodes=eks.nodes,
            volume_gib=VOLUME_GIB,
            nat_gateways=NAT_GATEWAYS,
            public_addresses=PUBLIC_ADDRESSES,
            download_gib=eks.nodes * _DOWNLOAD_GIB,
            extended_support=extended_support,
        )
        estimate = cost.estimate(footprint, found, length)
        self._found += cost.judge(estimate, eks.max_cost_usd)
        return estimate

    def _permissions(self) -> None:
        try:
            denied = self._enquiry.wanted(self._asked.denied, "your permissions")
        except permissions.NotSimulatedError as error:
            self._found.append(Caution(f"not checked: your permissions ({error})"))
            return
        self._found += permissions.judge(denied or ())
