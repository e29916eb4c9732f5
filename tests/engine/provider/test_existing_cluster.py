"""`target: kubeconfig`, from `up` to results and away: the real engine, the real provider, and a
lab as the cluster that a user has (:mod:`tests.kubelet`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bench.results import from_dict
from bench.workloads import WORKLOADS
from components.kubernetes.manifests import NAMESPACE, NODES_NAMESPACE
from kube.objects import DEPLOYMENT
from kube.objects import NAMESPACE as NAMESPACES
from lab.toolchain.build import Toolchain
from lab.toolchain.launcher import NO_PLUGINS
from lab.toolchain.programs import PROVIDER
from tests.engine import checkout as checkouts
from tests.engine.checkout import Checkout
from tests.engine.provider.plugin import install_plugin
from tests.kubelet.cluster import SCENARIO, UsersCluster, users_cluster
from tests.kubelet.containers import CONTROLLERS, hierarchy
from tests.kubelet.kubelet import VERSION

pytestmark = [pytest.mark.engine, pytest.mark.provider, pytest.mark.timeout(2400)]

STACK = "existing"
_YES = ("--yes", "--skip-preview", "--non-interactive")


@dataclass(frozen=True)
class Project:
    """A checkout whose stack is on a user's cluster."""

    cluster: UsersCluster
    checkout: Checkout

    def must(self, *words: str) -> str:
        return self.checkout.ok("pulumi", *words, "-s", STACK)


@pytest.fixture(scope="module")
def project(lab_host: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    toolchain = Toolchain.default()
    if missing := toolchain.missing({PROVIDER}):
        pytest.skip(f"not built ({', '.join(missing)}): python3 -m lab.toolchain ensure --every")
    if not all(map(hierarchy, CONTROLLERS)):
        pytest.skip(f"no cgroups of version 1 for {' and '.join(CONTROLLERS)}")
    folder = tmp_path_factory.mktemp("existing")
    checkout = checkouts.copy(folder / "checkout", folder / "home", SCENARIO)
    own = install_plugin(folder / "bin", toolchain)
    with users_cluster(folder / "cluster") as cluster:
        settings = {
            "target": "kubeconfig",
            "kubeconfig.path": str(cluster.kubeconfig),
            "benchmark.profile": "quick",
            "benchmark.runs": 1,
        }
        checkout.add_stack(STACK, SCENARIO, settings)
        # Nothing is fetched: of the plugins that the project can use, only this one is wanted.
        env = {"PATH": f"{own}:{checkout.env['PATH']}", NO_PLUGINS: "true"}
        yield Project(cluster, Checkout(checkout.folder, {**checkout.env, **env}))


def test_from_up_to_results_and_away(project: Project) -> None:
    api = project.cluster.lab.api
    project.must("up", *_YES)
    results = from_dict(project.checkout.output(STACK, "results"))
    assert not results.errors
    assert results.metrics["rtt_p50"].median > 0
    assert any(probe.limits for probe in results.probes.values()), "nodes took notes"
    environment = results.environment
    assert environment.target_kind == "kubeconfig"
    assert {each.kubelet for each in environment.node_facts} == {VERSION}
    assert environment.images.keys() >= {"httpbin/main", "fortio-client/tools"}
    assert environment.kube_proxy == "iptables"
    clients = {each.node for each in results.placement if each.side == "client"}
    assert len(clients) == 1
    assert not clients & {each.node for each in results.placement if each.side == "server"}
    assert not clients & set(environment.dns_nodes), "the scheduler heeds what clients prefer"
    project.must("up", *_YES, "--expect-no-changes")
    project.must("refresh", *_YES, "--expect-no-changes")
    ready = {
        each["metadata"]["name"]: each["status"]["readyReplicas"]
        for each in api.items(DEPLOYMENT, NAMESPACE)
    }
    assert ready == {workload.role: workload.replicas for workload in WORKLOADS}
    project.must("destroy", *_YES)
    assert not project.checkout.resources(STACK)
    for name in (NAMESPACE, NODES_NAMESPACE):
        assert api.find(NAMESPACES, name) is None
