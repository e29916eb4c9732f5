"""A stand-in of the kubelets of a lab's nodes: what is bound to them runs.

It registers nodes' machines, starts the containers of every pod that is bound to one of them in the
network that the lab's real CNI plugin has wired, probes them, starts them again when they end,
reports their status, ends what is deleted, and serves exec and logs. Of a pod it reads what the
project's own objects say, and no more: no init containers, volumes of the few kinds that they have.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from kube.objects import (
    CONFIG_MAP,
    NODE,
    POD,
    SERVICE,
    SERVICE_ACCOUNT,
    ApiError,
    Json,
    KubernetesError,
)
from lab import kernel
from lab.cluster import Lab
from lab.errors import LabError
from lab.network import Node
from lab.sandbox import environment
from lab.workloads import CLUSTER_DOMAIN
from tests.components.kubernetes.exec_replies import Exec, Failed, Process, Reply
from tests.components.kubernetes.kubelet import kubelet as serve
from tests.kubelet.containers import (
    Cgroups,
    Container,
    ContainerError,
    Daemon,
    Processes,
    Settings,
)
from tests.kubelet.images import IMAGES, Image, repository

VERSION = "v1.35.8"
RUNTIME = "lab"
_PAUSE = 0.3
_TICK = 0.1
_AGAIN_SECONDS = 1.0
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LABS_OWN = "lab/"
"""How images of pods begin that the lab runs itself."""

Say = Callable[[str], None]


class Kubelets:
    """The kubelets of all nodes of a lab.

    :param dns: the address of the cluster's DNS.
    """

    def __init__(self, lab: Lab, dns: str, say: Say = print) -> None:
        self.lab = lab
        self.dns = dns
        self.say = say
        self.nodes = {node.name: node for node in lab.nodes}
        self._lives: dict[str, Life] = {}
        self._ended = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have them at work for the length of the block; then nothing of theirs is left."""
        _ = self.lab.pods  # made once, before threads ask for it
        with ExitStack() as stack:
            for node in self.nodes.values():
                self._register(node)
                stack.callback(Cgroups(self.lab.paths.lab_id, node.name).remove)
                namespace = self.lab.sandbox.netns_path(node.name)
                handler = partial(self._exec, node.name)
                stack.enter_context(serve(namespace, node.address.ip, handler, self._log))
            stack.callback(self._end_all)
            thread = threading.Thread(target=self._work)
            thread.start()
            stack.callback(thread.join)
            stack.callback(self._ended.set)
            yield

    def _register(self, node: Node) -> None:
        """Say what a node's machine is, and that pods may come."""
        memory = psutil.virtual_memory().total >> 10
        room = {"cpu": str(kernel.cpus()), "memory": f"{memory}Ki", "pods": "110"}
        info = {
            "architecture": _ARCHITECTURES[platform.machine()],
            "operatingSystem": "linux",
            "kernelVersion": kernel.release(),
            "osImage": "a lab's node",
            "containerRuntimeVersion": f"{RUNTIME}://1",
            "kubeletVersion": VERSION,
            "kubeProxyVersion": "",
            "bootID": "",
            "machineID": "",
            "systemUUID": "",
        }
        # Nothing resolves nodes' names, by which API servers prefer to reach them.
        status = {
            "capacity": room,
            "allocatable": room,
            "nodeInfo": info,
            "addresses": [{"type": "InternalIP", "address": node.address.ip}],
        }
        self.lab.api.merge(NODE, node.name, {"status": status}, subresource="status")
        # An API server has it put on every new node, and a controller takes it away.
        self.lab.api.merge(NODE, node.name, {"spec": {"taints": None}})

    def _work(self) -> None:
        while not self._ended.wait(_PAUSE):
            try:
                found = {pod["metadata"]["uid"]: pod for pod in self.lab.api.items(POD)}
            except KubernetesError as error:
                self.say(f"kubelets: {error}")
                continue
            for uid, pod in found.items():
                if uid not in self._lives and self._is_ours(pod):
                    self._lives[uid] = Life(self, self.nodes[pod["spec"]["nodeName"]], pod)
            for uid, life in list(self._lives.items()):
                if uid not in found or found[uid]["metadata"].get("deletionTimestamp"):
                    life.ending.set()
                if life.over and uid not in found:
                    del self._lives[uid]

    def _is_ours(self, pod: Json) -> bool:
        spec = pod["spec"]
        labs = any(each["image"].startswith(_LABS_OWN) for each in spec["containers"])
        return spec.get("nodeName") in self.nodes and not labs

    def _end_all(self) -> None:
        for life in self._lives.values():
            life.ending.set()
        for life in self._lives.values():
            life.join()

    def _find(self, namespace: str, pod: str, container: str) -> Container | Daemon | None:
        for life in list(self._lives.values()):
            if (life.namespace, life.name) == (namespace, pod):
                return life.running.get(container)
        return None

    def _exec(self, _node: str, call: Exec) -> Reply:
        container = self._find(call.namespace, call.pod, call.container)
        if container is None:
            return Failed(f"container not found ({call.container!r})")
        try:
            words = container.words(call.argv)
        except ContainerError as error:
            return Failed(str(error))
        return Process(tuple(words), owner=container.settings.user, lasting=True)

    def _log(self, namespace: str, pod: str, container: str) -> bytes:
        found = self._find(namespace, pod, container)
        return b"" if found is None else found.log.read_bytes()


