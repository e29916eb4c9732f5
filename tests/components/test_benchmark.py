"""The measurement as a resource: its results, and errors that say what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.interleave import run_benchmark
from bench.results import from_dict, from_json
from bench.session import SessionError
from components import measurement, state
from components.benchmark import BenchmarkProvider
from components.dynamic import UserError
from tests.bench.fakes import PLAN, FakeSession, failing


class _Session(FakeSession):
    closed = 0

    def close(self) -> None:
        """Counts, so that a session that stays open is noticed."""
        self.closed += 1


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> _Session:
    """A session of recorded answers in place of the described one; nothing is slept for."""
    made = _Session()
    monkeypatch.setattr(measurement, "open_session", lambda descriptor: made)

    def run(*args: Any, **kwargs: Any) -> Any:
        return run_benchmark(*args, **kwargs, clock=made.time.clock())

    monkeypatch.setattr(measurement, "run_benchmark", run)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return made


PROPS: dict[str, Any] = {
    "session": '{"factory": "nowhere:none"}',
    "plan": json.dumps(PLAN.as_dict()),
    "stack": "scenario-e",
    "version": 1,
    "results": None,
}


def test_creating_measures_and_records_what_with(
    session: _Session, capsys: pytest.CaptureFixture[str]
) -> None:
    made = BenchmarkProvider().create(PROPS)
    assert made.outs is not None
    places = from_dict(made.outs["results"]).metrics["tcp_throughput"].places
    assert {place.round for place in places} == set(range(1, PLAN.runs + 1))
    assert {name: made.outs[name] for name in ("session", "plan", "stack", "version")} == {
        name: PROPS[name] for name in ("session", "plan", "stack", "version")
    }
    assert session.closed == 1
    told = capsys.readouterr().out.splitlines()
    assert any("run 1 of 3" in line for line in told)


def test_what_images_tags_stand_for_is_recorded_and_no_reason_to_measure_again(
    session: _Session,
) -> None:
    digests = {"group/tool:1.0": "sha256:" + "b" * 64}
    props = {**PROPS, "digests": json.dumps(digests)}
    made = BenchmarkProvider().create(props)
    assert made.outs is not None
    assert from_dict(made.outs["results"]).environment.image_digests == digests
    assert not BenchmarkProvider().diff("benchmark", made.outs, {**props, "digests": "{}"}).changes


def test_what_was_measured_is_in_the_history(session: _Session) -> None:
    BenchmarkProvider().create(PROPS)
    runs = state.history().runs()
    assert list(zip(runs["stack"], runs["origin"], strict=True)) == [("scenario-e", "up")]


def test_updating_measures_again(session: _Session) -> None:
    made = BenchmarkProvider().update("benchmark", {**PROPS, "results": {"old": 1}}, PROPS)
    assert made.outs is not None
    assert from_dict(made.outs["results"]).metrics


def test_results_can_be_kept_by_the_engine(session: _Session) -> None:
    # It drops what is None and knows no tuples: what comes out must be what went in.
    made = BenchmarkProvider().create(PROPS)
    assert made.outs is not None
    assert json.loads(json.dumps(made.outs["results"])) == made.outs["results"]


def test_without_its_workloads_nothing_is_measured(session: _Session) -> None:
    session.lacking.add("httpbin")
    with pytest.raises(UserError, match=r"nothing was measured: .*httpbin"):
        BenchmarkProvider().create(PROPS)
    assert session.closed == 1


def test_a_session_that_cannot_be_opened_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(_: object) -> None:
        raise SessionError("the lab tiny-1f is not running")

    monkeypatch.setattr(measurement, "open_session", no)
    with pytest.raises(UserError, match="nothing was measured: the lab tiny-1f is not running"):
        BenchmarkProvider().create(PROPS)


def test_a_metric_without_any_sample_fails_and_the_others_are_kept(
    session: _Session, tmp_path: Path
) -> None:
    # The warm-up's, the precondition's and every run's attempts: more than will be used.
    session.spoil["iperf3-udp"] = [failing("no route to host")] * 100
    with pytest.raises(UserError) as caught:
        BenchmarkProvider().create(PROPS)
    first, hint = str(caught.value).splitlines()
    assert first.startswith("the benchmark failed: no number for udp_")
    assert "no route to host" in first
    kept = Path(hint.rpartition(" ")[2])
    assert kept == tmp_path / "cni-benchmark/failed/scenario-e.json"
    assert from_json(kept.read_text()).metrics["tcp_streams_throughput"].n == PLAN.runs
    assert caught.value.__suppress_context__
    assert session.closed == 1


def test_what_a_failed_benchmark_left_goes_with_the_next_good_one(
    session: _Session, tmp_path: Path
) -> None:
    for stack in ("scenario-d", "scenario-e"):
        session.spoil["iperf3-udp"] = [failing("no route to host")] * 100
        with pytest.raises(UserError):
            BenchmarkProvider().create({**PROPS, "stack": stack})
    session.spoil.clear()
    BenchmarkProvider().create(PROPS)
    assert [path.name for path in tmp_path.rglob("*.json")] == ["scenario-d.json"]
