"""What was at its limit, what was held back, and how it gets into the results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from bench.interleave import run_benchmark
from bench.limits import Observation, Snapshot, between, growth
from bench.metrics import Note
from bench.probes.base import Bench
from bench.probes.iperf import CpuShare, PerGigabyte, limit_of, tcp_probe, threads_of
from bench.probes.turns import in_turns
from bench.results import Results
from bench.sampling import Outcome, sample, sample_in_turn
from bench.session import (
    CommandResult,
    ComponentUsage,
    Health,
    MachineUsage,
    TimeOfDay,
    WorkloadUsage,
    resolve_targets,
)
from tests.bench.fakes import PLAN, FakeSession

SERVERS = {"n2"}


def observed(
    busy: dict[str, float],
    pods: Mapping[str, tuple[str, float, float | None]] | None = None,
    *,
    seconds: float = 2.0,
    stolen: float = 0.0,
) -> Observation:
    """Machines of four CPUs by the share in use; pods by (role, CPUs used, limit)."""

    def at(moment: float, share: float) -> Snapshot:
        return Snapshot(
            moment,
            tuple(
                MachineUsage(
                    name, tuple(name.split("+")), 4, 100 + 4 * used * share, stolen * share
                )
                for name, used in busy.items()
            ),
            tuple(
                WorkloadUsage(name, role, "n", 7 + used * share, limit)
                for name, (role, used, limit) in (pods or {}).items()
            ),
            {},
        )

    return between(at(50.0, 0.0), at(50.0 + seconds, seconds))


@pytest.mark.parametrize(
    ("busy", "by"),
    [
        ({"n1": 0.5, "n2": 0.94}, "none"),
        ({"n1": 0.5, "n2": 0.96}, "server"),
        ({"n1": 0.96, "n2": 0.5}, "client"),
        ({"n1": 0.96, "n2": 0.96}, "server"),
        ({"n1+n2": 0.96}, "machine"),
        ({"n1+n2": 0.90}, "none"),
        ({}, "unknown"),
    ],
)
def test_a_full_machine_is_the_limit_of_the_side_it_serves(busy: dict[str, float], by: str) -> None:
    limit = observed(busy).limit(SERVERS)
    assert limit.by == by
    assert all(f"{name} {100 * share:.0f} % busy" in limit.evidence for name, share in busy.items())


@pytest.mark.parametrize(
    ("busy", "by"),
    [
        ((0.96, 0.5), "client"),
        ((0.5, 0.96), "server"),
        ((0.5, 0.5), "none"),
        ((0.96, 0.96), "machine"),
    ],
)
def test_a_nodes_own_cpus_may_be_the_limit_where_the_machine_is_not(
    busy: tuple[float, float], by: str
) -> None:
    def at(moment: float) -> Snapshot:
        parts = tuple(
            MachineUsage(f"CPU {i}", (f"n{i + 1}",), 1, share * moment, 0.0)
            for i, share in enumerate(busy)
        )
        whole = MachineUsage("m", ("n1", "n2"), 2, sum(busy) * moment, 0.0, parts=parts)
        return Snapshot(moment, (whole,), (), {})

    seen = between(at(50.0), at(52.0))
    limit = seen.limit(SERVERS)
    assert limit.by == by
    assert f"CPU 0 {100 * busy[0]:.0f} % busy, CPU 1 {100 * busy[1]:.0f} % busy" in limit.evidence
    assert seen.cpu_seconds(["n1"]) == pytest.approx(2 * sum(busy)), "the machine's"


def test_a_machine_of_which_a_part_is_withheld_is_full_without_it() -> None:
    """0.8 CPUs of four are withheld: with 3.1 in use nothing is left."""
    assert observed({"n1+n2": 0.78}).limit(SERVERS).by == "none"
    limit = observed({"n1+n2": 0.78}, stolen=0.8).limit(SERVERS)
    assert limit.by == "machine"
    assert limit.evidence == "n1+n2 78 % busy, 20 % withheld by the hypervisor"
    assert observed({"n1+n2": 0.7}, stolen=0.8).limit(SERVERS).by == "none"


def test_a_pod_at_its_own_limit_is_found_on_an_idle_machine() -> None:
    pods = {"httpbin-0": ("httpbin", 0.98, 1.0), "fortio": ("fortio-client", 0.98, None)}
    limit = observed({"n1": 0.3, "n2": 0.3}, pods).limit(SERVERS)
    assert limit.by == "server"
    assert "httpbin-0 0.98, fortio 0.98" in limit.evidence
    client = {"fortio": ("fortio-client", 1.99, 2.0), "httpbin-0": ("httpbin", 0.98, 2.0)}
    assert observed({"n1": 0.3, "n2": 0.3}, client).limit(SERVERS).by == "client"
    free = {"httpbin-0": ("httpbin", 0.98, 2.0)}
    assert observed({"n1": 0.3, "n2": 0.3}, free).limit(SERVERS).by == "none"


def test_a_window_of_a_few_clock_ticks_tells_nothing() -> None:
    assert observed({"n1+n2": 1.0}, seconds=0.1).limit(SERVERS).by == "unknown"
    assert observed({"n1+n2": 1.0}, seconds=0.1, stolen=0.4).steal == 0
    assert observed({"n1+n2": 0.5}, stolen=0.4).steal == pytest.approx(0.1)
    assert "10 % withheld by the hypervisor" in observed({"n": 1}, stolen=0.4).limit(()).evidence


def test_cpu_time_is_that_of_the_machines_that_the_nodes_are_on() -> None:
    seen = observed({"n1": 0.5, "n2": 0.25, "n3": 1.0})
    assert seen.cpu_seconds({"n1", "n2"}) == pytest.approx((0.5 + 0.25) * 4 * 2)
    assert observed({"n1+n2+n3": 0.5}).cpu_seconds({"n1", "n2"}) == pytest.approx(4)
    assert seen.cpu_seconds({"n9"}) is None


def test_snapshots_of_one_moment_tell_nothing() -> None:
    with pytest.raises(ValueError, match=r"0\.0 s apart"):
        observed({"n1": 1}, seconds=0.0)


def test_only_counters_that_grew_are_told() -> None:
    before = {"n1": {"in": 1, "out": 5}, "n2": {"in": 9}}
    after = {"n1": {"in": 4, "out": 5, "new": 2}, "n2": {"in": 0}, "n3": {"in": 7}}
    assert growth(before, after) == {"n1": {"in": 3}}


@pytest.mark.parametrize(
    ("client", "server", "streams", "by"),
    [(99, 60, 1, "client"), (60, 97, 1, "server"), (94, 94, 1, None), (99, 99, 8, None)],
)
def test_iperf3_tells_which_of_its_ends_has_no_cpu_left(
    client: float, server: float, streams: int, by: str | None
) -> None:
    limit = limit_of(CpuShare(host_total=client, remote_total=server), streams)
    assert (limit.by if limit else None) == by


@pytest.mark.parametrize(
    ("version", "threads"), [("iperf 3.12", 1), ("iperf 3.16", 8), ("iperf 3.17.1", 8), ("?", 1)]
)
def test_iperf3_has_a_thread_per_stream_since_3_16(version: str, threads: int) -> None:
    assert threads_of(version, 8) == threads


# -- in the results -----------------------------------------------------------------------------


def run(session: FakeSession) -> Results:
    return run_benchmark(session, PLAN, clock=session.time.clock())


def test_every_sample_says_what_was_at_its_limit(session: FakeSession) -> None:
    results = run(session)
    for name, probe in results.probes.items():
        assert [limit.run for limit in probe.limits] == [1, 2, 3], name
    assert results.probes["http_max"].limits[0].by == "none"
    assert "node-1 5 % busy" in results.probes["http_max"].limits[0].evidence
    assert not results.metrics["http_max_qps"].notes


def test_a_limit_is_a_note_of_the_samples_metrics_but_not_of_the_cnis_cost(
    session: FakeSession,
) -> None:
    session.pod_limit = 0.3
    results = run(session)
    assert results.probes["http_max"].limits[0].by == "server"
    assert results.metrics["http_max_qps"].note_texts() == [
        "the server's CPUs were the limit, not the network"
    ]
    assert not results.metrics["cni_cpu"].notes


def test_counters_that_cannot_be_read_cost_no_sample(session: FakeSession) -> None:
    session.lacking.add("machines")
    allow = ("quiet-agents", "quiet-machine")
    session.lacking.discard("machines")
    spoilt = FakeSession()
    done = spoilt.run

    def from_now_on_without(*given: object, **more: object) -> object:
        if len(spoilt.calls) > 17:
            spoilt.lacking.add("machines")
        return done(*given, **more)  # type: ignore[arg-type]

    spoilt.run = from_now_on_without  # type: ignore[assignment, method-assign]
    plan = replace(PLAN, allow=allow)
    with pytest.raises(Exception, match="no number for tcp_cpu_per_gb") as info:
        run_benchmark(spoilt, plan, clock=spoilt.time.clock())
    results = info.value.results  # type: ignore[attr-defined]
    assert results.metrics["http_max_qps"].n == 3
    limit = results.probes["http_max"].limits[0]
    assert (limit.by, "no CPU time today" in limit.evidence) == ("unknown", True)


def test_samples_taken_while_traffic_was_held_back_are_marked(session: FakeSession) -> None:
    session.held_back = {
        "node-1": {"bw_in_allowance_exceeded": 100},
        "node-2": {"bw_in_allowance_exceeded": 0},
    }
    # The first two are those of the precondition and the warm-up.
    session.throttle["iperf3-tcp"] = [0, 0, 0, 42, 0]
    results = run(session)
    assert results.metrics["tcp_streams_throughput"].notes == [Note(kind="throttled", rounds=[2])]
    assert results.metrics["tcp_retransmits"].notes == [Note(kind="throttled", rounds=[2])]
    (mark,) = results.probes["tcp"].throttled
    assert (mark.run, mark.counters) == (2, {"node-1": {"bw_in_allowance_exceeded": 42}})
    assert any(
        text == "tcp, run 2: the platform held traffic back (node-1: bw_in_allowance_exceeded (42))"
        for text in results.warnings
    )
    others = [m for name, m in results.metrics.items() if not name.startswith("tcp_")]
    assert not any(metric.throttled for metric in others)


def test_withheld_cpu_time_is_one_warning(session: FakeSession) -> None:
    session.steal = 0.1
    (said,) = [text for text in run(session).warnings if "hypervisor" in text]
    assert "during 63 samples, 10 % at worst" in said


def test_cpu_time_per_data_is_that_of_both_ends_machines(session: FakeSession) -> None:
    session.busy = {"node-1": 0.5, "node-2": 0.25, "node-3": 1.0}
    bench = Bench(session, resolve_targets(session), session.time.clock())
    reading = PerGigabyte(tcp_probe(PLAN)).measure(bench)
    moved = float(reading.facts["gigabytes"])
    assert moved > 0.01
    assert reading.values["tcp_cpu_per_gb"] == pytest.approx((0.5 + 0.25) * 4 / moved)


def test_without_the_machines_cpu_time_it_is_missing_and_the_throughput_stays(
    session: FakeSession,
) -> None:
    bench = Bench(session, resolve_targets(session), session.time.clock())
    session.busy = {}
    reading = PerGigabyte(tcp_probe(PLAN)).measure(bench)
    assert "does not tell" in reading.missing["tcp_cpu_per_gb"]
    session.busy = {"node-1": 0.0, "node-2": 0.0}
    reading = PerGigabyte(tcp_probe(PLAN)).measure(bench)
    assert reading.missing["tcp_cpu_per_gb"] == "the machines' CPU time did not grow"
    session.lacking.add("machines")
    reading = PerGigabyte(tcp_probe(PLAN)).measure(bench)
    assert "no CPU time today" in reading.missing["tcp_cpu_per_gb"]
    assert reading.values["tcp_streams_throughput"] > 0


def _moments(
    then: MachineUsage, now: MachineUsage, *, agents: float | None = 0.2, seconds: float = 2.0
) -> Observation:
    """Two readings of a machine; its agent uses so many CPU seconds meanwhile, a pod half of one,
    and as much on another machine. None: what the agent uses cannot be read."""

    def at(moment: float, machine: MachineUsage, share: float) -> Snapshot:
        return Snapshot(
            moment,
            (machine,),
            tuple(
                WorkloadUsage(f"pod-{node}", "httpbin", node, 3 + 0.5 * share)
                for node in ("n1", "n9")
            ),
            {},
            None if agents is None else (ComponentUsage("n1", "agent", 5 + agents * share, 1),),
        )

    return between(at(50.0, then, 0.0), at(50.0 + seconds, now, 1.0))


THEN = MachineUsage("n1", ("n1",), 4, 100, 0, interrupt_seconds=10)


def test_what_others_use_is_what_is_left_of_all_processes_time() -> None:
    # 3 s at work, of which 1 in interrupts, 0.5 of the pod and 0.2 of the agent: 1.3 of 4 x 2 s.
    now = replace(THEN, busy_seconds=103, interrupt_seconds=11)
    assert _moments(THEN, now).others == pytest.approx(1.3 / 8)
    assert "16 % used by others" in _moments(THEN, now).limit(SERVERS).evidence
    # More of ours than there was: ticks are coarse.
    assert _moments(THEN, now, agents=3).others == 0
    # Too short to tell, or not known.
    assert _moments(THEN, now, seconds=0.2).others == 0
    assert _moments(THEN, now, agents=None).others == 0


def test_a_machine_that_tells_what_others_use_is_believed() -> None:
    then = replace(THEN, others_seconds=7.0)
    now = replace(THEN, busy_seconds=107, others_seconds=7.8)
    assert _moments(then, now, agents=None).others == pytest.approx(0.1)
    # Whoever had counted among them, and has ended, may take his time along.
    assert _moments(then, replace(now, others_seconds=6.9)).others == 0


@pytest.mark.parametrize(
    ("moved", "step"), [(0.05, 0.038), (-0.05, -0.038), (0.011, 0.0), (0.0, 0.0)]
)
def test_a_time_of_day_that_was_set_is_told_as_far_as_it_is_certain(
    moved: float, step: float
) -> None:
    then = replace(THEN, time_of_day=TimeOfDay(1e9, 0.004))
    now = replace(THEN, time_of_day=TimeOfDay(1e9 + moved, 0.008))
    assert _moments(then, now).clock_step == pytest.approx(step, abs=1e-6)
    assert _moments(THEN, now).clock_step == 0


# -- what is done about it ----------------------------------------------------------------------


def test_a_disturbed_sample_says_so_and_counts(session: FakeSession) -> None:
    session.others["iperf3-tcp"] = [0, 0, 0.2, 0, 0.15]  # precondition, warm-up, three runs
    results = run_benchmark(session, PLAN, clock=session.time.clock())
    metric = results.metrics["tcp_streams_throughput"]
    assert metric.n == 3
    (note,) = metric.notes
    assert (note.kind, note.rounds) == ("disturbed", [1, 3])
    assert note.text() == "run 1, 3: others used more than 10 % of a machine's CPUs"
    assert [(each.run, each.share) for each in results.probes["tcp"].disturbed] == [
        (1, 0.2), (3, 0.15),
    ]  # fmt: skip
    assert results.probes["tcp"].failures == []
    assert "others used the machines during 2 samples, 20 % at worst (tcp, run 1)" in (
        results.warnings
    )


def test_a_spoilt_sample_is_taken_again_and_missing_in_the_end(session: FakeSession) -> None:
    session.others["iperf3-tcp"] = [0, 0, 0.4, 0, *[0.3] * PLAN.attempts]
    results = run_benchmark(session, PLAN, clock=session.time.clock())
    metric = results.metrics["tcp_streams_throughput"]
    assert (metric.n, metric.rounds) == (2, [1, 3])
    reason = "others used 30 % of a machine's CPUs meanwhile"
    assert [each.text() for each in metric.missing] == [f"run 2: {reason}"]
    assert results.probes["tcp"].failures == [
        "run 1: others used 40 % of a machine's CPUs meanwhile", *[f"run 2: {reason}"] * 3,
    ]  # fmt: skip


def test_where_a_busy_machine_is_allowed_the_last_attempt_counts(session: FakeSession) -> None:
    plan = replace(PLAN, allow=("quiet-machine",))
    session.others["iperf3-tcp"] = [0, 0, *[0.3] * PLAN.attempts]
    results = run_benchmark(session, plan, clock=session.time.clock())
    metric = results.metrics["tcp_streams_throughput"]
    assert metric.n == 3
    assert [(note.kind, note.rounds) for note in metric.notes] == [("disturbed", [1])]
    assert len(results.probes["tcp"].failures) == PLAN.attempts - 1


def test_a_machine_that_was_busy_before_is_not_asked_again(session: FakeSession) -> None:
    plan = replace(PLAN, allow=("quiet-machine",))
    session.at_rest = {"node-1": 0.5}
    results = run_benchmark(session, plan, clock=session.time.clock())
    assert [check.name for check in results.marks] == ["quiet-machine"]
    assert results.probes["tcp"].failures == []
    assert results.probes["tcp"].disturbed[0].share == pytest.approx(0.5)


def test_a_clock_that_was_set_voids_the_sample(session: FakeSession) -> None:
    session.set_clock["iperf3-tcp"] = [0, 0, 0.05, 0, 0.011, -0.05]
    results = run_benchmark(session, PLAN, clock=session.time.clock())
    assert results.metrics["tcp_streams_throughput"].n == 3
    assert results.probes["tcp"].failures == [
        "run 1: the wall clock was set by +48 ms meanwhile",
        "run 3: the wall clock was set by -48 ms meanwhile",
    ]


def _transfer(session: FakeSession, *agents: Health) -> Outcome:
    """A transfer's sample, of two attempts at most; what the agent has become after each."""
    became = list(agents)

    def breaking(result: CommandResult) -> CommandResult:
        session.agent = became.pop(0)
        return result

    session.spoil["iperf3-tcp"] = [breaking] * len(became)
    bench = Bench(session, resolve_targets(session), session.time.clock())
    return sample(tcp_probe(PLAN), bench, attempts=2)


