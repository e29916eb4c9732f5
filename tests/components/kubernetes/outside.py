"""A lab's API server as seen from outside of it."""

from __future__ import annotations

import base64
from contextlib import ExitStack
from pathlib import Path

import yaml

from lab.cluster import Lab
from lab.controlplane import API_PORT
from lab.network import GATEWAY
from tests.components.kubernetes.kubelet import relay


class Server:
    """An API server that can be away for a while.

    :param kubeconfig: is written at every start: the server's port is another one then.
    """

    def __init__(self, lab: Lab, kubeconfig: Path) -> None:
        self._lab = lab
        self._kubeconfig = kubeconfig
        self._open = ExitStack()

    def start(self) -> None:
        network = self._lab.sandbox.netns_path(None)
        port = self._open.enter_context(relay(network, str(GATEWAY), API_PORT))
        content = yaml.safe_load(self._lab.paths.kubeconfig.read_text())
        ca = Path(content["clusters"][0]["cluster"].pop("certificate-authority")).read_bytes()
        content["clusters"][0]["cluster"] |= {
            "server": f"https://127.0.0.1:{port}",
            "tls-server-name": str(GATEWAY),
            "certificate-authority-data": base64.b64encode(ca).decode(),
        }
        self._kubeconfig.write_text(yaml.safe_dump(content))

    def stop(self) -> None:
        self._open.close()
