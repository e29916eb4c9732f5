"""What of a stack is in the AWS account, whatever its state knows: by its tag, with its price.

What costs money is listed, what keeps a VPC from being deleted, and what goes with nothing else:
roles, and the cluster's issuer of tokens in IAM. Subnets and the like have the tag, too, and go
with their VPC.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from components.eks import credentials
from components.eks.aws import AwsError, Calls, Clients, Pending, connect
from components.eks.credentials import CredentialsError
from components.eks.preflight import cost, offers
from components.eks.settings import STACK_TAG, EksSettings
from components.target import StandingError
from report.lifetime import overdue

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef
    from mypy_boto3_eks import EKSClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_iam.type_defs import TagTypeDef

# Those that AWS still bills, or will at any moment.
_INSTANCES = ["pending", "running", "stopping", "stopped"]
_GATEWAYS = ["pending", "available", "deleting"]
# As the engine names what has no name of its own: a role's tags are a call each, and an account may
# have a thousand roles.
_ROLE_OF_A_STACK = re.compile(r".+-role-[0-9a-f]{7}")


@dataclass(frozen=True, slots=True)
class Found:
    """One thing in the account.

    :param what: for people: `NAT gateway nat-0a1b (available)`.
    :param ends: the arguments of `aws` that end it; a later one waits for those before it.
    :param uses: how many of which prices (fields of :class:`cost.Prices`) it takes.
    :param instance_type: of an instance.
    :param since: when it was made, where AWS says so.
    """

    what: str
    ends: tuple[str, ...]
    uses: Mapping[str, float]
    instance_type: str = ""
    since: datetime | None = None


# -- one kind each, in the order in which they have to go ------------------------------------------


def clusters(eks: EKSClient, stack: str, standard: Iterable[str]) -> Iterator[Found]:
    """EKS clusters with their node groups.

    :param standard: the versions in standard support; all others cost more.
    """
    for page in eks.get_paginator("list_clusters").paginate():
        for name in page["clusters"]:
            cluster = eks.describe_cluster(name=name)["cluster"]
            if cluster.get("tags", {}).get(STACK_TAG) != stack:
                continue
            groups = eks.list_nodegroups(clusterName=name)["nodegroups"]
            for group in groups:
                known = f"--cluster-name {name} --nodegroup-name {group}"
                # Its instances are listed by themselves.
                yield Found(
                    f"node group {group} of {name}",
                    (f"eks delete-nodegroup {known}", f"eks wait nodegroup-deleted {known}"),
                    {},
                )
            uses = {"cluster_hour": 1.0}
            if cluster["version"] not in standard:
                uses["extended_support_hour"] = 1.0
            yield Found(
                f"control plane {name} (Kubernetes {cluster['version']}, {cluster['status']})",
                (f"eks delete-cluster --name {name}", f"eks wait cluster-deleted --name {name}"),
                uses,
                since=cluster["createdAt"],
            )


def _tagged(stack: str) -> list[FilterTypeDef]:
    return [{"Name": f"tag:{STACK_TAG}", "Values": [stack]}]


def instances(ec2: EC2Client, stack: str) -> Iterator[Found]:
    """Instances; one that is stopped costs its volume only."""
    filters: list[FilterTypeDef] = [
        *_tagged(stack),
        {"Name": "instance-state-name", "Values": _INSTANCES},
    ]
    for page in ec2.get_paginator("describe_instances").paginate(Filters=filters):
        for each in (one for group in page["Reservations"] for one in group["Instances"]):
            name, kind = each["InstanceId"], str(each["InstanceType"])
            state = str(each["State"]["Name"])
            yield Found(
                f"instance {name} ({kind}, {state})",
                (
                    f"ec2 terminate-instances --instance-ids {name}",
                    f"ec2 wait instance-terminated --instance-ids {name}",
                ),
                {} if state == "stopped" else {"node_hour": 1.0},
                kind,
                each["LaunchTime"],
            )


def volumes(ec2: EC2Client, stack: str) -> Iterator[Found]:
    """Volumes, those of instances too, with which they usually end."""
    for page in ec2.get_paginator("describe_volumes").paginate(Filters=_tagged(stack)):
        for each in page["Volumes"]:
            name, size = each["VolumeId"], each["Size"]
            free = each["State"] == "available"
            yield Found(
                f"volume {name} ({size} GiB, {each['State']})",
                (f"ec2 delete-volume --volume-id {name}",) if free else (),
                {"volume_gib_month": size / cost.HOURS_PER_MONTH},
                since=each["CreateTime"],
            )


def gateways(ec2: EC2Client, stack: str) -> Iterator[Found]:
    """NAT gateways."""
    filters: list[FilterTypeDef] = [*_tagged(stack), {"Name": "state", "Values": _GATEWAYS}]
    for page in ec2.get_paginator("describe_nat_gateways").paginate(Filters=filters):
        for each in page["NatGateways"]:
            name = each["NatGatewayId"]
            yield Found(
                f"NAT gateway {name} ({each['State']})",
                (
                    f"ec2 delete-nat-gateway --nat-gateway-id {name}",
                    f"ec2 wait nat-gateway-deleted --nat-gateway-ids {name}",
                ),
                {"nat_gateway_hour": 1.0},
                since=each.get("CreateTime"),
            )


def addresses(ec2: EC2Client, stack: str) -> Iterator[Found]:
    """Elastic IP addresses, which cost the same whether something uses them or not."""
    for each in ec2.describe_addresses(Filters=_tagged(stack))["Addresses"]:
        yield Found(
            f"Elastic IP address {each['PublicIp']}",
            (f"ec2 release-address --allocation-id {each['AllocationId']}",),
            {"public_ipv4_hour": 1.0},
        )


def interfaces(ec2: EC2Client, stack: str) -> Iterator[Found]:
    """Network interfaces that a CNI has left, and that nothing uses."""
    filters: list[FilterTypeDef] = [*_tagged(stack), {"Name": "status", "Values": ["available"]}]
    for page in ec2.get_paginator("describe_network_interfaces").paginate(Filters=filters):
        for each in page["NetworkInterfaces"]:
            name = each["NetworkInterfaceId"]
            end = f"ec2 delete-network-interface --network-interface-id {name}"
            yield Found(f"network interface {name}", (end,), {})


def networks(ec2: EC2Client, stack: str) -> Iterator[Found]:
    """VPCs. No one command deletes one with its subnets, gateway and routes."""
    for page in ec2.get_paginator("describe_vpcs").paginate(Filters=_tagged(stack)):
        for each in page["Vpcs"]:
            yield Found(f"VPC {each['VpcId']} with its subnets and routes", (), {})


def roles(iam: IAMClient, stack: str) -> Iterator[Found]:
    """Roles with what has to be taken from each before it goes."""
    names = (
        each["RoleName"]
        for page in iam.get_paginator("list_roles").paginate()
        for each in page["Roles"]
    )
    for name in filter(_ROLE_OF_A_STACK.fullmatch, names):
        tags = iam.get_paginator("list_role_tags").paginate(RoleName=name)
        if not any(_is_of(page["Tags"], stack) for page in tags):
            continue
        attached = [
            policy["PolicyArn"]
            for page in iam.get_paginator("list_attached_role_policies").paginate(RoleName=name)
            for policy in page["AttachedPolicies"]
        ]
        own = [
            policy
            for page in iam.get_paginator("list_role_policies").paginate(RoleName=name)
            for policy in page["PolicyNames"]
        ]
        of = f"--role-name {name}"
        yield Found(
            f"role {name}",
            (
                *(f"iam detach-role-policy {of} --policy-arn {each}" for each in attached),
                *(f"iam delete-role-policy {of} --policy-name {each}" for each in own),
                f"iam delete-role {of}",
            ),
            {},
        )


def issuers(iam: IAMClient, stack: str) -> Iterator[Found]:
    """Issuers of clusters' tokens (OpenID Connect providers), which have no pages."""
    for each in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        arn = each["Arn"]
        tags = iam.get_paginator("list_open_id_connect_provider_tags").paginate(
            OpenIDConnectProviderArn=arn
        )
        if any(_is_of(page["Tags"], stack) for page in tags):
            end = f"iam delete-open-id-connect-provider --open-id-connect-provider-arn {arn}"
            yield Found(f"OpenID Connect provider {arn.partition('/')[2]}", (end,), {})


