"""The AWS VPC CNI as a :class:`cni.dataplane.Dataplane`."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cni.dataplane import Component, Dataplane, Policies, Rollout
from cni.platform import ClusterEndpoint, Eni, Kernel, by_device, version_numbers
from cni.settings import Problem, ScenarioSettings, Values
from cni.toggles import Decision
from cni.vpc_cni.versions import DEFAULT, VERSIONS


class VpcCni(Dataplane):
    """The VPC CNI, which EKS installs as an add-on."""

    name = "vpc-cni"
    title = "the VPC CNI"
    versions = tuple(VERSIONS)
    default = DEFAULT
    eks_default = True
    # EKS best practices, "nftables mode".
    nftables_from = "1.23.0"
    rollout = Rollout(daemonset="aws-node")
    components = (Component(name="aws-node", label="k8s-app=aws-node"),)
    # Its policy agent enforces these where the add-on enables it, which it does not by default.
    policies = Policies(kinds=frozenset({"NetworkPolicy"}))
    public_settings = frozenset(
        {
            *("AWS_VPC_ENI_MTU", "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG"),
            *("AWS_VPC_K8S_CNI_EXTERNALSNAT", "ENABLE_IPv6", "ENABLE_POD_ENI"),
            *("ENABLE_PREFIX_DELEGATION", "MINIMUM_IP_TARGET", "NETWORK_POLICY_ENFORCING_MODE"),
            *("POD_SECURITY_GROUP_ENFORCING_MODE", "WARM_ENI_TARGET", "WARM_IP_TARGET"),
            "WARM_PREFIX_TARGET",
        }
    )
    words = frozenset({"standard", "strict"})

    def problems(self, scenario: ScenarioSettings) -> Iterable[Problem]:
        yield from _version(scenario)
        yield from _services(scenario)
        yield from _foreign(scenario)

    def cautions(self, version: str, kubernetes: str, kernel: Kernel | None) -> Iterable[str]:
        known = VERSIONS.get(version)  # EKS has more than the lab
        if known and version_numbers(kubernetes) > version_numbers(known.kubernetes):
            yield (
                f"the VPC CNI {version} is known as an add-on of Kubernetes up to "
                f"{known.kubernetes}, and the cluster has {kubernetes}"
            )

    def values(
        self, scenario: ScenarioSettings, decisions: Iterable[Decision], cluster: ClusterEndpoint
    ) -> Values:
        """The add-on's configuration: environment variables of the container `aws-node`."""
        env = {"ADDITIONAL_ENI_TAGS": json.dumps(dict(cluster.eni_tags), sort_keys=True)}
        if scenario.prefix_delegation:
            env["ENABLE_PREFIX_DELEGATION"] = "true"
        return {"env": env}

    def enis(self, report: Mapping[str, Any]) -> tuple[Eni, ...]:
        """From the daemon's answer to `GET /v1/enis` (`pkg/ipamd/datastore`), which is by network
        card from 1.20 on."""
        cards = [report] if "ENIs" in report else report.values()
        return by_device(_eni(eni) for card in cards for eni in card["ENIs"].values())


def _version(scenario: ScenarioSettings) -> Iterator[Problem]:
    version = scenario.cni_version
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        reason = f"must be a version such as {DEFAULT}"
        yield Problem("cniVersion", version, reason, "cniVersion", DEFAULT)


def _services(scenario: ScenarioSettings) -> Iterator[Problem]:
    if scenario.kube_proxy_replacement:
        reason = "only Cilium can replace kube-proxy, the VPC CNI cannot"
        yield Problem("kubeProxyReplacement", True, reason, "kubeProxyReplacement", False)
    if scenario.kube_proxy == "none":
        reason = "the VPC CNI does not load-balance Services, so nothing would"
        yield Problem("kubeProxy", "none", reason, "kubeProxy", "iptables")


def _foreign(scenario: ScenarioSettings) -> Iterator[Problem]:
    """Settings that it does not have."""
    if scenario.ipam != "vpc":
        reason = "the VPC CNI gives pods addresses of the VPC by its own means"
        yield Problem("ipam", scenario.ipam, reason, "ipam", "vpc")
    reason = "a setting of Cilium, which cni: vpc-cni does not run"
    if scenario.pod_cidr is not None:
        yield Problem("podCidr", scenario.pod_cidr, reason, "podCidr")
    if scenario.tunnel_protocol is not None:
        yield Problem("tunnelProtocol", scenario.tunnel_protocol, reason, "tunnelProtocol")
    for name, asked in scenario.toggles.every():
        if asked is not None:
            shown = asked if isinstance(asked, bool) else "fixed sizes"
            yield Problem(f"toggles.{name}", shown, reason, f"toggles.{name}")
    if scenario.values:
        yield Problem("values", ", ".join(scenario.values), reason, "values")


def _eni(eni: Mapping[str, Any]) -> Eni:
    blocks = eni["AvailableIPv4Cidrs"].items()
    return Eni(
        id=eni["ID"],
        device=eni["DeviceNumber"],
        addresses=tuple(cidr.removesuffix("/32") for cidr, one in blocks if not one["IsPrefix"]),
        prefixes=tuple(cidr for cidr, one in blocks if one["IsPrefix"]),
    )
