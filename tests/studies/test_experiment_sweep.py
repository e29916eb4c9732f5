"""The sweep of the load: its numbers, what voids a sample, the rate within a bound, the command."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench.plan import PROFILES, Plan
from bench.probes.base import SampleError
from bench.results import MetricResult
from bench.session import CommandResult, Pod
from cli.main import main
from report.experiments import points_table
from studies.experiments.definition import ExtentError
from studies.experiments.model import Experiment, from_dict
from studies.experiments.sweep import SweepPlan, capacity_probe, rate_within, run_sweep, sweep_probe
from tests.bench import fakes
from tests.bench.fakes import SWEPT, SWEPT_RATE, FakeClock, FakeSession, instead, recorded
from tests.bench.sample_results import metric
from tests.sessions_target import descriptor, register


@pytest.fixture(autouse=True)
def as_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan that the preconditions' outputs were recorded with."""

    def plan(profile: str, *, runs: int = 1, allow: Sequence[str] = ()) -> Plan:
        return replace(fakes.PLAN, runs=runs, allow=(*PROFILES[profile].allow, *allow))

    monkeypatch.setattr("studies.experiments.sweep.plan_for", plan)


@pytest.fixture(autouse=True)
def at_the_recorded_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the capacity: the recorded log has one rate only."""
    monkeypatch.setattr(SweepPlan, "rate", staticmethod(lambda share, capacity: SWEPT_RATE))


def swept(plan: SweepPlan = SWEPT, **sessions: FakeSession) -> dict[str, Experiment]:
    said: list[str] = []
    found = run_sweep(
        sessions, plan, command="again", seed=3, progress=said.append,
        clock=next(iter(sessions.values())).time.clock(),
    )  # fmt: skip
    assert any("a first look (100,000 are usual): 200 requests a point" in line for line in said)
    assert "2 points a side: about " in " ".join(said)
    assert "[4/4, 0 s left]" in said[-1] or len(sessions) > 1
    return found


def test_a_sample_is_of_the_asked_number_at_the_asked_rate() -> None:
    probe = sweep_probe(50, SWEPT_RATE, SWEPT)
    reading = probe.parse(recorded("fortio-sweep"))
    values = reading.values
    assert values["sweep_qps"] == pytest.approx(SWEPT_RATE, rel=0.05)
    assert 10 < values["sweep_p50"] < values["sweep_p99"] <= values["sweep_p999"]
    assert values["sweep_errors"] == 0
    assert "of 400 requests/s, p50 " in probe.describe(values)
    assert {each.name for each in probe.metrics} == values.keys()
    assert probe.seconds == 0.5


def test_a_generator_that_is_paused_voids_the_sample() -> None:
    """It got no CPU for 0.1 s of 0.5 s, so a fifth of the requests left late."""
    with pytest.raises(
        SampleError, match=r"void: the generator was late itself \(p99 .* ms"
    ) as info:
        sweep_probe(50, SWEPT_RATE, SWEPT).parse(recorded("fortio-sweep-late"))
    assert "p99 may be anything from" in str(info.value)


def test_capacity_is_taken_with_the_log_that_points_have() -> None:
    probe = capacity_probe(SWEPT)
    reading = probe.parse(recorded("fortio-sweep-max"))
    assert reading.values["sweep_capacity"] > SWEPT_RATE
    session = FakeSession()
    swept(one=session)
    loads = [argv for name, argv, _ in session.calls if name.startswith("fortio-sweep")]
    assert all("-access-log-file" in argv for argv in loads)
    assert [argv[argv.index("-qps") + 1] for argv in loads] == ["0"] * 3 + ["400"] * 4
    # The points' first quarter of a second, another 25 calls of each connection, is not counted.
    assert [argv[argv.index("-n") + 1] for argv in loads] == ["100"] * 3 + ["200"] * 4


def test_points_are_shares_and_rounds_are_samples() -> None:
    found = swept(one=FakeSession())["one"]
    (series,) = found.series
    assert [(point.label, point.x) for point in series.points] == [("30 %", 30), ("50 %", 50)]
    assert all(point.metrics["sweep_p999"].n == 2 for point in series.points)
    assert all(point.facts["offered"] == SWEPT_RATE for point in series.points)
    assert series.within is not None
    assert found.plan["capacity"] > SWEPT_RATE
    assert found.plan["seed"] == 3
    assert found.warnings[-1].startswith("a first look")
    assert found.checks and found.tools["fortio"]
    assert f"`sweep_p99`: {series.within.verdict}" in points_table(found)
    assert from_dict(json.loads(found.to_json())) == found


def test_a_void_point_has_its_reason_and_the_others_stay() -> None:
    session = FakeSession()
    # Both rounds of the point that comes first, each tried twice.
    session.spoil["fortio-sweep"] = [instead("fortio-sweep-late")] * 4
    found = run_sweep(
        {"one": session}, replace(SWEPT, points=(30,)), command="", seed=1,
        clock=session.time.clock(),
    )["one"]  # fmt: skip
    (series,) = found.series
    (point,) = series.points
    assert "void: the generator was late itself" in point.missing["sweep_p99"]
    assert not point.metrics
    assert series.within is None


class Named(FakeSession):
    """Tells when it is asked for a point's sample."""

    def __init__(self, name: str, order: list[str], time: FakeClock) -> None:
        super().__init__()
        self.name, self.order, self.time = name, order, time

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        """As recorded."""
        if self._which(tuple(argv)) == "fortio-sweep":
            self.order.append(self.name)
        return super().run(pod, argv, timeout=timeout)


