"""Answers to the calls that moto 5.2.5 does not have, or that a test wants otherwise.

Each is a response in the shape of botocore's service model; the protocol is the stand-in's. Each
says which page of AWS's it is written from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.aws.account import NUMBER, Account
from tests.aws.failure import AwsError

Parameters = Mapping[str, Any]
Answer = dict[str, Any]

# Of ap-northeast-2, by usage type; see components/eks/preflight/facts.yaml.
_PRICES = {
    "AmazonEKS": {
        "AmazonEKS-Hours:perCluster": "0.1000000000",
        "AmazonEKS-Hours:extendedSupport": "0.5000000000",
    },
    "AmazonEC2": {
        "EBS:VolumeUsage.gp3": "0.0912000000",
        "NatGateway-Hours": "0.0590000000",
        "NatGateway-Bytes": "0.0590000000",
        # Others of the same product families, which must not be taken for them.
        "NatGateway-Prvd-Bytes": "0.0000000000",
        "RegionalNatGateway-Hours": "0.0610000000",
    },
    "AmazonVPC": {
        "PublicIPv4:InUseAddress": "0.0050000000",
        "PublicIPv4:ContiguousBlock": "0.0080000000",
    },
}
_NODE_HOURS = {
    "m6i.xlarge": "0.2360000000",
    "m6i.metal": "7.5520000000",
    "c5.metal": "4.6080000000",
}
_SHORT_NAMES = {"ap-northeast-2": "APN2", "us-east-1": "USE1", "eu-west-1": "EU"}


def get_caller_identity(account: Account, asked: Parameters) -> Answer | None:
    """The account's own idea of who asks; moto only knows users that it has made.

    Source: "GetCallerIdentity", AWS Security Token Service API Reference.
    """
    return {"UserId": "AIDAEXAMPLE", "Account": NUMBER, "Arn": account.arn}


def describe_cluster_versions(account: Account, asked: Parameters) -> Answer | None:
    """EKS's versions; unsupported ones only where all are asked for.

    Source: "DescribeClusterVersions", Amazon EKS API Reference; the dates are :data:`VERSIONS`'.
    """
    return {
        "clusterVersions": [
            {
                "clusterVersion": name,
                "clusterType": "eks",
                "defaultVersion": name == "1.34",
                "versionStatus": version["status"],
                "status": version["status"].lower().replace("_", "-"),
                "endOfStandardSupportDate": _date(version["standard"]),
                "endOfExtendedSupportDate": _date(version["extended"]),
            }
            for name, version in account.versions.items()
            if version["status"] != "UNSUPPORTED" or asked.get("includeAll")
        ]
    }


def describe_cluster(account: Account, asked: Parameters) -> Answer | None:
    """A cluster that the account declares; moto has those that were made by calls.

    Source: "DescribeCluster", Amazon EKS API Reference.
    """
    name = asked["name"]
    if name not in account.clusters:
        return None
    usual = {"name": name, "status": "ACTIVE", "version": "1.35"}
    made = datetime.now(UTC) - timedelta(hours=account.hours_up)
    return {"cluster": {**usual, "createdAt": made} | account.clusters[name]}


def describe_addon_versions(account: Account, asked: Parameters) -> Answer | None:
    """Two builds of each version of an add-on that the Kubernetes version has.

    Source: "DescribeAddonVersions" (AddonVersionInfo, Compatibility), Amazon EKS API Reference; the
    versions are :data:`ADDONS`'.
    """
    name, kubernetes = asked["addonName"], asked.get("kubernetesVersion", "1.35")
    versions = account.addons[name].get(kubernetes, [])
    return {
        "addons": [
            {
                "addonName": name,
                "type": "networking",
                "addonVersions": [
                    {
                        "addonVersion": f"v{version}-eksbuild.{build}",
                        "architecture": ["amd64", "arm64"],
                        "compatibilities": [
                            {
                                "clusterVersion": kubernetes,
                                "platformVersions": ["*"],
                                "defaultVersion": version == versions[0] and build == 1,
                            }
                        ],
                    }
                    for version in versions
                    for build in (5, 1)
                ],
            }
        ]
    }


def get_service_quota(account: Account, asked: Parameters) -> Answer | None:
    """A quota that the account has a value of its own for.

    Source: "GetServiceQuota" and its errors, Service Quotas API Reference.
    """
    code = asked["QuotaCode"]
    if code not in account.quotas:
        raise AwsError("NoSuchResourceException", "The request failed: no such quota")
    return _quota(asked, account.quotas[code])


def get_default_quota(account: Account, asked: Parameters) -> Answer | None:
    """AWS's default: five of everything.

    Source: "GetAWSDefaultServiceQuota", Service Quotas API Reference; five VPCs, addresses and
    vCPUs: "Amazon VPC quotas" and "Amazon EC2 service quotas".
    """
    return _quota(asked, 5.0)


def _quota(asked: Parameters, value: float) -> Answer:
    code = asked["QuotaCode"]
    return {
        "Quota": {
            "ServiceCode": asked["ServiceCode"],
            "QuotaCode": code,
            "QuotaName": f"quota {code}",
            "Value": value,
            "Unit": "None",
            "Adjustable": True,
        }
    }


def describe_availability_zones(account: Account, asked: Parameters) -> Answer | None:
    """The zones that the account sees, where it sees others than moto's.

    Source: "DescribeAvailabilityZones", Amazon EC2 API Reference.
    """
    if account.zones is None:
        return None
    return {
        "AvailabilityZones": [
            {
                "ZoneName": name,
                "ZoneId": f"apne2-az{index}",
                "ZoneType": "availability-zone",
                "RegionName": name[:-1],
                "OptInStatus": "opt-in-not-required",
                "State": "available",
            }
            for index, name in enumerate(account.zones, start=1)
        ]
    }


def describe_instance_type_offerings(account: Account, asked: Parameters) -> Answer | None:
    """Zones of the types that the account says something of.

    Source: "DescribeInstanceTypeOfferings", Amazon EC2 API Reference.
    """
    wanted = {
        value
        for given in asked.get("Filters", [])
        if given["Name"] == "instance-type"
        for value in given["Values"]
    }
    if asked.get("LocationType") != "availability-zone" or not wanted & {*account.zones_with_type}:
        return None
    return {
        "InstanceTypeOfferings": [
            {"InstanceType": name, "LocationType": "availability-zone", "Location": zone}
            for name in sorted(wanted)
            for zone in account.zones_with_type[name]
        ]
    }


def describe_regions(account: Account, asked: Parameters) -> Answer | None:
    """A handful of regions, the closed ones among them.

    Source: "DescribeRegions", Amazon EC2 API Reference: with AllRegions, also what is not enabled.
    """
    open_ones = ["ap-northeast-2", "eu-west-1", "us-east-1"]
    return {
        "Regions": [
            {
                "RegionName": name,
                "Endpoint": f"ec2.{name}.amazonaws.com",
                "OptInStatus": status,
            }
            for names, status in (
                (open_ones, "opt-in-not-required"),
                (account.closed_regions, "not-opted-in"),
            )
            for name in names
        ]
    }


def get_products(account: Account, asked: Parameters) -> Answer | None:
    """The price list's items that fit the filters.

    Source: "GetProducts", AWS Billing and Cost Management API Reference; the items' fields: "Using
    the AWS Price List Bulk API", its service price list files.
    """
    wanted = {given["Field"]: given["Value"] for given in asked.get("Filters", [])}
    service, region = asked["ServiceCode"], wanted.pop("regionCode")
    prices = dict(_PRICES[service])
    if "instanceType" in wanted:
        name = wanted["instanceType"]
        prices = {f"BoxUsage:{name}": _NODE_HOURS[name]} if name in _NODE_HOURS else {}
    items = [
        _item(service, usage, price, region)
        for usage, price in prices.items()
        if usage not in account.unpriced
    ]
    fitting = [item for item in items if _fits(item["product"], wanted)]
    return {"FormatVersion": "aws_v1", "PriceList": [json.dumps(item) for item in fitting]}


def _item(service: str, usage: str, price: str, region: str) -> Answer:
    """An item in the price list's format, aws_v1, cut to what such an item always has."""
    families: tuple[tuple[str, Answer, Answer], ...] = (
        ("BoxUsage", {"productFamily": "Compute Instance"}, {"operatingSystem": "Linux"}),
        ("EBS:", {"productFamily": "Storage"}, {"volumeApiName": "gp3"}),
        (".*NatGateway", {"productFamily": "NAT Gateway"}, {}),
        (".*extendedSupport", {"productFamily": "Compute"}, {"operation": "ExtendedSupport"}),
        (".*perCluster", {"productFamily": "Compute"}, {"operation": "CreateOperation"}),
        ("PublicIPv4", {}, {"group": "VPCPublicIPv4Address"}),
    )
    family, attributes = next((f, a) for start, f, a in families if re.match(start, usage))
    instance = usage.removeprefix("BoxUsage:") if usage.startswith("BoxUsage") else None
    shown = {
        "servicecode": service,
        "regionCode": region,
        "usagetype": f"{_SHORT_NAMES[region]}-{usage}",
        **attributes,
    }
    if instance:
        shown |= {
            "instanceType": instance,
            "tenancy": "Shared",
            "preInstalledSw": "NA",
            "capacitystatus": "Used",
        }
    dimension = {
        "unit": "Hrs",
        "beginRange": "0",
        "endRange": "Inf",
        "pricePerUnit": {"USD": price},
        "appliesTo": [],
    }
    return {
        "product": {**family, "attributes": shown, "sku": "SKU"},
        "serviceCode": service,
        "terms": {"OnDemand": {"SKU.TERM": {"priceDimensions": {"SKU.TERM.RATE": dimension}}}},
        "version": "20261001000000",
        "publicationDate": "2026-10-01T00:00:00Z",
    }


