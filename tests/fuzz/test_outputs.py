"""Tools' outputs: whatever they print is a measurement, or a missing sample with its reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.benchstat import BenchstatError
from bench.benchstat import parse as parse_benchstat
from bench.metrics import Metric
from bench.probes import build_probes
from bench.probes.base import Bench, Probe
from bench.sampling import UNEXPECTED, Outcome, sample
from bench.session import CommandResult, resolve_targets
from tests.bench.fakes import FOLDER, PLAN, FakeSession, recorded
from tests.bench.sample_results import metric
from tests.bench.turns_output import turns_output
from tests.fuzz.spoiling import in_time, spoiled_text

PROBES = {probe.name: probe for probe in build_probes(PLAN, ["cilium-agent"])}
_BODY = (b"\0", b"\xff", b"\xff\xff\xff\xff", b"\0\0\0\0\0\0\0\0", b"\n")


def recordings(probe: Probe) -> list[str]:
    """The names of those that a probe reads."""
    seen: list[str] = []

    class Watched(FakeSession):
        def _which(self, argv: tuple[str, ...]) -> str:
            seen.append(super()._which(argv))
            return seen[-1]

    probe.measure(bench_of(Watched()))
    return sorted(name for name in set(seen) if (FOLDER / f"{name}.json").exists())


def bench_of(session: FakeSession) -> Bench:
    return Bench(session, resolve_targets(session), session.time.clock())


def instead(text: str) -> Callable[[CommandResult], CommandResult]:
    return lambda result: replace(result, stdout=text)


def of(probe: Probe) -> dict[str, Metric]:
    return {each.name: each for each in probe.metrics}


def check(probe: Probe, outcome: Outcome) -> None:
    """It is a reason in words, or values that can be."""
    reading = outcome.reading
    if reading is None:
        (reason,) = outcome.failures
        assert reason and UNEXPECTED not in reason and len(reason) < 1_000
        return
    assert probe.summary(reading)
    told = {*reading.values, *reading.missing}
    assert told >= {*of(probe)}
    for name, value in reading.values.items():
        assert math.isfinite(value), name
        assert value >= 0, name
        if value == 0 and not reading.notes.get(name):
            assert of(probe)[name].may_be_zero, name


@pytest.mark.parametrize("name", [n for n, p in PROBES.items() if recordings(p)])
@given(data=st.data())
def test_a_tools_output(name: str, data: st.DataObject) -> None:
    probe, session = PROBES[name], FakeSession()
    for each in recordings(probe):
        text = data.draw(spoiled_text([recorded(each).stdout]), each)
        session.spoil[each] = [instead(text)] * 50
    with in_time():
        check(probe, sample(probe, bench_of(session), attempts=1))


@pytest.mark.parametrize("name", ["rtt", "transfer", "burst_64"])
@given(data=st.data())
def test_what_the_generator_of_turns_writes(name: str, data: st.DataObject) -> None:
    probe, session = PROBES[name], FakeSession()

    def spoiled(plan: str) -> bytes:
        head, _, body = turns_output(plan).partition(b"\n")
        text = data.draw(spoiled_text([head.decode()]))
        for _ in range(data.draw(st.integers(0, 3))):
            at = data.draw(st.integers(0, len(body)))
            piece = data.draw(st.sampled_from(_BODY))
            body = body[:at] + piece + body[at + len(piece) :]
        cut = data.draw(st.sampled_from((0, 0, 0, 1, 48, len(body))))
        return text.encode(errors="surrogatepass") + b"\n" + body[: len(body) - cut]

    session.turns = spoiled
    with in_time():
        check(probe, sample(probe, bench_of(session), attempts=1))


@given(
    spoiled_text([(FOLDER / "benchstat.csv").read_text()]),
    st.sampled_from(["rtt_p50", "tcp_throughput"]),
)
def test_what_benchstat_writes(text: str, name: str) -> None:
    with in_time():
        try:
            rows = parse_benchstat(text, {name: metric([1.0, 2.0])})
        except BenchstatError as error:
            assert str(error)
        else:
            assert all(math.isfinite(value) for row in rows.values() for value in row.medians)
