"""Where time goes: from samples to parts, on made-up turns and stacks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from bench.turns import Turns
from studies.explain import parts
from studies.explain.finding import Explanation, Interval, Operation, from_dict
from studies.explain.parts import Share, share
from studies.explain.profile import Profile, profiles, windows_of
from studies.explain.samples import REST, Sample, fold

PERIOD = 250_000
"""That a sample stands for, in ns."""
NODES = ({"/lab/a/node-1": "node-1", "/lab/a/node-2": "node-2"}, {"/lab/b/node-1": "node-1"})


@pytest.mark.parametrize(
    ("symbol", "part"),
    [
        ("nft_do_chain", parts.RULES),
        ("comment_mt", parts.RULES),
        ("nf_hook_slow", parts.RULES),
        ("nf_conntrack_in", parts.TRACKING),
        ("__nf_conntrack_find_get", parts.TRACKING),
        ("nf_nat_packet", parts.NAT),
        ("vxlan_xmit_one", parts.TUNNEL),
        ("udp_queue_rcv_one_skb", parts.TUNNEL),
        ("ip_forward", parts.ROUTING),
        ("ip_tunnel_xmit", parts.TUNNEL),
        ("fib_table_lookup", parts.ROUTING),
        ("__dev_queue_xmit", parts.DEVICES),
        ("tcp_gso_segment", parts.DEVICES),
        ("tcp_v4_rcv", parts.SOCKETS),
        ("_copy_from_iter", parts.COPIES),
        ("try_to_wake_up", parts.WAKING),
        ("dequeue_task_fair", parts.WAKING),
        ("do_syscall_64", parts.CALLS),
        # Whose they are, their callers tell.
        ("kmem_cache_free", None),
        ("_raw_spin_lock", None),
        ("memset_orig", None),
    ],
)
def test_functions_belong_to_parts_by_their_names(symbol: str, part: str | None) -> None:
    assert parts.part_of(symbol) == part


def test_time_belongs_to_the_nearest_function_of_a_known_part() -> None:
    stack = ("kmem_cache_alloc", "nf_conntrack_alloc", "nf_hook_slow", "ip_rcv", "tcp_sendmsg")
    assert share(stack, "") == Share(parts.TRACKING, "nf_conntrack_alloc")
    assert share(("strange", "stranger"), "") == Share(parts.OTHER, "strange")
    assert share((), "") == Share(parts.PROGRAMS, "outside the kernel")


def test_a_bpf_programs_helpers_are_its_work_and_what_follows_it_is_not() -> None:
    program = "bpf_prog_0123456789abcdef_cil_from_container"
    inside = ("fib_table_lookup", "bpf_skb_fib_lookup", program, "tcf_classify", "handle_softirqs")
    assert share(inside, "") == Share(parts.BPF, "cil_from_container")
    # A softirq that interrupts a program is none of its work.
    outside = ("tcp_v4_rcv", "handle_softirqs", "irq_exit_rcu", program, "tcf_classify")
    assert share(outside, "") == Share(parts.SOCKETS, "tcp_v4_rcv")


def test_what_an_agent_does_is_its_own() -> None:
    assert share(("tcp_sendmsg",), "agents/cilium-agent") == Share(parts.AGENTS, "cilium-agent")


# -- from samples to parts ------------------------------------------------------------------------


def _turns(cpu: list[float]) -> Turns:
    """Two sides take turns of 1 s, ten operations each; the last turn's end is not known."""
    count = len(cpu)
    before = np.zeros(count)
    for subject in (0, 1):
        own = np.arange(subject, count, 2)
        before[own] = np.concatenate([[0.0], np.cumsum(np.array(cpu)[own])[:-1]])
    return Turns(
        drop=0,
        subject=np.arange(count, dtype=np.uint32) % 2,
        slice=np.arange(count) // 2,
        began=10**18 + np.arange(count, dtype=np.int64) * 10**9,
        spent=before,
        cpu=np.array(cpu),
        took=np.ones((count, 10)),
        arrived=np.zeros((count, 10), np.uint32),
        errors=("", ""),
        own_us=(0.0, 0.0),
        clock_step_ms=0.0,
    )


def _sample(second: float, cgroup: str, *stack: str) -> Sample:
    return Sample(10**18 + round(second * 1e9), PERIOD, cgroup, stack)


