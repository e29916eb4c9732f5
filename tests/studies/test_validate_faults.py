"""The checks of known truth and parity on a session that replays recordings, with faults that
only say what was imposed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count

import pytest

from bench.probes.base import Bench
from bench.session import resolve_targets
from studies.validate import parity as parity_module
from studies.validate.delays import (
    PATHS,
    Alternation,
    alternate,
    path_of,
)
from studies.validate.parity import ParityChecks, judge_parity, read_by_hand
from studies.validate.testbed import Link, LossCount, MissingSampleError, Passed, probe_named
from studies.validate.truth import TruthChecks
from tests.bench.fakes import PLAN, FakeSession, recorded

NOTHING = LossCount()
PACKETS_PER_MIB = 20


class Recorded:
    """Faults that impose nothing and note what was asked for."""

    def __init__(self, total: LossCount = NOTHING) -> None:
        self.limits: list[int] = []
        self.delays: list[tuple[tuple[str, ...], int]] = []
        self.losses: list[float] = []
        self.nanoseconds = 0
        self._total = total
        self._counts = LossCount()

    @contextmanager
    def rate_limit(self, bits_per_second: int) -> Iterator[None]:
        """See ``studies.validate.testbed.Faults``."""
        self.limits.append(bits_per_second)
        yield

    @contextmanager
    def delay(self, roles: Sequence[str], nanoseconds: int) -> Iterator[Callable[[], Passed]]:
        """See ``studies.validate.testbed.Faults``: a MiB more with every reading."""
        self.delays.append((tuple(roles), nanoseconds))
        self.nanoseconds = nanoseconds
        read = count(1)
        yield lambda: Passed(*[next(read) * each for each in (PACKETS_PER_MIB, 1 << 20)])
        self.nanoseconds = 0

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
    faults = Recorded()
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
    checks = TruthChecks(bench, Recorded(), link, PLAN, silent)
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
    # Three runs, each with one growth of the counters between its two readings.
    assert "300,000 datagrams" in by_chance.expectation
    assert counted.truth == pytest.approx(lost, rel=0.01)


def test_every_check_has_a_name_of_its_own(bench: Bench) -> None:
    checks = TruthChecks(bench, Recorded(), Link(9001, 0), PLAN, silent)
    names = [name for name, _ in checks.all()]
    assert len(set(names)) == len(names) == 4


# -- parity -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recording", "probe", "metrics"),
    [
        ("iperf3-tcp", "tcp", ["tcp_streams_throughput"]),
        ("iperf3-udp", "udp", ["udp_goodput", "udp_loss"]),
        ("fortio-tcp", "fortio_rtt", ["fortio_rtt_p50"]),
        ("fortio-connect", "fortio_connect", ["fortio_connect_p50"]),
        ("fortio-http-max", "http_max", ["http_max_qps", "http_max_p50"]),
        ("dig-answers", "dig", ["dig_p50"]),
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


def parity(bench: Bench) -> ParityChecks:
    return ParityChecks(bench, Recorded(), PLAN, silent)


def test_outputs_are_read_alike(bench: Bench) -> None:
    # Also of the tools that the plan of a validation does without.
    quick = replace(PLAN, tool_latencies=False)
    for name, read in replace(parity(bench), plan=quick).readings():
        assert read().passed, name


def test_a_wrong_reading_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {**parity_module.READERS, "tcp_streams_throughput": lambda text: 1.0}
    monkeypatch.setattr(parity_module, "READERS", wrong)
    assert not parity(bench).reading("tcp", ("tcp_streams_throughput",)).passed


# -- delays -------------------------------------------------------------------------------------


def test_packets_are_held_every_other_time(bench: Bench) -> None:
    faults, path = Recorded(), path_of("tcp_throughput")
    seen: list[int] = []

    def measure() -> float:
        seen.append(faults.nanoseconds)
        return 2.0 + faults.nanoseconds

    found = alternate({"one": measure}, faults, path, 7, lambda seen: len(seen["one"].on) >= 3)[
        "one"
    ]
    assert seen == [7, 0, 0, 7, 7, 0]
    assert faults.delays[0] == (("turns-server", "iperf3-server"), 7)
    assert (found.off, found.on, found.delay()) == ([2.0] * 3, [9.0] * 3, 7.0)


def test_every_primary_metric_has_a_tool_that_is_read(bench: Bench) -> None:
    by_metric = {path.metric: path.by_tool(bench) for path in PATHS}
    assert by_metric["rtt_p50"] == read_by_hand("fortio_rtt_p50", recorded("fortio-tcp"))
    assert by_metric["dns_p50"] == pytest.approx(367.5)
    gigabits = read_by_hand("tcp_streams_throughput", recorded("iperf3-stream"))
    assert by_metric["tcp_throughput"] == pytest.approx(2**23 / 1e3 / gigabits)
    assert path_of("tcp_throughput").by_turns(bench) == pytest.approx(
        500, rel=0.02
    )  # 4 ms for 8 MiB


def test_a_tool_that_fails_gives_no_number(bench: Bench, session: FakeSession) -> None:
    session.spoil["fortio-tcp"] = [lambda result: replace(result, stdout="no JSON")]
    with pytest.raises(MissingSampleError, match="fortio for rtt_p50"):
        path_of("rtt_p50").by_tool(bench)


def test_a_delay_that_the_tool_does_not_see_gives_no_number() -> None:
    with pytest.raises(MissingSampleError, match="fortio sees nothing of the delay"):
        judge_parity(path_of("rtt_p50"), columns(5.0, 0.0, 0.1))


def test_packets_are_counted_where_their_number_is_the_kernels() -> None:
    passed = Passed(600, 30 << 20) - Passed(200, 10 << 20)
    assert path_of("tcp_throughput").packets_of(passed) == 20
    assert path_of("rtt_p50").packets_of(passed) == 1


def columns(ours: float, theirs: float, noise: float) -> dict[str, Alternation]:
    """Delays of so many µs, with errors that go either way."""
    errors = [noise * (1 if place % 2 else -1) for place in range(10)]
    return {
        "turns": Alternation([20.0] * 10, [20.0 + ours + error for error in errors]),
        "tool": Alternation([35.0] * 10, [35.0 + theirs] * 10),
    }


@pytest.mark.parametrize(
    ("ours", "noise", "passed"), [(5.2, 0.2, True), (3.5, 0.1, False), (5.0, 2.0, False)]
)
def test_a_delay_is_alike_where_the_whole_interval_is(
    ours: float, noise: float, passed: bool
) -> None:
    check, delay = judge_parity(path_of("rtt_p50"), columns(ours, 5.0, noise))
    assert check.passed is passed
    assert delay.percent == pytest.approx(100 * (ours / 5 - 1))
    assert delay.usual == (20.0, 35.0)
    assert "20 µs by turns, 35 by fortio" in check.remarks[0]