def _is_of(tags: Iterable[TagTypeDef], stack: str) -> bool:
    return any((each["Key"], each["Value"]) == (STACK_TAG, stack) for each in tags)


# -- all of them, told -----------------------------------------------------------------------------


def report(eks: EksSettings, stack: str, now: datetime) -> Iterator[str]:
    """What the account has of a stack, as lines for people.

    :raises StandingError: AWS could not be asked for some of it, which comes after the rest.
    """
    try:
        profile = credentials.open_profile(eks.profile)
        credentials.read(profile, now)
    except CredentialsError as error:
        raise StandingError(str(error.finding)) from None
    clients = connect(profile.session(eks.region), eks.region)
    standard = [each.name for each in offers.versions_by_table(now.date()) if not each.extended]
    with Calls(profile.login) as calls:
        asked: list[Pending[list[Found]]] = [
            calls.start("eks", lambda: list(clusters(clients.eks, stack, standard))),
            *(
                calls.start("ec2", _listed, kind, clients.ec2, stack)
                for kind in (instances, volumes, gateways, addresses, interfaces, networks)
            ),
            calls.start("iam", lambda: list(roles(clients.iam, stack))),
            calls.start("iam", lambda: list(issuers(clients.iam, stack))),
        ]
        found = [one for call in asked for one in calls.required(call) or ()]
    if found or not calls.findings:
        yield from _told(eks, stack, found, _prices(clients, eks.region, found), now)
    if calls.findings:
        why = "; ".join(dict.fromkeys(map(str, calls.findings)))
        raise StandingError(f"{stack} may have more in {eks.region}: {why}")


