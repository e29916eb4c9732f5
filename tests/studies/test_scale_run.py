"""The scaling experiment as a whole: which sizes are visited, what is kept, what is left behind."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from bench.interleave import Entry
from bench.plan import PROFILES, Plan
from bench.probes.base import Reading
from bench.sampling import Outcome
from bench.session import CommandResult, ComponentUsage, Pod, Service, ServicePath, SessionError
from studies.experiments.capabilities import Manifest, Progress
from studies.experiments.definition import EXPERIMENTS, Extent
from studies.experiments.model import Experiment, from_dict
from studies.experiments.run import run_experiment
from studies.experiments.scale.run import Samples, visits
from tests.bench import fakes
from tests.bench.fakes import FakeSession
from tests.studies.test_scale_services import METRICS, Store

SCALE = EXPERIMENTS["scale"]


class ScaleSession(Store, FakeSession):
    """kube-proxy with iptables rules for whatever Services there are."""

    def __init__(self) -> None:
        Store.__init__(self)
        FakeSession.__init__(self)
        self.path = "kube-proxy iptables"
        self.syncs = 7
        self.restarts = 0
        self.breaks_at: str | None = None
        for name in ("kubernetes", "kube-dns", "httpbin"):
            self.objects[("Service", name)] = {"metadata": {"labels": {}}, "spec": {}}

    def service_path(self, client: Pod, service: Service) -> ServicePath:
        """See ``bench.session.Session``."""
        return ServicePath(self.path, {self.path: self._connections})

    def create_objects(self, manifests: Sequence[Manifest], say: Progress) -> None:
        """At a hundred per second."""
        self.time.seconds += 0.01 * len(manifests)
        super().create_objects(manifests, say)

    def delete_objects(self, manifests: Sequence[Manifest], say: Progress) -> None:
        """At a hundred per second."""
        self.time.seconds += 0.01 * len(manifests)
        super().delete_objects(manifests, say)

    def merge_object(self, manifest: Mapping[str, object]) -> None:
        """A change that kube-proxy brings in."""
        super().merge_object(manifest)
        self.syncs += 1
        self.time.seconds += 0.25

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        """As recorded; the client of a changing Service sees the change at once."""
        if self.breaks_at and self.breaks_at in " ".join(argv):
            raise KeyboardInterrupt
        if argv[0] == "bash" and "/status/418" in argv:
            wanted = argv[-2]
            old = "200" if wanted == "418" else "418"
            now = time.time_ns() // 1000 + round(1e6 * self.skew.get("iperf3-client", 0.0))
            text = f"{now} {old} 0\n{now + 400_000} {wanted} 2500\n"
            return CommandResult(tuple(argv), 0, text, "", 1.0)
        return super().run(pod, argv, timeout=timeout)

    def run_beside(
        self, component: str, node: str, argv: Sequence[str], *, timeout: float
    ) -> CommandResult:
        """The rules, one chain per Service."""
        assert component == "kube-proxy"
        addresses = [
            each["spec"].get("clusterIP", f"10.100.0.{place}")
            for place, ((kind, _), each) in enumerate(self.objects.items())
            if kind == "Service"
        ][2:]
        rules = [
            f"-A KUBE-SERVICES -d {address}/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-{place}"
            for place, address in enumerate(addresses)
        ]
        return CommandResult(tuple(argv), 0, "\n".join(["*nat", ":X - [0:0]", *rules]), "", 0.0)

    def component_metrics(self, component: str) -> Mapping[str, str]:
        """130 ms per sync."""
        text = METRICS.replace("_count 7", f"_count {self.syncs}")
        text = text.replace("_sum 0.91", f"_sum {0.13 * self.syncs}")
        return {"node-1": text + text.replace("sync_proxy", "sync_full_proxy")}

    def restart_component(self, component: str, node: str) -> None:
        """See ``studies.experiments.capabilities``."""
        assert (component, node) == ("kube-proxy", "node-1")
        self.restarts += 1

    def cni_usage(self) -> Sequence[ComponentUsage]:
        """kube-proxy in the agent's place."""
        return [
            replace(each, component="kube-proxy")
            for each in super().cni_usage()
            if each.component == "cilium-agent"
        ]


