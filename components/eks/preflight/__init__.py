"""What is checked before anything is created on EKS, on this machine and in the AWS account, and
what it will cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pulumi
from botocore.exceptions import UnknownRegionError

from bench.plan import Plan
from bench.workloads import RUNNER_IMAGE, WORKLOADS
from cni.kubernetes import EKS_SUPPORT, EKS_SUPPORT_READ
from cni.platform import PlatformError, PlatformFacts, al2023_kernel, from_describe_instance_types
from cni.scenario import Scenario
from cni.settings import Problem
from components.eks import credentials
from components.eks.aws import Calls, Caution, Clients, Finding, Refusal, connect
from components.eks.cluster import VOLUME_GIB
from components.eks.dataplane import dataplane
from components.eks.preflight import account, cost, machine, offers
from components.eks.settings import CALLER, CLUSTER_TAG, EksSettings, cluster_name
from components.programs import check_pods_programs
from components.settings import PROJECT, Settings, StackFile

# Of the cluster on every node, beside the benchmark's: CNI, kube-proxy, node probe; and on some
# node CoreDNS twice and Cilium's operator.
_CLUSTER_PODS = 6
# As `components.eks.network` makes them: one gateway, with one address.
_NAT_GATEWAYS = 1
_PUBLIC_ADDRESSES = 1
# Images that a node pulls (agents, workloads, tools), compressed; an estimate.
_DOWNLOAD_GIB = 1.0


_IMAGES = tuple(workload.image for workload in WORKLOADS)


@dataclass(frozen=True, slots=True)
class Account:
    """Whose credentials they are: the account's number, and the partition (`aws`) it is in."""

    number: str
    partition: str


@dataclass(frozen=True, slots=True)
class Preflight:
    """What is known of the account and the platform before the first resource.

    :param account: the AWS account's number and partition.
    :param facts: of the instance type, as EC2 describes it.
    :param api_cidrs: who may reach the API server, as networks.
    :param cost: of a whole run, and per hour.
    :param cni_build: the add-on's build, v1.19.2-eksbuild.5; None for a CNI that is no add-on.
    :param kube_proxy_build: the same, EKS's own choice for the cluster's version; None for none, or
        where EKS has not said.
    :param warnings: what the reader of the results, and of the bill, should know.
    :param digests: what the tags of the workloads' images stand for, as far as that is told.
    :param since: when the stack's cluster was made; now, where it is not there yet.
    """

    account: Account
    facts: PlatformFacts
    api_cidrs: tuple[str, ...]
    cost: cost.Cost
    cni_build: str | None
    kube_proxy_build: str | None
    warnings: tuple[str, ...]
    since: datetime
    digests: Mapping[str, str] = field(default_factory=dict)


def check(settings: Settings, plan: Plan) -> Preflight:
    """Ask AWS, and this machine, whether a stack can be deployed as its settings say.

    :raises pulumi.RunError: it cannot; the text has one line for every problem.
    """
    check_pods_programs()
    stack, now = pulumi.get_stack(), datetime.now(UTC)
    cluster = cluster_name(pulumi.get_organization(), stack)
    result = survey(Subject.of(settings, plan, stack, cluster, now))
    lines = report(result.findings, StackFile(PROJECT, stack))
    if lines.problems:
        raise pulumi.RunError("\n".join(lines.problems))
    assert result.account and result.facts and result.cost and result.api_cidrs
    return Preflight(
        result.account,
        result.facts,
        result.api_cidrs,
        result.cost,
        result.cni_build,
        result.kube_proxy_build,
        lines.warnings,
        result.since or now,
        result.digests,
    )


@dataclass(frozen=True, slots=True)
class Report:
    """The findings of all checks as text: each line once, in the order of the checks."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def report(findings: Iterable[Finding], file: StackFile) -> Report:
    """The findings as lines; a setting comes with its file and the command that corrects it."""
    problems: dict[str, None] = {}
    warnings: dict[str, None] = {}
    for finding in findings:
        match finding:
            case Problem():
                problems[file.contradiction(finding)] = None
            case Refusal():
                problems[str(finding)] = None
            case Caution(text):
                warnings[text] = None
    return Report(tuple(problems), tuple(warnings))


# -- all checks at once ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The stack that is checked.

    :param cluster: the cluster's name, which is also the value of the tag on all of the stack.
    :param images: what nodes pull besides the workloads' images.
    :param near: the benchmark runs in the region, wherever its user is.
    :param now: the time of the check, with a time zone.
    """

    eks: EksSettings
    scenario: Scenario
    plan: Plan
    stack: str
    cluster: str
    now: datetime
    images: tuple[str, ...] = ()
    near: bool = False

    @classmethod
    def of(cls, settings: Settings, plan: Plan, stack: str, cluster: str, now: datetime) -> Subject:
        """A stack by its settings."""
        in_pod = settings.benchmark.runner == "pod"
        return cls(
            eks=settings.section(EksSettings),
            scenario=settings.scenario,
            plan=plan,
            stack=stack,
            cluster=cluster,
            now=now,
            images=(RUNNER_IMAGE,) if in_pod else (),
            near=in_pod,
        )

    @property
    def tag(self) -> account.Tag:
        """Name and value of the tag that everything of the stack has."""
        return CLUSTER_TAG, self.cluster

    def duration(self, *, exists: bool, round_trip: float | None = None) -> cost.Duration:
        """How long a run takes.

        :param exists: the stack is up already.
        :param round_trip: seconds to the region and back; None where that is not known.
        """
        return cost.estimate_duration(self.plan, cluster_exists=exists, round_trip=round_trip)


