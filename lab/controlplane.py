"""Kubernetes's own programs in one lab: etcd, kube-apiserver and kube-proxy.

What is left out against a managed control plane is stated by :data:`ADAPTATIONS`: there is no
scheduler, controller manager or kubelet; the lab writes their results (bound pods, EndpointSlices,
node and pod status) through the API itself.
"""

from __future__ import annotations

import json
import secrets
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import rsa

from lab import cgroups
from lab.errors import LabError
from lab.network import GATEWAY, Node
from lab.sandbox import LabPaths, Place, Sandbox, network_namespace
from lab.toolchain.build import Toolchain
from lab.wait import until

if TYPE_CHECKING:
    from kube.client import Kube


API_PORT = 6443
KUBE_PROXY = "kube-proxy"
_HEALTH = "http://127.0.0.1:10256/healthz"
_MODE = "http://127.0.0.1:10249/proxyMode"
_METRICS = "http://127.0.0.1:10249/metrics"

# Thousands of objects at once make much garbage: a fifth of the API server's CPU time was spent on
# collecting it, which the nodes on the same CPUs lack.
_LESS_COLLECTING = {"GOGC": "400"}

_KUBECONFIG = """
apiVersion: v1
kind: Config
clusters:
  - name: lab
    cluster:
      server: https://{host}:{port}
      certificate-authority: {ca}
users:
  - name: lab
    user:
      token: "{token}"
contexts:
  - name: lab
    context: {{cluster: lab, user: lab}}
current-context: lab
"""

ADAPTATIONS = (
    "No scheduler, controller manager or kubelet: the lab binds pods and writes EndpointSlices, "
    "node and pod status through the API.",
    "All nodes share one kernel and its CPUs: relative figures are meaningful, absolute ones are "
    "this machine's.",
)


_PROGRAMS = ("etcd", "kube-apiserver")

# It looks for the first time a second after the API server serves (k8s.io/kubernetes,
# pkg/registry/scheduling/rest/storage_scheduling.go), and no pod of a lab has a priority.
_LATE_HOOK = "poststarthook/scheduling/bootstrap-system-priority-classes"


def launch(
    sandbox: Sandbox, toolchain: Toolchain, version: str, service_cidr: str, authorization: str
) -> None:
    """Start etcd and the API server of a Kubernetes version, without waiting for them."""
    _write_credentials(sandbox.paths, secrets.token_hex(16))
    _start_etcd(sandbox, toolchain)
    program = toolchain.program("kube-apiserver", version)
    _start_apiserver(sandbox, program, service_cidr, authorization)


def await_ready(sandbox: Sandbox) -> Kube:
    """A client of the launched API server, once it is ready."""
    paths = sandbox.paths
    ca = paths.pki / "apiserver.crt"

    def no_certificate() -> str | None:
        sandbox.must_run(*_PROGRAMS)
        return None if ca.exists() else "not written"

    log = paths.log("kube-apiserver")
    until("the API server's certificate", no_certificate, timeout=60, interval=0.05, log=log)
    token = _tokens_file(paths).read_text().partition(",")[0]
    # For everything inside the sandbox; only root may read it.
    paths.kubeconfig.touch(mode=0o600)
    paths.kubeconfig.write_text(
        _KUBECONFIG.format(host=GATEWAY, port=API_PORT, token=token, ca=json.dumps(str(ca)))
    )
    api = connect(sandbox)

    def not_ready() -> str | None:
        sandbox.must_run(*_PROGRAMS)
        return api.not_ready(excluding=_LATE_HOOK)

    until("the API server to be ready", not_ready, timeout=90, interval=0.05, log=log)
    return api


def _tokens_file(paths: LabPaths) -> Path:
    return paths.pki / "tokens.csv"


def connect(sandbox: Sandbox) -> Kube:
    """The API server of a running lab, by sockets that are made in the sandbox's network.

    :raises LabError: no lab runs in the sandbox.
    """
    # Taking a lab down does without half a second of importing it.
    from kube.client import Kube, settings_of

    namespace = sandbox.netns_path(None)
    settings = settings_of(str(sandbox.paths.kubeconfig))
    # A proxy from the environment must never see the traffic of a sandbox.
    settings.proxy = None
    return Kube(settings, network=lambda: network_namespace(namespace))


