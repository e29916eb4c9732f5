"""The AWS account that the stand-in plays: everything usable, unless a test says otherwise."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

NUMBER = "123456789012"
REGION = "ap-northeast-2"

# As EKS's calendar has them for the autumn of 2026, seventy years on: no test goes by its day.
# Dates are when a version's support ends.
VERSIONS: dict[str, dict[str, str]] = {
    "1.32": {"status": "EXTENDED_SUPPORT", "standard": "2096-03-23", "extended": "2097-03-23"},
    "1.33": {"status": "EXTENDED_SUPPORT", "standard": "2096-07-29", "extended": "2097-07-29"},
    "1.34": {"status": "STANDARD_SUPPORT", "standard": "2096-12-02", "extended": "2097-12-02"},
    "1.35": {"status": "STANDARD_SUPPORT", "standard": "2097-03-27", "extended": "2098-03-27"},
    "1.36": {"status": "STANDARD_SUPPORT", "standard": "2097-08-02", "extended": "2098-08-02"},
}
# Versions of add-ons by Kubernetes version, EKS's own choice first: those that clusters are known
# to have had in the autumn of 2026. EKS has further ones.
ADDONS: dict[str, dict[str, list[str]]] = {
    "vpc-cni": {
        "1.32": ["1.22.4", "1.19.2", "1.20.5", "1.21.1", "1.23.2"],
        "1.33": ["1.22.4", "1.20.5", "1.21.1", "1.23.2"],
        "1.34": ["1.22.4", "1.20.5", "1.21.1", "1.23.2"],
        "1.35": ["1.22.4", "1.21.1", "1.23.2"],
        "1.36": ["1.22.4", "1.23.2"],
    },
    "kube-proxy": {
        "1.32": ["1.32.13"],
        "1.33": ["1.33.10"],
        "1.34": ["1.34.6"],
        "1.35": ["1.35.3", "1.35.0"],
        "1.36": ["1.36.0"],
    },
    "coredns": {"1.35": ["1.13.2"]},
}
# By AWS's codes of them (Service Quotas).
QUOTAS: dict[str, float] = {
    "L-1216C47A": 64.0,  # vCPUs of standard on-demand instances
    "L-F678F1CE": 5.0,  # VPCs
    "L-0263D0A3": 5.0,  # Elastic IP addresses
}


@dataclass
class Account:
    """What can be changed about the account, also while it is being used.

    :param denied: IAM actions without permission (``ec2:DescribeInstances``).
    :param silent: services whose endpoint breaks the connection (``pricing``).
    :param versions: EKS's, by name, as in :data:`VERSIONS`.
    :param quotas: by code; a code that is missing has AWS's default only, which is the same.
    :param zones: the availability zones that the account sees; None for moto's.
    :param zones_with_type: zones by instance type; moto's for other types.
    :param closed_regions: not enabled for the account.
    :param unpriced: usage types, without a region's name in front, that the price list lacks.
    :param addons: as in :data:`ADDONS`.
    :param clusters: EKS clusters besides moto's, by name: fields of DescribeCluster's answer.
    :param hours_up: since when these clusters exist.
    :param policy_denies: actions that IAM's simulation denies.
    :param issuer_authority: PEM of what vouches for issuers of tokens, beside the usual ones.
    :param delay: of every answer, in seconds.
    """

    arn: str = f"arn:aws:iam::{NUMBER}:user/benchmark"
    credentials: Literal["valid", "expired", "invalid"] = "valid"
    denied: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    versions: dict[str, dict[str, str]] = field(default_factory=lambda: dict(VERSIONS))
    quotas: dict[str, float] = field(default_factory=lambda: dict(QUOTAS))
    zones: list[str] | None = None
    zones_with_type: dict[str, list[str]] = field(default_factory=dict)
    closed_regions: list[str] = field(default_factory=list)
    addons: dict[str, dict[str, list[str]]] = field(default_factory=lambda: deepcopy(ADDONS))
    unpriced: list[str] = field(default_factory=list)
    clusters: dict[str, dict[str, Any]] = field(default_factory=dict)
    hours_up: float = 1.0
    policy_denies: list[str] = field(default_factory=list)
    issuer_authority: str = ""
    delay: float = 0.0

    @classmethod
    def read(cls, file: Path) -> Account:
        """An account as a JSON object of its fields; {} is the usable one."""
        return cls(**json.loads(file.read_text()))
