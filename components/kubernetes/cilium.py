"""Cilium as a Helm release."""

from collections.abc import Mapping
from typing import Final

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.helm.v3 import Release, ReleaseArgs, RepositoryOptsArgs

from cni.settings import Values, merge
from components.kubernetes.manifests import OWNER_ANNOTATION, SYSTEM_NAMESPACE

REPOSITORY: Final = "https://helm.cilium.io/"
RELEASE: Final = "cilium"


def release_values(values: Mapping[str, object], owner: str) -> Values:
    """Values with what an installation by a stack needs beside them.

    Agents read their configuration once: without the chart's roll-out options another setting
    would be deployed and not be in effect.

    :param owner: the stack; it is written on the DaemonSet.
    """
    ours = {
        "rollOutCiliumPods": True,
        "operator": {"rollOutPods": True},
        "envoy": {"rollOutPods": True},
        "annotations": {OWNER_ANNOTATION: owner},
    }
    return merge(ours, values)


class CiliumRelease(pulumi.ComponentResource):
    """The chart, installed without waiting: :class:`.resources.ReadinessGate` waits.

    A release that is awaited before there are nodes can only time out.

    :param version: the chart's, which is Cilium's.
    :param values: see :func:`cni.cilium.dataplane.Cilium.values`.
    """

    release: Release

    def __init__(
        self,
        name: str,
        version: str,
        values: pulumi.Input[Mapping[str, object]],
        provider: kubernetes.Provider,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cni-benchmark:kubernetes:Cilium", name, None, opts)
        owner = pulumi.get_stack()
        self.release = Release(
            name,
            ReleaseArgs(
                name=RELEASE,
                namespace=SYSTEM_NAMESPACE,
                chart="cilium",
                version=version,
                repository_opts=RepositoryOptsArgs(repo=REPOSITORY),
                values=pulumi.Output.from_input(values).apply(
                    lambda known: release_values(known, owner)
                ),
                skip_await=True,
                # What a failed attempt has left goes before the next one.
                cleanup_on_fail=True,
            ),
            pulumi.ResourceOptions(
                parent=self, provider=provider, deleted_with=opts.deleted_with if opts else None
            ),
        )
        self.register_outputs({})
