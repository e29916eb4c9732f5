"""The checks of known truth and parity on a session that replays recordings, with faults that
only say what was imposed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from bench.probes.base import Bench
from bench.session import CommandResult, resolve_targets
from studies.validate import parity as parity_module
from studies.validate.parity import ParityChecks, Subject, read_by_hand
from studies.validate.testbed import Link, LossCount, probe_named
from studies.validate.truth import TruthChecks
from tests.bench.fakes import PLAN, FakeSession, recorded


class Recorded:
    """Faults that impose nothing and note what was asked for."""

    def __init__(self, total: LossCount) -> None:
        self.limits: list[int] = []
        self.losses: list[float] = []
        self._total = total
        self._counts = LossCount()

    @contextmanager
    def rate_limit(self, bits_per_second: int) -> Iterator[None]:
        """See ``studies.validate.testbed.Faults``."""
        self.limits.append(bits_per_second)
        yield

    @contextmanager
    def udp_loss(self, probability: float) -> Iterator[Callable[[], LossCount]]:
        """See ``studies.validate.testbed.Faults``: ``total`` more with every reading."""
        self.losses.append(probability)

        def counts() -> LossCount:
            self._counts += self._total
            return self._counts

        yield counts


@pytest.fixture
def bench(session: FakeSession) -> Bench:
    return Bench(session, resolve_targets(session), session.time.clock())


def silent(_line: str) -> None:
    """No progress lines."""


def test_a_rate_is_judged_by_the_arithmetic_of_its_wire(bench: Bench) -> None:
    # The recording's own throughput, as if a limit had made it.
    seen = json.loads(recorded("iperf3-tcp").stdout)["end"]["sum_received"]["bits_per_second"]
    link = Link(9001, 0)
    faults = Recorded(LossCount())
    checks = TruthChecks(bench, faults, link, PLAN, silent)
    limit = round(seen / link.tcp_share())
    ((good, _),) = checks.tcp_rate(limit)
    assert good.passed
    assert faults.limits == [limit]
    ((bad, found),) = checks.tcp_rate(round(1.05 * limit))
    assert not bad.passed
    assert found.truth == pytest.approx(1.05 * seen / 1e9)


def test_udp_is_judged_by_the_datagrams_that_were_sent(bench: Bench) -> None:
    report = json.loads(recorded("iperf3-udp").stdout)
    seen = report["end"]["sum_received"]["bits_per_second"]
    size = report["start"]["test_start"]["blksize"]
    link = Link(9001, 0)
    checks = TruthChecks(bench, Recorded(LossCount()), link, PLAN, silent)
    ((check, _),) = checks.udp_rate(round(seen / link.udp_share(size)))
    assert check.passed
    assert f"datagrams of {size} bytes" in check.expectation


def test_loss_is_read_run_by_run(bench: Bench) -> None:
    lost = json.loads(recorded("iperf3-udp").stdout)["end"]["sum_received"]["lost_percent"]
    faults = Recorded(LossCount(seen=100_000, dropped=round(1_000 * lost)))
    checks = TruthChecks(bench, faults, Link(9001, 0), PLAN, silent)
    (by_chance, _), (by_count, counted) = checks.loss(lost / 100)
    assert by_chance.passed
    assert by_count.passed
    # Five runs, each with one growth of the counters between its two readings.
    assert "500,000 datagrams" in by_chance.expectation
    assert counted.truth == pytest.approx(lost, rel=0.01)


def test_every_check_has_a_name_of_its_own(bench: Bench) -> None:
    checks = TruthChecks(bench, Recorded(LossCount()), Link(9001, 0), PLAN, silent)
    names = [name for name, _ in checks.all()]
    assert len(set(names)) == len(names) == 7


# -- parity -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recording", "probe", "metrics"),
    [
        ("iperf3-tcp", "tcp", ["tcp_throughput"]),
        ("iperf3-udp", "udp", ["udp_goodput", "udp_loss"]),
        ("fortio-tcp", "rtt", ["rtt_p50"]),
        ("fortio-connect", "connect", ["connect_p50"]),
        ("fortio-http-max", "http_max", ["http_max_qps", "http_max_p50"]),
        ("dig-answers", "dns", ["dns_p50"]),
    ],
)
def test_other_code_reads_the_same_from_recorded_output(
    bench: Bench, recording: str, probe: str, metrics: list[str]
) -> None:
    values = probe_named(probe, PLAN).measure(bench).values
    for name in metrics:
        assert read_by_hand(name, recorded(recording)) == pytest.approx(values[name], rel=1e-12)


@pytest.mark.parametrize("stalled", [False, True])
def test_other_code_reads_the_same_from_the_request_log(
    bench: Bench, session: FakeSession, stalled: bool
) -> None:
    spoiled = recorded("fortio-http-100")
    if stalled:  # one answer takes so long that the next nine of its connection are overdue
        text = spoiled.stdout.replace('{"latency":0.000', '{"latency":0.200', 1)
        spoiled = replace(spoiled, stdout=text)
    session.spoil["fortio-http-100"] = [lambda _: spoiled]
    values = probe_named("http_100", PLAN).measure(bench).values
    found = read_by_hand("http_200_p50", spoiled)
    assert found == pytest.approx(values["http_100_p50"], rel=1e-9)


@contextmanager
def as_it_is(bench: Bench) -> Iterator[Bench]:
    yield bench


SUBJECT = Subject("tcp", ("tcp_throughput",), 30, as_it_is)


def parity(bench: Bench) -> ParityChecks:
    return ParityChecks(bench, Recorded(LossCount()), PLAN, silent)


def test_equal_runs_are_equal(bench: Bench, session: FakeSession) -> None:
    checks, (ratio,) = parity(bench).check(SUBJECT)
    assert [check.passed for check in checks] == [True, True]
    assert (ratio.percent, ratio.pairs) == (0.0, 8)  # sure at once: the fewest pairs do
    runs = [name for name, _, _ in session.calls if name == "iperf3-tcp"]
    assert len(runs) == 16


def slower(factor: float) -> Callable[[CommandResult], CommandResult]:
    """The recorded transfer, received at another rate."""

    def answer(result: CommandResult) -> CommandResult:
        report = json.loads(result.stdout)
        report["end"]["sum_received"]["bits_per_second"] *= factor
        return replace(result, stdout=json.dumps(report))

    return answer


def test_a_harness_that_slows_its_own_runs_is_found(bench: Bench, session: FakeSession) -> None:
    # Ours, by hand; by hand, ours; and so on: ours are 1, 4, 5, 8 …
    ours, by_hand = slower(0.9), slower(1.0)
    session.spoil["iperf3-tcp"] = [ours, by_hand, by_hand, ours] * 60
    checks, (ratio,) = parity(bench).check(SUBJECT)
    assert ratio.percent == pytest.approx(-10)
    assert [check.passed for check in checks] == [True, False]


def test_a_wrong_reading_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {**parity_module.READERS, "tcp_throughput": lambda text: 1.0}
    monkeypatch.setattr(parity_module, "READERS", wrong)
    checks, _ = parity(bench).check(SUBJECT)
    assert not checks[0].passed


def test_noise_is_met_with_more_pairs_until_the_time_is_over(
    bench: Bench, session: FakeSession
) -> None:
    noise = [0.8, 1.1, 1.2, 0.9, 1.0, 1.3, 0.7, 1.05, 0.95, 1.15]
    session.spoil["iperf3-tcp"] = [slower(noise[(3 * i) % 10]) for i in range(500)]
    start = session.time.seconds
    _, (ratio,) = parity(bench).check(SUBJECT)
    assert ratio.pairs > 8
    assert session.time.seconds - start <= SUBJECT.seconds + 2
