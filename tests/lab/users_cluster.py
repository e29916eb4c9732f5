"""A lab as a cluster that a user has, with 2,000 Services, 200 policies and a churn that is known.

Its API server authorises by roles, and the kubeconfig is of an account that has the rights that
``census --rbac`` prints, and no others.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from cli import census as command
from cli.main import main
from cni.registry import DATAPLANES
from components.census import rights
from components.census.take import take
from kube import bulk
from kube.client import Kube, settings_of
from kube.objects import ENDPOINT_SLICE, SERVICE_ACCOUNT
from studies.census.model import Census
from tests.components.kubernetes.outside import Server
from tests.lab import users_objects as users
from tests.lab.running import RunningLab, bring_up

SYSTEM = "kube-system"
WATCH_SECONDS = 20


def silent(_line: str) -> None:
    pass


@dataclass(frozen=True)
class UsersCluster:
    """:ivar before: a census of it, before there was anything of a user in it.
    :ivar kubeconfig: of an account with the rights of a census.
    """

    running: RunningLab
    before: Census
    kubeconfig: Path


@contextmanager
def users_cluster(folder: Path) -> Iterator[UsersCluster]:
    """Cilium's eBPF, with a user's objects in it, for the length of the block.

    :param folder: for its files.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        running = bring_up("scenario-c", adjust=lambda spec: replace(spec, authorization="RBAC"))
        server = Server(running.lab, folder / "config")
        try:
            server.start()
            _publish(running)
            _allow(running.lab.api, folder / "config")
            before = take(Kube(settings_of(str(folder / "config"))), 0, silent)
            _build(running.lab.api)
            yield UsersCluster(running, before, folder / "config")
        finally:
            server.stop()
            running.session.close()
            running.lab.remove()


def _publish(running: RunningLab) -> None:
    """The objects by which the CNI of a cluster is known."""
    dataplane = DATAPLANES[running.lab.spec.cni]
    name, image = dataplane.rollout.daemonset, f"q.test/c:v{running.lab.spec.cni_version}@sha256:1"
    labels = {"k8s-app": name}
    running.lab.api.create(
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": name, "namespace": SYSTEM},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": name, "image": image}]},
                },
            },
        }
    )
    running.lab.api.ensure(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": dataplane.rollout.config_map, "namespace": SYSTEM},
            "data": {"routing-mode": "tunnel", "cluster-name": "shop"},
        }
    )


def _allow(api: Kube, kubeconfig: Path) -> None:
    """An account that may do what ``census --rbac`` prints, and its token in the kubeconfig."""
    name = rights.NAME
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    api.create({**account, "metadata": {"name": name, "namespace": SYSTEM}})
    for manifest in rights.manifests():
        if manifest["kind"] == "ClusterRoleBinding":
            subject = {"kind": "ServiceAccount", "name": name, "namespace": SYSTEM}
            manifest = {**manifest, "subjects": [subject]}
        api.create(manifest)
    path = f"{api.path(SERVICE_ACCOUNT, SYSTEM, name)}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = json.loads(api.request("POST", path, (), asked))["status"]["token"]
    content = yaml.safe_load(kubeconfig.read_text())
    content["users"][0]["user"] = {"token": token}
    kubeconfig.write_text(yaml.safe_dump(content))


def _build(api: Kube) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": users.NAMESPACE}}
    api.create(namespace)
    bulk.create(api, [*users.services(), *users.policies()], users.NAMESPACE, silent)


def census_while_endpoints_change(cluster: UsersCluster, out: Path) -> int:
    """Run ``census`` with the churn during its watch; its exit code."""
    api, watching, refused = cluster.running.lab.api, threading.Event(), list[Exception]()

    def change() -> None:
        try:
            if not watching.wait(60):
                raise TimeoutError("the census does not watch")
            for each in users.churn():
                api.merge(ENDPOINT_SLICE, each["metadata"]["name"], each, users.NAMESPACE)
        except Exception as error:
            refused.append(error)

    def progress(line: str) -> None:
        if "changes of endpoints" in line:
            watching.set()

    thread = threading.Thread(target=change)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "progress", progress)
        code = run_census(cluster, out, "--watch", str(WATCH_SECONDS))
    thread.join()
    if refused:
        raise refused[0]
    return code


def run_census(cluster: UsersCluster, out: Path, *more: str) -> int:
    """Run ``census`` with the account's rights; its exit code."""
    argv = ["census", "--kubeconfig", str(cluster.kubeconfig), "--out", str(out)]
    return main([*argv, *more])