def _fits(product: Answer, wanted: Mapping[str, str]) -> bool:
    having = {**product["attributes"], "productFamily": product.get("productFamily")}
    return all(having.get(name) == value for name, value in wanted.items())


def simulate_principal_policy(account: Account, asked: Parameters) -> Answer | None:
    """What the account's policies allow: all but what it says.

    Source: "SimulatePrincipalPolicy" (EvaluationResult), AWS Identity and Access Management API
    Reference.
    """
    return {
        "IsTruncated": False,
        "EvaluationResults": [
            {
                "EvalActionName": action,
                "EvalResourceName": "*",
                "EvalDecision": "implicitDeny" if action in account.policy_denies else "allowed",
            }
            for action in asked["ActionNames"]
        ],
    }


def _date(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


ANSWERS: dict[tuple[str, str], Callable[[Account, Parameters], Answer | None]] = {
    ("ec2", "DescribeAvailabilityZones"): describe_availability_zones,
    ("ec2", "DescribeInstanceTypeOfferings"): describe_instance_type_offerings,
    ("ec2", "DescribeRegions"): describe_regions,
    ("eks", "DescribeAddonVersions"): describe_addon_versions,
    ("eks", "DescribeCluster"): describe_cluster,
    ("eks", "DescribeClusterVersions"): describe_cluster_versions,
    ("iam", "SimulatePrincipalPolicy"): simulate_principal_policy,
    ("pricing", "GetProducts"): get_products,
    ("service-quotas", "GetAWSDefaultServiceQuota"): get_default_quota,
    ("service-quotas", "GetServiceQuota"): get_service_quota,
    ("sts", "GetCallerIdentity"): get_caller_identity,
}
"""By botocore's service name and the operation's; None passes the call on to moto."""
