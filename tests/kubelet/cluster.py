"""A lab as a cluster that a user has: Kubernetes's own controllers and scheduler, nodes that run
pods, the CNI and kube-proxy as DaemonSets, and a kubeconfig.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cni.decisions import decide
from cni.registry import DATAPLANES
from components.kubernetes.gate import daemonset_missing
from components.kubernetes.manifests import SYSTEM_NAMESPACE
from components.kubernetes.pods import DNS_LABEL
from components.lab import target
from kube.objects import DAEMON_SET, POD, SERVICE
from lab.cluster import Lab
from lab.controlplane import KUBE_PROXY
from lab.wait import until
from lab.workloads import COREDNS
from tests.components.kubernetes.outside import Server
from tests.components.stack_config import read
from tests.kubelet.controllers import start_controllers, start_scheduler
from tests.kubelet.kubelet import Kubelets

SCENARIO = "scenario-a"
_NODES = 3


@dataclass(frozen=True)
class UsersCluster:
    """:ivar kubeconfig: reaches it from this machine."""

    lab: Lab
    server: Server
    kubeconfig: Path


@contextmanager
def users_cluster(folder: Path) -> Iterator[UsersCluster]:
    """A cluster with the VPC CNI and kube-proxy, for the length of the block.

    :param folder: for its files; it need not be there.
    """
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        lab = Lab(f"pytest-u-{secrets.token_hex(4)}")
        stack.callback(lab.remove)
        settings = read(SCENARIO, {"lab.nodes": _NODES})
        spec, _ = target.spec(settings, decide(settings.scenario, target.facts(settings)))
        lab.start(replace(spec, authorization="RBAC"), print)
        lab.install(print)
        lab.deploy([], [], print)
        _, dns = DNS_LABEL.split("=")
        labels = {"metadata": {"labels": {"k8s-app": dns}}}
        lab.api.merge(POD, COREDNS, labels, SYSTEM_NAMESPACE)
        start_controllers(lab)
        start_scheduler(lab)
        address = lab.api.get(SERVICE, dns, SYSTEM_NAMESPACE)["spec"]["clusterIP"]
        stack.enter_context(Kubelets(lab, address).running())
        _publish(lab)
        server = Server(lab, folder / "kubeconfig")
        server.start()
        stack.callback(server.stop)
        yield UsersCluster(lab, server, folder / "kubeconfig")


def _publish(lab: Lab) -> None:
    """Make the DaemonSets of what runs on the nodes, and wait for their pods."""
    cni = DATAPLANES[lab.spec.cni]
    mode = yaml.safe_dump({"mode": lab.spec.kube_proxy})
    lab.api.create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "kube-proxy-config", "namespace": SYSTEM_NAMESPACE},
            "data": {"config": mode},
        }
    )
    agents = cni.rollout.daemonset
    images = {
        agents: f"registry.test/amazon-k8s-cni:v{lab.spec.cni_version}",
        KUBE_PROXY: f"registry.test/eks/kube-proxy:v{lab.spec.kubernetes}-eksbuild.1",
    }
    for name, image in images.items():
        lab.api.create(_daemonset(name, image))
    for name in images:
        until(
            f"{name} to be ready",
            lambda name=name: daemonset_missing(  # type: ignore[misc]
                lab.api.find(DAEMON_SET, name, SYSTEM_NAMESPACE), len(lab.nodes)
            ),
            timeout=60,
        )


def _daemonset(name: str, image: str) -> Mapping[str, Any]:
    labels = {"k8s-app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "hostNetwork": True,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{"name": name, "image": image}],
                },
            },
        },
    }
