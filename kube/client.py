"""An API server's objects, through the dynamic client of the package ``kubernetes``."""

import json
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TypeVar

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.resource import Resource
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool

from kube.objects import ApiError, Json, Kind, KubernetesError, Manifest

Query = Sequence[tuple[str, str]]
Network = Callable[[], AbstractContextManager[None]]
T = TypeVar("T")

#: Seconds (connect, read) of one request.
REQUEST_TIMEOUT = (10, 30)
#: Connections kept open. A request beyond this number makes a connection of its own.
CONNECTIONS = 32
#: Objects in one list, of a kind that a cluster may have many of: kubectl's own number.
PAGE = 500
JSON, MERGE_PATCH = "application/json", "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
UNAUTHORIZED, NOT_FOUND, CONFLICT = 401, 404, 409
#: Answers that another attempt may not meet: no answer, too many requests, and those of an API
#: server or a load balancer that is being replaced.
PASSING = frozenset({0, 429, 500, 502, 503, 504})

_FIRST_WAIT_SECONDS = 0.25
_ATTEMPTS = 4


_MISSHAPEN = (TypeError, LookupError, AttributeError)
"""What the library makes of a file of another shape."""


def settings_of(kubeconfig: str | None, context: str | None = None) -> client.Configuration:
    """The settings of a kubeconfig's context.

    :param kubeconfig: the file; None is ``$KUBECONFIG`` or ``~/.kube/config``.
    :param context: None is the file's current one.
    :raises KubernetesError: no readable file, or no such context in it.
    """
    settings = client.Configuration()
    try:
        config.load_kube_config(  # type: ignore[no-untyped-call]
            kubeconfig, context=context, client_configuration=settings
        )
    except (ConfigException, OSError, ValueError, yaml.YAMLError, *_MISSHAPEN) as error:
        why = f"kubeconfig {kubeconfig or 'of kubectl'}: {error}"
        raise KubernetesError(" ".join(why.split())) from None  # in one line
    return settings


def settings_in_pod() -> client.Configuration:
    """The settings of a pod's own service account; its token is read anew as it changes.

    :raises KubernetesError: this is no pod, or it has no token.
    """
    settings = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        raise KubernetesError(f"no service account of a pod: {error}") from None
    return settings


