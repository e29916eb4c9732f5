"""The twin of a census: scaled to its room with words, and its objects in clusters."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import pytest

from bench.environment import About, CniRecord
from bench.interleave import Side
from bench.probes.base import Bench
from bench.session import SessionError, resolve_targets
from components.census import shapes
from studies.census.around import Around, numbered, policy_manifests
from studies.census.model import (
    Census,
    CensusError,
    Churn,
    PolicyShape,
    ServiceShape,
    Tally,
)
from studies.census.twin import MAP_ENTRIES, NODE_PORTS, POLICIES, Room, Twin, scaled_to, twin_of
from studies.experiments.policies import POLICY_LABEL
from tests.bench.fakes import FakeSession
from tests.studies.test_scale_services import Store

ROOMY = Room(5, None)
CHURN = Churn(
    seconds=60, writes=100, changes=90, came=45, went=45, services=(Tally(value=3, count=30),)
)


def service(count: int, endpoints: int | None = 2, ports: int = 1, **more: Any) -> ServiceShape:
    shape = {"type": "ClusterIP", "headless": False, **more}
    return ServiceShape.model_validate(
        {**shape, "ports": ports, "endpoints": endpoints, "count": count}
    )


def policy(count: int, kind: str = "NetworkPolicy", rules: int = 2, **more: int) -> PolicyShape:
    shape = {"rules": rules, "peers": 5, "ports": 3, "layer_7": 0, **more}
    return PolicyShape.model_validate({"kind": kind, **shape, "count": count})


def census(
    *services: ServiceShape, policies: tuple[PolicyShape, ...] = (), churn: Churn | None = CHURN
) -> Census:
    return Census(
        kubernetes=None, nodes=None, cni=None, kube_proxy=None, pods_per_node=None,
        services=services, churn=churn, policies=policies, missing=(),
    )  # fmt: skip


# -- what a twin is -------------------------------------------------------------------------------


def test_what_has_room_is_the_census_itself() -> None:
    asked = census(service(1_900), service(100, 20, 3), policies=(policy(200),))
    twin = twin_of(asked, ROOMY)
    assert twin.services == asked.services
    assert twin.policies == asked.policies
    assert (twin.changes_per_minute, twin.changing, twin.replaces) == (90, 30, False)
    assert twin.headline == (
        "This answers for a cluster of 2,000 Services (endpoints 2 to 20, median 2; ports 1 to 3, "
        "median 1), 200 policies and 90 changes of endpoints a minute."
    )
    assert not any(" of " in each and each[0].isdigit() for each in twin.scaled)


def test_what_has_no_room_keeps_its_distribution_and_says_so() -> None:
    asked = census(service(30_000), service(10_000, 8), service(1_000, 30, 2))
    twin = twin_of(asked, ROOMY)
    assert twin.services is not None
    held = 3 * 30_000 + 9 * 10_000 + 62 * 1_000
    share = MAP_ENTRIES / held
    assert [each.count for each in twin.services] == [
        pytest.approx(share * count, abs=1) for count in (30_000, 10_000, 1_000)
    ]
    assert twin.changes_per_minute == pytest.approx(90 * share)
    assert twin.scaled[0] == (
        "10,165 of 41,000 Services, in the same shape: there is room for 60,000 of 242,000 ports "
        "and endpoints."
    )


def test_a_census_times_two_has_twice_of_everything() -> None:
    asked = census(service(1_900), service(100, 20, 3), policies=(policy(200),))
    twin = twin_of(asked, ROOMY, times=2)
    assert [each.count for each in twin.services] == [3_800, 200]
    assert [each.count for each in twin.policies] == [400]
    assert (twin.changes_per_minute, twin.changing) == (180, 60)
    assert twin.scaled[0] == "2 times the Services, policies and changes of the census."
    # Bounded by the same room.
    held = twin_of(census(service(30_000)), ROOMY, times=2)
    assert held.services == twin_of(census(service(60_000)), ROOMY).services
    assert held.changes_per_minute == pytest.approx(2 * 90 * MAP_ENTRIES / (3 * 60_000))


def test_memory_bounds_a_twin_by_the_number_of_its_clusters() -> None:
    asked = census(service(10_000))
    one, five = (twin_of(asked, Room(clusters, 3_000)) for clusters in (1, 5))
    counts = [sum(each.count for each in twin.services) for twin in (one, five)]
    assert counts[0] == 10_000
    assert 0 < counts[1] < 10_000


def test_a_shape_that_the_machine_does_not_hold_is_refused_in_one_line() -> None:
    with pytest.raises(CensusError, match=r"no twin\. Fix: fewer scenarios") as refused:
        twin_of(census(service(10, 900_000)), Room(5, 10_000))
    assert "\n" not in str(refused.value)


def test_one_service_that_is_too_large_is_no_twin_either() -> None:
    with pytest.raises(CensusError, match="would be no twin"):
        twin_of(census(service(1, 100_000)), ROOMY)


def test_services_without_an_address_take_room_as_well() -> None:
    twin = twin_of(census(service(10**6, 0, headless=True), service(10**6, 0)), ROOMY)
    assert sum(each.count for each in twin.services) == MAP_ENTRIES


def test_policies_are_bounded_by_their_number_and_by_their_parts() -> None:
    many = twin_of(census(service(1), policies=(policy(9_000),)), ROOMY)
    assert sum(each.count for each in many.policies) == POLICIES
    assert "3,000 of 9,000 policies." in many.scaled
    large = twin_of(census(service(1), policies=(policy(100, peers=9_997),)), ROOMY)
    assert sum(each.count for each in large.policies) == 9


def test_of_shapes_that_are_there_once_small_and_large_ones_are_left() -> None:
    kept = scaled_to([service(1, endpoints) for endpoints in range(100)], 0.1)
    endpoints = [each.endpoints for each in kept]
    assert endpoints == [9, 19, 29, 39, 49, 59, 69, 79, 89, 99]


def test_without_services_there_is_no_twin() -> None:
    with pytest.raises(CensusError, match="no Services with their endpoints"):
        twin_of(census(service(3, None)), ROOMY)


def test_churn_is_bounded_and_what_was_not_watched_is_not_made_up() -> None:
    busy = CHURN.model_copy(update={"changes": 6_000, "came": 6_000, "went": 6_000})
    twin = twin_of(census(service(100), churn=busy), ROOMY)
    assert (twin.changes_per_minute, twin.replaces) == (240, True)
    assert any("240 of 6,000 changes of endpoints a minute" in each for each in twin.scaled)
    still = twin_of(census(service(100), churn=None), ROOMY)
    assert (still.changes_per_minute, still.changing) == (0, 0)
    assert any("has not watched them" in each for each in still.scaled)


def test_node_ports_beyond_the_range_become_cluster_ips() -> None:
    asked = census(service(400, 1, 5, type="NodePort"), service(300, 1, 5, type="LoadBalancer"))
    twin = twin_of(asked, ROOMY)
    by_type = Counter[str]()
    for each in twin.services:
        by_type[each.type] += each.count * each.ports
    assert by_type["NodePort"] + by_type["LoadBalancer"] == NODE_PORTS
    assert sum(by_type.values()) == 3_500
    assert any("200 Services that have node ports are ClusterIPs" in each for each in twin.scaled)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.37, 0.999])
def test_scaling_keeps_the_whole(share: float) -> None:
    counts = (1, 7, 100, 1_234, 5)
    scaled = scaled_to([service(count, count) for count in counts], share)
    assert sum(each.count for each in scaled) == int(share * sum(counts))
    for each in scaled:
        assert each.endpoints is not None
        assert abs(each.count - share * each.endpoints) < 1


# -- its objects ----------------------------------------------------------------------------------


MIXED = (
    service(20, 3, 2),
    service(5, 0),
    service(2, 250),
    service(3, 1, 2, type="NodePort"),
    service(1, 1, type="LoadBalancer"),
    service(4, 2, headless=True),
    service(1, 0, 0, type="ExternalName"),
)


def test_its_services_read_by_a_census_are_those_that_were_asked_for() -> None:
    twin = twin_of(census(*MIXED), ROOMY)
    made = [_placed(each) for one in numbered(twin) for each in one.manifests()]
    endpoints = shapes.Endpoints()
    for each in made:
        if each["kind"] == "EndpointSlice":
            assert len(each["endpoints"]) <= 100
            endpoints.list(each)
    services = [(shapes.key_of(each), each) for each in made if each["kind"] == "Service"]
    found = shapes.service_shapes(services, endpoints.per_service())
    assert sorted(found, key=str) == sorted(MIXED, key=str)


def test_no_address_is_had_twice() -> None:
    twin = twin_of(census(*MIXED), ROOMY)
    slices = [m for one in numbered(twin) for m in one.manifests() if m["kind"] != "Service"]
    addresses = [a for m in slices for each in m["endpoints"] for a in each["addresses"]]
    assert len(set(addresses)) == len(addresses) == 20 * 3 + 2 * 250 + 3 + 1 + 8
    assert all(ip_address(each).is_private for each in addresses)


ALL = frozenset({"NetworkPolicy", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"})
MADE = (
    policy(3, rules=2),
    policy(2, "CiliumNetworkPolicy", rules=3),
    policy(1, "CiliumClusterwideNetworkPolicy", rules=1, ports=50),
)


def test_its_policies_read_by_a_census_are_those_that_were_asked_for() -> None:
    twin = twin_of(census(service(1), policies=MADE), ROOMY)
    made = [_placed(each) for each in policy_manifests(twin, ALL)]
    # One of each kind in a namespace selects the benchmark, and is not of the shape.
    ours = [each for each in made if POLICY_LABEL in each["metadata"]["labels"]]
    assert [each["kind"] for each in ours] == ["NetworkPolicy", "CiliumNetworkPolicy"]
    for each in MADE:
        others = [m for m in made if m not in ours and m["kind"] == each.kind]
        wanted = each.count - (each.kind != "CiliumClusterwideNetworkPolicy")
        assert shapes.policy_shapes(each.kind, others) == (
            each.model_copy(update={"count": wanted}),
        )


def test_a_cluster_gets_no_kinds_that_it_does_not_have() -> None:
    twin = twin_of(census(service(1), policies=MADE), ROOMY)
    made = policy_manifests(twin, frozenset({"NetworkPolicy"}))
    assert {each["kind"] for each in made} == {"NetworkPolicy"}


# -- in a cluster ---------------------------------------------------------------------------------


class Cluster(Store, FakeSession):
    """Has objects; the CNI is Cilium."""

    def __init__(self) -> None:
        Store.__init__(self)
        FakeSession.__init__(self)
        self.told = About(cni=CniRecord(name="cilium", version="1"))
        self.merges: list[Any] = []
        self.refuses_after = 10**9

    def merge_object(self, manifest: Any) -> None:
        """Remembered; refused after some."""
        if len(self.merges) >= self.refuses_after:
            raise SessionError("the API server is gone")
        self.merges.append(manifest)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def _around(cluster: Cluster, twin: Twin) -> Around:
    return Around(twin, cluster.time.clock())


def _side(cluster: Cluster) -> Side:
    return Side("a", Bench(cluster, resolve_targets(cluster), cluster.time.clock()), ())


def _silent(_line: str) -> None:
    pass


def test_a_cluster_is_furnished_and_cleared(cluster: Cluster) -> None:
    around = _around(cluster, twin_of(census(*MIXED, policies=MADE), ROOMY))
    around.furnish(cluster, _silent)
    kinds = Counter(kind for kind, _ in cluster.objects)
    # One Service more, which leads to the benchmark's own server and tells that all are there.
    assert kinds["Service"] == 36 + 1
    assert (kinds["NetworkPolicy"], kinds["CiliumNetworkPolicy"]) == (3, 2)
    asked = [argv for _, argv, _ in cluster.calls if argv[:2] == ("fortio", "curl")]
    assert asked
    around.furnish(cluster, _silent)
    assert Counter(kind for kind, _ in cluster.objects) == kinds
    around.clear(cluster, _silent)
    assert cluster.objects == {}


def test_what_the_dataplane_does_not_come_by_is_an_error(cluster: Cluster) -> None:
    cluster.fails_after = 3
    with pytest.raises(SessionError, match="no room"):
        _around(cluster, twin_of(census(*MIXED), ROOMY)).furnish(cluster, _silent)


def _quick(twin: Twin) -> Twin:
    """With a change every ten milliseconds."""
    return twin.model_copy(update={"changes_per_minute": 6_000.0})


@contextmanager
def _churned(cluster: Cluster, twin: Twin) -> Iterator[Around]:
    around = _around(cluster, twin)
    with around.at_work([_side(cluster)]):
        yield around


def test_endpoints_change_as_often_as_in_the_census(cluster: Cluster) -> None:
    with _churned(cluster, _quick(twin_of(census(service(60), churn=CHURN), ROOMY))) as around:
        begun = time.monotonic()
        time.sleep(0.7)
        seconds = time.monotonic() - begun
    made = len(cluster.merges)
    assert 0.9 * 100 * seconds < made < 1.1 * 100 * seconds + 3
    assert around.failure("a") is None
    # Thirty Services of sixty, one after the other; the last of two endpoints goes and comes.
    names = [each["metadata"]["name"] for each in cluster.merges]
    assert len(set(names)) == 30
    assert [len(each["endpoints"]) for each in cluster.merges[:60]] == [1] * 30 + [2] * 30
    time.sleep(0.05)
    assert len(cluster.merges) == made


def test_changes_are_what_a_census_calls_so(cluster: Cluster) -> None:
    replaced = replace_all(CHURN)
    twin = _quick(twin_of(census(service(10), churn=replaced), ROOMY))
    endpoints = shapes.Endpoints()
    for one in numbered(twin):
        for each in one.manifests():
            if each["kind"] == "EndpointSlice":
                endpoints.list(_placed(each))
    with _churned(cluster, twin):
        time.sleep(0.5)
    for each in cluster.merges:
        endpoints.take({"type": "MODIFIED", "object": _placed(each)})
    churn = endpoints.churn(1)
    assert churn.changes == churn.writes == len(cluster.merges)
    assert churn.came == churn.went == churn.changes


def replace_all(churn: Churn) -> Churn:
    return churn.model_copy(update={"came": churn.changes, "went": churn.changes})


def _placed(manifest: Any) -> Any:
    found = json.loads(json.dumps(manifest))
    found["metadata"]["namespace"] = "n"
    return found


def test_a_churn_that_ends_is_told(cluster: Cluster) -> None:
    cluster.refuses_after = 3
    with _churned(cluster, _quick(twin_of(census(service(60)), ROOMY))) as around:
        time.sleep(0.2)
    assert around.failure("a") == "an endpoint could not be changed: the API server is gone"
    with around.at_work([]):
        assert around.failure("a") is None


def test_a_churn_that_is_too_slow_is_told(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "merge_object", lambda manifest: time.sleep(0.05))
    with _churned(cluster, _quick(twin_of(census(service(60)), ROOMY))) as around:
        time.sleep(0.5)
    why = around.failure("a")
    assert why is not None
    assert "changes of endpoints were made while it was measured" in why


def test_without_objects_there_is_no_twin() -> None:
    session = FakeSession()
    around = Around(twin_of(census(service(1)), ROOMY), session.time.clock())
    with pytest.raises(SessionError, match="no twin can be made: this target cannot create"):
        around.furnish(session, _silent)
