"""What a stack has in its cluster, by the real provider of Kubernetes and a real API server.

The program is one of ours (:mod:`.program`) with the project's own components. Around the cluster
everything else is a stand-in, and no pod runs anything.
"""

from __future__ import annotations

import base64
import gzip
import json
import secrets
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench.workloads import WORKLOADS
from cni.cilium.dataplane import OPERATOR_ACCOUNT
from cni.cilium.versions import DEFAULT
from cni.decisions import decide
from components.kubernetes.gate import ROLE_ANNOTATION
from components.kubernetes.manifests import NAMESPACE, OWNER_ANNOTATION, SYSTEM_NAMESPACE
from components.lab import target
from kube.objects import CONFIG_MAP, DAEMON_SET, DEPLOYMENT, SERVICE_ACCOUNT, Kind
from kube.objects import NAMESPACE as NAMESPACES
from lab.cluster import Lab
from lab.toolchain.build import Toolchain
from lab.toolchain.programs import PROVIDER
from tests.components.kubernetes.outside import Server
from tests.components.stack_config import read
from tests.engine import checkout as checkouts
from tests.engine.checkout import Checkout
from tests.engine.provider.nothing_runs import pods_running
from tests.engine.provider.plugin import install_plugin
from tests.kubelet.controllers import start_controllers

pytestmark = [pytest.mark.engine, pytest.mark.provider, pytest.mark.timeout(2400)]

STACK = "scenario-e"
UP = ("up", "--yes", "--skip-preview", "--non-interactive")
DESTROY = ("destroy", "--yes", "--skip-preview", "--non-interactive")
REFRESH = ("refresh", "--yes", "--skip-preview", "--non-interactive")
_SECRET = Kind("v1", "Secret")


@dataclass(frozen=True)
class Cluster:
    """A stack with its cluster."""

    lab: Lab
    server: Server
    checkout: Checkout

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self.checkout.run("pulumi", *words, "-s", STACK, **more)

    def must(self, *words: str, **more: str) -> str:
        return self.checkout.ok("pulumi", *words, "-s", STACK, **more)

    def release(self) -> dict[str, Any]:
        """The newest revision of Cilium's release, as Helm keeps it."""
        found = self.lab.api.items(_SECRET, SYSTEM_NAMESPACE, labels="owner=helm,name=cilium")
        newest = max(found, key=lambda each: int(each["metadata"]["labels"]["version"]))
        packed = base64.b64decode(base64.b64decode(newest["data"]["release"]))
        return dict(json.loads(gzip.decompress(packed)))

    def releases(self) -> int:
        return len(self.lab.api.items(_SECRET, SYSTEM_NAMESPACE, labels="owner=helm,name=cilium"))


@contextmanager
def _charts(folder: Path, toolchain: Toolchain) -> Iterator[str]:
    """A repository with Cilium's chart; its URL."""
    helm, source = str(toolchain.program("helm")), toolchain.share("cilium", DEFAULT)
    chart = source / "install/kubernetes/cilium"
    folder.mkdir()
    subprocess.run([helm, "package", chart, "-d", folder], check=True, capture_output=True)
    subprocess.run([helm, "repo", "index", folder], check=True, capture_output=True)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def cluster(lab_host: None, tmp_path: Path) -> Iterator[Cluster]:
    toolchain = Toolchain.default()
    if missing := toolchain.missing({PROVIDER}):
        pytest.skip(f"not built ({', '.join(missing)}): python3 -m lab.toolchain ensure --every")
    checkout = checkouts.copy(tmp_path / "checkout", tmp_path / "home", STACK)
    program = Path(__file__).with_name("program.py")
    shutil.copyfile(program, checkout.folder / "__main__.py")
    plugin = install_plugin(tmp_path / "bin", toolchain)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        lab = Lab(f"pytest-p-{secrets.token_hex(4)}")
        stack.callback(lab.remove)
        settings = read(STACK, {"lab.nodes": 2})
        spec, _ = target.spec(settings, decide(settings.scenario, target.facts(settings)))
        lab.start(spec, print)
        start_controllers(lab)
        stack.enter_context(pods_running(lab.api, lab.nodes[0].name))
        kubeconfig = tmp_path / "kubeconfig"
        server = Server(lab, kubeconfig)
        server.start()
        stack.callback(server.stop)
        charts = stack.enter_context(_charts(tmp_path / "charts", toolchain))
        own = {
            "PATH": f"{plugin}:{checkout.env['PATH']}",
            "TEST_CHARTS": charts,
            "TEST_KUBECONFIG": str(kubeconfig),
        }
        yield Cluster(lab, server, replace(checkout, env={**checkout.env, **own}))


def test_release_and_workloads_come_change_and_go(cluster: Cluster) -> None:
    api = cluster.lab.api
    cluster.must(*UP)
    _is_as_the_stack_says(cluster)
    cluster.must(*UP, "--expect-no-changes")
    cluster.must(*REFRESH, "--expect-no-changes")

    cluster.must(*UP, TEST_HUBBLE="on")
    assert cluster.release()["version"] == 2
    assert api.get(CONFIG_MAP, "cilium-config", SYSTEM_NAMESPACE)["data"]["enable-hubble"] == "true"

    before = cluster.checkout.resources(STACK)
    cluster.server.stop()
    for words in (REFRESH, UP):
        failed = cluster.run(*words)
        assert failed.returncode != 0
        assert "unreachable" in failed.stdout
        assert cluster.checkout.resources(STACK).keys() == before.keys()
    cluster.server.start()
    cluster.must(*UP)
    assert cluster.release()["version"] == 3

    cluster.must(*DESTROY, "--target", "**::cilium", "--target-dependents")
    assert cluster.releases() == 0
    cluster.must(*UP)
    assert cluster.release()["version"] == 1
    cluster.must(*DESTROY)


def test_a_cluster_out_of_reach_is_destroyed(cluster: Cluster) -> None:
    cluster.must(*UP)
    cluster.server.stop()
    cluster.must(*DESTROY)
    assert not cluster.checkout.resources(STACK)


def _is_as_the_stack_says(cluster: Cluster) -> None:
    api = cluster.lab.api
    release = cluster.release()
    assert (release["version"], release["info"]["status"]) == (1, "deployed")
    account = api.get(SERVICE_ACCOUNT, OPERATOR_ACCOUNT, SYSTEM_NAMESPACE)
    assert account["metadata"]["annotations"][ROLE_ANNOTATION].endswith(":role/operator")
    agents = api.get(DAEMON_SET, "cilium", SYSTEM_NAMESPACE)
    assert agents["metadata"]["annotations"][OWNER_ANNOTATION] == STACK
    ready = {
        each["metadata"]["name"]: each["status"]["readyReplicas"]
        for each in api.items(DEPLOYMENT, NAMESPACE)
    }
    assert ready == {workload.role: workload.replicas for workload in WORKLOADS}
    assert api.find(NAMESPACES, NAMESPACE)
