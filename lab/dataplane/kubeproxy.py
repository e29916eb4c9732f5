"""kube-proxy on a node, as the EKS add-on runs it: a DaemonSet's flags, one process per node."""

from __future__ import annotations

from lab.errors import LabError
from lab.node import Node
from lab.nshttp import http_get
from lab.sandbox import Sandbox
from lab.toolchain import Toolchain
from lab.wait import until

NAME = "kube-proxy"
HEALTH = "http://127.0.0.1:10256/healthz"
MODE = "http://127.0.0.1:10249/proxyMode"
METRICS = "http://127.0.0.1:10249/metrics"


def start(sandbox: Sandbox, toolchain: Toolchain, node: Node, mode: str) -> None:
    """Start kube-proxy in ``mode`` (iptables or nftables) on a node."""
    sandbox.spawn(
        f"{node.name}-{NAME}",
        [
            str(toolchain.program(NAME)),
            f"--kubeconfig={sandbox.paths.kubeconfig}",
            f"--hostname-override={node.name}",
            f"--proxy-mode={mode}",
            # Their sysctls belong to the host's first network namespace; 0 leaves them alone.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        ],
        node.agent(NAME),
    )


def stop(sandbox: Sandbox, node: Node) -> None:
    """End kube-proxy on a node; its rules stay."""
    sandbox.end(f"{node.name}-{NAME}")


def wait_ready(sandbox: Sandbox, node: Node) -> None:
    """Wait until kube-proxy has written its rules once (its own health endpoint says so)."""
    until(
        f"kube-proxy on {node.name} to sync its rules",
        lambda: _not_ready(sandbox, node),
        timeout=60,
        log=sandbox.paths.log(f"{node.name}-{NAME}"),
    )


def _not_ready(sandbox: Sandbox, node: Node) -> str | None:
    try:
        status, body = http_get(sandbox.netns_path(node.name), HEALTH)
    except OSError as error:
        return str(error)
    return None if status == 200 else f"{status} {body}"


def proxy_mode(sandbox: Sandbox, node: Node) -> str:
    """The mode that the running kube-proxy reports (``/proxyMode``)."""
    return http_get(sandbox.netns_path(node.name), MODE)[1].strip()


def metrics(sandbox: Sandbox, node: Node) -> str:
    """What kube-proxy counts of itself, in Prometheus's text format."""
    status, body = http_get(sandbox.netns_path(node.name), METRICS, timeout=10)
    if status != 200:
        raise LabError(f"kube-proxy's metrics on {node.name}: {status} {body[:200]}")
    return body
