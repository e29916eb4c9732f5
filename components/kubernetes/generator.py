"""The generator of turns in pods: no image has it, so its binary is copied into them.

A server's pod waits for it (:func:`components.kubernetes.manifests.started`) and is ready before:
the deployment is not held up by what only a session brings.
"""

from bench.workloads import TURNS_ECHO_PORT
from components.kubernetes import pods
from components.kubernetes.facts import script
from components.kubernetes.manifests import MAIN, waits_for
from components.programs import for_pods, path_in_pods
from kube import exec as pod_exec
from kube.client import Kube
from kube.exec import Container
from kube.objects import NODE, POD, KubernetesError

_PUT_SECONDS = 120.0
_LISTENING_TENTHS = 100


class Generator:
    """Brings the generator into pods, into each one once; of one thread."""

    def __init__(self, api: Kube) -> None:
        self._api = api
        self._brought: set[Container] = set()
        self._packed: dict[str, bytes] = {}
        self.path = path_in_pods()

    def bring(self, namespace: str, name: str) -> None:
        """Have it in a pod, and running there if the pod serves by it.

        :raises KubernetesError: it cannot be put there, or does not come to listen.
        :raises SessionError: it is not built for the pod's node.
        """
        where = Container(namespace, name, MAIN)
        if where in self._brought:
            return
        pod = self._api.get(POD, name, namespace)
        wanted = waits_for(pod)
        if wanted not in (None, self.path):
            raise KubernetesError(
                f"{name} was made for another version of turns than this checkout's. Fix: pulumi up"
            )
        if pod_exec.run(self._api, where, ["test", "-x", self.path], timeout=30).returncode:
            self._put(where, pod["spec"]["nodeName"])
        if wanted:
            listening = script("listening", str(TURNS_ECHO_PORT), str(_LISTENING_TENTHS))
            pods.output(self._api, where, listening)
        self._brought.add(where)

    def _put(self, where: Container, node: str) -> None:
        info = self._api.get(NODE, node)["status"]["nodeInfo"]
        architecture = str(info["architecture"])
        if architecture not in self._packed:
            self._packed[architecture] = for_pods(architecture)
        packed = self._packed[architecture]
        put = script("put", self.path, str(len(packed)))
        done = pod_exec.run(self._api, where, put, timeout=_PUT_SECONDS, stdin=packed)
        if done.returncode:
            said = done.stderr.strip()[-300:]
            raise KubernetesError(f"{where}: turns could not be put there: {said}")
