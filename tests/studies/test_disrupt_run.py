"""The disruption experiment on a session whose components can be ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Semaphore
from typing import Any

import pytest

from bench.environment import About, CniRecord
from bench.plan import PROFILES, Plan
from bench.probes.base import Bench
from bench.session import CommandResult, Pod, SessionError, resolve_targets
from cli.main import main
from studies.experiments.capabilities import Manifest, PodRequest, Progress
from studies.experiments.definition import DISRUPTIONS, EXPERIMENTS
from studies.experiments.disrupt.events import CLIENT, SERVER, events, staged
from studies.experiments.disrupt.load import CONTROL
from studies.experiments.model import Experiment, from_dict
from studies.experiments.run import run_experiment
from tests.bench import fakes
from tests.sessions_target import descriptor, register
from tests.studies.chain_fakes import StoreSession
from tests.studies.load_output import load_output

DISRUPT = EXPERIMENTS["disrupt"]
AGENT = "cilium-agent"


class DisruptSession(StoreSession):
    """Logs of its loads are made up, by what was ended last.

    ``harm`` is what a load tells after a component ended, by its name, and ``first`` what the first
    loads tell instead, at the client's or (with ``witness``) at the servers' node.
    """

    def __init__(self) -> None:
        super().__init__()
        self.harm: dict[str, dict[str, Any]] = {}
        self.first: list[dict[str, Any]] = []
        self.witness: list[dict[str, Any]] = []
        self.ended: list[tuple[str, str, bool]] = []
        self.started: list[str] = []
        self.takes = 2.0
        self.dns = 0
        self.refuses = ""
        self.behind: list[list[tuple[str, bool]]] = []
        self._acted = Semaphore(0)
        self._at = 0.0

    def about(self) -> About:
        """With Cilium."""
        return super().about().model_copy(update={"cni": CniRecord(name="cilium")})

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        """Pods of the experiment answer themselves."""
        if pod.name.startswith("disrupt-"):
            return self.answered(argv, 0, "", "")
        return super().run(pod, argv, timeout=timeout)

    def merge_object(self, manifest: Manifest) -> None:
        """See ``studies.experiments.capabilities``; the addresses behind the Service are kept."""
        assert (manifest["kind"], manifest["metadata"]["name"]) in self.objects
        self.behind.append(
            [(*each["addresses"], each["conditions"]["ready"]) for each in manifest["endpoints"]]
        )

    @contextmanager
    def experiment_pods(self, wanted: Sequence[PodRequest]) -> Iterator[Sequence[Pod]]:
        """Each with an address of its own, and gone by itself."""
        self.asked += wanted
        self.running += wanted
        yield [
            Pod(each.name, each.role, each.node, f"172.30.9.{self.asked.index(each) + 1}")
            for each in wanted
        ]
        for each in wanted:
            self.running.remove(each)

    def _act(self) -> None:
        self._at = self.time.clock().now().timestamp()
        self._acted.release(2)  # for both loads

    def end_component(self, component: str, node: str, *, kill: bool) -> None:
        """See ``studies.experiments.capabilities``."""
        self._act()
        if self.refuses:
            raise SessionError(self.refuses)
        self.ended.append((component, node, kill))

    def start_component(self, component: str, node: str, version: str | None = None) -> None:
        """See ``studies.experiments.capabilities``."""
        self.started.append(component if version is None else f"{component} {version}")
        self.time.seconds += self.takes

    def other_version(self, component: str) -> str | None:
        """See ``studies.experiments.capabilities``."""
        return "1.19.7"

    @contextmanager
    def dns_replaced(self, grace: float) -> Iterator[None]:
        """See ``studies.experiments.capabilities``."""
        self._act()
        self.dns += 1
        try:
            yield
        finally:
            self.dns -= 1

    def run_load(self, pod: Pod, plan: str, *, timeout: float) -> CommandResult:
        """Told once the event has begun, which was a second after the load."""
        assert self._acted.acquire(timeout=10)
        if "witness" in pod.name:
            told = self.witness.pop(0) if self.witness else {}
        elif self.first:
            told = self.first.pop(0)
        else:
            told = self.harm.get(self.ended[-1][0], {}) if self.ended else {}
        return CommandResult((), 0, load_output(plan, self._at - 1.0, **told), "", 1.0)


@pytest.fixture(autouse=True)
def as_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan that the recordings were made with."""

    def recorded(profile: str, *, runs: int, seconds: int, allow: Sequence[str]) -> Plan:
        return replace(fakes.PLAN, runs=runs, allow=(*PROFILES[profile].allow, *allow))

    monkeypatch.setattr("studies.experiments.run.plan_for", recorded)