def _write_credentials(paths: LabPaths, token: str) -> None:
    tokens = _tokens_file(paths)
    tokens.touch(mode=0o600)
    tokens.write_text(f'{token},lab,lab,"system:masters"\n')
    key, pub = paths.pki / "sa.key", paths.pki / "sa.pub"
    if not key.exists():
        made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        key.touch(mode=0o600)
        key.write_bytes(
            made.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())
        )
        pub.write_bytes(
            made.public_key().public_bytes(ser.Encoding.PEM, ser.PublicFormat.SubjectPublicKeyInfo)
        )


def _start_etcd(sandbox: Sandbox, toolchain: Toolchain) -> None:
    data = sandbox.paths.root / "etcd"
    sandbox.spawn(
        "etcd",
        [
            str(toolchain.program("etcd")),
            f"--data-dir={data}",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            # A lab's data need not survive a power cut; fsync would only make the API slower.
            "--unsafe-no-fsync",
            # A member without peers waits for an election to time out before it leads.
            "--heartbeat-interval=10",
            "--election-timeout=100",
            "--log-level=warn",
        ],
        Place(cgroup=cgroups.of_control_plane(sandbox.paths.lab_id, "etcd")),
        env=_LESS_COLLECTING,
    )


def _start_apiserver(
    sandbox: Sandbox, program: Path, service_cidr: str, authorization: str
) -> None:
    pki = sandbox.paths.pki
    sandbox.spawn(
        "kube-apiserver",
        [
            str(program),
            "--etcd-servers=http://127.0.0.1:2379",
            f"--cert-dir={pki}",
            f"--bind-address={GATEWAY}",
            f"--advertise-address={GATEWAY}",
            f"--secure-port={API_PORT}",
            f"--service-cluster-ip-range={service_cidr}",
            f"--token-auth-file={pki / 'tokens.csv'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={pki / 'sa.key'}",
            f"--service-account-key-file={pki / 'sa.pub'}",
            f"--authorization-mode={authorization}",
            # As on EKS: a CNI's pods set up their node.
            "--allow-privileged=true",
            # Service accounts come from a controller that the lab does not run.
            "--disable-admission-plugins=ServiceAccount",
            "--watch-cache=true",
        ],
        Place(cgroup=cgroups.of_control_plane(sandbox.paths.lab_id, "kube-apiserver")),
        env=_LESS_COLLECTING,
    )


class KubeProxy:
    """The kube-proxies of one lab, as the EKS add-on runs them: a DaemonSet's flags, a process per
    node.

    :param program: of the lab's Kubernetes version.
    :param mode: ``iptables`` or ``nftables``.
    """

    def __init__(self, sandbox: Sandbox, program: Path, mode: str) -> None:
        self._sandbox = sandbox
        self._program = program
        self._mode = mode

    def start(self, node: Node) -> None:
        """Start kube-proxy on a node; also again, after its end, through which its rules stay."""
        self._sandbox.spawn(
            f"{node.name}-{KUBE_PROXY}",
            [
                str(self._program),
                f"--kubeconfig={self._sandbox.paths.kubeconfig}",
                f"--hostname-override={node.name}",
                f"--proxy-mode={self._mode}",
                # Their sysctls belong to the host's first network namespace; 0 leaves them alone.
                "--conntrack-max-per-core=0",
                "--conntrack-tcp-timeout-established=0",
                "--conntrack-tcp-timeout-close-wait=0",
            ],
            node.agent(KUBE_PROXY),
        )

    def wait_ready(self, node: Node) -> None:
        """Wait until kube-proxy has written its rules once (its own health endpoint says so).

        :raises LabError: it has not within a minute.
        """
        until(
            f"kube-proxy on {node.name} to sync its rules",
            lambda: self._sandbox.unhealthy(node.name, _HEALTH),
            timeout=60,
            log=self._sandbox.paths.log(f"{node.name}-{KUBE_PROXY}"),
        )

    def mode(self, node: Node) -> str:
        """The mode that the running kube-proxy reports (``/proxyMode``)."""
        return self._sandbox.http_get(node.name, _MODE)[1].strip()

    def metrics(self, node: Node) -> str:
        """What kube-proxy counts of itself, in Prometheus's text format.

        :raises LabError: it answers with an error.
        """
        status, body = self._sandbox.http_get(node.name, _METRICS, timeout=10)
        if status != HTTPStatus.OK:
            raise LabError(f"kube-proxy's metrics on {node.name}: {status} {body[:200]}")
        return body