AGENT = "node-1-cilium-agent"


@pytest.mark.parametrize(
    ("became", "why"),
    [
        (Health(AGENT, "1", "has ended"), f"{AGENT} has ended"),
        (Health(AGENT, "1", "is stopped"), f"{AGENT} is stopped"),
        (Health(AGENT, "2"), f"{AGENT} was started anew meanwhile"),
        (Health("another", "1"), f"{AGENT} ended meanwhile"),
    ],
)
def test_a_component_at_fault_voids_the_sample(
    session: FakeSession, became: Health, why: str
) -> None:
    once = _transfer(session, became)
    if became.fault:  # it stays so
        assert (once.reading, once.failures) == (None, (why, why))
    else:
        assert once.reading
        assert once.failures == (why,)


def test_a_component_that_comes_back_is_measured_from_then_on(session: FakeSession) -> None:
    ended, back = Health(AGENT, "1", "has ended"), Health(AGENT, "2")
    assert _transfer(session, ended, back).reading is None
    assert _transfer(session, back).reading


def test_a_cluster_that_cannot_be_asked_voids_the_sample(session: FakeSession) -> None:
    session.lacking.add("health")
    once = _transfer(session, session.agent)
    assert once.reading is None
    assert "the cluster cannot be asked how it is: no answer today" in once.failures[0]