def measured(session: DisruptSession, kinds: Sequence[str], count: int = 3) -> Experiment:
    """The experiment with so many events of these kinds."""
    extent = DISRUPT.extent(kinds, rounds=count)
    return run_experiment(DISRUPT, session, extent, command="again", clock=session.time.clock())


def test_every_event_is_read_from_the_log_of_its_load_and_nothing_is_left() -> None:
    session = DisruptSession()
    session.harm[AGENT] = {"unanswered": {"new": (1.2, 1.7)}, "broken": 2}
    found = measured(session, ["agent-restart", "operator-restart"])
    (series,) = found.series
    agent, operator = series.points
    assert agent.metrics["gap_new"].samples == pytest.approx([500.0] * 3, abs=4)
    assert agent.metrics["recovery"].samples == pytest.approx([700.0] * 3, abs=4)
    assert agent.metrics["event"].samples == [2_000.0] * 3
    assert agent.metrics["requests_lost"].samples == [125.0] * 3
    assert 0 < float(agent.facts["client's CPU %"]) < 5
    counted = {"events": 3, "not counted": 0, "lost in all": 375, "broken in all": 6}
    assert agent.facts.items() > counted.items()
    assert operator.metrics["gap_new"].samples == [0.0] * 3
    # Components of the client's node, and an operator wherever it is.
    assert (
        sorted(session.ended)
        == [(AGENT, "node-1", False)] * 3 + [("cilium-operator", "node-1", False)] * 3
    )
    assert len(session.started) == 6
    assert session.objects == {}
    assert session.running == []


def test_what_came_out_is_said_in_words_with_the_number_of_events() -> None:
    session = DisruptSession()
    session.harm[AGENT] = {"unanswered": {"new": (1.2, 1.7)}, "broken": 2}
    said = measured(session, ["agent-killed", "operator-restart"]).series[0].said
    assert said["agent-killed"] == (
        "cilium-agent is killed and started at once: 3 events; without new connections for 500 ms "
        "(500 to 500); 6 of 30 kept connections broken; 375 requests lost in all; all as before "
        "after 699 ms (699 to 699)"
    )
    assert said["operator-restart"] == (
        "cilium-operator ends and is started a second later: 3 events; no gap in anything that was "
        "asked; 0 of 30 kept connections broken; 0 requests lost in all"
    )
    assert [kill for *_, kill in session.ended if kill] == [True] * 3


@pytest.mark.parametrize(
    ("first", "witness", "told"),
    [
        ([{"late_us": 203_000}], [], "the client itself sent up to 203 ms late"),
        ([{"unanswered": {CONTROL: (1.0, 1.3)}}], [], "the control path at the client"),
        ([{}], [{"unanswered": {CONTROL: (1.0, 1.3)}}], "the control path at the servers' node"),
        ([{"unanswered": {"udp": (0.2, 0.3)}}], [], "before the event"),
    ],
)
def test_an_event_whose_load_says_nothing_does_not_count_and_is_told(
    first: list[dict[str, Any]], witness: list[dict[str, Any]], told: str
) -> None:
    session = DisruptSession()
    session.first, session.witness = first, witness
    found = measured(session, ["agent-restart"], 1)
    (point,) = found.series[0].points
    assert point.facts["events"] == 1  # it was tried again
    assert point.facts["not counted"] == 1
    assert len(session.ended) == 2
    (warning,) = (each for each in found.warnings if "does not count" in each)
    assert told in warning


def test_an_event_that_outlasts_its_load_is_tried_again_under_a_longer_one() -> None:
    session = DisruptSession()
    session.takes = 20.0
    found = measured(session, ["agent-restart"], 2)
    (point,) = found.series[0].points
    assert point.metrics["event"].samples == [20_000.0] * 2
    assert point.facts["not counted"] == 1
    assert "it took 20.0 s, more than the 5.0 s for which there was load" in str(found.warnings)


def test_streams_that_are_not_back_have_no_recovery_but_a_reason() -> None:
    session = DisruptSession()
    session.harm[AGENT] = {"unanswered": {"udp": (1.2, 99.0)}}
    (point,) = measured(session, ["agent-restart"], 1).series[0].points
    assert "recovery" not in point.metrics
    assert "not all was as before when the load ended" in point.missing["recovery"]
    assert point.metrics["requests_lost"].median > 1_000