class Life:
    """A pod from its binding to its end; in a thread of its own.

    :ivar ending: set where it is to end.
    :ivar running: its containers by name.
    """

    def __init__(self, kubelets: Kubelets, node: Node, pod: Json) -> None:
        self._kubelets = kubelets
        self._lab = kubelets.lab
        self._node = node
        self._pod = pod
        self._spec = pod["spec"]
        self.namespace: str = pod["metadata"]["namespace"]
        self.name: str = pod["metadata"]["name"]
        self.ending = threading.Event()
        self.over = False
        self.running: dict[str, Container | Daemon] = {}
        self._on_host = bool(self._spec.get("hostNetwork"))
        self._processes: Processes | None = None
        self._ip = ""
        self._waiting: dict[str, tuple[str, str]] = {}
        self._started: dict[str, bool] = {}
        self._ends: dict[str, int] = {}
        self._restarts: dict[str, int] = {}
        self._began = _now()
        self._thread = threading.Thread(target=self._live, name=self.name)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _live(self) -> None:
        try:
            while not self.ending.is_set() and not self._sandboxed():
                self.ending.wait(_AGAIN_SECONDS)
            while not self.ending.wait(_TICK):
                for container in self._spec["containers"]:
                    self._further(container)
            self._end()
        except Exception as error:
            self._kubelets.say(f"kubelet of {self._node.name}: {self.name}: {error!r}")
            raise
        finally:
            self.over = True

    # -- its start --------------------------------------------------------------------------------

    def _sandboxed(self) -> bool:
        """Have its network, and its processes' namespace where containers share one."""
        try:
            if self._on_host:
                self._ip = self._node.address.ip
            else:
                self._ip = self._lab.pods.connect(self.name, self.namespace, self._node)
            if self._spec.get("shareProcessNamespace"):
                self._processes = Processes(self._lab, self.name)
        except LabError as error:
            with suppress(LabError):  # whatever there is of it, for the next attempt
                self._lab.pods.disconnect(self.name, self.namespace, self._node)
            told = ("FailedCreatePodSandBox", str(error)[-300:])
            self._waiting = {each["name"]: told for each in self._spec["containers"]}
            self._report()
            return False
        return True

    def _further(self, container: Json) -> None:
        """Take a container one step further: start it, probe it, or see to its end."""
        name = container["name"]
        there = self.running.get(name)
        if there is None:
            if name not in self._ends or self._spec.get("restartPolicy", "Always") == "Always":
                self._start(container)
                self._report()
        elif (code := there.ended) is not None:
            del self.running[name]
            self._ends[name] = code
            self._started[name] = False
            self._report()
            self.ending.wait(_AGAIN_SECONDS)
        elif not self._started[name]:
            self._started[name] = self._answers(container, there)
            if self._started[name]:
                self._report()
            else:
                self.ending.wait(float(container["startupProbe"].get("periodSeconds", 10)))

    def _start(self, container: Json) -> None:
        name = container["name"]
        image = IMAGES.get(repository(container["image"]))
        if image is None:
            self._waiting[name] = ("ErrImagePull", f"no stand-in of {container['image']}")
            self.ending.wait(_AGAIN_SECONDS)
            return
        log = self._lab.paths.log(f"{self.name}-{name}")
        try:
            self.running[name] = self._made(container, image, log)
        except ContainerError as error:
            self._waiting[name] = ("CreateContainerError", str(error))
            self.ending.wait(_AGAIN_SECONDS)
            return
        self._waiting.pop(name, None)
        self._restarts[name] = self._restarts.get(name, -1) + 1
        self._started[name] = "startupProbe" not in container

    def _made(self, container: Json, image: Image, log: Path) -> Container | Daemon:
        settings = self._settings(container)
        if image.daemon:
            group = self._node.agents / container["name"]
            log.touch()
            return Daemon(self._lab, self._node, group, settings, log)
        network = self._node.name if self._on_host else self.name
        return Container(self._lab, self._node, network, image, settings, log, self._processes)

    def _settings(self, container: Json) -> Settings:
        security = self._spec.get("securityContext", {}) | container.get("securityContext", {})
        argv = (*container.get("command", ()), *container.get("args", ()))
        volumes = {each["name"]: each for each in self._spec.get("volumes", ())}
        mounts: dict[str, Path] = {}
        for mount in container.get("volumeMounts", ()):
            mounts |= self._mounted(mount["mountPath"], volumes[mount["name"]])
        service = self._lab.api.get(SERVICE, "kubernetes", "default")["spec"]
        own = {
            "KUBERNETES_SERVICE_HOST": service["clusterIP"],
            "KUBERNETES_SERVICE_PORT": str(service["ports"][0]["port"]),
        }
        return Settings(
            id=uuid.uuid4().hex,
            argv=argv,
            user=security.get("runAsUser", 0),
            variables=own | {each["name"]: each["value"] for each in container.get("env", ())},
            folder=container.get("workingDir", "/"),
            mounts=mounts,
            resolver=self._resolver(),
        )

    def _mounted(self, place: str, volume: Json) -> dict[str, Path]:
        """A volume's folders by their places; a node's cgroups are its branch of the machine's."""
        if "hostPath" not in volume:
            return {place: self._own_volume(volume)}
        path = volume["hostPath"]["path"]
        if path != "/sys/fs/cgroup":
            return {place: Path(path)}
        branches = Cgroups(self._lab.paths.lab_id, self._node.name).branches
        return {f"{place}/{name}": branch for name, branch in branches.items()}

    def _own_volume(self, volume: Json) -> Path:
        """A folder that goes with the pod."""
        folder = self._volumes / str(volume["name"])
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o777)
            for source in volume.get("projected", {}).get("sources", ()):
                self._project(source, folder)
        return folder

    def _project(self, source: Json, folder: Path) -> None:
        """Write what a projected volume has of a source."""
        api = self._lab.api
        if token := source.get("serviceAccountToken"):
            account = api.path(SERVICE_ACCOUNT, self.namespace, self._spec["serviceAccountName"])
            asked = {"spec": {"expirationSeconds": token["expirationSeconds"]}}
            made = json.loads(api.request("POST", f"{account}/token", (), asked))
            (folder / token["path"]).write_text(made["status"]["token"])
        elif wanted := source.get("configMap"):
            data = api.get(CONFIG_MAP, wanted["name"], self.namespace)["data"]
            for item in wanted["items"]:
                (folder / item["path"]).write_text(data[item["key"]])
        else:
            raise ContainerError(f"no stand-in of the source {source}")

    @property
    def _volumes(self) -> Path:
        uid: str = self._pod["metadata"]["uid"]
        return self._lab.paths.root / "volumes" / uid

    def _resolver(self) -> str:
        """Of the policies Default and ClusterFirst (Kubernetes "DNS for Services and Pods")."""
        if self._on_host:
            return Path("/etc/resolv.conf").read_text()
        search = f"{self.namespace}.svc.{CLUSTER_DOMAIN} svc.{CLUSTER_DOMAIN} {CLUSTER_DOMAIN}"
        return f"search {search}\nnameserver {self._kubelets.dns}\noptions ndots:5\n"

    # -- probes -----------------------------------------------------------------------------------

    def _answers(self, container: Json, there: Container | Daemon) -> bool:
        probe: Json = container["startupProbe"]
        seconds = float(probe.get("timeoutSeconds", 1))
        if "exec" in probe:
            return _ends_well(there.words(probe["exec"]["command"]), seconds)
        sandbox, node = self._lab.sandbox, self._node.name
        if "tcpSocket" in probe:
            return sandbox.refusal(node, self._ip, probe["tcpSocket"]["port"]) is None
        get = probe["httpGet"]
        with suppress(OSError):
            url = f"http://{self._ip}:{get['port']}{get['path']}"
            return sandbox.http_get(node, url, seconds)[0] < 400
        return False

    # -- what is told -----------------------------------------------------------------------------

    def _report(self) -> None:
        status = {"status": self._status()}
        # Whoever is gone in the meantime is seen to be by the next look.
        with suppress(ApiError):
            self._lab.api.merge(POD, self.name, status, self.namespace, subresource="status")

    def _status(self) -> Json:
        names = [each["name"] for each in self._spec["containers"]]
        ready = all(self._started.get(name) for name in names)
        told = {"Initialized": True, "PodScheduled": True, "ContainersReady": ready, "Ready": ready}
        return {
            "phase": self._phase(names),
            "hostIP": self._node.address.ip,
            "podIP": self._ip,
            "podIPs": [{"ip": self._ip}] if self._ip else [],
            "startTime": self._began,
            "conditions": [
                {"type": kind, "status": str(so), "lastTransitionTime": _now()}
                for kind, so in told.items()
            ],
            "containerStatuses": [self._of_container(each) for each in self._spec["containers"]],
        }

    def _phase(self, names: list[str]) -> str:
        if self._spec.get("restartPolicy", "Always") != "Always" and not self.running:
            codes = [self._ends.get(name) for name in names]
            if None not in codes:
                return "Failed" if any(codes) else "Succeeded"
        return "Running" if self.running else "Pending"

    def _of_container(self, container: Json) -> Json:
        name = container["name"]
        there = self.running.get(name)
        state: dict[str, Any] = {"waiting": {"reason": "ContainerCreating"}}
        if there is not None:
            state = {"running": {"startedAt": self._began}}
        elif name in self._waiting:
            reason, message = self._waiting[name]
            state = {"waiting": {"reason": reason, "message": message}}
        elif name in self._ends:
            code = self._ends[name]
            reason = "Error" if code else "Completed"
            state = {"terminated": {"exitCode": code, "reason": reason}}
        return {
            "name": name,
            "image": container["image"],
            "imageID": container["image"] if there else "",
            "containerID": f"{RUNTIME}://{there.settings.id}" if there else "",
            "ready": self._started.get(name, False),
            "started": self._started.get(name, False),
            "restartCount": max(self._restarts.get(name, 0), 0),
            "state": state,
        }

    # -- its end ----------------------------------------------------------------------------------

    def _end(self) -> None:
        grace = float(self._spec.get("terminationGracePeriodSeconds", 30))
        for container in self.running.values():
            container.end(grace)
        self.running.clear()
        if self._processes:
            self._processes.end()
        shutil.rmtree(self._volumes, ignore_errors=True)
        if not self._on_host and self._ip:
            self._lab.pods.disconnect(self.name, self.namespace, self._node)
        with suppress(KubernetesError):  # gone, or the lab is about to be
            options = {
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "gracePeriodSeconds": 0,
                "preconditions": {"uid": self._pod["metadata"]["uid"]},
            }
            path = self._lab.api.path(POD, self.namespace, self.name)
            self._lab.api.request("DELETE", path, (), options)


def _ends_well(words: list[str], seconds: float) -> bool:
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            env=environment(),
            check=False,
        )
        return done.returncode == 0
    return False


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