def _listed(
    kind: Callable[[EC2Client, str], Iterator[Found]], ec2: EC2Client, stack: str
) -> list[Found]:
    return list(kind(ec2, stack))


def _prices(clients: Clients, region: str, found: Iterable[Found]) -> dict[tuple[str, str], float]:
    """The price of all that is used, by its field and instance type; without those nobody knows."""
    known: dict[tuple[str, str], float] = {}
    for field, kind in {(field, each.instance_type) for each in found for field in each.uses}:
        try:
            listed = cost.look_up_price(clients.pricing, cost.products(kind)[field], region)
        except AwsError:
            listed = "not read"
        price = listed if isinstance(listed, float) else cost.by_table(field, kind, region)
        if price is not None:
            known[field, kind] = price
    return known


def _told(
    eks: EksSettings,
    stack: str,
    found: Sequence[Found],
    prices: Mapping[tuple[str, str], float],
    now: datetime,
) -> Iterator[str]:
    if not found:
        yield f"{eks.region} has nothing of {stack} that costs money, and IAM has no role of it"
        return
    total, unknown = 0.0, False
    yield f"{eks.region} and IAM have of {stack}:"
    for each in found:
        parts = [(prices.get((field, each.instance_type)), n) for field, n in each.uses.items()]
        price = sum(one * n for one, n in parts if one is not None)
        lacking = any(one is None for one, _ in parts)
        total, unknown = total + price, unknown or lacking
        told = "at a price that is not known" if lacking else f"${price:.3f} per hour"
        yield f"  {each.what}{f': {told}' if parts else ''}"
    yield f"{'more than ' if unknown else ''}${total:.2f} per hour in all, without traffic and tax"
    clean_up = f"pulumi destroy -s {stack}"
    since = min((each.since for each in found if each.since), default=now)
    cluster = {"since": since.isoformat(), "ttl_hours": eks.ttl_hours, "usd_per_hour": total}
    if late := overdue(stack, {**cluster, "clean_up": clean_up}, now):
        yield late
    yield f"What its state knows of ends by: {clean_up}"
    yield "What its state does not know of, one after the other:"
    option = f" --profile {eks.profile}" if eks.profile else ""
    for command in (command for each in found for command in each.ends):
        yield f"  aws {command} --region {eks.region}{option}"
    if any(each.what.startswith("VPC") for each in found):
        yield "  and then delete the VPC in AWS's console, which takes along what is in it"