@pytest.fixture(autouse=True)
def as_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan that the recordings were made with, at the rate that they have."""

    def recorded(profile: str, *, runs: int, seconds: int, allow: Sequence[str]) -> Plan:
        allowed = (*PROFILES[profile].allow, "service-path", *allow)
        return replace(fakes.PLAN, runs=runs, allow=allowed)

    monkeypatch.setattr("studies.experiments.run.plan_for", recorded)
    monkeypatch.setattr("studies.experiments.scale.run.RATE", 100)


def _run(session: ScaleSession, *points: int, within: float = 1e9) -> Experiment:
    return run_experiment(
        SCALE, session, Extent(points, 2, 1), command="", clock=session.time.clock(), within=within
    )


def test_every_size_is_visited_on_the_way_up_and_down() -> None:
    session = ScaleSession()
    found = _run(session, 20, 4, 10)
    (series,) = found.series
    assert [(point.label, point.x) for point in series.points] == [
        ("4", 4.0), ("10", 10.0), ("20", 20.0),
    ]  # fmt: skip
    assert found.plan["visits"] == [
        "4 Services, on the way up",
        "10 Services, on the way up",
        "20 Services, on the way up",
        "10 Services, on the way down",
        "4 Services, on the way down",
    ]
    for point in series.points:
        # The way up and down, two rounds each.
        places = point.metrics["connect_p50_last"].by_place()
        assert {place.round for place in places} == {1, 2, 3, 4}
        # Both ends in the same turns, so that slices are pairs.
        assert any(place.slice for place in places)
        assert places.keys() == point.metrics["connect_p50_first"].by_place().keys()
        assert point.metrics["change_sync"].median == pytest.approx(130_000)
        assert point.facts["services"] == point.x
    assert series.points[2].facts["nat rules"] == 18  # all but those of kubernetes and DNS
    assert session.restarts == 5
    once = [warning for warning in found.warnings if "visited once" in warning]
    assert [warning.split(" Services")[0] for warning in once] == ["20"]
    assert from_dict(found.to_dict()) == found


def test_a_client_on_a_machine_with_another_clock_sees_a_change_as_soon() -> None:
    session = ScaleSession()
    session.skew = dict.fromkeys(("iperf3-client", "iperf3-server"), 30.0)
    (series,) = _run(session, 4, 10).series
    for point in series.points:
        assert 0 < point.metrics["change_served"].median < 2e6


def test_nothing_is_left_behind() -> None:
    session = ScaleSession()
    before = dict(session.objects)
    _run(session, 4, 10)
    assert session.objects == before


def test_an_interruption_removes_all_services() -> None:
    session = ScaleSession()
    before = dict(session.objects)
    session.breaks_at = "/status/418"
    with pytest.raises(KeyboardInterrupt):
        _run(session, 4, 10)
    assert session.objects == before


def test_a_refused_creation_is_told_and_the_rest_is_removed() -> None:
    session = ScaleSession()
    before = dict(session.objects)
    session.fails_after = 5
    with pytest.raises(SessionError, match="no room"):
        _run(session, 4, 100)
    assert session.objects == before


def test_visits_that_would_take_too_long_are_left_out() -> None:
    whole = _run(ScaleSession(), 4, 10, 20)
    found = _run(ScaleSession(), 4, 10, 20, within=0.6 * whole.seconds)
    assert 0 < len(found.plan["visits"]) < len(whole.plan["visits"])
    assert found.seconds < whole.seconds


def test_sizes_that_did_not_take_turns_are_not_compared_by_their_rounds() -> None:
    (series,) = _run(ScaleSession(), 4, 10).series
    assert series.comparisons == []


def test_what_a_larger_size_leaves_is_waited_for_and_else_not_measured() -> None:
    class Leaving(ScaleSession):
        """Keeps a chain's rule of each Service that there ever was, until so many changes later."""

        most, changes, clears_after = 0, 0, 3

        def merge_object(self, manifest: Mapping[str, object]) -> None:
            super().merge_object(manifest)
            self.changes += 1

        def run_beside(
            self, component: str, node: str, argv: Sequence[str], *, timeout: float
        ) -> CommandResult:
            done = super().run_beside(component, node, argv, timeout=timeout)
            if "save" not in argv[0]:
                return done
            rules = done.stdout.count("\n-A")
            if rules > self.most:
                self.most, self.changes = rules, 0
            left = self.most - rules if self.changes <= self.clears_after else 0
            return replace(done, stdout=done.stdout + left * "\n-A KUBE-SEP-X")

    found = _run(Leaving(), 4, 20)
    assert found.plan["visits"][-1] == "4 Services, on the way down"
    assert not [text for text in found.warnings if "another state" in text]
    for_ever = Leaving()
    for_ever.clears_after = 10**9
    found = _run(for_ever, 4, 20)
    (told,) = [text for text in found.warnings if "another state" in text]
    assert told.startswith("4 Services, on the way down: not measured")
    smallest = found.series[0].points[0].metrics["connect_p50_last"]
    assert {place.round for place in smallest.by_place()} == {1, 2}


def test_the_largest_is_visited_once_for_as_many_rounds() -> None:
    assert [(visit.size, visit.way, visit.rounds) for visit in visits([7, 3, 5], 3)] == [
        (3, "up", 3), (5, "up", 3), (7, "up", 6), (5, "down", 3), (3, "down", 3),
    ]  # fmt: skip


def test_medians_are_of_visits() -> None:
    samples = Samples(ends=[2, 5])
    for round_, value in enumerate((1.0, 3.0, 10.0, 20.0, 60.0), 1):
        samples.entries.append(Entry(round_, "x", "p", Outcome(Reading({"m": value})), 1.0))
    samples.entries.append(Entry(5, "x", "q", Outcome(None, ("lost",)), 1.0))
    assert samples.medians() == {"m": [2.0, 20.0]}
