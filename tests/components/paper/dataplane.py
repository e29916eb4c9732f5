"""A made-up CNI: a whole one, as docs/extending.md describes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cni.dataplane import Component, Dataplane, Policies, Rollout
from cni.platform import ClusterEndpoint
from cni.settings import Problem, ScenarioSettings, Values
from cni.toggles import Decision


class Paper(Dataplane):
    """Carries packets by hand."""

    name = "paper"
    title = "Paper"
    versions = ("0.9.0", "1.0.0")
    rollout = Rollout(daemonset="paper-carrier", config_map="paper-config")
    components = (Component(name="paper-carrier", label="k8s-app=paper-carrier"),)
    policies = Policies(kinds=frozenset({"NetworkPolicy"}), enforced=True)

    def problems(self, scenario: ScenarioSettings) -> Iterable[Problem]:
        if scenario.kube_proxy == "none":
            reason = "Paper does not load-balance Services, so nothing would"
            yield Problem("kubeProxy", "none", reason, "kubeProxy", "iptables")

    def values(
        self, scenario: ScenarioSettings, decisions: Iterable[Decision], cluster: ClusterEndpoint
    ) -> Values:
        return {"carriers": {"perNode": 2}}

    def differences(self, scenario: ScenarioSettings, config: Mapping[str, str]) -> list[str]:
        carriers = config.get("carriers")
        return [] if carriers == "2" else [f"Paper has {carriers} carriers on a node, not 2"]

    def adopted_values(self, config: Mapping[str, str]) -> Values:
        return {"carriers": {"perNode": int(config["carriers"])}}