@dataclass(frozen=True, slots=True)
class Survey:
    """The findings of all checks, and what they learnt; None where a problem is in the way.

    :param cni_build: the add-on's build, v1.19.2-eksbuild.5; None for a CNI that is no add-on.
    :param kube_proxy_build: the same, EKS's own choice for the cluster's version; None for none, or
        where EKS has not said.
    :param since: when the stack's cluster was made.
    """

    findings: tuple[Finding, ...]
    account: Account | None = None
    facts: PlatformFacts | None = None
    cost: cost.Cost | None = None
    cni_build: str | None = None
    kube_proxy_build: str | None = None
    api_cidrs: tuple[str, ...] | None = None
    since: datetime | None = None
    digests: Mapping[str, str] = field(default_factory=dict)


def survey(subject: Subject) -> Survey:
    """Check a stack. Independent checks all run, whatever others find."""
    networks = subject.eks.api_cidrs
    # These three wait for something outside, while AWS is asked.
    with ThreadPoolExecutor(max_workers=3) as pool:
        images = pool.submit(machine.look_up_images, (*_IMAGES, *subject.images))
        cli = pool.submit(machine.aws_cli_version)
        address = pool.submit(machine.public_address) if CALLER in networks else None
        inside = _check_account(subject)
        findings = [*machine.check_aws_cli(cli.result()), *inside.findings]
        states = images.result()
        findings += machine.check_images(states)
        try:
            cidrs = machine.resolve_caller(networks, address.result() if address else None)
        except machine.CallerUnknownError as error:
            cidrs = None
            findings.append(machine.caller_unknown(error, networks))
    digests = machine.digests(states)
    return replace(inside, findings=tuple(findings), api_cidrs=cidrs, digests=digests)


def _check_account(subject: Subject) -> Survey:
    try:
        profile = credentials.open_profile(subject.eks.profile)
        loaded = credentials.read(profile, subject.now)
    except credentials.CredentialsError as error:
        return Survey((error.finding,))

    if loaded.ended(subject.now):  # with these boto3 does not even ask
        inside = Survey(())
    else:
        with Calls(profile.login) as calls:
            inside = _ask_aws(subject, profile, calls)
    known = inside.cost.duration if inside.cost else None
    length = timedelta(minutes=(known or subject.duration(exists=inside.since is not None)).up)
    lasting = credentials.check(loaded, subject.now, length, profile.login)
    return replace(inside, findings=(*lasting, *inside.findings))


def _ask_aws(subject: Subject, profile: credentials.Profile, calls: Calls) -> Survey:
    """What AWS says. A wrong caller or region ends it early."""
    eks = subject.eks
    session = profile.session(eks.region)
    try:
        clients = connect(session, eks.region)
    except UnknownRegionError:
        known = session.get_available_regions("eks")
        return Survey(tuple(offers.check_region(eks.region, known)))
    caller = calls.start("sts", clients.sts.get_caller_identity)
    regions = calls.start("ec2", offers.regions, clients.home_ec2)
    identity = calls.required(caller)
    if identity is None:
        return Survey(tuple(calls.findings))
    owner = Account(identity["Account"], identity["Arn"].split(":")[1])
    known_regions = calls.optional(regions, f"whether {eks.region} is enabled for the account")
    closed = tuple(offers.check_region(eks.region, known_regions)) if known_regions else ()
    if closed:
        return Survey((*closed, *calls.findings), owner)
    inspection = _Inspection(subject, calls, clients, identity["Arn"])
    return replace(inspection.run(), account=owner)


def _cautions(scenario: Scenario, version: str) -> Iterable[str]:
    """What is known of the CNI on the kernel of this version's nodes, and with the version."""
    return scenario.dataplane.cautions(scenario.cni_version, version, al2023_kernel(version))


