"""All checks of a stack at once: on this machine, and in its AWS account."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from botocore.exceptions import UnknownRegionError

from bench.plan import Plan
from bench.workloads import WORKLOADS
from cni.platform import PlatformError, PlatformFacts, al2023_kernel, from_describe_instance_types
from cni.scenario import Scenario
from cni.settings import Problem
from components.eks import credentials
from components.eks.aws import Calls, Caution, Clients, Finding, Pending, Refusal, connect
from components.eks.cluster import VOLUME_GIB
from components.eks.dataplane.registry import dataplane
from components.eks.names import CLUSTER_TAG
from components.eks.preflight import account, cost, machine, offers, permissions
from components.eks.settings import CALLER, EksSettings

# Of the cluster on every node, beside the benchmark's: CNI, kube-proxy, node probe; and on some
# node CoreDNS twice and Cilium's operator.
_CLUSTER_PODS = 6
# As `components.eks.network` makes them: one gateway, with one address.
_NAT_GATEWAYS = 1
_PUBLIC_ADDRESSES = 1
# Images that a node pulls (agents, workloads, tools), compressed; an estimate.
_DOWNLOAD_GIB = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The stack that is checked.

    :param cluster: the cluster's name, which is also the value of the tag on all of the stack.
    :param now: the time of the check, with a time zone.
    """

    eks: EksSettings
    scenario: Scenario
    plan: Plan
    stack: str
    cluster: str
    now: datetime

    @property
    def tag(self) -> account.Tag:
        """Name and value of the tag that everything of the stack has."""
        return CLUSTER_TAG, self.cluster


@dataclass(frozen=True, slots=True)
class Account:
    """Whose credentials they are: the account's number, and the partition (`aws`) it is in."""

    number: str
    partition: str


@dataclass(frozen=True, slots=True)
class Survey:
    """The findings of all checks, and what they learnt; None where a problem is in the way.

    :param cni_build: the add-on's build, v1.19.2-eksbuild.5; None for a CNI that is no add-on.
    """

    findings: tuple[Finding, ...]
    account: Account | None = None
    facts: PlatformFacts | None = None
    cost: cost.Cost | None = None
    cni_build: str | None = None
    api_cidrs: tuple[str, ...] | None = None


def survey(subject: Subject) -> Survey:
    """Check a stack. Independent checks all run, whatever others find."""
    networks = subject.eks.api_cidrs
    # These three wait for something outside, while AWS is asked.
    with ThreadPoolExecutor(max_workers=3) as pool:
        images = pool.submit(machine.look_up_images, (workload.image for workload in WORKLOADS))
        cli = pool.submit(machine.aws_cli_version)
        address = pool.submit(machine.public_address) if CALLER in networks else None
        inside = _check_account(subject)
        findings = [*machine.check_aws_cli(cli.result()), *inside.findings]
        findings += machine.check_images(images.result())
        try:
            cidrs = machine.resolve_caller(networks, address.result() if address else None)
        except machine.CallerUnknownError as error:
            cidrs = None
            findings.append(machine.caller_unknown(error, networks))
    return replace(inside, findings=tuple(findings), api_cidrs=cidrs)


def _check_account(subject: Subject) -> Survey:
    try:
        profile = credentials.open_profile(subject.eks.profile)
        loaded = credentials.read(profile, subject.now)
    except credentials.CredentialsError as error:
        return Survey((error.finding,))

    def lasting(duration: cost.Duration) -> tuple[Finding, ...]:
        needed = timedelta(minutes=duration.up)
        return tuple(credentials.check(loaded, subject.now, needed, profile.login))

    if loaded.ended(subject.now):  # with these boto3 does not even ask
        return Survey(lasting(cost.estimate_duration(subject.plan, cluster_exists=False)))
    with Calls(profile.login) as calls:
        inside, duration = _ask_aws(subject, profile, calls)
    return replace(inside, findings=(*lasting(duration), *inside.findings))