def test_a_component_that_does_not_end_is_told_and_costs_only_its_own_event() -> None:
    session = DisruptSession()
    session.refuses = "no such process"
    found = measured(session, ["agent-restart", "dns-replaced"], 1)
    agent, dns = found.series[0].points
    assert not agent.metrics
    assert "no such process" in agent.missing["gap_new"]
    assert "no event counts: " in found.series[0].said["agent-restart"]
    assert dns.metrics["gap_dns"].samples == [0.0]
    assert session.dns == 0


def test_a_replaced_pod_ends_after_its_grace_and_a_killed_one_before_its_service_turns_away() -> (
    None
):
    session = DisruptSession()
    bench = Bench(session, resolve_targets(session), session.time.clock())
    with staged(bench, print) as stage:
        first, second = (pod.ip for pod, _ in stage.servers)
        session.behind.clear()
        (replaced, killed), _ = events(bench, ["pod-replaced", "pod-killed"])
        with ExitStack() as after:
            replaced.act(stage, after)
            third = stage.servers[0][0].ip
            assert session.behind == [
                [(third, True), (second, True), (first, False)],
                [(third, True), (second, True)],
            ]
            session.behind.clear()
            killed.act(stage, after)
        fourth = stage.servers[0][0].ip
        assert session.behind == [[(second, True)], [(fourth, True), (second, True)]]
        assert len({first, second, third, fourth}) == 4
        assert len(session.running) == 4  # client, witness and two servers
    assert session.running == []
    assert session.objects == {}


def test_an_upgrade_goes_there_and_back() -> None:
    session = DisruptSession()
    bench = Bench(session, resolve_targets(session), session.time.clock())
    with staged(bench, print) as stage:
        (upgrade,), _ = events(bench, ["agent-upgrade"])
        with ExitStack() as after:
            upgrade.act(stage, after)
    assert session.started == [f"{AGENT} 1.19.7", AGENT]
    assert len(session.ended) == 2
    assert "1.19.7" in upgrade.what


def test_a_policy_comes_and_goes_and_allows_the_client_all() -> None:
    session = DisruptSession()
    bench = Bench(session, resolve_targets(session), session.time.clock())
    seen: list[Manifest] = []
    with staged(bench, print) as stage, pytest.MonkeyPatch.context() as patch:
        create = session.create_objects

        def noted(wanted: Sequence[Manifest], say: Progress) -> None:
            seen.extend(wanted)
            create(wanted, say)

        patch.setattr(session, "create_objects", noted)
        (policy,), _ = events(bench, ["policy"])
        with ExitStack() as after:
            policy.act(stage, after)
        assert not any(kind == "NetworkPolicy" for kind, _ in session.objects)
    (made,) = seen
    assert made["spec"]["podSelector"]["matchExpressions"][0]["values"] == [SERVER]
    (rule,) = made["spec"]["ingress"]
    (allowed,) = rule["from"]
    assert allowed["podSelector"]["matchExpressions"][0]["values"] == [CLIENT]
    assert "ports" not in rule


def test_kinds_that_a_cluster_cannot_have_are_told_with_their_reason() -> None:
    session = DisruptSession()
    (series,) = measured(session, ["kube-proxy-restart", "operator-restart"], 1).series
    assert [point.label for point in series.points] == ["operator-restart"]
    assert series.said["kube-proxy-restart"] == "not measured: there is none here"
    (none,) = measured(session, ["kube-proxy-restart"], 1).series
    assert none.skipped == "kube-proxy-restart: there is none here"


def test_the_command_has_its_own_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "session.json"
    path.write_text(json.dumps(descriptor("no_pods")))

    def no_pods() -> fakes.FakeSession:
        return fakes.FakeSession()

    with pytest.MonkeyPatch.context() as patch:
        register(patch, no_pods)
        words = ["--kinds", "policy,agent-killed", "--events", "2", "--out", "-"]
        assert main(["disrupt", "--session", str(path), *words]) == 0
    found = from_dict(json.loads(capsys.readouterr().out))
    assert found.command == (
        "python -m bench disrupt --session FILE --kinds policy,agent-killed --events 2 --seconds 4"
    )
    assert (found.series[0].skipped or "").startswith(
        "this target cannot create Kubernetes objects"
    )


def test_every_kind_can_be_asked_for() -> None:
    assert DISRUPT.extent(list(DISRUPTIONS)).points == DISRUPTIONS
    assert DISRUPT.usual.rounds == 30
    assert DISRUPT.within == 1_800
