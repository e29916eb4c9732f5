"""Asks an API server for the shape of its cluster: lists, one watch, and nothing else."""

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import yaml

from bench.session import Clock
from cni.registry import DATAPLANES
from components.census import shapes
from components.census.rights import POLICIES
from components.kubeconfig.existing import Cni, detect_cni
from components.kubernetes.dataplane import kube_proxy_mode
from kube.client import Kube
from kube.objects import (
    CONFIG_MAP,
    DAEMON_SET,
    ENDPOINT_SLICE,
    NODE,
    POD,
    SERVICE,
    ApiError,
    Json,
    Kind,
)
from studies.census.model import (
    Census,
    Churn,
    CniShape,
    KubeProxyMode,
    Missing,
    Part,
    PolicyShape,
    Reason,
    ServiceShape,
    Tally,
)

_LEG_SECONDS = 10
"""Of a watch, which is told as a whole at its end: of fewer seconds than a request may take."""
_KUBE_PROXY_MODES: tuple[KubeProxyMode, ...] = ("iptables", "ipvs", "nftables", "none")
T = TypeVar("T")


def take(
    api: Kube, watch_seconds: int, say: Callable[[str], None], clock: Clock | None = None
) -> Census:
    """Take the census of a cluster.

    What cannot be read is in its ``missing``; the rest is there all the same.

    :param watch_seconds: for which changes of endpoints are watched; 0 for not at all.
    :param say: gets a line for each thing that is asked for.
    :raises ApiError: the API server does not answer at all, or does not take the login.
    """
    return _Taking(api, watch_seconds, say, clock or Clock()).census()


class _Taking:
    def __init__(
        self, api: Kube, watch_seconds: int, say: Callable[[str], None], clock: Clock
    ) -> None:
        self._api = api
        self._seconds = watch_seconds
        self._say = say
        self._clock = clock
        self._missing: list[Missing] = []
        self._silent = False

    def census(self) -> Census:
        kubernetes = shapes.release(self._api.version())
        nodes = self._read("nodes", lambda: list(self._items(NODE)))
        alike = self._made("nodes", lambda: shapes.node_shapes(nodes)) if nodes else None
        cni = self._read("the CNI", lambda: self._cni(nodes))
        services, churn = self._services()
        return Census(
            kubernetes=kubernetes,
            nodes=() if nodes == [] else alike,
            cni=cni,
            kube_proxy=self._read("kube-proxy's mode", self._kube_proxy),
            pods_per_node=self._pods(nodes),
            policies=tuple(self._policies()),
            services=services,
            churn=churn,
            missing=tuple(self._missing),
        )

    # -- what fails is missing ----------------------------------------------------------------

    def _read(self, what: Part, read: Callable[[], T | None]) -> T | None:
        if self._silent:
            self._lack(what, "not asked for: the API server had not answered before")
            return None
        self._say(f"reading {what}")
        return self._made(what, read)

    def _made(self, what: Part, make: Callable[[], T | None]) -> T | None:
        """What is made of answers, or of asking for them."""
        try:
            return make()
        except ApiError as error:
            # One that was slow in four attempts would be so for everything that is asked next.
            self._silent = error.status == 0
            self._lack(what, _REASONS.get(error.status, "the API server refused it"))
        except (ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
            self._lack(what, "its answer makes no sense")
        return None

    def _lack(self, what: Part, why: Reason) -> None:
        missing = Missing(what=what, why=why)
        if what not in [each.what for each in self._missing]:
            self._missing.append(missing)

    def _items(self, kind: Kind) -> Iterator[Json]:
        for page in self._api.pages(kind):
            yield from page["items"]

    # -- the parts ----------------------------------------------------------------------------

    def _cni(self, nodes: list[Json] | None) -> CniShape | None:
        daemonsets = list(self._items(DAEMON_SET))
        found = detect_cni(daemonsets, nodes or [])
        version = shapes.release(found.version)
        # Without agents that are known, only nodes that are ready tell that there is a CNI.
        is_none = found.kind == "none"
        if version is None and not (is_none and nodes is not None):
            self._lack("the CNI", "the cluster does not tell it")
        if is_none and nodes is None:
            return None
        settings = self._read("the CNI's settings", lambda: self._settings(found, daemonsets))
        return CniShape(kind=found.kind, version=version, settings=settings or {})

    def _settings(self, found: Cni, daemonsets: list[Json]) -> dict[str, str]:
        dataplane = DATAPLANES.get(found.kind)
        if dataplane is None:
            return {}
        place, settings = dataplane.rollout.config_map, {}
        agents = (found.namespace, dataplane.rollout.daemonset)
        for each in daemonsets:
            if shapes.key_of(each) == agents:
                environment = each["spec"]["template"]["spec"]["containers"][0].get("env") or ()
                settings = {each["name"]: str(each.get("value", "")) for each in environment}
        if place is not None:
            config = self._api.get(CONFIG_MAP, place, found.namespace)
            settings |= config.get("data") or {}
        return dataplane.told(settings)

    def _kube_proxy(self) -> KubeProxyMode | None:
        mode = kube_proxy_mode(self._api)
        if mode == "unknown":
            self._lack("kube-proxy's mode", "the cluster does not tell it")
            return None
        return next((each for each in _KUBE_PROXY_MODES if each == mode), "other")

    def _pods(self, nodes: list[Json] | None) -> tuple[Tally, ...] | None:
        names = [each["metadata"]["name"] for each in nodes or ()]
        return self._read("pods", lambda: shapes.pods_per_node(self._items(POD), names))

    def _policies(self) -> Iterator[PolicyShape]:
        for name, kind in POLICIES.items():
            found = self._read(
                name,
                lambda name=name, kind=kind: shapes.policy_shapes(name, self._items(kind)),  # type: ignore[misc]
            )
            yield from found or ()

    def _services(self) -> tuple[tuple[ServiceShape, ...] | None, Churn | None]:
        listed = self._read(
            "Services", lambda: [(shapes.key_of(each), each) for each in self._items(SERVICE)]
        )
        endpoints, begun = shapes.Endpoints(), self._clock.monotonic()
        since = self._read("endpoints", lambda: self._listed(endpoints))
        services, churn = None, None
        if listed is not None:
            known = None if since is None else endpoints.per_service()
            services = self._made("Services", lambda: shapes.service_shapes(listed, known))
        if self._seconds and since is not None:
            churn = self._read(
                "changes of endpoints", lambda: self._watched(endpoints, since, begun)
            )
        return services, churn

    def _listed(self, endpoints: shapes.Endpoints) -> str:
        """Takes in all EndpointSlices; the resource version of that moment."""
        since = ""
        for page in self._api.pages(ENDPOINT_SLICE):
            # The first list's is the moment of all.
            since = since or page["metadata"]["resourceVersion"]
            for item in page["items"]:
                endpoints.list(item)
        return since

    def _watched(self, endpoints: shapes.Endpoints, since: str, begun: float) -> Churn:
        """Watches from the moment of the list on, in legs: what came while it was read counts."""
        end = begun + self._seconds
        while (left := end - self._clock.monotonic()) > 0:
            leg = max(1, min(_LEG_SECONDS, round(left)))
            for event in self._api.changes(ENDPOINT_SLICE, since, leg):
                since = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    endpoints.take(event)
        return endpoints.churn(self._clock.monotonic() - begun)


_REASONS: Final[dict[int, Reason]] = {
    0: "the API server did not answer in time, or broke off",
    403: "may not be read (403)",
    404: "the cluster does not have it (404)",
    410: "the API server had forgotten its beginning (410)",
}
