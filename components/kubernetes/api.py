"""The API server, spoken to through the kubernetes client's own transport: JSON in, JSON out."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import client
from kubernetes.stream.ws_client import websocket_proxycare
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential
from websocket import WebSocket, WebSocketBadStatusException, WebSocketException, create_connection

from components.kubernetes.errors import ApiError, UnreachableError

Json = dict[str, Any]
Query = Mapping[str, str | int] | Sequence[tuple[str, str]]

#: Seconds (connect, read) of one request.
REQUEST_TIMEOUT = (10, 30)
#: Kept open for as many requests at a time: with more, each further one makes a connection anew.
CONNECTIONS = 32
_JSON = "application/json"
_FIRST_WAIT_SECONDS = 0.25
_ATTEMPTS = 4
_UNAUTHORIZED = 401
# Answers that say "not now": too many requests, and those of an API server or a load balancer that
# is being replaced.
_PASSING = frozenset({0, 429, 500, 502, 503, 504})


class Api:
    """A cluster's API server.

    Reading requests are repeated where the server did not answer for a moment.

    :param settings: host, certificates and token; its ``refresh_api_key_hook`` is asked for the
        token before every request.
    :param renew: forgets a token that was refused, so that the hook makes another one.
    """

    def __init__(
        self, settings: client.Configuration, renew: Callable[[], None] | None = None
    ) -> None:
        settings.connection_pool_maxsize = CONNECTIONS
        self._settings = settings
        self._renew = renew
        self.tls = _tls(settings)
        self._rest = client.ApiClient(settings).rest_client
        # One context for requests and websockets. urllib3's own refuses certificates without an
        # authority key identifier from Python 3.13 on, which EKS clusters have.
        self._rest.pool_manager.connection_pool_kw["ssl_context"] = self.tls

    @property
    def host(self) -> str:
        """The server's URL."""
        return str(self._settings.host)

    def get(self, path: str, query: Query = ()) -> Json:
        """An object, or a list of objects as the API gives it.

        :raises ApiError: see :meth:`request`.
        """
        return dict(json.loads(self.text(path, query)))

    def items(self, path: str, query: Query = ()) -> list[Json]:
        """The objects of a list.

        :raises ApiError: see :meth:`request`.
        """
        return list(self.get(path, query)["items"])

    def find(self, path: str) -> Json | None:
        """An object, or None where there is none of that name.

        :raises ApiError: see :meth:`request`.
        """
        try:
            return self.get(path)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def text(self, path: str, query: Query = ()) -> str:
        """What a path answers, as text (logs, for one).

        :raises ApiError: see :meth:`request`.
        """
        retrying = Retrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential(multiplier=_FIRST_WAIT_SECONDS, max=4),
            retry=retry_if_exception(
                lambda error: isinstance(error, ApiError) and error.status in _PASSING
            ),
            reraise=True,
        )
        return retrying(self.request, "GET", path, query)

    def request(
        self,
        method: str,
        path: str,
        query: Query = (),
        body: Json | None = None,
        content_type: str = _JSON,
    ) -> str:
        """One request; the text of its answer.

        :raises ApiError: the server refuses (its words), or does not answer (status 0).
        """
        status, text = self._once(method, path, query, body, content_type)
        if status == _UNAUTHORIZED and self._renew:
            self._renew()
            status, text = self._once(method, path, query, body, content_type)
        if status >= 400:
            raise ApiError(method, path, status, _message(text))
        return text

    def send(
        self, method: str, path: str, body: bytes | None, content_type: str
    ) -> tuple[int, bytes]:
        """One request of many, from any thread: its status, 0 without an answer, and its text.

        It goes to the same connections without what the client does around each request, which
        takes more time than the request.
        """
        headers = {"accept": "application/json", "content-type": content_type}
        try:
            answer = self._rest.pool_manager.urlopen(
                method,
                self.host + path,
                body=body,
                headers={**headers, **self.authorization},
                retries=False,
                timeout=REQUEST_TIMEOUT[1],
            )
        except (OSError, urllib3.exceptions.HTTPError) as error:
            return 0, _reason(error).encode()
        if answer.status == _UNAUTHORIZED and self._renew:
            self._renew()
        return answer.status, answer.data

    def _once(
        self, method: str, path: str, query: Query, body: Json | None, content_type: str
    ) -> tuple[int, str]:
        headers = {"accept": "application/json, */*", "Content-Type": content_type}
        try:
            answer = self._rest.request(  # type: ignore[no-untyped-call]
                method,
                self.host + _with_query(path, query),
                {**headers, **self.authorization},
                body,
                _request_timeout=REQUEST_TIMEOUT,
            )
            return int(answer.status), answer.read().decode(errors="replace")
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise ApiError(method, path, 0, _reason(error)) from None

    def websocket(self, path: str, query: Query, protocol: str, timeout: float) -> WebSocket:
        """Open a stream of channels (exec), within ``timeout`` seconds.

        :raises ApiError: the server refused or could not be reached, so nothing was begun; status
            0 where the request may have been received.
        """
        try:
            return self._websocket(path, query, protocol, timeout)
        except ApiError as error:
            if error.status != _UNAUTHORIZED or self._renew is None:
                raise
            self._renew()
            return self._websocket(path, query, protocol, timeout)

    def _websocket(self, path: str, query: Query, protocol: str, timeout: float) -> WebSocket:
        url = self.host.replace("http", "ws", 1) + _with_query(path, query)
        options: dict[str, Any] = {
            "header": [f"{name}: {value}" for name, value in self.authorization.items()],
            "subprotocols": [protocol],
        }
        if self._settings.proxy or self._settings.proxy_headers:
            websocket_proxycare(options, self._settings, url, {})  # type: ignore[no-untyped-call]
        tls: dict[str, Any] = {"context": self.tls, "check_hostname": self.tls.check_hostname}
        if self._settings.tls_server_name:
            tls["server_hostname"] = self._settings.tls_server_name
        try:
            return create_connection(url, timeout=timeout, sslopt=tls, **options)
        except WebSocketBadStatusException as error:
            body = (error.resp_body or b"").decode(errors="replace")
            message = _message(body) or str(error)
            raise ApiError("GET", path, error.status_code, message) from None
        except (ConnectionRefusedError, socket.gaierror, ssl.SSLCertVerificationError) as error:
            raise UnreachableError("GET", path, _reason(error)) from None
        except (OSError, WebSocketException) as error:
            raise ApiError("GET", path, 0, _reason(error)) from None

    @property
    def authorization(self) -> dict[str, str]:
        """The headers that a request must have."""
        token = self._settings.auth_settings().get("BearerToken")
        return {"authorization": str(token["value"])} if token else {}


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


def _with_query(path: str, query: Query) -> str:
    pairs = list(query.items()) if isinstance(query, Mapping) else list(query)
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _message(text: str) -> str:
    """The words of a Status object, or the text as it is."""
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(text)["message"])
    return text.strip()[:300]


def _reason(error: Exception) -> str:
    """The innermost cause: urllib3 wraps what went wrong in how often it was tried."""
    cause: object = error
    while (inner := getattr(cause, "reason", None)) and isinstance(inner, Exception):
        cause = inner
    return str(cause) or type(cause).__name__
