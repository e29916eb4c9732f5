"""Policy cost on a session whose dataplane follows the policies in its store."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from bench.environment import About, CniRecord
from bench.plan import PROFILES, Plan
from bench.probes.base import Bench, Reading, SampleError
from bench.session import CommandResult, Pod, SessionError
from studies.experiments.capabilities import Manifest, Progress
from studies.experiments.definition import EXPERIMENTS
from studies.experiments.policies import POLICY_LABEL, TARGET_PORT
from studies.experiments.policy import ADMIT, REFUSE, EnforcedProbe
from studies.experiments.run import run_experiment
from tests.bench import fakes
from tests.studies.chain_fakes import StoreSession

POLICY, CILIUM_POLICY = EXPERIMENTS["policy"], EXPERIMENTS["cilium-policy"]
ALLOWING = "cni-benchmark-many-0000"
#: Of a single connection: the check of the Service's path makes many, in a loop.
_PORT = re.compile(r"^timeout .*/dev/tcp/[\d.]+/(\d+)")


class PolicySession(StoreSession):
    """Enforces what is in the store, at once; ``enforcing`` is whether it does."""

    def __init__(self, *, enforcing: bool = True, agents: bool = True) -> None:
        super().__init__()
        self.enforcing = enforcing
        self.agents = agents
        self.seen: list[int] = []
        self.denied_by_deleting = False

    def delete_objects(self, manifests: Sequence[Manifest], say: Progress) -> None:
        """As any store; notes whether the benchmark's traffic is selected but not allowed now."""
        super().delete_objects(manifests, say)
        allowing = ("NetworkPolicy", "CiliumNetworkPolicy")
        if self._many() and not any((kind, ALLOWING) in self.objects for kind in allowing):
            self.denied_by_deleting = True

    def about(self) -> About:
        """With a CNI where Cilium is meant."""
        cni = CniRecord(name="cilium") if self.agents else None
        return super().about().model_copy(update={"cni": cni})

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        """As recorded, but for connections to the target."""
        found = _PORT.search(argv[-1])
        if found is None:
            if argv[-1].endswith("/get") and "-access-log-file" in argv:
                self.seen.append(self._many())
            return super().run(pod, argv, timeout=timeout)
        port = int(found[1])
        if self.enforcing and self._selected() and port not in self._allowed():
            return self.answered(argv, 124, "", "")
        if port == TARGET_PORT:
            return self.answered(argv, 0, "", "")
        return self.answered(argv, 1, "", "bash: connect: Connection refused")

    def _policies(self) -> list[dict[str, Any]]:
        return [each for (kind, _), each in self.objects.items() if kind.endswith("Policy")]

    def _many(self) -> int:
        return sum("many" in each["metadata"]["name"] for each in self._policies())

    def _selected(self) -> bool:
        return bool(self._policies())

    def _allowed(self) -> set[int]:
        return {int(port) for port in re.findall(r"'port': '?(\d+)", str(self._policies()))}


