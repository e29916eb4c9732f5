"""All checks of a stack at once: on this machine, and in its account."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta

from botocore.exceptions import UnknownRegionError

from bench.workloads import WORKLOADS
from cni.platform import PlatformFacts
from components.eks.preflight import (
    account,
    aws,
    caller,
    credentials,
    duration,
    images,
    region,
    tools,
)
from components.eks.preflight.caller import CallerUnknownError
from components.eks.preflight.cost import Cost
from components.eks.preflight.enquiry import Enquiry
from components.eks.preflight.findings import Finding
from components.eks.preflight.inspection import conclude
from components.eks.preflight.subject import Subject
from components.eks.settings import CALLER


@dataclass(frozen=True, slots=True)
class Account:
    """Whose credentials they are: the account's number, and the partition (`aws`) it is in."""

    number: str
    partition: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What all checks found, and what they learnt; None where a problem is in the way."""

    findings: tuple[Finding, ...]
    account: Account | None = None
    facts: PlatformFacts | None = None
    cost: Cost | None = None
    vpc_cni: str | None = None
    api_cidrs: tuple[str, ...] | None = None


def survey(subject: Subject) -> Survey:
    """Check a stack: independent checks all run, whatever others find."""
    wanted = subject.eks.api_cidrs
    # All wait for something outside, while AWS is asked.
    with ThreadPoolExecutor(max_workers=3) as pool:
        pulled = pool.submit(images.look_up, (workload.image for workload in WORKLOADS))
        cli = pool.submit(tools.aws_cli_version)
        address = pool.submit(caller.public_address) if CALLER in wanted else None
        inside = _in_the_account(subject)
        findings = [*tools.judge_aws_cli(cli.result()), *inside.findings]
        findings += images.judge(pulled.result())
        try:
            cidrs = caller.resolve(wanted, address.result() if address else None)
        except CallerUnknownError as error:
            cidrs = None
            findings.append(caller.unknown(error, wanted))
    return replace(inside, findings=tuple(findings), api_cidrs=cidrs)


def _in_the_account(subject: Subject) -> Survey:
    try:
        profile = credentials.open_profile(subject.eks.profile)
        found = credentials.read(profile, subject.now)
    except credentials.CredentialsError as error:
        return Survey((error.finding,))

    def ends(length: duration.Duration) -> tuple[Finding, ...]:
        needed = timedelta(minutes=length.up)
        return tuple(credentials.judge(found, subject.now, needed, profile.login))

    if found.ended(subject.now):  # with these boto3 does not even ask
        return Survey(ends(duration.estimate(subject.plan, cluster_exists=False)))
    with Enquiry(profile.login) as enquiry:
        inside, length = _asked(subject, profile, enquiry)
    return replace(inside, findings=(*ends(length), *inside.findings))


def _asked(
    subject: Subject, profile: credentials.Profile, enquiry: Enquiry
) -> tuple[Survey, duration.Duration]:
    """What AWS says, and how long a run will take; a wrong caller or region ends it early."""
    eks = subject.eks
    length = duration.estimate(subject.plan, cluster_exists=False)
    session = profile.session(eks.region)
    try:
        clients = aws.connect(session, eks.region)
    except UnknownRegionError:
        known = session.get_available_regions("eks")
        return Survey(tuple(region.judge_region(eks.region, known))), length
    who = enquiry.ask("sts", clients.sts.get_caller_identity)
    regions = enquiry.ask("ec2", lambda: region.regions(clients.home_ec2))
    identity = enquiry.needed(who)
    if identity is None:
        return Survey(tuple(enquiry.findings)), length
    whose = Account(identity["Account"], identity["Arn"].split(":")[1])
    known_regions = enquiry.wanted(regions, f"whether {eks.region} is enabled for the account")
    closed = tuple(region.judge_region(eks.region, known_regions)) if known_regions else ()
    if closed:
        return Survey((*closed, *enquiry.findings), whose), length
    questions = account.ask(enquiry, clients, subject, identity["Arn"])
    found = conclude(enquiry, questions, subject, clients.ec2)
    return Survey(found.findings, whose, found.facts, found.cost, found.vpc_cni), found.duration