class Kube:
    """A cluster's API server.

    Requests that may be repeated without harm (reads, merge patches) are repeated while the server
    says "not now". Every request is bounded by :data:`REQUEST_TIMEOUT`. Threads may share it.

    :param settings: host, certificates and token. Its ``refresh_api_key_hook`` is asked for the
        token before every request.
    :param renew: forgets a token that was refused, so that the hook makes another one.
    :param network: a context in which connections are made, for a server in a network namespace.
    """

    def __init__(
        self,
        settings: client.Configuration,
        *,
        renew: Callable[[], None] | None = None,
        network: Network = nullcontext,
    ) -> None:
        settings.connection_pool_maxsize = CONNECTIONS
        self.settings = settings
        self.network = network
        self.tls = _tls(settings)
        """One context for requests, exec streams and bulk creation. urllib3's own refuses
        certificates without an authority key identifier from Python 3.13 on, which EKS has."""
        self._renew = renew
        self._resources: dict[Kind, Resource] = {}
        api = client.ApiClient(settings)
        manager = api.rest_client.pool_manager
        manager.connection_pool_kw["ssl_context"] = self.tls
        manager.pool_classes_by_scheme = {
            **manager.pool_classes_by_scheme,
            "https": _pool_in(network),
        }
        # The package's discoverers ask three questions before the first request, and keep the
        # answers in a file named by the server's address, which all labs have in common.
        self._dynamic = DynamicClient(  # type: ignore[no-untyped-call]
            api, discoverer=lambda _client, _cache_file: None
        )

    @property
    def host(self) -> str:
        """The server's URL."""
        return str(self.settings.host)

    @property
    def authorization(self) -> dict[str, str]:
        """The headers by which a request is authorized."""
        token = self.settings.auth_settings().get("BearerToken")
        return {"authorization": str(token["value"])} if token else {}

    # -- objects ------------------------------------------------------------------------------

    def get(self, kind: Kind, name: str, namespace: str = "") -> Json:
        """An object.

        :raises ApiError: see :meth:`request`; this holds for all methods here.
        """
        return dict(json.loads(self.read(self.path(kind, namespace, name))))

    def find(self, kind: Kind, name: str, namespace: str = "") -> Json | None:
        """An object, or None where there is none of that name."""
        try:
            return self.get(kind, name, namespace)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            return None

    def items(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> list[Json]:
        """The objects that the selectors match; of all namespaces where none is named."""
        selectors = (("labelSelector", labels), ("fieldSelector", fields))
        query = [each for each in selectors if each[1]]
        return list(json.loads(self.read(self.path(kind, namespace), query))["items"])

    def pages(self, kind: Kind, size: int = PAGE) -> Iterator[Json]:
        """The objects of a kind in all namespaces, as lists of ``size`` at most: all of one moment,
        whose resource version is the first list's.

        :raises ApiError: also with status 410, where the server has forgotten that moment.
        """
        more = ""
        while True:
            rest = [("continue", more)] if more else []
            page = json.loads(self.read(self.path(kind), [("limit", str(size)), *rest]))
            yield page
            more = page["metadata"].get("continue") or ""
            if not more:
                return

    def changes(self, kind: Kind, since: str, seconds: int) -> list[Json]:
        """What became of the objects of a kind: the events of a watch, with bookmarks.

        :param since: the resource version after which they are told.
        :param seconds: until it ends. Nothing may come for as long, so fewer than
            :data:`REQUEST_TIMEOUT` allows.
        :raises ApiError: also with status 410, where the server has forgotten that version.
        """
        path = self.path(kind)
        asked = (("watch", "true"), ("allowWatchBookmarks", "true"), ("resourceVersion", since))
        text = self.read(path, [*asked, ("timeoutSeconds", str(seconds))])
        events = [dict(json.loads(line)) for line in text.splitlines()]
        for each in events:
            if each["type"] == "ERROR":
                status = each["object"]
                raise ApiError("GET", path, status["code"], status["message"])
        return events

    def create(self, manifest: Manifest, query: Query = ()) -> Json:
        """Create an object.

        :raises ApiError: also with status 409, where there is one of that name.
        """
        path = self.path(Kind.of(manifest), manifest["metadata"].get("namespace", ""))
        return dict(json.loads(self.request("POST", path, query, manifest)))

    def ensure(self, manifest: Manifest) -> Json:
        """Create an object; one that exists is left as it is and given back."""
        try:
            return self.create(manifest)
        except ApiError as error:
            if error.status != CONFLICT:
                raise
        metadata = manifest["metadata"]
        return self.get(Kind.of(manifest), metadata["name"], metadata.get("namespace", ""))

    def apply(self, manifest: Manifest, manager: str) -> Json:
        """Create an object, or set these fields of the one that exists (server-side apply).

        For custom resources right after their definition: the API server holds their creation by
        POST back for two seconds then (serveResource in k8s.io/apiextensions-apiserver,
        pkg/apiserver/customresource_handler.go).

        :param manager: the word by which the server remembers whose fields they are.
        """
        metadata = manifest["metadata"]
        path = self.path(Kind.of(manifest), metadata.get("namespace", ""), metadata["name"])
        query = (("fieldManager", manager), ("force", "true"))
        return dict(json.loads(_repeated(self.request, "PATCH", path, query, manifest, APPLY)))

    def merge(
        self, kind: Kind, name: str, change: Manifest, namespace: str = "", *, subresource: str = ""
    ) -> Json:
        """Change an object, or its ``subresource``, by a JSON merge patch (RFC 7386)."""
        path = "/".join(filter(None, (self.path(kind, namespace, name), subresource)))
        return dict(json.loads(_repeated(self.request, "PATCH", path, (), change, MERGE_PATCH)))

    def delete(self, kind: Kind, name: str, namespace: str = "", query: Query = ()) -> None:
        """Have an object deleted; it may be there for a while yet."""
        self.request("DELETE", self.path(kind, namespace, name), query)

    def path(self, kind: Kind, namespace: str = "", name: str = "") -> str:
        """The path of a kind's objects, or of one of them.

        The server says how a kind is spelled there. It is asked once for each group and version,
        and again for a kind that was missing, since CRDs come later than their group.

        :raises ApiError: also with status 404, where the server does not know the kind.
        """
        if kind not in self._resources:
            self._discover(kind)
        path = self._resources[kind].path(  # type: ignore[no-untyped-call]
            name or None, namespace or None
        )
        return str(path)

    def _discover(self, kind: Kind) -> None:
        group, _, version = kind.api_version.rpartition("/")
        for each in json.loads(self.read(kind.group_path))["resources"]:
            if "/" not in each["name"]:  # those with one are subresources
                prefix = "apis" if group else "api"
                ours = {"prefix": prefix, "group": group, "api_version": version}
                self._resources[Kind(kind.api_version, each["kind"])] = Resource(  # type: ignore[no-untyped-call]
                    **{**each, **ours, "client": self._dynamic}
                )
        if kind not in self._resources:
            message = f"the server has no kind {kind.name}"
            raise ApiError("GET", kind.group_path, NOT_FOUND, message)

    # -- requests -----------------------------------------------------------------------------

    def version(self) -> str:
        """The server's version, such as ``v1.31.4``."""
        return str(json.loads(self.read("/version"))["gitVersion"])

    def not_ready(self, excluding: str | None = None) -> str | None:
        """None when the server says that it is ready, else the end of its answer.

        :param excluding: a check of the server's that need not have passed.
        """
        try:
            self.request("GET", "/readyz", [("exclude", excluding)] if excluding else ())
        except ApiError as error:
            return str(error)[-300:]
        return None

    def read(self, path: str, query: Query = ()) -> str:
        """The text of a path, asked for again while the server says "not now"."""
        return _repeated(self.request, "GET", path, query)

    def request(
        self,
        method: str,
        path: str,
        query: Query = (),
        body: Manifest | None = None,
        content_type: str = JSON,
    ) -> str:
        """One request; the text of its answer.

        :raises ApiError: the server refuses (in its words), or does not answer (status 0).
        """
        return self.with_login(lambda: self._request(method, path, query, body, content_type))

    def with_login(self, attempt: Callable[[], T]) -> T:
        """Do something that needs a login; once more with another token if it is refused."""
        try:
            return attempt()
        except ApiError as error:
            if error.status != UNAUTHORIZED or self._renew is None:
                raise
            self._renew()
            return attempt()

    def _request(
        self, method: str, path: str, query: Query, body: Manifest | None, content_type: str
    ) -> str:
        try:
            answer = self._dynamic.request(
                method,
                path,
                body=body,
                query_params=list(query),
                # Logs are plain text.
                header_params={"Accept": "application/json, */*"},
                content_type=content_type,
                serialize=False,
                _request_timeout=REQUEST_TIMEOUT,
            )
            return str(answer.data.decode(errors="replace"))
        except ApiException as error:
            text = error.body or error.reason or ""
            raise ApiError(method, path, error.status or 0, status_message(text)) from None
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise ApiError(method, path, 0, innermost_reason(error)) from None


def _repeated(request: Callable[..., str], *args: object) -> str:
    retrying = Retrying(
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_exponential(multiplier=_FIRST_WAIT_SECONDS, max=4),
        retry=retry_if_exception(
            lambda error: isinstance(error, ApiError) and error.status in PASSING
        ),
        reraise=True,
    )
    return retrying(request, *args)


def _tls(settings: client.Configuration) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not settings.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.ssl_ca_cert or settings.ca_cert_data:
        context.load_verify_locations(settings.ssl_ca_cert, cadata=settings.ca_cert_data)
    else:
        context.load_default_certs()
    if settings.cert_file:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    return context


def _pool_in(network: Network) -> type[HTTPSConnectionPool]:
    class Connection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            with network():
                return super()._new_conn()

    class Pool(HTTPSConnectionPool):
        ConnectionCls = Connection

    return Pool


def status_message(text: str) -> str:
    """The message of a Status object, or the text as it is."""
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(text)["message"])
    return text.strip()[:300]


def innermost_reason(error: Exception) -> str:
    """The innermost cause: urllib3 wraps what went wrong in how often it was tried."""
    cause: object = error
    while (inner := getattr(cause, "reason", None)) and isinstance(inner, Exception):
        cause = inner
    return str(cause) or type(cause).__name__
