"""An EKS stack under mocks: what AWS and the components of others would give to the program."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pulumi
import pytest

from cni.platform import known_facts
from components.eks import preflight
from components.eks.dataplane import dataplane
from components.eks.preflight import Account, Preflight
from components.eks.preflight.cost import Cost, Duration, Item
from components.eks.settings import EksSettings
from components.scenario import ScenarioStack
from components.settings import Settings
from tests.components import engine_mocks
from tests.components.engine_mocks import Monitor, Program
from tests.components.stack_config import read

ACCOUNT = "123456789012"
ENDPOINT = "https://0A1B2C.gr7.ap-northeast-2.eks.amazonaws.com"
ISSUER = "oidc.eks.ap-northeast-2.amazonaws.com/id/0A1B2C"
OIDC_PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"
VPC_ARN = f"arn:aws:ec2:ap-northeast-2:{ACCOUNT}:vpc/vpc-1"
CALLER = "198.51.100.7/32"
CA = "Q0EtREFUQQ=="
VPC_CNI_BUILD = "v1.22.4-eksbuild.5"
KUBE_PROXY_BUILD = "v1.35.3-eksbuild.29"
# As pulumi-eks makes it (`generateKubeconfig`), without the profile.
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [
        {
            "name": "kubernetes",
            "cluster": {"server": ENDPOINT, "certificate-authority-data": CA},
        }
    ],
    "contexts": [{"name": "aws", "context": {"cluster": "kubernetes", "user": "aws"}}],
    "current-context": "aws",
    "users": [
        {
            "name": "aws",
            "user": {
                "exec": {
                    "apiVersion": "client.authentication.k8s.io/v1beta1",
                    "command": "aws",
                    "args": ["--region", "ap-northeast-2", "eks", "get-token"],
                }
            },
        }
    ],
}
OUTPUTS: dict[str, dict[str, Any]] = {
    "vpc": {"arn": VPC_ARN},
    **{
        f"{name}-role": {"arn": f"arn:aws:iam::{ACCOUNT}:role/{name}", "name": name}
        for name in ("cilium-operator", "vpc-cni", "node")
    },
    "node-template": {"latestVersion": 7},
    "nodes": {"releaseVersion": "1.35.2-20261101"},
    "kube-proxy": {"addonVersion": KUBE_PROXY_BUILD},
    "dataplane": {"toggles": {"dsr": {"applied": False}}},
    "benchmark": engine_mocks.OUTPUTS["benchmark"],
}
# The marks of a resource reference between the engine and its plugins (pulumi.runtime.rpc).
_REFERENCE = {"4dabf18193072939515e22adb298388d": "5cf8f73096256a8f31e491e813e4eb8e"}


class EksMonitor(Monitor):
    """Makes `eks.Cluster`'s own resource too, to which the component's outputs refer."""

    def __init__(self, program: Program) -> None:
        self._given = dict(OUTPUTS)
        super().__init__(program, self._given)

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 -- the service's name
        if request.type == "eks:index:Cluster":
            self._give_cluster(request)
        return super().RegisterResource(request)

    def _give_cluster(self, request: Any) -> None:
        kind = "aws:eks/cluster:Cluster"
        urn = self.make_urn("", request.type, request.name)
        urn = urn.rpartition("::")[0] + f"${kind}::{request.name}-eksCluster"
        state = {"name": request.object["name"], "endpoint": ENDPOINT}
        self.resources[urn] = self.ResourceRegistration(urn, str(state["name"]), state)
        self._given[request.name] = {
            "eksCluster": {**_REFERENCE, "urn": urn, "id": state["name"], "packageVersion": ""},
            "kubeconfigJson": json.dumps(KUBECONFIG),
            "oidcIssuer": ISSUER,
            "oidcProviderArn": OIDC_PROVIDER,
        }


COST = Cost((Item("everything", 1.236),), 0.1, Duration(20, 40, 10), "a test")
WARNING = "a warning of the preflight"
SINCE = datetime(2096, 11, 28, 8, 30, tzinfo=UTC)
"""No test's day is later."""


def checked(settings: Settings) -> Preflight:
    """What the preflight would find for an ordinary account."""
    facts = known_facts(settings.section(EksSettings).instance_type)
    assert facts is not None
    account = Account(ACCOUNT, "aws")
    build = VPC_CNI_BUILD if dataplane(settings.scenario.cni).addon else None
    proxy = KUBE_PROXY_BUILD if settings.scenario.kube_proxy != "none" else None
    return Preflight(account, facts, (CALLER,), COST, build, proxy, (WARNING,), SINCE)


def program(stack: str, changes: dict[str, object] | None = None) -> Program:
    """A stack on EKS, declared to its end; AWS is never asked."""
    settings = read(stack, {"target": "eks", **(changes or {})})

    def declare() -> dict[str, pulumi.Input[Any]]:
        made = ScenarioStack("scenario", settings)
        return {
            "results": made.results,
            "toggles": made.toggles,
            "environment": made.environment,
            "warnings": made.warnings,
            "cluster": made.cluster,
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preflight, "check", lambda asked, plan: checked(asked))
        return engine_mocks.run(stack, declare, EksMonitor)