def test_sides_take_turns_at_every_point() -> None:
    order, time = list[str](), FakeClock()
    found = swept(a=Named("a", order, time), b=Named("b", order, time))
    assert [each.series[0].subject for each in found.values()] == ["a", "b"]
    pairs = [set(order[at : at + 2]) for at in range(0, len(order), 2)]
    assert pairs == [{"a", "b"}] * 4
    assert all(each.plan["taking_turns"] == ["a", "b"] for each in found.values())


def test_a_side_without_a_capacity_is_skipped_and_the_other_measured() -> None:
    a, b = FakeSession(), FakeSession()
    b.time = a.time
    a.spoil["fortio-sweep-max"] = [instead("fortio-http-refused")] * 6
    found = swept(a=a, b=b)
    assert "its capacity cannot be told" in str(found["a"].series[0].skipped)
    assert len(found["b"].series[0].points) == 2


def curve(values: Mapping[float, Sequence[float]]) -> list[tuple[float, MetricResult]]:
    return [(rate, metric(samples)) for rate, samples in values.items()]


@pytest.mark.parametrize(
    ("values", "rate", "reach"),
    [
        # The line through logarithms: 5,000 lies halfway between 500 and 50,000.
        ({1000: [500], 2000: [50_000]}, 1500, "interpolated"),
        ({1000: [500], 2000: [5_000], 3000: [9_000]}, 2000, "interpolated"),
        ({1000: [500], 2000: [600]}, 2000, "at least"),
        ({1000: [5_001], 2000: [600]}, 1000, "below"),
        # It counts where the bound is left first.
        ({1000: [500], 2000: [50_000], 3000: [400]}, 1500, "interpolated"),
    ],
)
def test_the_rate_within_a_bound(
    values: Mapping[float, Sequence[float]], rate: float, reach: str
) -> None:
    found = rate_within(curve(values), 5_000)
    assert found is not None
    assert found.rate == pytest.approx(rate)
    assert (found.reach, found.bound, found.level) == (reach, 5_000, 0)
    assert "5 ms" in found.verdict


def test_the_rate_within_a_bound_has_an_interval_over_rounds() -> None:
    points = curve({1000: [500, 500, 500], 2000: [50_000, 5_000, 600]})
    found = rate_within(points, 5_000)
    assert found is not None
    assert found.ci == pytest.approx((1500, 2000))
    assert found.rate == 2000
    assert rate_within([], 5_000) is None


def test_a_round_that_lacks_a_point_is_interpolated_over_the_gap() -> None:
    points = [
        (1000.0, metric([500, 500])),
        (1500.0, metric([700], rounds=[2])),
        (2000.0, metric([50_000, 50_000])),
    ]
    found = rate_within(points, 5_000)
    assert found is not None
    assert found.ci[0] == pytest.approx(1500)
    assert 1500 < found.ci[1] < 2000


def test_a_round_without_its_lowest_point_cannot_tell_that_nothing_is_within() -> None:
    points = [
        (1000.0, metric([500], rounds=[1])),
        (2000.0, metric([50_000, 60_000])),
    ]
    found = rate_within(points, 5_000)
    assert found is not None
    assert (found.reach, found.level) == ("interpolated", 0)
    assert found.rate == pytest.approx(1500)


def test_the_usual_sweep_is_a_hundred_thousand_requests_a_point() -> None:
    plan = SweepPlan.of()
    assert plan.points == (10, 30, 50, 70, 90)
    assert plan.rounds * plan.per_round >= 100_000
    assert plan.per_round % plan.connections == 0
    assert "first look" not in plan.remark()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"points": ["0"]}, "a whole number from 1 to 100"),
        ({"points": ["10", "10"]}, "a point twice"),
        ({"requests": 10}, "requests must be from 5,000"),
        ({"bound_ms": 0}, "more than 0 ms"),
        ({"rounds": 0}, "rounds must be a whole number"),
    ],
)
def test_impossible_numbers_are_refused(arguments: dict[str, object], told: str) -> None:
    with pytest.raises(ExtentError, match=told):
        SweepPlan.of(**arguments)  # type: ignore[arg-type]


def _command(tmp_path: Path, *names: str, more: Sequence[str] = ()) -> int:
    words = []
    for name in names:
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(descriptor(name)))
        words += ["--session", str(file)]
    return main(["sweep", *words, *more])


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of a target, and a sweep that fits the recordings."""

    def a() -> FakeSession:
        return FakeSession()

    def b() -> FakeSession:
        return FakeSession()

    register(monkeypatch, a, b)
    monkeypatch.setattr(SweepPlan, "of", classmethod(lambda cls, points, **more: SWEPT))
    monkeypatch.setattr("bench.readiness.WINDOW_SECONDS", 0.01)


def test_the_command_writes_a_file_for_each_side(
    tmp_path: Path, two: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made"
    assert _command(tmp_path, "a", "b", more=["--seed", "5", "--out", str(out)]) == 0
    made = {file.name: from_dict(json.loads(file.read_text())) for file in out.iterdir()}
    assert made.keys() == {"sweep-a.json", "sweep-b.json"}
    assert made["sweep-a.json"].command == (
        "python -m bench sweep --session FILE --session FILE --points 30,50 --rounds 2 "
        "--requests 200 --bound-ms 5 --seed 5"
    )
    shown = capsys.readouterr().out
    assert "a: share of the capacity" in shown and "b: share of the capacity" in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name a --stack that is up"),
        (["--stack", "a", "--stack", "a"], "a side twice"),
        (["--stack", "a", "--stack", "b", "--out", "-"], "name a folder for several"),
        (["--stack", "a", "--bound-ms", "-1"], "more than 0 ms"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