@pytest.fixture(autouse=True)
def as_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan that the recordings were made with; changes take effect at once."""

    def recorded(profile: str, *, runs: int, seconds: int, allow: Sequence[str]) -> Plan:
        return replace(fakes.PLAN, runs=runs, allow=(*PROFILES[profile].allow, *allow))

    def changed(probe: EnforcedProbe, bench: Bench) -> Reading:
        probe.admit()
        probe.refuse()
        return Reading({ADMIT.name: 20_000.0, REFUSE.name: 10_000.0})

    monkeypatch.setattr("studies.experiments.run.plan_for", recorded)
    monkeypatch.setattr("studies.experiments.policy.HTTP_RATE", 100)
    monkeypatch.setattr("studies.experiments.policy.PROBES", ("idle", "rtt", "connect", "http_100"))
    monkeypatch.setattr(EnforcedProbe, "measure", changed)


@pytest.mark.parametrize("name", ["policy", "cilium-policy"])
def test_every_level_is_measured_with_so_many_in_force_and_none_is_left(name: str) -> None:
    session = PolicySession()
    definition = EXPERIMENTS[name]
    extent = definition.extent(["0", "3", "10"], rounds=2)
    found = run_experiment(definition, session, extent, command="again", clock=session.time.clock())
    (series,) = found.series
    assert series.skipped is None
    assert [point.x for point in series.points] == [0, 3, 10]
    assert {"policy_admit", "policy_refuse", "rtt_p50", "connect_p50", "cni_cpu"} <= set(
        series.points[0].metrics
    )
    # Up in the first round and down in the second, so that each change is made once.
    assert session.seen[-6:] == [0, 3, 10, 10, 3, 0]
    assert series.points[2].facts["added to"] == 3
    assert [compared.labels[1] for compared in series.comparisons] == ["3 policies", "10 policies"]
    assert session.objects == {}
    assert session.running == []


def test_deleting_never_denies_what_the_benchmark_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    session = PolicySession()
    extent = POLICY.extent(["0", "10"], rounds=1)  # ends with ten in force
    run_experiment(POLICY, session, extent, command="again", clock=session.time.clock())
    assert session.objects == {}
    assert not session.denied_by_deleting
    # The order is what does it.
    monkeypatch.setattr(
        "studies.experiments.policies.removal", lambda policies: [policies[:1], policies[1:]]
    )
    run_experiment(POLICY, session, extent, command="again", clock=session.time.clock())
    assert session.denied_by_deleting


def test_where_a_denied_connection_is_answered_there_is_nothing_to_measure() -> None:
    session = PolicySession(enforcing=False, agents=False)
    found = run_experiment(
        POLICY, session, POLICY.extent(["0"], 1), command="again", clock=session.time.clock()
    )
    assert "no policy engine" in (found.series[0].skipped or "")
    assert session.objects == {}


def test_agents_that_do_not_enforce_are_a_failure_and_no_reason_to_skip() -> None:
    session = PolicySession(enforcing=False)
    with pytest.raises(SessionError, match="although Cilium's agents run"):
        run_experiment(
            POLICY, session, POLICY.extent(["0"], 1), command="again", clock=session.time.clock()
        )
    assert session.objects == {}


def test_ciliums_own_policies_want_cilium() -> None:
    session = PolicySession(agents=False)
    found = run_experiment(
        CILIUM_POLICY, session, CILIUM_POLICY.extent(rounds=1), command="again",
        clock=session.time.clock(),
    )  # fmt: skip
    assert "Cilium's own" in (found.series[0].skipped or "")
    assert session.writes == []


def test_policies_of_a_killed_run_are_removed_first() -> None:
    session = PolicySession()
    left: dict[str, dict[str, str]] = {
        "cni-benchmark-many-0007": {POLICY_LABEL: "true"},
        "somebodys": {},
    }
    for name, labels in left.items():
        session.objects["NetworkPolicy", name] = {
            "kind": "NetworkPolicy", "metadata": {"name": name, "labels": labels}, "spec": {},
        }  # fmt: skip
    session.enforcing = False  # somebody's policy would deny
    session.agents = False
    run_experiment(
        POLICY, session, POLICY.extent(["0"], 1), command="again", clock=session.time.clock()
    )
    assert [name for _, name in session.objects] == ["somebodys"]


def test_an_interruption_leaves_no_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(probe: EnforcedProbe, bench: Bench) -> Reading:
        probe.admit()
        raise KeyboardInterrupt

    monkeypatch.setattr(EnforcedProbe, "measure", interrupted)
    session = PolicySession()
    with pytest.raises(KeyboardInterrupt):
        run_experiment(
            POLICY, session, POLICY.extent(["10"], 1), command="again",
            clock=session.time.clock(),
        )  # fmt: skip
    assert session.objects == {}
    assert session.running == []


def test_one_probe_without_a_number_costs_only_its_own_metrics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(probe: EnforcedProbe, bench: Bench) -> Reading:
        raise SampleError("nothing of it was seen within 2 s")

    monkeypatch.setattr(EnforcedProbe, "measure", failing)
    session = PolicySession()
    found = run_experiment(
        POLICY, session, POLICY.extent(["0"], 1), command="again", clock=session.time.clock()
    )
    (point,) = found.series[0].points
    assert "nothing of it was seen" in point.missing["policy_admit"]
    # One sample a round, not one a slice: levels do not take turns.
    assert point.metrics["rtt_p50"].n == 1
