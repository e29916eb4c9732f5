"""Logging in: descriptors without secrets, EKS tokens that never run out."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws
from moto.eks.models import eks_backends

from components.kubernetes import access, eks_login
from components.kubernetes.access import EksAccess, KubeconfigAccess
from components.kubernetes.eks_login import RENEW_SECONDS, TOKEN_SECONDS, Tokens
from kube.objects import NODE, ApiError, KubernetesError
from tests.components.kubernetes import kube_objects
from tests.components.kubernetes.kube_api import KubeApi

REGION = "ap-northeast-2"
ACCOUNT = "123456789012"  # moto's


# -- descriptors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (
            EksAccess(cluster="bench-e", region=REGION, profile="dev"),
            '{"cluster": "bench-e", "kind": "eks", "profile": "dev", "region": "ap-northeast-2"}',
        ),
        (
            KubeconfigAccess(context="kind"),
            '{"context": "kind", "kind": "kubeconfig", "path": null}',
        ),
    ],
)
def test_a_descriptor_is_read_as_it_was_written(how: access.Access, text: str) -> None:
    assert access.to_json(how) == text
    assert access.read_access(text) == how
    assert access.read_access(json.loads(text)) == how


def test_what_is_left_out_is_the_tools_choice() -> None:
    found = access.read_access({"kind": "eks", "cluster": "c", "region": REGION})
    assert found == EksAccess(cluster="c", region=REGION, profile=None)
    assert access.read_access({"kind": "kubeconfig"}) == KubeconfigAccess()


@pytest.mark.parametrize("text", ["{}", '{"kind": "gke"}', '{"kind": "eks", "region": "x"}', "no"])
def test_other_data_is_refused(text: str) -> None:
    with pytest.raises(KubernetesError, match="no descriptor of a cluster"):
        access.read_access(text)


# -- EKS ------------------------------------------------------------------------------------------


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        yield


@pytest.fixture
def cluster(aws: None, server: KubeApi) -> KubeApi:
    """A served cluster that EKS knows as bench-e."""
    boto3.client("eks", REGION).create_cluster(
        name="bench-e",
        roleArn=f"arn:aws:iam::{ACCOUNT}:role/eks",
        resourcesVpcConfig={"subnetIds": ["subnet-1", "subnet-2"]},
    )
    known = eks_backends[ACCOUNT][REGION].clusters["bench-e"]
    known.endpoint = server.url
    authority = base64.b64encode(server.certificate.authority.encode()).decode()
    known.certificate_authority = {"data": authority}
    return server


def test_an_eks_cluster_is_reached_by_aws_credentials_alone(cluster: KubeApi) -> None:
    cluster.put(kube_objects.node("node-1"))
    api = access.connect({"kind": "eks", "cluster": "bench-e", "region": REGION})
    assert [node["metadata"]["name"] for node in api.items(NODE)] == ["node-1"]
    url = _url(cluster.used_tokens[-1])
    assert (url.scheme, url.netloc) == ("https", f"sts.{REGION}.amazonaws.com")
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert query["Action"] == "GetCallerIdentity"
    assert query["X-Amz-Expires"] == "60"
    # What binds the token to this one cluster.
    assert query["X-Amz-SignedHeaders"] == "host;x-k8s-aws-id"


def _url(token: str) -> Any:
    prefix, _, encoded = token.partition("k8s-aws-v1.")
    assert prefix == ""
    assert "=" not in encoded
    return urlsplit(base64.urlsafe_b64decode(encoded + "==").decode())


def test_the_token_is_of_its_cluster(aws: None) -> None:
    signatures = {
        parse_qs(_url(Tokens(boto3.client("sts", REGION), name).current()).query)[
            "X-Amz-Signature"
        ][0]
        for name in ("bench-d", "bench-e")
    }
    assert len(signatures) == 2


def test_a_cluster_that_does_not_exist(aws: None) -> None:
    with pytest.raises(KubernetesError, match=r"EKS cluster bench-x in ap-northeast-2: .*bench-x"):
        access.connect({"kind": "eks", "cluster": "bench-x", "region": REGION})


def test_no_aws_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(KubernetesError, match="Unable to locate credentials"):
        eks_login.connect("bench-e", REGION, None)


def test_a_profile_that_does_not_exist(aws: None) -> None:
    with pytest.raises(KubernetesError, match=r"profile \(nobody\) could not be found"):
        eks_login.connect("bench-e", REGION, "nobody")


class _Sts:
    """Signs a new URL every time."""

    def __init__(self) -> None:
        self.signed = 0
        self.meta = SimpleNamespace(events=SimpleNamespace(register=lambda *_: None))

    def generate_presigned_url(self, *_: object, **__: object) -> str:
        self.signed += 1
        return f"https://sts/{self.signed}"


def test_a_token_is_renewed_before_its_end() -> None:
    now = [1000.0]
    tokens = Tokens(cast(Any, _Sts()), "bench-e", clock=lambda: now[0])
    first = tokens.current()
    now[0] += RENEW_SECONDS - 1
    assert tokens.current() == first
    now[0] += 1
    assert tokens.current() != first
    assert RENEW_SECONDS + 60 < TOKEN_SECONDS  # what uses it has a minute at least


def test_a_long_benchmark_never_loses_its_login(cluster: KubeApi, monkeypatch: Any) -> None:
    sts, now = _Sts(), [0.0]
    real = eks_login.Tokens
    monkeypatch.setattr(
        eks_login, "Tokens", lambda _, name: real(cast(Any, sts), name, lambda: now[0])
    )
    api = eks_login.connect("bench-e", REGION, None)
    for _ in range(8):  # an hour and a half
        api.items(NODE)
        now[0] += RENEW_SECONDS
    assert len(set(cluster.used_tokens)) == 8


def test_a_token_that_is_refused_is_made_anew_once(cluster: KubeApi, monkeypatch: Any) -> None:
    # Credentials that end before the token does take it with them.
    sts = _Sts()
    real = eks_login.Tokens
    monkeypatch.setattr(eks_login, "Tokens", lambda _, name: real(cast(Any, sts), name))
    api = eks_login.connect("bench-e", REGION, None)
    api.version()
    second = "k8s-aws-v1." + base64.urlsafe_b64encode(b"https://sts/2").decode().rstrip("=")
    cluster.tokens = {second}
    api.version()
    assert cluster.used_tokens[-1] == second
    cluster.tokens = set()
    with pytest.raises(ApiError) as refused:
        api.version()
    assert refused.value.status == 401
    assert sts.signed == 3


# -- kubeconfig -----------------------------------------------------------------------------------


def test_a_kubeconfig_is_used_as_kubectl_would(server: KubeApi, tmp_path: Path) -> None:
    server.tokens = {"secret"}
    file = server.kubeconfig(tmp_path / "config", token="secret")
    api = access.connect({"kind": "kubeconfig", "path": str(file), "context": "test"})
    assert api.version() == "v1.31.4"
    assert api.host == server.url


# -- why nodes do not come up ---------------------------------------------------------------------

_ISSUE = {
    "code": "NodeCreationFailure",
    "message": "Instances failed to join the kubernetes cluster",
    "resourceIds": ["i-1"],
}


def _told(status: str, issues: list[dict[str, Any]]) -> str:
    eks = boto3.client("eks", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(eks) as stub:
        stub.add_response("list_nodegroups", {"nodegroups": ["nodes-1"]}, {"clusterName": "c"})
        stub.add_response(
            "describe_nodegroup",
            {"nodegroup": {"status": status, "health": {"issues": issues}}},
            {"clusterName": "c", "nodegroupName": "nodes-1"},
        )
        return eks_login.broken_nodes(eks, "c")


def test_a_node_group_that_could_not_be_created_is_told_in_ekss_words() -> None:
    assert _told("CREATE_FAILED", [_ISSUE]) == (
        "the node group nodes-1 is CREATE_FAILED: NodeCreationFailure: Instances failed to join "
        "the kubernetes cluster"
    )
    assert _told("CREATE_FAILED", []).endswith("is CREATE_FAILED: no reason")


def test_nodes_that_come_up_are_no_trouble() -> None:
    assert _told("CREATING", []) == ""
    assert _told("ACTIVE", []) == ""


def test_who_may_not_ask_waits_as_before() -> None:
    eks = boto3.client("eks", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(eks) as stub:
        stub.add_client_error("list_nodegroups", "AccessDeniedException")
        assert eks_login.broken_nodes(eks, "c") == ""


def test_another_clusters_nodes_have_nobody_to_ask() -> None:
    assert access.watch_nodes('{"kind": "kubeconfig"}')() == ""
