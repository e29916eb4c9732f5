"""kube-proxy on a node, as the EKS add-on runs it: a DaemonSet's flags, one process per node."""

from __future__ import annotations

from http import HTTPStatus

from lab.errors import LabError
from lab.node import Node
from lab.nshttp import http_get
from lab.sandbox import Sandbox
from lab.toolchain.build import Toolchain
from lab.wait import until

NAME = "kube-proxy"
_HEALTH = "http://127.0.0.1:10256/healthz"
_MODE = "http://127.0.0.1:10249/proxyMode"
_METRICS = "http://127.0.0.1:10249/metrics"


class KubeProxy:
    """The kube-proxies of one lab.

    :param mode: ``iptables`` or ``nftables``.
    """

    def __init__(self, sandbox: Sandbox, toolchain: Toolchain, mode: str) -> None:
        self._sandbox = sandbox
        self._toolchain = toolchain
        self._mode = mode

    def start(self, node: Node) -> None:
        """Start kube-proxy on a node."""
        self._sandbox.spawn(
            f"{node.name}-{NAME}",
            [
                str(self._toolchain.program(NAME)),
                f"--kubeconfig={self._sandbox.paths.kubeconfig}",
                f"--hostname-override={node.name}",
                f"--proxy-mode={self._mode}",
                # Their sysctls belong to the host's first network namespace; 0 leaves them alone.
                "--conntrack-max-per-core=0",
                "--conntrack-tcp-timeout-established=0",
                "--conntrack-tcp-timeout-close-wait=0",
            ],
            node.agent(NAME),
        )

    def restart(self, node: Node) -> None:
        """End kube-proxy on a node, start it anew and wait for it; its rules stay meanwhile."""
        self._sandbox.end(f"{node.name}-{NAME}")
        self.start(node)
        self.wait_ready(node)

    def wait_ready(self, node: Node) -> None:
        """Wait until kube-proxy has written its rules once (its own health endpoint says so).

        :raises LabError: it has not within a minute.
        """
        until(
            f"kube-proxy on {node.name} to sync its rules",
            lambda: self._not_ready(node),
            timeout=60,
            log=self._sandbox.paths.log(f"{node.name}-{NAME}"),
        )

    def _not_ready(self, node: Node) -> str | None:
        try:
            status, body = http_get(self._sandbox.netns_path(node.name), _HEALTH)
        except OSError as error:
            return str(error)
        return None if status == HTTPStatus.OK else f"{status} {body}"

    def mode(self, node: Node) -> str:
        """The mode that the running kube-proxy reports (``/proxyMode``)."""
        return http_get(self._sandbox.netns_path(node.name), _MODE)[1].strip()

    def metrics(self, node: Node) -> str:
        """What kube-proxy counts of itself, in Prometheus's text format.

        :raises LabError: it answers with an error.
        """
        status, body = http_get(self._sandbox.netns_path(node.name), _METRICS, timeout=10)
        if status != HTTPStatus.OK:
            raise LabError(f"kube-proxy's metrics on {node.name}: {status} {body[:200]}")
        return body
