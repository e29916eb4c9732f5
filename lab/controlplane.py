"""etcd and kube-apiserver of one lab.

What is left out against a managed control plane is stated by :data:`ADAPTATIONS`: there is no
scheduler, controller manager or kubelet; the lab writes their results (bound pods, EndpointSlices,
node and pod status) through the API itself.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import yaml
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import rsa

from kube.client import Kube, settings_of
from lab.network import GATEWAY
from lab.nshttp import network_namespace
from lab.paths import LabPaths
from lab.sandbox import Sandbox
from lab.toolchain.build import Toolchain
from lab.wait import until

API_PORT = 6443

# Thousands of objects at once make much garbage: a fifth of the API server's CPU time was spent on
# collecting it, which the nodes on the same CPUs lack.
_LESS_COLLECTING = {"GOGC": "400"}

ADAPTATIONS = (
    "No scheduler, controller manager or kubelet: the lab binds pods and writes EndpointSlices, "
    "node and pod status through the API.",
    "All nodes share one kernel and its CPUs: relative figures are meaningful, absolute ones are "
    "this machine's.",
)


def start(sandbox: Sandbox, toolchain: Toolchain, service_cidr: str) -> Kube:
    """Start etcd and the API server; a client of the latter once it is ready."""
    paths = sandbox.paths
    token = secrets.token_hex(16)
    _write_credentials(paths, token)
    _start_etcd(sandbox, toolchain)
    _start_apiserver(sandbox, toolchain, service_cidr)
    ca = paths.pki / "apiserver.crt"
    until(
        "the API server's certificate",
        lambda: None if ca.exists() else "not written",
        timeout=60,
        log=paths.log("kube-apiserver"),
    )
    _write_kubeconfig(paths, token, ca)
    api = connect(sandbox)
    until(
        "the API server to be ready",
        api.not_ready,
        timeout=90,
        log=paths.log("kube-apiserver"),
    )
    return api


def connect(sandbox: Sandbox) -> Kube:
    """The API server of a running lab, by sockets that are made in the sandbox's network.

    :raises LabError: no lab runs in the sandbox.
    """
    namespace = sandbox.netns_path(None)
    settings = settings_of(str(sandbox.paths.kubeconfig))
    # A proxy from the environment must never see the traffic of a sandbox.
    settings.proxy = None
    return Kube(settings, network=lambda: network_namespace(namespace))


def _write_credentials(paths: LabPaths, token: str) -> None:
    tokens = paths.pki / "tokens.csv"
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
            "--log-level=warn",
        ],
        env=_LESS_COLLECTING,
    )


def _start_apiserver(sandbox: Sandbox, toolchain: Toolchain, service_cidr: str) -> None:
    pki = sandbox.paths.pki
    sandbox.spawn(
        "kube-apiserver",
        [
            str(toolchain.program("kube-apiserver")),
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
            "--authorization-mode=AlwaysAllow",
            # As on EKS: a CNI's pods set up their node.
            "--allow-privileged=true",
            # Service accounts come from a controller that the lab does not run.
            "--disable-admission-plugins=ServiceAccount",
            "--watch-cache=true",
        ],
        env=_LESS_COLLECTING,
    )


def _write_kubeconfig(paths: LabPaths, token: str, ca: Path) -> None:
    """A kubeconfig for everything inside the sandbox; only root may read it."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "lab",
                "cluster": {
                    "server": f"https://{GATEWAY}:{API_PORT}",
                    "certificate-authority": str(ca),
                },
            }
        ],
        "users": [{"name": "lab", "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "current-context": "lab",
    }
    paths.kubeconfig.touch(mode=0o600)
    paths.kubeconfig.write_text(yaml.safe_dump(content))