def _ask_aws(
    subject: Subject, profile: credentials.Profile, calls: Calls
) -> tuple[Survey, cost.Duration]:
    """What AWS says, and how long a run takes. A wrong caller or region ends it early."""
    eks = subject.eks
    duration = cost.estimate_duration(subject.plan, cluster_exists=False)
    session = profile.session(eks.region)
    try:
        clients = connect(session, eks.region)
    except UnknownRegionError:
        known = session.get_available_regions("eks")
        return Survey(tuple(offers.check_region(eks.region, known))), duration
    caller = calls.start("sts", clients.sts.get_caller_identity)
    regions = calls.start("ec2", partial(offers.regions, clients.home_ec2))
    identity = calls.required(caller)
    if identity is None:
        return Survey(tuple(calls.findings)), duration
    owner = Account(identity["Account"], identity["Arn"].split(":")[1])
    known_regions = calls.optional(regions, f"whether {eks.region} is enabled for the account")
    closed = tuple(offers.check_region(eks.region, known_regions)) if known_regions else ()
    if closed:
        return Survey((*closed, *calls.findings), owner), duration
    inspection = _Inspection(subject, calls, clients, identity["Arn"])
    inside = replace(inspection.run(), account=owner)
    return inside, inspection.duration


class _Inspection:
    """The region's and the account's checks. All calls start at once, when it is made.

    :param caller: the ARN of who asks.
    :ivar duration: of the run, known once :meth:`run` has ended.
    """

    duration: cost.Duration

    def __init__(self, subject: Subject, calls: Calls, clients: Clients, caller: str) -> None:
        self._subject, self._calls, self._ec2 = subject, calls, clients.ec2
        self._eks = eks = subject.eks
        self._findings: list[Finding] = []
        self._addon = dataplane(subject.scenario.cni).addon
        start, tag, name = calls.start, subject.tag, eks.instance_type
        ec2, limits = clients.ec2, clients.quotas
        self._zones = start("ec2", partial(offers.zones, ec2))
        self._versions = start("eks", partial(offers.cluster_versions, clients.eks))
        self._builds = (
            start("eks", partial(offers.addon_builds, clients.eks, self._addon, eks.version))
            if self._addon
            else None
        )
        self._cluster = start(
            "eks", partial(account.existing_cluster, clients.eks, subject.cluster, tag)
        )
        self._type = start("ec2", partial(offers.describe_type, ec2, name))
        self._zones_with_type = start("ec2", partial(offers.zones_with_type, ec2, name))
        self._vpcs = start("ec2", partial(account.vpcs_in_use, ec2, tag))
        vcpus = account.vcpu_quota(name)
        uses = {
            vcpus: start("ec2", partial(account.vcpus_in_use, ec2, vcpus, tag)),
            account.VPCS: self._vpcs,
            account.ADDRESSES: start("ec2", partial(account.addresses_in_use, ec2, tag)),
        }
        self._quotas = [
            (quota, start("servicequotas", partial(account.quota_limit, limits, quota)), use)
            for quota, use in uses.items()
        ]
        self._interfaces = start("ec2", partial(account.stray_interfaces, ec2, tag))
        self._prices = {
            field: start(
                "pricing", partial(cost.look_up_price, clients.pricing, product, eks.region)
            )
            for field, product in cost.products(name).items()
        }
        self._denied = start("iam", partial(permissions.denied, clients.iam, caller, eks.region))

    def run(self) -> Survey:
        """Check all answers. A check whose answer is missing is left out, which is a finding."""
        subject = self._subject
        cluster = self._calls.required(self._cluster)
        own = cluster if cluster and cluster.ours else None
        self.duration = cost.estimate_duration(subject.plan, cluster_exists=own is not None)
        self._check_zones()
        extended = self._check_version(own)
        build = self._check_addon()
        facts = self._check_instance_type()
        self._check_quotas(facts)
        self._findings += account.check_cluster(
            cluster, subject.cluster, self._eks.region, subject.stack
        )
        self._check_leftovers(cluster_exists=cluster is not None)
        estimate = self._check_cost(extended_support=extended)
        self._check_permissions()
        findings = (*self._findings, *self._calls.findings)
        return Survey(findings, facts=facts, cost=estimate, cni_build=build)

    def _check_zones(self) -> None:
        zones = self._calls.required(self._zones)
        if zones is not None:
            self._findings += offers.check_zones(self._eks, zones)

    def _check_version(self, own: account.ExistingCluster | None) -> bool:
        """Whether the version is in extended support."""
        name = self._eks.version
        unchecked = f"whether EKS offers {name}; the estimate has the extended support's surcharge"
        offered = self._calls.optional(self._versions, unchecked)
        if offered is None:
            return True
        self._findings += offers.check_version(
            name, offered, self._subject.now, existing=own.version if own else None
        )
        version = offers.find_version(name, offered)
        return version is not None and version.extended

    def _check_addon(self) -> str | None:
        """The build of the CNI's add-on, where it is one."""
        if self._addon is None or self._builds is None:
            return None
        findings = self._findings
        if any(isinstance(each, Problem) and each.key == "eks.version" for each in findings):
            return None  # another version has other builds
        builds = self._calls.required(self._builds)
        if builds is None:
            return None
        scenario = self._subject.scenario
        title, version = scenario.dataplane.title, scenario.cni_version
        findings += offers.check_addon(title, version, builds, self._eks)
        return offers.latest_build(builds, version)

    def _check_instance_type(self) -> PlatformFacts | None:
        eks = self._eks
        having = self._calls.required(self._zones_with_type)
        item = self._calls.required(self._type)
        if item is None:
            if self._type.answer.exception() is None:
                every = self._calls.start("ec2", partial(offers.all_types, self._ec2))
                known = self._calls.optional(every, "which instance types there are")
                self._findings += offers.check_type_exists(eks, known or frozenset())
            return None
        if having is not None:
            self._findings += offers.check_type_zones(eks, having)
        try:
            facts = from_describe_instance_types(item, kernel=al2023_kernel(eks.version))
        except PlatformError as error:
            self._findings.append(Refusal("instance type", str(error), "choose another type"))
            return None
        pods = sum(workload.replicas for workload in WORKLOADS) + _CLUSTER_PODS
        self._findings += offers.check_type_fits(eks, facts, pods)
        return facts

    def _check_quotas(self, facts: PlatformFacts | None) -> None:
        needed = {account.VPCS: 1, account.ADDRESSES: _PUBLIC_ADDRESSES}
        if facts is not None:
            needed[account.vcpu_quota(self._eks.instance_type)] = self._eks.nodes * facts.vcpus
        for quota, limit, use in self._quotas:
            if quota in needed:
                self._check_quota(quota, limit, use, needed[quota])

    def _check_quota(
        self,
        quota: account.Quota,
        limit: Pending[float],
        use: Pending[account.Use],
        needed: int,
    ) -> None:
        value = self._calls.optional(limit, f"the quota of {quota.name}")
        used = self._calls.optional(use, f"the quota of {quota.name}")
        if value is not None and used is not None:
            self._findings += account.check_quota(quota, value, used, needed, self._eks.region)

    def _check_leftovers(self, *, cluster_exists: bool) -> None:
        interfaces = self._calls.optional(self._interfaces, "leftover network interfaces")
        networks = self._calls.optional(self._vpcs, "leftover VPCs")
        if interfaces is not None and networks is not None:
            self._findings += account.check_leftovers(
                interfaces,
                networks,
                cluster_exists=cluster_exists,
                region=self._eks.region,
                stack=self._subject.stack,
            )

    def _check_cost(self, *, extended_support: bool) -> cost.Cost | None:
        eks = self._eks
        listed = {field: self._calls.answer_or_reason(each) for field, each in self._prices.items()}
        try:
            prices = cost.complete(listed, eks.region, eks.instance_type)
        except cost.PriceError as error:
            reason = f"{error}; so eks.maxCostUsd could not be kept"
            fix = "allow pricing:GetProducts, which costs nothing, or choose another type or region"
            self._findings.append(Refusal("cost", reason, fix))
            return None
        footprint = cost.Footprint(
            instance_type=eks.instance_type,
            nodes=eks.nodes,
            volume_gib=VOLUME_GIB,
            nat_gateways=_NAT_GATEWAYS,
            public_addresses=_PUBLIC_ADDRESSES,
            download_gib=eks.nodes * _DOWNLOAD_GIB,
            extended_support=extended_support,
        )
        estimate = cost.estimate_cost(footprint, prices, self.duration)
        self._findings += cost.check_cost(estimate, eks.max_cost_usd)
        return estimate

    def _check_permissions(self) -> None:
        try:
            denied = self._calls.optional(self._denied, "your permissions")
        except permissions.NotSimulatedError as error:
            self._findings.append(Caution(f"not checked: your permissions ({error})"))
            return
        self._findings += permissions.check(denied or ())
