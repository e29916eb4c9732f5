"""A made-up CNI, a whole one, as docs/extending.md describes it.

It has one agent per node, which reports its MTU, and an overlay of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from cni.dataplane import Agents, Component, Dataplane, Policies, Reported, Rollout, Setting
from cni.platform import ClusterEndpoint
from cni.settings import Problem, ScenarioSettings, TunnelProtocol, Values, merge
from cni.toggles import Decision, Evidence, EvidenceError, Flat


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeUpEvidence(Evidence):
    """What an agent says."""

    mtu: int


class MadeUp(Dataplane):
    """The made-up CNI."""

    name = "made-up"
    title = "the made-up CNI"
    versions = ("0.1.0", "0.2.0")
    default = "0.2.0"
    rollout = Rollout(daemonset="made-up-agent", config_map="made-up-config")
    components = (Component(name="made-up-agent", label="k8s-app=made-up-agent"),)
    agents = Agents(container="agent", commands={"status": ("made-up", "status")}, summary=("mtu",))
    policies = Policies(kinds=frozenset({"NetworkPolicy"}), enforced=True)

    def problems(self, scenario: ScenarioSettings) -> Iterable[Problem]:
        if scenario.ipam != "cluster-pool":
            reason = "the made-up CNI has a pool of its own"
            yield Problem("ipam", scenario.ipam, reason, "ipam", "cluster-pool")

    def overlay(self, scenario: ScenarioSettings) -> TunnelProtocol | None:
        return scenario.tunnel_protocol or "geneve"

    def values(
        self, scenario: ScenarioSettings, decisions: Iterable[Decision], cluster: ClusterEndpoint
    ) -> Values:
        ours: Values = {"pool": scenario.pod_cidr, "api": cluster.api_host}
        return merge(ours, scenario.values)

    def unknown_values(self, version: str, values: Values) -> list[str]:
        known = {"pool", "api", "mtu"}
        return [f"{key}: not a value of this CNI" for key in values if key not in known]

    def differences(self, scenario: ScenarioSettings, config: Mapping[str, str]) -> list[str]:
        pool = config["pool"]
        same = pool == scenario.pod_cidr
        return [] if same else [f"the pool is {pool}, the scenario's {scenario.pod_cidr}"]

    def adopted_values(self, config: Mapping[str, str]) -> Values:
        return {"pool": config["pool"]}

    def parse_evidence(self, node: str, outputs: Mapping[str, str]) -> Evidence:
        try:
            return MadeUpEvidence(node=node, mtu=json.loads(outputs["status"])["mtu"])
        except (KeyError, ValueError) as error:
            raise EvidenceError(f"{node}: made-up status: {error}") from error

    def settings(self, values: Flat, evidence: Sequence[Evidence]) -> Iterable[Setting]:
        if "mtu" in values:
            answers = {str(each.mtu) for each in cast("Sequence[MadeUpEvidence]", evidence)}
            yield Setting.of("MTU", str(values["mtu"]), answers)

    def reported(self, agents: Mapping[str, Any]) -> Reported:
        return Reported(overlay=True, flows=False)
