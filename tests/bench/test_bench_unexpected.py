"""What nobody has foreseen costs one sample, with its reason in the journal, and not the run."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.interleave import Side, abba, interleave
from bench.journal import Journal, JournalError
from bench.probes import build_probes
from bench.probes.base import Bench
from bench.probes.dns import parse_dnsperf
from bench.sampling import sample
from bench.session import CommandResult, Health, resolve_targets
from bench.text import ParseError
from tests.bench.fakes import PLAN, Answer, FakeSession, recorded
from tests.bench.test_interleave_journal import IDENTITIES, entry, header


def no_process(_result: CommandResult) -> CommandResult:
    raise OSError(errno.EAGAIN, "Resource temporarily unavailable")


def without_streams(result: CommandResult) -> CommandResult:
    report = json.loads(result.stdout)
    report["end"]["streams"] = []
    return replace(result, stdout=json.dumps(report))


def of_nothing(result: CommandResult) -> CommandResult:
    return replace(result, stdout=result.stdout.replace("16916", "0"))


def instead_of(old: str, new: str) -> Callable[[CommandResult], CommandResult]:
    return lambda result: replace(result, stdout=result.stdout.replace(old, new))


@pytest.mark.parametrize(
    ("recording", "answer", "probe", "reason"),
    [
        ("iperf3-tcp", no_process, "tcp", "unexpected error: BlockingIOError: .*unavailable"),
        ("iperf3-stream", without_streams, "loaded_rtt", "no round-trip time"),
        ("dnsperf-answers", of_nothing, "dns_capacity", "dnsperf: none of 0 queries"),
        ("dnsperf-answers", instead_of("1.091046", "nan"), "dns_capacity", "'nan', not a number"),
        ("dnsperf-answers", instead_of("1.091046", "0.000000"), "dns_capacity", "in 0.0 s"),
        ("fortio-http-max", instead_of('"ActualQPS": ', '"ActualQPS": 0.0, "X": '), "http_max",
         "http_max_qps of 0 1/s is no measurement"),
    ],
)  # fmt: skip
def test_one_sample_is_missing_with_its_reason(
    recording: str, answer: Answer, probe: str, reason: str, tmp_path: Path
) -> None:
    session = FakeSession()
    session.spoil[recording] = [answer] * PLAN.attempts
    bench = Bench(session, resolve_targets(session), session.time.clock())
    journal = Journal.begin(tmp_path / "samples.jsonl", header())
    sides = [Side("a", bench, build_probes(PLAN))]
    found = interleave(sides, PLAN, abba("a", 2), keep=journal.keep(IDENTITIES))["a"]
    kept = [each for each in Journal.open(journal.path).entries(IDENTITIES) if each.probe == probe]
    assert [each.outcome.reading is None for each in kept] == [True, False]
    assert len(kept[0].outcome.failures) == PLAN.attempts
    assert re.search(reason, kept[0].outcome.failures[-1])
    assert not found.errors
    assert all(found.metrics[m.name].n == 1 for p in sides[0].probes if p.name == probe
               for m in p.metrics)  # fmt: skip


def test_more_queries_than_were_sent_are_none() -> None:
    text = recorded("dnsperf-answers").stdout.replace(
        "Queries sent:         16916", "Queries sent:         0"
    )
    with pytest.raises(ParseError, match="16916 queries completed and 0 lost of 0"):
        parse_dnsperf(text)


def test_a_number_that_is_none_is_not_read_from_a_journal(tmp_path: Path) -> None:
    journal = Journal.begin(tmp_path / "samples.jsonl", header())
    journal.keep(IDENTITIES)(entry(value=float("nan")))
    with pytest.raises(JournalError, match="line 2: damaged"):
        journal.entries(IDENTITIES)


def test_a_reason_may_have_what_ends_lines_elsewhere(tmp_path: Path) -> None:
    journal = Journal.begin(tmp_path / "samples.jsonl", header())
    sample = entry()
    odd = replace(sample, outcome=replace(sample.outcome, failures=("a\u2028b\x85c",)))
    journal.keep(IDENTITIES)(odd)
    assert journal.entries(IDENTITIES) == [odd]


def test_a_pod_that_has_ended_costs_the_sample_also_where_its_counters_went_with_it() -> None:
    session = FakeSession()

    def end(result: CommandResult) -> CommandResult:
        session.agent = Health("node-1-cilium-agent", "1", "has ended")
        session.lacking.add("machines")  # as the CPU time of a pod that is gone
        return result

    session.spoil["iperf3-tcp"] = [end]
    bench = Bench(session, resolve_targets(session), session.time.clock())
    tcp = next(each for each in build_probes(PLAN) if each.name == "tcp")
    for _when in ("meanwhile", "before"):
        outcome = sample(tcp, bench, attempts=1)
        assert (outcome.reading, outcome.failures) == (None, ("node-1-cilium-agent has ended",))


def test_a_tools_failure_tells_the_fault_beside_it() -> None:
    session = FakeSession()
    session.spoil["iperf3-tcp"] = [no_process]
    session.agent = Health("node-1-cilium-agent", "1", "is stopped")
    bench = Bench(session, resolve_targets(session), session.time.clock())
    tcp = next(each for each in build_probes(PLAN) if each.name == "tcp")
    (why,) = sample(tcp, bench, attempts=1).failures
    assert re.fullmatch("unexpected error: .*unavailable; node-1-cilium-agent is stopped", why)
