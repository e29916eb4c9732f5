"""An issuer of service accounts' tokens, as EKS has one for each cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.components.kubernetes.tls import Certificate

AUDIENCE = "sts.amazonaws.com"
"""Of the tokens that EKS's webhook mounts (amazon-eks-pod-identity-webhook, README)."""
_KEY = "1"
_KEYS_PATH = "/keys"


@dataclass(frozen=True)
class Issuer:
    """One that listens on the loopback.

    :param host: host and path of its URL, by which conditions of trust name it.
    :param authority: vouches for its certificate, as PEM.
    """

    host: str
    authority: str
    key: rsa.RSAPrivateKey = field(repr=False)

    @property
    def url(self) -> str:
        """Its name in tokens (`iss`)."""
        return f"https://{self.host}"

    def token(
        self,
        account: str,
        *,
        audience: str = AUDIENCE,
        seconds: float = 3600,
        key: rsa.RSAPrivateKey | None = None,
    ) -> str:
        """A token of a service account of kube-system, as the API server makes them (Kubernetes,
        "Managing Service Accounts", bound tokens).

        :param seconds: until it ends.
        :param key: what signs it, where that is not the issuer's own.
        """
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": [audience],
            "sub": f"system:serviceaccount:kube-system:{account}",
            "iat": now - 60,
            "nbf": now - 60,
            "exp": now + int(seconds),
            "kubernetes.io": {"namespace": "kube-system", "serviceaccount": {"name": account}},
        }
        return jwt.encode(claims, key or self.key, "RS256", {"kid": _KEY})


def new_key() -> rsa.RSAPrivateKey:
    """A key for tokens."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@contextmanager
def listening(name: str = "id/0A1B2C") -> Iterator[Issuer]:
    """An issuer that tells its keys (OpenID Connect Discovery 1.0)."""
    certificate, key = Certificate.make(), new_key()
    public = json.loads(RSAAlgorithm.to_jwk(key.public_key()))
    keys = {"keys": [{**public, "kid": _KEY, "use": "sig", "alg": "RS256"}]}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            discovery = {"issuer": issuer.url, "jwks_uri": issuer.url + _KEYS_PATH}
            answers = {"/.well-known/openid-configuration": discovery, _KEYS_PATH: keys}
            answer = answers.get(self.path.removeprefix(f"/{name}"))
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, format: str, *values: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = certificate.context().wrap_socket(server.socket, server_side=True)
        issuer = Issuer(f"127.0.0.1:{server.server_port}/{name}", certificate.authority, key)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
