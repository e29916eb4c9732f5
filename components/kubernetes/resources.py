"""What a stack has in a cluster, beside the CNI: typed components around providers and manifests.

``revision`` is, everywhere, a text that names what runs (the cluster's identity, the release's
values): another one is waited for, verified, restarted and measured anew.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi.dynamic import Resource

from bench.environment import Environment
from cni.toggles import Decision
from components.dynamic import VERSION
from components.kubernetes import manifests
from components.kubernetes.gate import GateSpec
from components.kubernetes.manifests import Manifest
from components.kubernetes.providers import DECISIONS, DataplaneProvider, GateProvider
from components.settings import Settings
from components.target import about, descriptor

_KINDS: Mapping[str, type[pulumi.CustomResource]] = {
    "Namespace": kubernetes.core.v1.Namespace,
    "Service": kubernetes.core.v1.Service,
    "Deployment": kubernetes.apps.v1.Deployment,
    "DaemonSet": kubernetes.apps.v1.DaemonSet,
}
# An image of some hundred megabytes on a node that has just joined.
_TIMEOUTS = pulumi.CustomTimeouts(create="10m", update="10m", delete="5m")


class ReadinessGate(Resource):
    """There once every node is ready and the CNI, and kube-proxy where wanted, run on all of them.

    :param access: how to reach the cluster (:mod:`components.kubernetes.access`), as JSON.
    """

    def __init__(
        self,
        name: str,
        access: pulumi.Input[str],
        spec: GateSpec,
        revision: pulumi.Input[str] = "",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "access": access,
            "spec": spec.to_json(),
            "revision": revision,
            "version": VERSION,
        }
        super().__init__(GateProvider(), name, props, opts)


class VerifiedToggles(Resource):
    """The toggles, verified on the running agents.

    :param expected_nodes: how many must have an agent; 0 where the CNI has none.
    """

    toggles: pulumi.Output[Mapping[str, Any]]

    def __init__(
        self,
        name: str,
        access: pulumi.Input[str],
        cni: str,
        decisions: Sequence[Decision],
        expected_nodes: int,
        revision: pulumi.Input[str] = "",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "access": access,
            "cni": cni,
            "decisions": DECISIONS.dump_json(tuple(decisions)).decode(),
            # As text: the engine makes every number a float.
            "expected_nodes": str(expected_nodes),
            "revision": revision,
            "version": VERSION,
            "toggles": None,
        }
        super().__init__(DataplaneProvider(), name, props, opts)


class Workloads(pulumi.ComponentResource):
    """Namespaces, the benchmark's Deployments and Services, and the node probe.

    ``ready`` is their revision, known once all of them are there.

    :param provider: of the cluster; what it makes is removed with it.
    """

    ready: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        provider: kubernetes.Provider,
        revision: pulumi.Input[str] = "",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cni-benchmark:kubernetes:Workloads", name, None, opts)
        self._provider = provider
        self._deleted_with = opts.deleted_with if opts else None
        spaces = self._make(manifests.namespaces(), [])
        probe = self._make([manifests.node_probe()], spaces)
        services = self._make(manifests.services(), spaces)
        clients = self._make(manifests.clients(revision=revision), spaces)
        # See manifests: servers that come first may leave no node to the clients.
        servers = self._make(manifests.servers(revision=revision), clients)
        made = [*probe, *services, *clients, *servers]
        self.ready = pulumi.Output.all(revision, *(each.id for each in made)).apply(
            lambda known: str(known[0])
        )
        self.register_outputs({})

    def _make(
        self, objects: Sequence[Manifest], after: Sequence[pulumi.Resource]
    ) -> list[pulumi.CustomResource]:
        options = pulumi.ResourceOptions(
            parent=self,
            provider=self._provider,
            depends_on=list(after),
            deleted_with=self._deleted_with,
            custom_timeouts=_TIMEOUTS,
            # Names are fixed, so a replacement must not stand beside what it replaces.
            delete_before_replace=True,
        )
        made = []
        for manifest in objects:
            kind, name = manifest["kind"], manifest["metadata"]["name"]
            # Within the stack a Deployment and its Service may share the object's name.
            logical = f"{name}-service" if kind == "Service" else name
            arguments = {key: manifest[key] for key in ("metadata", "spec") if key in manifest}
            made.append(_KINDS[kind](logical, opts=options, **arguments))
        return made


def session_descriptor(
    settings: Settings,
    access: pulumi.Input[str],
    environment: Environment,
    boot: pulumi.Input[str],
    *,
    values: pulumi.Input[Mapping[str, Any]],
    toggles: pulumi.Input[Mapping[str, Any]],
) -> pulumi.Output[Mapping[str, Any]]:
    """The descriptor of the cluster's session, known once its workloads run.

    :param environment: facts for the results that the cluster does not know.
    :param boot: what is measured; another one is measured again.
    :param values: what the CNI's installer has been given.
    :param toggles: every toggle's state by name.
    """
    scenario, stack = settings.scenario, pulumi.get_stack()
    return pulumi.Output.all(access, boot, values, toggles).apply(
        lambda known: descriptor(
            settings.target,
            {
                "access": json.loads(known[0]),
                "cni": scenario.cni,
                "kube_proxy": scenario.kube_proxy,
                "values": known[2],
                "about": about(
                    scenario, environment, stack=stack, toggles=known[3], bring_up=known[1]
                ),
            },
            known[1],
        )
    )