# -- sides in turns -------------------------------------------------------------------------------


def _in_turn(sessions: list[FakeSession], *, keeps: bool = False) -> list[Outcome]:
    """Two sides' round trips, measured once."""
    probes = [in_turns("rtt", 1.0) for _ in sessions]
    benches = [
        Bench(each, resolve_targets(each), sessions[0].time.clock(), keeps_disturbed=keeps)
        for each in sessions
    ]
    return sample_in_turn(probes, benches, attempts=2)


@pytest.fixture
def sides() -> list[FakeSession]:
    """Two labs of one machine. The first runs the turns, and tells of the machine for both."""
    first, second = FakeSession(), FakeSession()
    second.time, second.machines = first.time, first.machines  # type: ignore[method-assign]
    return [first, second]


def test_what_spoils_one_of_the_sides_in_turns_spoils_all(sides: list[FakeSession]) -> None:
    sides[0].others["turns-roundtrip"] = [0.5, 0.2]
    found = _in_turn(sides)
    assert all(outcome.reading is not None for outcome in found)
    assert [outcome.failures for outcome in found] == [
        ("others used 50 % of a machine's CPUs meanwhile",)
    ] * 2
    assert [outcome.others for outcome in found] == pytest.approx([0.2, 0.2])


@pytest.mark.parametrize("keeps", [True, False])
def test_the_last_disturbed_turns_count_where_such_are_kept(
    sides: list[FakeSession], keeps: bool
) -> None:
    sides[0].others["turns-roundtrip"] = [0.5, 0.4]
    found = _in_turn(sides, keeps=keeps)
    assert [outcome.reading is not None for outcome in found] == [keeps] * 2
    assert [len(outcome.failures) for outcome in found] == [1 if keeps else 2] * 2


def test_of_sides_in_turns_only_the_machine_itself_can_tell_others() -> None:
    now = replace(THEN, busy_seconds=103, interrupt_seconds=11)
    before, after = (
        Snapshot(at, (machine,), (), {}, ()) for at, machine in ((50.0, THEN), (52.0, now))
    )
    assert between(before, after).others == pytest.approx(2 / 8)
    assert between(before, after, alone=False).others == 0
