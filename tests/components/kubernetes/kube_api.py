"""An API server for tests: reads over objects that it was given, and exec streams that are played.

TLS with a certificate of its own, the API's paths, selectors, Status errors and the channel
protocols are the real ones' (Kubernetes 1.31); what runs in a pod is a handler's word. It runs in a
thread of the test, or as a program (:mod:`tests.components.kubernetes.kube_cluster`).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from tests.components.kubernetes.background import serving
from tests.components.kubernetes.exec_replies import Exec, Handler, Output, Reply, answer, status
from tests.components.kubernetes.selectors import matches, matches_field
from tests.components.kubernetes.tls import Certificate

Json = dict[str, Any]

_GROUPS = {
    "Node": "/api/v1/nodes",
    "Namespace": "/api/v1/namespaces",
    "Pod": "/api/v1/pods",
    "ServiceAccount": "/api/v1/serviceaccounts",
    "Service": "/api/v1/services",
    "ConfigMap": "/api/v1/configmaps",
    "Event": "/api/v1/events",
    "DaemonSet": "/apis/apps/v1/daemonsets",
    "Deployment": "/apis/apps/v1/deployments",
    "Job": "/apis/batch/v1/jobs",
    "Role": "/apis/rbac.authorization.k8s.io/v1/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/endpointslices",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
}

_CLUSTER_WIDE = (
    *("Node", "Namespace", "CustomResourceDefinition"),
    *("ClusterRole", "ClusterRoleBinding"),
)
_MADE = ("ServiceAccount", "Job", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
"""Kinds that clients make and delete, beside pods."""


def _nothing(call: Exec) -> Reply:
    return Output()


def _no_controller(job: Json, made: bool) -> None:
    pass


async def _near(request: web.Request) -> None:
    pass


@dataclass
class KubeApi:
    """Its objects and its manners; both may be changed while it runs.

    :ivar handler: what commands do.
    :ivar trouble: HTTP statuses that the next requests get instead of an answer.
    :ivar tokens: those that are taken; None takes every request.
    """

    handler: Handler = _nothing
    objects: list[Json] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    trouble: list[int] = field(default_factory=list)
    tokens: set[str] | None = None
    version: str = "v1.31.4"
    custom: dict[str, str] = field(default_factory=dict)
    """Paths of further kinds, which it has since somebody has defined them."""
    denied: dict[str, str] = field(default_factory=dict)
    """Kinds that nobody may read, with what it says then."""
    legs: list[list[Json]] = field(default_factory=list)
    """What the next watches tell, each as a whole and without waiting."""
    watches: int = 0
    pods_never_ready: bool = False
    job_controller: Callable[[Json, bool], None] = _no_controller
    """Is told of Jobs that are made (True) and deleted."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of every request, in order."""
    way: Callable[[web.Request], Awaitable[None]] = _near
    """What a request takes to get here and back."""
    used_tokens: list[str] = field(default_factory=list)
    executed: list[Exec] = field(default_factory=list)
    url: str = ""
    certificate: Certificate = field(default_factory=Certificate.make)

    def put(self, *objects: Json) -> None:
        """Add objects, or replace those of the same kind, namespace and name."""
        for item in objects:
            self.remove(item["kind"], item["metadata"]["name"], _namespace(item))
            self.objects.append(item)

    def remove(self, kind: str, name: str, namespace: str | None = None) -> None:
        """Take an object away; one that is not there stays so."""
        self.objects = [
            item
            for item in self.objects
            if (item["kind"], item["metadata"]["name"], _namespace(item)) != (kind, name, namespace)
        ]

    def object(self, kind: str, name: str) -> Json:
        """The object of a kind and name."""
        return next(
            item
            for item in self.objects
            if item["kind"] == kind and item["metadata"]["name"] == name
        )

    def kubeconfig(self, path: Path, token: str = "a-token") -> Path:
        """Write a kubeconfig for this server, with one context ``test``."""
        authority = path.with_suffix(".crt")
        authority.write_text(self.certificate.authority)
        cluster = {"server": self.url, "certificate-authority": str(authority)}
        context = {"cluster": "test", "user": "test"}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": context}],
            "current-context": "test",
        }
        path.write_text(yaml.safe_dump(content))
        return path

    @contextmanager
    def serving(self, port: int = 0) -> Iterator[KubeApi]:
        """Serve on a port of 127.0.0.1 (0: a free one) for the length of the block."""
        with serving(self._app(), self.certificate, port=port) as bound:
            self.url = f"https://127.0.0.1:{bound}"
            yield self

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._manners])
        app.router.add_get("/version", self._version)
        kinds = {**_GROUPS, **self.custom}
        for group in {path.rpartition("/")[0] for path in kinds.values()}:
            app.router.add_get(group, self._kinds(group))
        pod = "/api/v1/namespaces/{namespace}/pods/{name}"
        app.router.add_get(f"{pod}/log", self._log)
        app.router.add_get(f"{pod}/exec", self._exec)
        for kind, path in kinds.items():
            group, _, plural = path.rpartition("/")
            for prefix in (group, f"{group}/namespaces/{{namespace}}"):
                app.router.add_get(f"{prefix}/{plural}", self._list(kind))
                app.router.add_get(f"{prefix}/{plural}/{{name}}", self._get(kind))
                if kind in _MADE:
                    app.router.add_post(f"{prefix}/{plural}", self._create)
                    app.router.add_delete(f"{prefix}/{plural}/{{name}}", self._delete(kind))
        app.router.add_post("/api/v1/namespaces/{namespace}/pods", self._create_pod)
        app.router.add_delete(pod, self._delete_pod)
        return app

    @web.middleware
    async def _manners(
        self, request: web.Request, handler: Callable[[web.Request], Any]
    ) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs))
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        self.used_tokens.append(token)
        await self.way(request)
        if self.trouble:
            return status(self.trouble.pop(0), "not now")
        if self.tokens is not None and token not in self.tokens:
            return status(401, "Unauthorized")
        response: web.StreamResponse = await handler(request)
        return response

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"gitVersion": self.version})

    def _kinds(self, group: str) -> Callable[[web.Request], Any]:
        """The discovery document of a group and version."""
        resources = [
            {"name": path.rpartition("/")[2], "kind": kind, "namespaced": kind not in _CLUSTER_WIDE}
            for kind, path in {**_GROUPS, **self.custom}.items()
            if path.rpartition("/")[0] == group
        ]
        resources.append({"name": "pods/log", "kind": "Pod", "namespaced": True})

        async def respond(_: web.Request) -> web.Response:
            return web.json_response({"kind": "APIResourceList", "resources": resources})

        return respond

    async def _create(self, request: web.Request) -> web.Response:
        made = await request.json()
        kind, name, namespace = made["kind"], made["metadata"]["name"], _namespace(made)
        wanted = (kind, name, namespace)
        if any((i["kind"], i["metadata"]["name"], _namespace(i)) == wanted for i in self.objects):
            return status(409, f"{name} already exists")
        self.put(made)
        if kind == "Job":
            self.job_controller(made, True)
        return web.json_response(made, status=201)

    def _delete(self, kind: str) -> Callable[[web.Request], Any]:
        async def respond(request: web.Request) -> web.Response:
            found = self._find(kind, request)
            if found is None:
                return status(404, f"{kind} not found")
            self.remove(kind, found["metadata"]["name"], _namespace(found))
            if kind == "Job":
                self.job_controller(found, False)
            return web.json_response(found)

        return respond

    async def _create_pod(self, request: web.Request) -> web.Response:
        """Take a pod and have it run at once, as its kubelet would."""
        made = await request.json()
        if self.pods_never_ready:
            made["status"] = {"phase": "Pending"}
        else:
            made["status"] = {
                "phase": "Running",
                "podIP": "10.0.0.7",
                "conditions": [{"type": "Ready", "status": "True"}],
            }
        self.put(made)
        return web.json_response(made, status=201)

    async def _delete_pod(self, request: web.Request) -> web.Response:
        found = self._find("Pod", request)
        if found is None:
            return status(404, "pod not found")
        self.remove("Pod", found["metadata"]["name"], _namespace(found))
        return web.json_response(found)

    def _list(self, kind: str) -> Callable[[web.Request], Any]:
        async def respond(request: web.Request) -> web.Response:
            if kind in self.denied:
                return status(403, self.denied[kind])
            if "watch" in request.query:
                self.watches += 1
                events = self.legs.pop(0) if self.legs else []
                return web.Response(text="".join(f"{json.dumps(each)}\n" for each in events))
            labels = request.query.get("labelSelector", "")
            fields = request.query.get("fieldSelector", "")
            namespace = request.match_info.get("namespace")
            found = [
                item
                for item in self.objects
                if item["kind"] == kind
                and namespace in (None, _namespace(item))
                and matches(item, labels)
                and matches_field(item, fields)
            ]
            first = int(request.query.get("continue", "0"))
            last = first + int(request.query.get("limit", len(found) or 1))
            metadata = {"resourceVersion": "1000", "continue": str(last) * (last < len(found))}
            listed = {"kind": f"{kind}List", "metadata": metadata, "items": found[first:last]}
            return web.json_response(listed)

        return respond

    def _get(self, kind: str) -> Callable[[web.Request], Any]:
        async def respond(request: web.Request) -> web.Response:
            if kind in self.denied:
                return status(403, self.denied[kind])
            found = self._find(kind, request)
            return status(404, f"{kind} not found") if found is None else web.json_response(found)

        return respond

    def _find(self, kind: str, request: web.Request) -> Json | None:
        wanted = (kind, request.match_info["name"], request.match_info.get("namespace"))
        with suppress(StopIteration):
            return next(
                item
                for item in self.objects
                if (item["kind"], item["metadata"]["name"], _namespace(item)) == wanted
            )
        return None

    async def _log(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.logs:
            return status(400, "container is waiting to start")
        lines = self.logs[name].splitlines()[-int(request.query["tailLines"]) :]
        return web.Response(text="\n".join(lines))

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        call = Exec(
            request.match_info["namespace"],
            request.match_info["name"],
            request.query["container"],
            tuple(request.query.getall("command")),
        )
        if self._find("Pod", request) is None:
            return status(404, f'pods "{call.pod}" not found')
        self.executed.append(call)
        return await answer(request, call, self.handler)


def _namespace(item: Json) -> str | None:
    namespace: str | None = item["metadata"].get("namespace")
    return namespace
