"""`target: kubeconfig`, from `up` to results and away: the real engine, the real provider, and a
lab as the cluster that a user has (:mod:`tests.kubelet`).
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bench.results import from_dict
from bench.workloads import WORKLOADS
from components.kubernetes import manifests
from components.kubernetes.manifests import (
    NAMESPACE,
    NODES_NAMESPACE,
    RUNNER,
    RUNNER_LABEL,
    SIDE_LABEL,
)
from kube.client import Kube
from kube.objects import DEPLOYMENT, JOB, POD, SERVICE_ACCOUNT, Kind
from kube.objects import NAMESPACE as NAMESPACES
from lab.toolchain.build import Toolchain
from lab.toolchain.launcher import NO_PLUGINS
from lab.toolchain.programs import PROVIDER
from tests.engine import checkout as checkouts
from tests.engine.checkout import Checkout, wait_for_line
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


def test_a_benchmark_in_a_pod_goes_on_where_it_was_stopped_or_died(project: Project) -> None:
    api = project.cluster.lab.api
    project.checkout.add_stack(STACK, STACK, {"benchmark.runner": "pod", "benchmark.runs": 2})
    process = project.checkout.start("pulumi", "up", *_YES, "-s", STACK)
    told = project.checkout.interrupt(process, "[5/", signal.SIGINT)
    assert "the benchmark was stopped. Its samples so far are kept" in told
    assert not _of_runner(api)

    process = project.checkout.start("pulumi", "up", *_YES, "-s", STACK)
    wait_for_line(process, "[12/")
    (pod,) = api.items(POD, NAMESPACE, labels=RUNNER_LABEL)
    (node,) = {each["spec"]["nodeName"] for each in api.items(POD, NAMESPACE, labels=_CLIENTS)}
    assert pod["spec"]["nodeName"] != node
    api.delete(POD, pod["metadata"]["name"], NAMESPACE)
    told, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert f"the benchmark's pod {pod['metadata']['name']} has died: " in told
    assert not _of_runner(api)

    told = project.must("up", *_YES)
    assert re.search(r"going on with \d+ samples of an earlier part", told)
    results = from_dict(project.checkout.output(STACK, "results"))
    assert not results.errors
    assert results.environment.runner_node not in (None, node)
    assert re.search(r"stopped and went on: \d+ samples are of an earlier", results.warnings[-1])
    assert not _of_runner(api)
    project.must("up", *_YES, "--expect-no-changes")
    project.must("destroy", *_YES)


_CLIENTS = f"{SIDE_LABEL}=client"


def _of_runner(api: Kube) -> list[str]:
    """What the cluster has of a benchmark's pod."""
    kinds = {Kind.of(each) for each in manifests.runner_rights("")} - {SERVICE_ACCOUNT}
    found = [each for kind in kinds for each in api.items(kind)]
    found += [*api.items(JOB, NAMESPACE), *api.items(SERVICE_ACCOUNT, NAMESPACE)]
    names = [each["metadata"]["name"] for each in found]
    return [name for name in names if name.endswith(RUNNER)]
