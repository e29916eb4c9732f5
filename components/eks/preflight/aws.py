"""boto3 clients with bounded waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_eks import EKSClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_pricing import PricingClient
    from mypy_boto3_service_quotas import ServiceQuotasClient
    from mypy_boto3_sts import STSClient

# A call that does not answer within these is tried once more; then it is a finding.
_BOUNDS = Config(
    connect_timeout=4,
    read_timeout=8,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=16,
)

# Where a partition's accounts always have a region that is enabled.
_HOME = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}


@dataclass(frozen=True, slots=True)
class Clients:
    """Clients of one account: those of the region, and those of the partition's home."""

    ec2: EC2Client
    eks: EKSClient
    quotas: ServiceQuotasClient
    sts: STSClient
    home_ec2: EC2Client
    iam: IAMClient
    pricing: PricingClient


def connect(session: boto3.Session, region: str) -> Clients:
    """Clients for a region; nothing is called yet.

    :raises botocore.exceptions.UnknownRegionError: no partition of AWS has such a region.
    """
    home = _HOME.get(session.get_partition_for_region(region), region)
    return Clients(
        ec2=session.client("ec2", region_name=region, config=_BOUNDS),
        eks=session.client("eks", region_name=region, config=_BOUNDS),
        quotas=session.client("service-quotas", region_name=region, config=_BOUNDS),
        # A region that is not enabled refuses valid credentials: ask at home who they are.
        sts=session.client("sts", region_name=home, config=_BOUNDS),
        home_ec2=session.client("ec2", region_name=home, config=_BOUNDS),
        iam=session.client("iam", region_name=home, config=_BOUNDS),
        pricing=session.client("pricing", region_name=_pricing_region(region), config=_BOUNDS),
    )


def _pricing_region(region: str) -> str:
    """The nearest of the three regions that serve the price list, which is the same in all."""
    continent = region.partition("-")[0]
    return {"ap": "ap-south-1", "eu": "eu-central-1"}.get(continent, "us-east-1")
