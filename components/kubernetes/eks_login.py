"""Logging in to an EKS cluster with AWS credentials, without a kubeconfig or the AWS CLI.

The token is what ``aws eks get-token`` makes: a presigned GetCallerIdentity request with the
cluster's name among its signed headers. Source: aws-cli, ``customizations/eks/get_token.py`` (the
form, and 14 minutes of life).
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from kubernetes import client

from kube.client import Kube
from kube.objects import KubernetesError

if TYPE_CHECKING:
    from mypy_boto3_eks import EKSClient
    from mypy_boto3_sts import STSClient

_PREFIX = "k8s-aws-v1."
_CLUSTER_HEADER = "x-k8s-aws-id"
# Of the signed URL itself; EKS goes by the time of signing.
_URL_SECONDS = 60
TOKEN_SECONDS = 14 * 60
RENEW_SECONDS = TOKEN_SECONDS - 2 * 60
"""A token older than this is not used for another request."""

_CALLS = Config(connect_timeout=10, read_timeout=20, retries={"mode": "standard"})


class Tokens:
    """A cluster's tokens, each used for :data:`RENEW_SECONDS`.

    :param clock: seconds that only grow.
    """

    def __init__(
        self, sts: STSClient, cluster: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sts = sts
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._made = 0.0

        def sign_cluster(request: Any, **_: object) -> None:
            request.headers[_CLUSTER_HEADER] = cluster

        sts.meta.events.register("before-sign.sts.GetCallerIdentity", sign_cluster)

    def current(self) -> str:
        """A token with at least two minutes to live.

        :raises KubernetesError: the AWS credentials are missing or cannot be renewed.
        """
        with self._lock:
            if not self._token or self._clock() - self._made >= RENEW_SECONDS:
                self._token = self._sign()
                self._made = self._clock()
            return self._token

    def renew(self) -> None:
        """Forget the token: it was refused, or its credentials ended before it did."""
        with self._lock:
            self._token = ""

    def _sign(self) -> str:
        try:
            url = self._sts.generate_presigned_url(
                "get_caller_identity", ExpiresIn=_URL_SECONDS, HttpMethod="GET"
            )
        except (BotoCoreError, ClientError) as error:
            raise KubernetesError(f"no login to the EKS cluster: {error}") from None
        encoded = base64.urlsafe_b64encode(url.encode()).decode()
        return _PREFIX + encoded.rstrip("=")


_BROKEN = ("CREATE_FAILED", "DEGRADED")


def broken_nodes(eks: EKSClient, cluster: str) -> str:
    """Why a cluster's node groups do not come up, in EKS's words; empty where nothing is known.

    (DescribeNodegroup: a group that could not be created stays, with its paid instances, and its
    ``health`` has the issues.)
    """
    found = []
    try:
        for name in eks.list_nodegroups(clusterName=cluster)["nodegroups"]:
            group = eks.describe_nodegroup(clusterName=cluster, nodegroupName=name)["nodegroup"]
            issues = group.get("health", {}).get("issues", [])
            if group["status"] in _BROKEN or issues:
                told = "; ".join(f"{each['code']}: {each['message']}" for each in issues)
                found.append(f"the node group {name} is {group['status']}: {told or 'no reason'}")
    except (BotoCoreError, ClientError):
        return ""  # without the permission to ask, the wait goes on as before
    return "; ".join(found)


def watch_nodes(cluster: str, region: str, profile: str | None) -> Callable[[], str]:
    """What asks :func:`broken_nodes`, with the AWS credentials of this machine.

    :raises KubernetesError: there are none.
    """
    try:
        eks = boto3.Session(profile_name=profile, region_name=region).client("eks", config=_CALLS)
    except (BotoCoreError, ClientError) as error:
        raise KubernetesError(f"EKS cluster {cluster} in {region}: {error}") from None
    return lambda: broken_nodes(eks, cluster)


def connect(cluster: str, region: str, profile: str | None) -> Kube:
    """A cluster's API server, by the AWS credentials of this machine.

    :raises KubernetesError: no credentials, no such cluster, or one that has no endpoint yet.
    """
    try:
        session = boto3.Session(profile_name=profile, region_name=region)
        eks = session.client("eks", config=_CALLS)
        described = eks.describe_cluster(name=cluster)["cluster"]
        tokens = Tokens(session.client("sts", config=_CALLS), cluster)
    except (BotoCoreError, ClientError) as error:
        raise KubernetesError(f"EKS cluster {cluster} in {region}: {error}") from None
    if not described.get("endpoint"):
        raise KubernetesError(
            f"EKS cluster {cluster} in {region} has no endpoint: it is {described.get('status')}"
        )
    authority = base64.b64decode(described["certificateAuthority"]["data"]).decode()

    def put_token(settings: client.Configuration) -> None:
        settings.api_key["BearerToken"] = tokens.current()

    settings = client.Configuration(
        host=described["endpoint"],
        ca_cert_data=authority,
        api_key={"BearerToken": ""},
        api_key_prefix={"BearerToken": "Bearer"},
    )
    settings.refresh_api_key_hook = put_token  # type: ignore[assignment]
    return Kube(settings, renew=tokens.renew)
