"""What a census has of a cluster, what it lacks and why, and what never gets into it."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from urllib3.exceptions import InsecureRequestWarning

from bench.session import Clock
from cli.common import MISSING_NUMBERS, OK, SESSION, USAGE
from cli.main import main
from components.census import take as taking
from components.census.rights import manifests
from components.census.take import take
from kube import client as kube_client
from kube.client import Kube
from studies.census.model import (
    Census,
    CensusError,
    NodeShape,
    Part,
    PolicyShape,
    ServiceShape,
    Tally,
    described,
    read_census,
)
from tests.components.census import planted
from tests.components.kubernetes.conftest import Connect
from tests.components.kubernetes.kube_api import KubeApi

Json = dict[str, Any]


@pytest.fixture
def cluster(server: KubeApi) -> KubeApi:
    """With secrets."""
    planted.plant(server)
    return server


@pytest.fixture
def server() -> Any:
    """One that has the kinds of policies, too."""
    with KubeApi(custom=planted.CUSTOM).serving() as api:
        yield api


def _silent(_line: str) -> None:
    pass


def _take(server: KubeApi, client: Kube, seconds: int = 0) -> Census:
    """With a clock that only watches make go, by ten seconds each."""
    clock = Clock(monotonic=lambda: 10.0 * server.watches)
    return take(client, seconds, _silent, clock)


def _event(kind: str, item: Json, version: int) -> Json:
    metadata = {**item["metadata"], "resourceVersion": str(version)}
    return {"type": kind, "object": {**item, "metadata": metadata}}


def test_the_shape_of_a_cluster(cluster: KubeApi, client: Kube) -> None:
    census = _take(cluster, client)
    assert census.services == (
        ServiceShape(type="ClusterIP", headless=False, ports=2, endpoints=3, count=1),
        ServiceShape(type="ClusterIP", headless=True, ports=1, endpoints=1, count=1),
        ServiceShape(type="ExternalName", headless=False, ports=0, endpoints=0, count=1),
        ServiceShape(type="NodePort", headless=False, ports=1, endpoints=0, count=1),
    )
    mixed = {"rules": 3, "peers": 6, "ports": 2, "layer_7": 1}
    assert census.policies == (
        PolicyShape(kind="NetworkPolicy", rules=0, peers=0, ports=0, layer_7=0, count=1),
        PolicyShape(kind="NetworkPolicy", rules=3, peers=5, ports=3, layer_7=0, count=3),
        PolicyShape(kind="CiliumNetworkPolicy", **mixed, count=2),
        PolicyShape(kind="CiliumClusterwideNetworkPolicy", **mixed, count=1),
    )
    assert census.nodes == (
        NodeShape(kernel="6.1.119", instance_type="m6i.xlarge", architecture="amd64", count=2),
        NodeShape(kernel="unknown", instance_type="unknown", architecture="amd64", count=1),
    )
    assert census.pods_per_node == (
        Tally(value=0, count=1), Tally(value=1, count=1), Tally(value=3, count=1)
    )  # fmt: skip
    assert (census.kubernetes, census.kube_proxy) == ("1.33.4", "nftables")
    assert census.cni is not None
    assert (census.cni.kind, census.cni.version) == ("cilium", "1.18.2")
    assert census.cni.settings == {
        "bpf-lb-map-max": "65536",
        "cluster-pool-ipv4-cidr": "another",
        "egress-masquerade-interfaces": "another",
        "ipam": "another",
        "routing-mode": "native",
    }
    assert (census.missing, census.partial) == ((), None)


def test_changes_are_counted_over_all_legs_of_the_watch(cluster: KubeApi, client: Kube) -> None:
    address = planted.address()
    grown = planted.endpoints("planted-headless-a", "planted-headless", [address])
    stray = planted.endpoints("planted-two-a", "planted-two", [planted.address()])
    cluster.legs = [
        [
            # Another endpoint in place of the one before.
            _event("MODIFIED", grown, 1001),
            # A write that changes no endpoint.
            _event("MODIFIED", {**grown, "metadata": planted.metadata("planted-headless-a")}, 1002),
            {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "1003"}}},
        ],
        [_event("ADDED", stray, 1004), _event("DELETED", stray, 1005)],
    ]
    churn = _take(cluster, client, seconds=20).churn
    assert churn is not None
    assert (churn.seconds, churn.writes, churn.changes) == (20.0, 4, 3)
    assert (churn.came, churn.went, churn.per_minute) == (2, 2, 9.0)
    assert churn.services == (Tally(value=1, count=1), Tally(value=2, count=1))
    asked = [path for _, path in cluster.requests if "watch" in path]
    assert [re.search(r"resourceVersion=(\d+)", each)[1] for each in asked] == ["1000", "1003"]  # type: ignore[index]


def test_an_endpoint_that_is_not_ready_is_none(cluster: KubeApi, client: Kube) -> None:
    waiting = planted.endpoints("planted-two-a", "planted-two", [planted.address()])
    waiting["endpoints"][0]["conditions"] = {"ready": False}
    told_nothing = planted.endpoints("planted-two-b", "planted-two", [planted.address()])
    del told_nothing["endpoints"][0]["conditions"]
    cluster.put(waiting, told_nothing)
    services = _take(cluster, client).services
    assert services is not None
    assert next(each.endpoints for each in services if each.type == "NodePort") == 1


def test_ten_thousand_services_come_in_pages(server: KubeApi, client: Kube) -> None:
    server.objects = [planted.service(f"planted-{n}", 1 + n % 3) for n in range(10_000)]
    services = _take(server, client).services
    assert services is not None
    assert [each.count for each in services] == [3_334, 3_333, 3_333]
    pages = [path for _, path in server.requests if "/services?" in path]
    assert len(pages) == 10_000 / kube_client.PAGE


# -- what is missing --------------------------------------------------------------------------


def test_what_may_not_be_read_is_missing_and_the_rest_is_there(
    cluster: KubeApi, client: Kube
) -> None:
    cluster.denied = dict.fromkeys(("EndpointSlice", "ConfigMap", "Pod"), planted.SECRET)
    census = _take(cluster, client, seconds=10)
    assert {each.what: each.why for each in census.missing} == dict.fromkeys(
        ("the CNI's settings", "kube-proxy's mode", "pods", "endpoints"), "may not be read (403)"
    )
    assert census.services is not None
    assert {each.endpoints for each in census.services} == {None}
    assert (census.churn, census.pods_per_node) == (None, None)
    assert census.policy_count == 7
    assert census.partial == (
        "a partial census, without the CNI's settings: may not be read (403); "
        "endpoints: may not be read (403); kube-proxy's mode: may not be read (403); "
        "pods: may not be read (403)"
    )


def test_kinds_that_a_cluster_does_not_have_are_named_and_are_none(connect: Connect) -> None:
    with KubeApi(custom={"NetworkPolicy": planted.CUSTOM["NetworkPolicy"]}).serving() as server:
        server.put(planted.network_policy())
        census = _take(server, connect(server))
    absent = [each.what for each in census.missing if each.is_known]
    assert absent == ["CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"]
    assert census.partial is None
    assert census.policy_count == 1


def test_a_watch_whose_beginning_is_forgotten_is_missing(cluster: KubeApi, client: Kube) -> None:
    gone = {"kind": "Status", "code": 410, "message": f"too old: {planted.SECRET}"}
    cluster.legs = [[{"type": "ERROR", "object": gone}]]
    census = _take(cluster, client, seconds=10)
    assert census.churn is None
    assert census.services is not None
    assert [(each.what, each.why) for each in census.missing] == [
        ("changes of endpoints", "the API server had forgotten its beginning (410)")
    ]


def test_an_answer_without_sense_is_missing(cluster: KubeApi, client: Kube) -> None:
    cluster.put(planted.service("planted-one", 1, type=planted.SECRET))
    cluster.put({"kind": "NetworkPolicy", "metadata": planted.metadata("planted-p"), "spec": "x"})
    census = _take(cluster, client)
    assert [(each.what, each.why) for each in census.missing] == [
        ("Services", "its answer makes no sense"), ("NetworkPolicy", "its answer makes no sense")
    ]  # fmt: skip


@pytest.mark.parametrize("silent", ["services", "endpointslices"])
def test_after_an_api_server_that_is_silent_nothing_else_is_asked_for(
    silent: str, cluster: KubeApi, client: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_client, "REQUEST_TIMEOUT", (1, 0.05))

    async def slow(request: Any) -> None:
        if f"/{silent}" in request.path:
            await asyncio.sleep(0.3)

    cluster.way = slow
    census = _take(cluster, client)
    why = {each.what: each.why for each in census.missing}
    first = {"services": "Services", "endpointslices": "endpoints"}[silent]
    assert why.pop(cast("Part", first)) == "the API server did not answer in time, or broke off"
    assert set(why.values()) == {"not asked for: the API server had not answered before"}
    assert ("endpoints" in why) == (silent == "services")
    assert not any("networkpolicies" in path for _, path in cluster.requests)
    # What was read before is there.
    assert census.nodes is not None
    assert [each.endpoints for each in census.services or ()] == [None] * 4 * (first != "Services")


# -- nothing else leaves ------------------------------------------------------------------------

# Of three fields and more, as of an address; versions have three at most.
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")


def _run(server: KubeApi, tmp_path: Path, *more: str) -> tuple[int, Path]:
    out = tmp_path / "census.json"
    config = str(server.kubeconfig(tmp_path / "config"))
    return main(["census", "--kubeconfig", config, "--out", str(out), *more]), out


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch, cluster: KubeApi) -> KubeApi:
    """With a clock as in :func:`_take`, and with churn."""
    clock = Clock(monotonic=lambda: 10.0 * cluster.watches)
    monkeypatch.setattr(taking, "Clock", lambda: clock)
    changed = planted.endpoints("planted-headless-a", "planted-headless", [planted.address()])
    cluster.legs = [[_event("MODIFIED", changed, 1001)]]
    return cluster


def test_no_secret_is_in_the_file_or_printed(
    hurried: KubeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = _run(hurried, tmp_path, "--watch", "10")
    printed = capsys.readouterr()
    assert code == OK
    for text in (out.read_text(), printed.out, printed.err):
        assert text
        told = text.replace(str(tmp_path), "")
        assert planted.SECRET not in told
        assert not _ADDRESS.search(told)


def test_no_secret_is_told_by_what_is_missing(
    hurried: KubeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = f'User "{planted.SECRET}" cannot list {planted.NETWORK}1'
    kinds = ("Service", "EndpointSlice", "DaemonSet", *planted.CUSTOM)
    hurried.denied = dict.fromkeys(kinds, reason)
    code, out = _run(hurried, tmp_path)
    printed = capsys.readouterr()
    assert code == MISSING_NUMBERS
    for text in (out.read_text(), printed.out, printed.err):
        told = text.replace(str(tmp_path), "")
        assert planted.SECRET not in told
        assert not _ADDRESS.search(told)
    assert "missing: Services: may not be read (403)" in printed.err
    assert len(json.loads(out.read_text())["missing"]) == 6


def test_a_server_whose_certificate_is_not_looked_at_is_not_named(
    hurried: KubeApi, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    config = hurried.kubeconfig(tmp_path / "config")
    content = yaml.safe_load(config.read_text())
    cluster = content["clusters"][0]["cluster"]
    del cluster["certificate-authority"]
    cluster["insecure-skip-tls-verify"] = True
    config.write_text(yaml.safe_dump(content))
    argv = ["census", "--kubeconfig", str(config), "--out", str(tmp_path / "c.json")]
    assert main([*argv, "--watch", "0"]) == OK
    assert not [each for each in recwarn if each.category is InsecureRequestWarning]


def test_what_is_planted_would_be_found() -> None:
    """The secrets are in the objects, in every kind that is read."""
    server = KubeApi()
    planted.plant(server)
    kinds = {each["kind"] for each in server.objects}
    assert kinds == {"Service", "EndpointSlice", "Node", "Pod", "DaemonSet", "ConfigMap"} | {
        *planted.CUSTOM
    }
    for each in server.objects:
        assert json.dumps(each).count(planted.SECRET) > 5


@pytest.mark.parametrize(
    "text",
    ["kube-proxy's mode planted", "planted", "10.1.2.3", "<b>", "m6i.planted"],
)
def test_the_model_has_no_field_for_text(text: str, cluster: KubeApi, client: Kube) -> None:
    """Every text of the file, changed to another one, is refused."""
    data = json.loads(_take(cluster, client).to_json())

    def changed(node: Any) -> Any:
        if isinstance(node, dict):
            for key in node:
                yield from ({**node, key: each} for each in changed(node[key]))
                yield {**{k: v for k, v in node.items() if k != key}, text: node[key]}
        elif isinstance(node, list):
            for i, each in enumerate(node):
                yield from ([*node[:i], other, *node[i + 1 :]] for other in changed(each))
        elif isinstance(node, str):
            yield text

    tried = list(changed(data))
    assert len(tried) > 90
    for each in tried:
        with pytest.raises(ValueError, match="validation error"):
            Census.model_validate_json(json.dumps(each))


# -- rights -------------------------------------------------------------------------------------

_READ = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/?]+)(?:/namespaces/[^/]+)?/(?P<resource>[a-z]+)"
    r"(?:/(?P<name>[^/?]+))?(?P<query>\?.*)?$"
)


def _read(path: str) -> tuple[str, str, str, str] | None:
    """Group, resource, verb and name of a request; None of one that every user may make."""
    found = _READ.match(path)
    if found is None:
        return None
    verb = "get" if found["name"] else "watch" if "watch=" in (found["query"] or "") else "list"
    return found["group"] or "", found["resource"], verb, found["name"] or ""


@pytest.mark.parametrize("proxy", ["kube-proxy", "kube-proxy-config"])
@pytest.mark.parametrize("cni", ["cilium", "aws-node"])
def test_the_rights_that_are_printed_are_those_that_are_used(
    proxy: str, cni: str, cluster: KubeApi, client: Kube
) -> None:
    used = _used(cluster, client, proxy, cni)
    role, _ = manifests()
    allowed = {
        (group, resource, verb, name)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }
    assert used <= allowed
    # Which settings there are is another one's in another cluster.
    assert {each for each in allowed - used if not each[3]} == set()


def test_no_right_is_without_use(cluster: KubeApi, client: Kube) -> None:
    used = _used(cluster, client, "kube-proxy-config", "cilium")
    role, _ = manifests()
    names = {name for rule in role["rules"] for name in rule.get("resourceNames", ())}
    assert {name for _, _, _, name in used if name} == names


def _used(cluster: KubeApi, client: Kube, proxy: str, cni: str) -> set[tuple[str, str, str, str]]:
    for name in ("kube-proxy", "kube-proxy-config"):
        cluster.remove("ConfigMap", name, "kube-system")
    key = {"kube-proxy": "config.conf", "kube-proxy-config": "config"}[proxy]
    cluster.put(planted.config(proxy, {key: "mode: iptables"}))
    cluster.remove("DaemonSet", "cilium", "kube-system")
    cluster.put(planted.agents(cni, "planted.example/cni:v1.20.1-eksbuild.1", {}))
    assert not _take(cluster, client, seconds=10).missing
    assert {method for method, _ in cluster.requests} == {"GET"}
    return {found for _, path in cluster.requests if (found := _read(path))}


def test_rbac_is_printed_and_nothing_else_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["census", "--rbac"]) == OK
    printed = capsys.readouterr()
    role, binding = yaml.safe_load_all(printed.out)
    verbs = {verb for rule in role["rules"] for verb in rule["verbs"]}
    assert verbs == {"get", "list", "watch"}
    assert not any("*" in str(rule) for rule in role["rules"])
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert printed.err == ""


# -- the VPC CNI's settings ---------------------------------------------------------------------


def test_the_settings_of_the_vpc_cni_are_its_environment(cluster: KubeApi, client: Kube) -> None:
    cluster.remove("DaemonSet", "cilium", "kube-system")
    env = {"ENABLE_PREFIX_DELEGATION": "true", "WARM_IP_TARGET": planted.SECRET}
    cluster.put(planted.agents("aws-node", "planted.example/cni:v1.20.1-eksbuild.1", env))
    cni = _take(cluster, client).cni
    assert cni is not None
    assert (cni.kind, cni.version) == ("vpc-cni", "1.20.1")
    assert cni.settings == {"ENABLE_PREFIX_DELEGATION": "true", "WARM_IP_TARGET": "another"}


def test_a_cni_that_is_not_known_here(cluster: KubeApi, client: Kube) -> None:
    cluster.remove("DaemonSet", "cilium", "kube-system")
    cluster.put(planted.agents("calico-node", f"planted.example/x:{planted.SECRET}", {}))
    census = _take(cluster, client)
    assert census.cni is not None
    assert (census.cni.kind, census.cni.version, census.cni.settings) == ("other", None, {})
    assert census.partial == "a partial census, without the CNI: the cluster does not tell it"


def test_without_nodes_and_known_agents_no_cni_is_claimed(cluster: KubeApi, client: Kube) -> None:
    cluster.remove("DaemonSet", "cilium", "kube-system")
    cluster.denied = {"Node": planted.SECRET}
    census = _take(cluster, client)
    assert census.cni is None
    assert {each.what for each in census.missing} == {"nodes", "the CNI"}


# -- bad input, in one line each ----------------------------------------------------------------


def test_a_file_of_another_version_is_refused_with_the_fix(tmp_path: Path) -> None:
    file = tmp_path / "census.json"
    file.write_text('{"schema": "cni-benchmark/census/v0"}')
    with pytest.raises(CensusError, match=r"census/v0.*Fix: take the census anew") as refused:
        read_census(file)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": 3}', "null"])
def test_a_file_that_is_no_census(text: str, tmp_path: Path) -> None:
    file = tmp_path / "census.json"
    file.write_text(text)
    with pytest.raises(CensusError) as refused:
        read_census(file)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CensusError, match=r"c\.json: no census: No such file or directory$"):
        read_census(tmp_path / "c.json")


def test_a_census_is_read_as_it_was_written(cluster: KubeApi, client: Kube, tmp_path: Path) -> None:
    census = _take(cluster, client, seconds=10)
    file = tmp_path / "census.json"
    file.write_text(census.to_json())
    assert read_census(file) == census
    file.write_text(census.to_json().replace('"ports": 2', '"ports": "2"'))
    with pytest.raises(CensusError, match="ports"):
        read_census(file)


def test_an_api_server_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = KubeApi(url="https://127.0.0.1:1")
    code, out = _run(server, tmp_path)
    assert code == SESSION
    assert not out.exists()
    assert capsys.readouterr().err.count("\n") == 1


def test_arguments_are_refused_before_anything_is_asked(
    server: KubeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(server, tmp_path, "--watch", "-1")[0] == USAGE
    assert main(["census", "--kubeconfig", str(tmp_path), "--out", str(tmp_path / "a/b")]) == USAGE
    assert capsys.readouterr().err.count("\n") == 2
    assert server.requests == []


def test_a_census_in_words(cluster: KubeApi, client: Kube) -> None:
    changed = planted.endpoints("planted-headless-a", "planted-headless", [planted.address()])
    cluster.legs = [[_event("MODIFIED", changed, 1001)]]
    assert described(_take(cluster, client, seconds=10)) == [
        "CNI cilium 1.18.2; kube-proxy nftables; Kubernetes 1.33.4; 3 nodes (kernel 6.1.119 2, "
        "kernel unknown 1; m6i.xlarge 2, unknown 1); 4 pods, per node 0 to 3, median 1",
        "4 Services (ClusterIP 2, ExternalName 1, NodePort 1, 1 headless); ports 0 to 2, median 1; "
        "endpoints 0 to 3, median 0",
        "1 changes of endpoints in 10 s (6 a minute), of 1 Services: 1 came, 1 went",
        "7 policies (NetworkPolicy 4, CiliumNetworkPolicy 2, CiliumClusterwideNetworkPolicy 1); "
        "rules 0 to 3, median 3; peers 0 to 6, median 5",
    ]
