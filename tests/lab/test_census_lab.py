"""A census of a real cluster whose shape is known, and a twin of it in another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.common import MISSING_NUMBERS, OK
from components.census import rights
from components.census.take import take
from kube.client import Kube, settings_of
from kube.objects import POD, Kind
from studies.census.around import Around
from studies.census.model import Census, PolicyShape, ServiceShape, Tally, read_census
from studies.census.twin import Room, twin_of
from tests.lab import users_objects as users
from tests.lab.running import RunningLab, bring_up
from tests.lab.users_cluster import (
    WATCH_SECONDS,
    UsersCluster,
    census_while_endpoints_change,
    run_census,
    silent,
    users_cluster,
)

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("lab_host")]

ROLE = Kind("rbac.authorization.k8s.io/v1", "ClusterRole")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UsersCluster]:
    with users_cluster(tmp_path_factory.mktemp("census")) as made:
        yield made


def _added(before: Any, after: Any) -> Counter[Any]:
    """What is there now and was not, by shapes without their counts."""
    counts = [
        Counter({each.model_copy(update={"count": 1}): each.count for each in shapes})
        for shapes in (before, after)
    ]
    counts[1].subtract(counts[0])
    return +counts[1]


SERVICES = Counter(
    {
        ServiceShape.model_validate(
            {
                "type": each.type,
                "headless": each.headless,
                "ports": each.ports,
                "endpoints": each.endpoints,
                "count": 1,
            }
        ): each.count
        for each in users.SERVICES
    }
)
CILIUM = {"rules": 2, "peers": 3, "ports": 1, "layer_7": 0, "count": 1}
POLICIES = Counter(
    {
        PolicyShape(kind="NetworkPolicy", rules=2, peers=3, ports=2, layer_7=0, count=1): 120,
        PolicyShape(kind="NetworkPolicy", rules=0, peers=0, ports=0, layer_7=0, count=1): 60,
        PolicyShape(kind="CiliumNetworkPolicy", **CILIUM): 15,
        PolicyShape(kind="CiliumClusterwideNetworkPolicy", **CILIUM): 5,
    }
)


def test_the_census_has_exactly_what_is_there_and_what_happens(
    cluster: UsersCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "census.json"
    assert census_while_endpoints_change(cluster, out) == OK
    census = read_census(out)
    assert _added(cluster.before.services, census.services) == SERVICES
    assert _added(cluster.before.policies, census.policies) == POLICIES
    churn = census.churn
    assert churn is not None
    assert (churn.writes, churn.changes) == (users.WRITES, users.CHANGES)
    # Each of thirty Services: one goes, one comes, one is replaced.
    assert (churn.came, churn.went) == (60, 60)
    assert churn.services == (Tally(value=3, count=30),)
    assert WATCH_SECONDS <= churn.seconds < WATCH_SECONDS + 5
    spec = cluster.running.lab.spec
    assert census.cni is not None
    assert (census.cni.kind, census.cni.version) == (spec.cni, spec.cni_version)
    assert census.kube_proxy == "none"
    assert census.pods_per_node is not None
    pods = sum(each.value * each.count for each in census.pods_per_node)
    assert pods == len(cluster.running.lab.api.items(POD))
    assert sum(each.count for each in census.nodes or ()) == spec.nodes
    assert census.missing == ()
    for text in (out.read_text(), capsys.readouterr().out):
        assert users.NAMESPACE not in text
        assert "10.77." not in text


def test_without_a_right_the_census_is_partial(
    cluster: UsersCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api = cluster.running.lab.api
    role = api.get(ROLE, rights.NAME)
    fewer = [rule for rule in role["rules"] if rule["resources"] != ["networkpolicies"]]
    api.merge(ROLE, rights.NAME, {"rules": fewer})
    out = tmp_path / "census.json"
    try:
        code = run_census(cluster, out, "--watch", "0")
    finally:
        api.merge(ROLE, rights.NAME, {"rules": role["rules"]})
    assert code == MISSING_NUMBERS
    assert [(each.what, each.why) for each in read_census(out).missing] == [
        ("NetworkPolicy", "may not be read (403)")
    ]
    told = capsys.readouterr().err
    assert "a partial census, without NetworkPolicy: may not be read (403)" in told
    assert rights.NAME not in told.replace(str(out), "")


def test_a_twin_in_another_cluster_has_that_shape(cluster: UsersCluster) -> None:
    asked = take(Kube(settings_of(str(cluster.kubeconfig))), 0, silent)
    running = bring_up("scenario-c")
    try:
        _has_the_shape(running, asked, Around(twin_of(asked, Room(1, None))))
    finally:
        running.session.close()
        running.lab.remove()


def _has_the_shape(running: RunningLab, asked: Census, around: Around) -> None:
    before = take(running.lab.api, 0, silent)
    around.furnish(running.session, print)
    found = take(running.lab.api, 0, silent)
    wanted = _added((), asked.services)
    # One more leads to the benchmark's own server, and tells that all are there.
    last = ServiceShape(type="ClusterIP", headless=False, ports=1, endpoints=2, count=1)
    wanted[last] += 1
    assert _added(before.services, found.services) == wanted
    assert found.policy_count - before.policy_count == asked.policy_count == 200
    # The benchmark's own pods are selected by some policy, and serve as before.
    service = running.session.service("httpbin")
    assert running.get(f"http://{service.host}:{service.port}/get").returncode == 0
    around.clear(running.session, print)
    cleared = take(running.lab.api, 0, silent)
    assert (cleared.services, cleared.policies) == (before.services, before.policies)
