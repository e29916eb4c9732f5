"""Scheduler and kubelets for tests in which nothing is run: a pod gets the node that its DaemonSet
wants it on, else the first one, and is ready at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kube.client import Kube
from kube.objects import POD, Json, KubernetesError, is_ready

_PAUSE = 0.2


@contextmanager
def pods_running(api: Kube, node: str) -> Iterator[None]:
    """Have all pods bound to a node and ready, and those that are deleted gone."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(_PAUSE):
            # An object that goes in the meantime is looked at again.
            with suppress(KubernetesError):
                for pod in api.items(POD):
                    _further(api, pod, node)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _further(api: Kube, pod: Json, node: str) -> None:
    """Take a pod one step further."""
    meta = pod["metadata"]
    name, namespace = meta["name"], meta["namespace"]
    if meta.get("deletionTimestamp"):
        api.delete(POD, name, namespace, [("gracePeriodSeconds", "0")])
    elif not pod["spec"].get("nodeName"):
        target = {"apiVersion": "v1", "kind": "Node", "name": _wanted(pod) or node}
        metadata = {"name": name, "namespace": namespace}
        api.create({"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target})
    elif not is_ready(pod):
        names = [each["name"] for each in pod["spec"]["containers"]]
        status = {
            "phase": "Running",
            "conditions": [
                {"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")
            ],
            "containerStatuses": [
                {"name": each, "ready": True, "image": "", "imageID": "", "restartCount": 0}
                for each in names
            ],
        }
        api.merge(POD, name, {"status": status}, namespace, subresource="status")


def _wanted(pod: Json) -> str:
    """The node for which a DaemonSet has made a pod; empty for all others."""
    rules = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
    terms = rules.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get(
        "nodeSelectorTerms", []
    )
    fields = [field for term in terms for field in term.get("matchFields", [])]
    return str(fields[0]["values"][0]) if fields else ""
