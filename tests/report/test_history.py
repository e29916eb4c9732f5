"""The history: kept, listed, drawn, and what cannot be used of it."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.console import Console

from bench.results import Results, SharedRounds
from cli.main import main
from components import state
from report.history import (
    History,
    HistoryError,
    keep_result,
    metric_lines,
    run_table,
    sparkline,
)
from tests.bench.sample_results import metric, results


@pytest.fixture(autouse=True)
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "100")
    return state.history()


def made(day: int, *samples: float, rounds: str | None = None) -> Results:
    shared = SharedRounds(id=rounds, labels=["a"], seed=1) if rounds else None
    metrics = {
        "rtt_p50": metric(samples),
        "tcp_throughput": metric([9.0], unit="Gbit/s", better="higher"),
    }
    return results(metrics, started=f"2026-01-{day:02}T03:04:05+00:00", rounds=shared)


def test_results_come_back_whole(history: History) -> None:
    id_ = history.add("run", "scenario-a", made(1, 10.0, 11.0, 12.0))
    assert history.results(id_) == ("scenario-a", made(1, 10.0, 11.0, 12.0))
    assert history.path == state.history().path
    assert history.path.parts[-2:] == ("cni-benchmark", "history.sqlite")


def test_runs_and_metrics_are_told_in_order_of_time(history: History) -> None:
    history.add("matrix", "scenario-b", made(3, 30.0))
    history.add("up", "scenario-a", made(2, 20.0, 22.0))
    history.add("run", "scenario-a", made(1, 10.0))
    runs = history.runs()
    assert list(runs["stack"]) == ["scenario-a", "scenario-a", "scenario-b"]
    assert list(runs["origin"]) == ["run", "up", "matrix"]
    assert list(runs["metrics"]) == [2, 2, 2]
    found = history.metric("rtt_p50", "scenario-a")
    assert list(found["median"]) == [10.0, 21.0]
    assert list(found["low"]) == [10.0, 20.0]
    assert list(found["n"]) == [1, 2]
    assert history.metric("rtt_p50", "scenario-z").empty


def test_the_same_rounds_are_kept_once(history: History) -> None:
    history.add("matrix", "a", made(1, 10.0, rounds="m1"))
    history.add("matrix", "a", made(1, 10.0, 12.0, rounds="m1"))
    history.add("matrix", "b", made(1, 10.0, rounds="m1"))
    history.add("matrix", "a", made(2, 10.0, rounds="m2"))
    assert list(history.metric("rtt_p50")["n"]) == [2, 1, 1]


def test_several_may_write_at_once(history: History) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda day: state.history().add("up", "a", made(day, 1.0)), range(1, 17)))
    assert len(history.runs()) == 16


def test_a_history_that_cannot_be_written_costs_no_measurement(history: History) -> None:
    history.path.parent.parent.mkdir(parents=True)
    history.path.parent.write_text("a file in the folder's place")
    said: list[str] = []
    keep_result(history, "up", "a", made(1, 1.0), said.append)
    assert said[0].startswith("warning: not kept in the history: ")
    with pytest.raises(HistoryError, match="cannot be used"):
        history.add("up", "a", made(1, 1.0))


def test_a_history_of_another_version_is_left_alone(history: History) -> None:
    history.add("up", "a", made(1, 1.0))
    with sqlite3.connect(history.path) as file:
        file.execute("PRAGMA user_version = 9")
    with pytest.raises(HistoryError, match=r"another version \(9, not 1\). Fix: move"):
        history.runs()


@pytest.mark.parametrize(
    ("values", "drawn"),
    [([1.0, 2.0, 3.0], "▁▅█"), ([5.0, 5.0], "▅▅"), ([0.0], "▅"), ([3.0, 1.0], "█▁")],
)
def test_a_sparkline_goes_from_the_lowest_to_the_highest(values: list[float], drawn: str) -> None:
    assert sparkline(values) == drawn


def shown(history: History, *, name: str | None = None) -> str:
    console = Console(width=100, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    drawn = run_table(history.runs()) if name is None else metric_lines(name, history.metric(name))
    console.print(drawn)
    return console.export_text()


def test_tables_have_every_run_and_each_stacks_own_course(history: History) -> None:
    for day, value in ((1, 10.0), (2, 30.0), (3, 20.0)):
        history.add("up", "scenario-a", made(day, value, value + 1, value + 2))
    history.add("matrix", "scenario-b", made(1, 7.0))
    text = shown(history)
    assert text.count("scenario-a") == 3
    assert "2026-01-03 03:04" in text
    text = shown(history, name="rtt_p50")
    assert "scenario-a  rtt_p50  ▁█▅  11 to 31 µs ↓" in text
    assert "scenario-b  rtt_p50  ▅  7 to 7 µs ↓" in text
    assert "30 to 32 (75 %)" in text
    assert "none" in text


def test_the_command_lists_and_tells_the_file(
    history: History, capsys: pytest.CaptureFixture[str]
) -> None:
    history.add("up", "scenario-a", made(1, 10.0))
    assert main(["history"]) == 0
    said = capsys.readouterr()
    assert "scenario-a" in said.out
    assert f"history: {history.path} (to clear it, delete the file)" in said.err
    assert main(["history", "--metric", "rtt_p50", "--format", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("id,stack,origin,started,profile,median")
    assert lines[1].startswith("1,scenario-a,up,2026-01-01T03:04:05+00:00,quick,10.0")
    assert main(["history", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["stack"] == "scenario-a"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--metric", "rtt_p5"], 2, "none of the name 'rtt_p5' was ever measured; there are rtt"),
        (["--stack", "x"], 5, "nothing of stack 'x' in the history"),
        (["--metric", "rtt_p50", "--stack", "x"], 5, "nothing of stack 'x' in the history"),
    ],
)
def test_what_is_not_there_is_told(
    history: History,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    told: str,
) -> None:
    history.add("up", "a", made(1, 10.0))
    assert main(["history", *arguments]) == code
    assert told in capsys.readouterr().err


def test_without_a_history_that_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history"]) == 5
    assert "no history yet" in capsys.readouterr().err
