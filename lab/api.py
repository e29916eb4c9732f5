"""The API server inside a sandbox, spoken to through the kubernetes client's own transport."""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import suppress
from typing import Any

import urllib3
from kubernetes import client, config
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool

from lab.errors import LabError
from lab.nshttp import network_namespace
from lab.sandbox import Sandbox

Json = dict[str, Any]

#: Seconds (connect, read) of one request to the API server.
REQUEST_TIMEOUT = (5, 30)
#: Kept open for as many requests at a time: with more, each further one makes a connection anew.
CONNECTIONS = 32


class Api:
    """JSON in, JSON out against the lab's API server, by the kubernetes client's own transport."""

    def __init__(self, sandbox: Sandbox) -> None:
        namespace = sandbox.netns_path(None)  # first of all: where no lab runs, that is told
        settings = client.Configuration()
        config.load_kube_config(  # type: ignore[no-untyped-call]
            str(sandbox.paths.kubeconfig), client_configuration=settings
        )
        # A proxy from the environment must never see the traffic of a sandbox.
        settings.proxy = None
        settings.connection_pool_maxsize = CONNECTIONS
        self._rest = client.ApiClient(settings).rest_client
        self.host = str(settings.host)
        self.tls = ssl.create_default_context(cafile=settings.ssl_ca_cert)
        self._namespace = namespace
        self._authorization = str(settings.auth_settings()["BearerToken"]["value"])

        class Connection(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                with network_namespace(namespace):
                    return super()._new_conn()

        class Pool(HTTPSConnectionPool):
            ConnectionCls = Connection

        manager = self._rest.pool_manager
        manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, "https": Pool}
        self._pool = manager.connection_from_url(self.host)

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        """One request; the parsed JSON of the answer, or its text where it is none.

        :raises LabError: when the server refuses, with its words.
        """
        headers = {
            "authorization": self._authorization,
            "accept": "application/json",
            "content-type": content_type,
        }
        try:
            answer = self._rest.request(  # type: ignore[no-untyped-call]
                method, self.host + path, headers, body, _request_timeout=REQUEST_TIMEOUT
            )
            text = answer.read().decode()
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise ApiError(method, path, 0, str(error)) from None
        if answer.status >= 400:
            raise ApiError(method, path, answer.status, text)
        try:
            return json.loads(text)
        except ValueError:
            return text

    @property
    def authorization(self) -> dict[str, str]:
        """The headers that a request must have."""
        return {"authorization": self._authorization}

    def make_socket(self, address: tuple[Any, ...]) -> socket.socket:
        """A socket of the sandbox's own network, for an address of ``socket.getaddrinfo``."""
        family, kind, protocol = address[:3]
        with network_namespace(self._namespace):
            return socket.socket(family, kind, protocol)

    def send(
        self, method: str, path: str, body: bytes | None, content_type: str
    ) -> tuple[int, bytes]:
        """One request of many, from any thread: its status, 0 without an answer, and its text.

        It goes to the same connections without what the client does around each request, which
        takes more time than the request.
        """
        headers = {
            "authorization": self._authorization,
            "accept": "application/json",
            "content-type": content_type,
        }
        try:
            answer = self._pool.urlopen(
                method, path, body, headers, retries=False, timeout=REQUEST_TIMEOUT[1]
            )
        except (OSError, urllib3.exceptions.HTTPError) as error:
            return 0, str(error).encode()
        return answer.status, answer.data

    def create(self, path: str, manifest: Json) -> Json:
        """Create an object; one that is there already is left as it is."""
        try:
            return dict(self.request("POST", path, manifest))
        except ApiError as error:
            if error.status != 409:
                raise
            return dict(self.request("GET", f"{path}/{manifest['metadata']['name']}"))

    def merge(self, path: str, change: Json) -> Json:
        """Change an object by a JSON merge patch (RFC 7386)."""
        return dict(self.request("PATCH", path, change, "application/merge-patch+json"))

    def items(self, path: str) -> list[Json]:
        return list(self.request("GET", path)["items"])

    def not_ready(self) -> str | None:
        """None when the API server says that it is ready, else what it answers."""
        try:
            self.request("GET", "/readyz")
        except ApiError as error:
            return str(error)[-300:]
        return None


class ApiError(LabError):
    """The API server refused a request or could not be reached (status 0)."""

    def __init__(self, method: str, path: str, status: int, body: str) -> None:
        with suppress(ValueError, KeyError, TypeError):
            body = json.loads(body)["message"]
        super().__init__(f"{method} {path}: {status or 'no answer'}: {body}")
        self.status = status