def test_samples_count_for_the_side_whose_turn_it_is_and_else_as_rest() -> None:
    turns = _turns([500.0, 1_000.0, 500.0, 1_000.0, 0.0])
    samples = [
        _sample(-0.1, "/lab/a/node-1", "tcp_sendmsg"),  # before the first turn
        _sample(0.1, "/lab/a/node-1", "tcp_sendmsg"),
        _sample(0.2, "/lab/a/node-2", "nf_conntrack_in", "ip_rcv"),
        _sample(0.3, "/lab/b/node-1", "tcp_sendmsg"),  # b's, at rest
        _sample(0.4, "/lab/abc/node-1", "tcp_sendmsg"),  # nobody's
        _sample(1.1, "/lab/b/node-1", "tcp_sendmsg"),
        _sample(1.2, "/", "tcp_v4_rcv", "handle_softirqs", "do_idle"),
        _sample(2.1, "/lab/a/node-1", "tcp_sendmsg"),
        _sample(4.5, "/lab/a/node-1", "tcp_sendmsg"),  # the last turn is not known to its end
    ]
    folded = fold(samples, windows_of(turns), NODES)
    assert folded.sides[0] == Counter(
        {
            (0, "node-1", "", ("tcp_sendmsg",)): PERIOD,
            (0, "node-2", "", ("nf_conntrack_in", "ip_rcv")): PERIOD,
            (2, "node-1", "", ("tcp_sendmsg",)): PERIOD,
        }
    )
    assert folded.sides[1][REST, "node-1", "", ("tcp_sendmsg",)] == PERIOD
    assert folded.beside[1] == Counter({("tcp_v4_rcv", "handle_softirqs", "do_idle"): PERIOD})

    a, b = profiles(turns, folded, units=1.0)
    # Two turns of ten operations, a sample is 250 µs.
    assert a.of(parts.SOCKETS).tolist() == [25.0, 25.0]
    assert a.of(parts.TRACKING).tolist() == [25.0, 0.0]
    assert a.of("sampled").tolist() == [50.0, 25.0]
    assert a.whole.tolist() == [50.0, 50.0]
    assert a.what[parts.SOCKETS] == {"tcp_sendmsg": 25.0}
    assert a.stacks["node-2", "ip_rcv", "nf_conntrack_in"] == 12.5
    # What b did in two seconds of rest is taken off each second of its turns.
    assert b.of(parts.SOCKETS).tolist() == [12.5, -12.5]
    assert b.beside == {parts.SOCKETS: 12.5}


def test_what_clocks_tell_of_the_time_between_turns_is_left_out_of_the_whole() -> None:
    turns = _turns([500.0, 0.0, 500.0, 0.0, 500.0, 0.0])
    # 100 µs between any two of the side's turns, each of a second.
    spent = turns.spent + 100.0 * (np.arange(6) // 2)
    object.__setattr__(turns, "spent", spent)
    side = profiles(turns, fold([], windows_of(turns), NODES), units=1.0)[0]
    assert side.rest == pytest.approx(100.0)
    assert side.whole.tolist() == [40.0, 40.0, 40.0]


def test_a_unit_is_a_part_of_an_operation_or_several() -> None:
    turns = _turns([800.0, 0.0, 800.0, 0.0, 0.0])
    side = profiles(turns, fold([], windows_of(turns), NODES), units=8.0)[0]
    assert side.whole.tolist() == [10.0, 10.0]
    assert side.operations == 160


# -- what is said of them -------------------------------------------------------------------------


def profile_of(**of_parts: list[float]) -> Profile:
    values = {name.replace("_", " "): np.array(each) for name, each in of_parts.items()}
    whole = sum(values.values(), np.zeros(4))
    return Profile(
        operations=4_000,
        whole=whole * 1.01,
        parts=values,
        what={part: {"function": float(each.mean())} for part, each in values.items()},
        stacks={("node-1", part): float(each.mean()) for part, each in values.items()},
        rest=0.0,
        beside={},
    )


BASE = {"routing_and_IP": [2.0, 2.1, 1.9, 2.0], "netfilter_rules": [3.0, 3.1, 3.0, 2.9]}
SIDE = {"routing_and_IP": [2.1, 2.0, 2.0, 1.9], "netfilter_rules": [1.0, 1.1, 1.0, 0.9]}


def explanation() -> Explanation:
    """Of two sides that differ in one part."""
    operation = Operation.of(
        "roundtrip", "round trip", "old", [{"old": profile_of(**BASE), "new": profile_of(**SIDE)}]
    )
    return Explanation(
        sides=[],
        baseline="old",
        started="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        bring_ups=1,
        kernel="6.1",
        operations=[operation],
        warnings=[],
    )


def test_a_difference_is_laid_at_the_parts_that_surely_differ() -> None:
    (operation,) = explanation().operations
    difference = operation.differences["new"]
    assert [part for part, _ in difference.causes()] == [parts.RULES]
    cause = difference.parts[parts.RULES]
    assert cause.value == pytest.approx(-2.0)
    assert cause.low <= -2.0 <= cause.high < 0
    assert not difference.parts[parts.ROUTING].sure
    assert operation.sides["old"].sampled == pytest.approx(5.0)
    assert operation.sides["old"].off == pytest.approx(1 / 1.01 - 1)
    assert operation.doubts() == []


def test_bring_ups_are_what_intervals_are_over_where_there_are_several() -> None:
    pairs = [
        {"old": profile_of(**BASE), "new": profile_of(netfilter_rules=[level] * 4)}
        for level in (1.0, 1.5, 0.5)
    ]
    operation = Operation.of("roundtrip", "round trip", "old", pairs)
    expected = Interval.of([-2.0, -1.5, -2.5])
    assert operation.differences["new"].parts[parts.RULES].low == pytest.approx(expected.low)
    assert operation.sides["new"].turns == 12


def test_parts_that_do_not_add_up_and_what_is_unknown_are_told() -> None:
    bad = profile_of(other=[1.0] * 4, **BASE)
    object.__setattr__(bad, "whole", bad.whole * 1.1)
    found = Operation.of("roundtrip", "round trip", "old", [{"old": bad, "new": bad}])
    said = found.doubts()
    assert len(said) == 4
    assert "the parts are -10.0 % off the tasks' clocks" in said[0]
    assert "17 % is of no known part" in said[1]


def test_an_explanation_is_read_as_it_was_written() -> None:
    import json

    from report.explain import to_json

    assert from_dict(json.loads(to_json(explanation()))) == explanation()