class _Inspection:
    """The region's and the account's checks. All calls start at once, when it is made.

    :param caller: the ARN of who asks.
    """

    def __init__(self, subject: Subject, calls: Calls, clients: Clients, caller: str) -> None:
        self._subject, self._calls, self._ec2 = subject, calls, clients.ec2
        self._eks = eks = subject.eks
        self._findings: list[Finding] = []
        self._addon = dataplane(subject.scenario.cni).addon
        start, tag, name = calls.start, subject.tag, eks.instance_type
        ec2, limits = clients.ec2, clients.quotas
        self._zones = start("ec2", offers.zones, ec2)
        self._versions = start("eks", offers.cluster_versions, clients.eks)
        self._builds = (
            start("eks", offers.addon_builds, clients.eks, self._addon, eks.version)
            if self._addon
            else None
        )
        self._kube_proxy = (
            start("eks", offers.default_build, clients.eks, "kube-proxy", eks.version)
            if subject.scenario.kube_proxy != "none"
            else None
        )
        self._cluster = start("eks", account.existing_cluster, clients.eks, subject.cluster, tag)
        self._type = start("ec2", offers.describe_type, ec2, name)
        self._zones_with_type = start("ec2", offers.zones_with_type, ec2, name)
        self._vpcs = start("ec2", account.vpcs_in_use, ec2, tag)
        vcpus = account.vcpu_quota(name)
        uses = {
            vcpus: start("ec2", account.vcpus_in_use, ec2, vcpus, tag),
            account.VPCS: self._vpcs,
            account.ADDRESSES: start("ec2", account.addresses_in_use, ec2, tag),
        }
        self._quotas = [
            (quota, start("servicequotas", account.quota_limit, limits, quota), use)
            for quota, use in uses.items()
        ]
        self._interfaces = start("ec2", account.stray_interfaces, ec2, tag)
        self._prices = {
            field: start("pricing", cost.look_up_price, clients.pricing, product, eks.region)
            for field, product in cost.products(name).items()
        }
        self._round_trip = start("eks", machine.round_trip, clients.eks.meta.endpoint_url)
        self._denied = start("iam", account.denied, clients.iam, caller, eks.region)

    def run(self) -> Survey:
        """Check all answers. A check whose answer is missing is left out, which is a finding."""
        subject = self._subject
        cluster = self._calls.required(self._cluster)
        own = cluster if cluster and cluster.ours else None
        if (zones := self._calls.required(self._zones)) is not None:
            self._findings += offers.check_zones(self._eks, zones)
        extended = self._check_version(own)
        self._findings += map(Caution, _cautions(subject.scenario, self._eks.version))
        build = self._check_addon()
        which = "which build of kube-proxy the version has; EKS chooses one"
        proxy = self._calls.optional(self._kube_proxy, which) if self._kube_proxy else None
        facts = self._check_instance_type()
        self._check_quotas(facts)
        self._findings += account.check_cluster(
            cluster, subject.cluster, self._eks.region, subject.stack
        )
        self._check_leftovers(cluster_exists=cluster is not None)
        away = 0.0 if subject.near else self._round_trip.answer.result()
        if away is None:
            what = f"how far {self._eks.region} is, which the estimate of the cost leaves out"
            self._findings.append(Caution(f"not checked: {what} (a proxy is in between)"))
        duration = subject.duration(exists=own is not None, round_trip=away)
        self._findings += cost.check_distance(self._eks.region, duration)
        estimate = self._check_cost(duration, extended_support=extended)
        self._check_permissions()
        findings = (*self._findings, *self._calls.findings)
        return Survey(
            findings,
            facts=facts,
            cost=estimate,
            cni_build=build,
            kube_proxy_build=proxy,
            since=own.created if own else None,
        )

    def _check_version(self, own: account.ExistingCluster | None) -> bool:
        """Whether the version is in extended support."""
        name, today = self._eks.version, self._subject.now.date()
        known = name in EKS_SUPPORT
        instead = (
            f"a table of {EKS_SUPPORT_READ} stands in"
            if known
            else "the estimate has the extended support's surcharge"
        )
        offered = self._calls.optional(self._versions, f"whether EKS offers {name}; {instead}")
        if offered is None:
            if not known:
                return True
            offered = offers.versions_by_table(today)
        self._findings += offers.check_version(
            name, offered, today, existing=own.version if own else None
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
                every = self._calls.start("ec2", offers.all_types, self._ec2)
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
            if quota not in needed:
                continue
            value = self._calls.optional(limit, f"the quota of {quota.name}")
            used = self._calls.optional(use, f"the quota of {quota.name}")
            if value is not None and used is not None:
                self._findings += account.check_quota(
                    quota, value, used, needed[quota], self._eks.region
                )

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

    def _check_cost(self, duration: cost.Duration, *, extended_support: bool) -> cost.Cost | None:
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
        estimate = cost.estimate_cost(footprint, prices, duration)
        self._findings += cost.check_cost(estimate, eks.max_cost_usd)
        return estimate

    def _check_permissions(self) -> None:
        try:
            denied = self._calls.optional(self._denied, "your permissions")
        except account.NotSimulatedError as error:
            self._findings.append(Caution(f"not checked: your permissions ({error})"))
            return
        self._findings += account.check_permissions(denied or ())
