"""Experiments that were made: several as one, shown, drawn."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from bench.compare import compare
from bench.environment import Environment
from bench.results import MetricResult
from cli.main import main
from report.experiments import effects_table, filled, merge, points_table, tables
from report.figures import draw_points
from studies.experiments.model import Axis, Experiment, ExperimentError, Fit, Point, Series
from tests.report.samples import scenario_results

SVG = "{http://www.w3.org/2000/svg}"


def _metric(value: float) -> MetricResult:
    return MetricResult(
        median=value, ci=(0.9 * value, 1.2 * value), ci_level=0.9, unit="µs", n=5,
        better="lower", samples=[value] * 5, group="g", description="d", probe="p",
    )  # fmt: skip


def _experiment(subject: str, **changes: Any) -> Experiment:
    points = [
        Point(
            label=f"{x:,}",
            x=float(x),
            metrics={"sync": _metric(100.0 * x), "connect": _metric(130.0)},
            facts={"rules": 7 * x, "mode": "iptables"},
        )
        for x in (4, 1_000, 10_000)
    ]
    fields: dict[str, Any] = {
        "name": "scale",
        "question": "What?",
        "axis": Axis(name="Services", unit="Services"),
        "series": [Series(subject=subject, points=points)],
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:05:05+00:00",
        "seconds": 60.0,
        "command": f"python -m bench scale --stack {subject}",
        "plan": {},
        "tools": {},
        "environment": Environment(),
        "warnings": ["the machine was busy"],
    }
    return Experiment(**{**fields, **changes})


def test_runs_of_the_same_experiment_become_one() -> None:
    second = _experiment("b", started="2026-01-01T00:00:00+00:00")
    found = merge([_experiment("a"), second])
    assert [series.subject for series in found.series] == ["a", "b"]
    assert found.command.splitlines() == [
        "python -m bench scale --stack a",
        "python -m bench scale --stack b",
    ]
    assert (found.started, found.seconds) == (second.started, 120.0)
    assert found.warnings == ["the machine was busy"]
    assert merge([second]) == second


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(ExperimentError, match="not of the same experiment: host, scale"):
        merge([_experiment("a"), _experiment("b", name="host")])
    with pytest.raises(ExperimentError, match="more than one series is called a"):
        merge([_experiment("a"), _experiment("a")])


def _texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(each.itertext()) for each in root.iter(f"{SVG}text")]


def test_every_metric_has_a_panel_and_every_series_a_line() -> None:
    texts = _texts(draw_points(merge([_experiment("first"), _experiment("second")])))
    assert {"sync, µs", "connect, µs", "first", "second"} <= set(texts)
    assert "rules" not in texts
    assert texts.count("10k") == 2  # the sizes are on both axes


def test_a_legend_with_long_names_stays_within_the_figure() -> None:
    names = [f"{letter} scenario with a name of some forty letters" for letter in "abc"]
    svg = draw_points(merge([_experiment(name) for name in names]))
    root = ElementTree.fromstring(svg)
    heights = [
        each.get("y") for each in root.iter(f"{SVG}text") if "".join(each.itertext()) in names
    ]
    # Two beside each other, and the third below.
    assert len(heights) == 3 and len(set(heights)) == 2


def test_metrics_and_facts_can_be_chosen() -> None:
    texts = _texts(draw_points(_experiment("first"), ["rules"]))
    assert "rules" in texts and "sync, µs" not in texts


def test_the_same_data_make_the_same_figure() -> None:
    assert draw_points(_experiment("a")) == draw_points(_experiment("a"))


def test_names_on_the_axis_are_places_without_lines() -> None:
    points = [Point(label=label, metrics={"rtt": _metric(9.0)}) for label in ("node", "pod")]
    found = _experiment("d", axis=Axis(name="path"), series=[Series(subject="d", points=points)])
    assert {"node", "pod", "rtt, µs"} <= set(_texts(draw_points(found)))


def test_nothing_to_draw_is_told() -> None:
    skipped = _experiment("a", series=[Series(subject="a", skipped="no")])
    with pytest.raises(ExperimentError, match="nothing to draw"):
        draw_points(skipped)
    with pytest.raises(ExperimentError, match="nothing is called snyc: it has sync, connect"):
        draw_points(_experiment("a"), ["snyc"])
    with pytest.raises(ExperimentError, match="nothing is called mode"):
        draw_points(_experiment("a"), ["mode"])


def _file(folder: Path, subject: str) -> str:
    path = folder / f"{subject}.json"
    path.write_text(_experiment(subject).to_json(), encoding="utf-8")
    return str(path)


def test_the_command_draws_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [_file(tmp_path, "a"), _file(tmp_path, "b")]
    out = tmp_path / "figure.svg"
    assert main(["experiments", "plot", "--out", str(out), "--metrics", "sync", *files]) == 0
    assert "sync, µs" in _texts(out.read_text(encoding="utf-8"))
    assert main(["experiments", "show", *files]) == 0
    shown = capsys.readouterr().out
    assert "a: Services" in shown and "b: Services" in shown
    assert "warning: the machine was busy" in shown


def test_points_become_a_markdown_table() -> None:
    fit = Fit(
        metric="sync", form="linear", constant=0.0, slope=100.0, slope_ci=(90.0, 110.0),
        level=0.95, verdict="grows by 100 µs",
    )  # fmt: skip
    (series,) = _experiment("a").series
    other = Series(subject="b", skipped="no engine")
    found = _experiment("a", series=[series.model_copy(update={"fits": [fit]}), other])
    assert points_table(found, ["rules", "mode", "sync"]).splitlines() == [
        "| a | 4 | 1,000 | 10,000 |",
        "|---|---|---|---|",
        "| `rules` | 28 | 7,000 | 70,000 |",
        "| `mode` | iptables | iptables | iptables |",
        "| `sync` | 400 µs (360 to 480) | 100 ms (90 to 120) | 1 s (900 ms to 1.20 s) |",
        "",
        "- `sync`: grows by 100 µs",
        "",
        "Not measured:",
        "",
        "- b: no engine",
    ]
    everything = points_table(_experiment("a"))
    assert all(f"`{name}`" in everything for name in ("rules", "mode", "sync", "connect"))


def test_comparisons_become_a_markdown_table() -> None:
    comparison = compare(
        scenario_results("scenario-a"), scenario_results("scenario-e"), labels=("A", "E")
    )
    (series,) = _experiment("a").series
    found = _experiment("a", series=[series.model_copy(update={"comparisons": [comparison]})])
    head, _, row = effects_table(found, ["rtt_p50"]).splitlines()
    metric = comparison.metrics["rtt_p50"]
    assert head == "|  | `rtt_p50` |"
    assert row == f"| a | {metric.effect_text()}, {metric.verdict} |"
    with pytest.raises(ExperimentError, match="nothing is called rtt: it has"):
        effects_table(found, ["rtt"])
    with pytest.raises(ExperimentError, match="nothing was compared"):
        effects_table(_experiment("a"))


def test_shown_are_only_the_metrics_that_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _file(tmp_path, "a")
    assert main(["experiments", "show", "--metrics", "rules", file]) == 0
    shown = capsys.readouterr().out
    assert "rules" in shown and "connect" not in shown
    assert main(["experiments", "show", "--markdown", "points", "--metrics", "sync", file]) == 0
    assert capsys.readouterr().out == points_table(_experiment("a"), ["sync"])
    for form in ([], ["--markdown", "points"]):
        assert main(["experiments", "show", *form, "--metrics", "snyc", file]) == 5
        assert "nothing is called snyc" in capsys.readouterr().err


def test_a_documents_tables_are_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _file(tmp_path, "a")
    document = tmp_path / "page.md"
    place = "before\n<!-- table: points a.json rules,sync -->\nold\n<!-- end -->\nafter\n"
    document.write_text(place, encoding="utf-8")
    assert main(["experiments", "fill", str(document)]) == 0
    text = document.read_text(encoding="utf-8")
    table = points_table(_experiment("a"), ["rules", "sync"])
    assert text == place.replace("old\n", f"\n{table}\n")
    assert filled(text, tmp_path) == text
    document.write_text(place.replace("sync", "snyc"), encoding="utf-8")
    assert main(["experiments", "fill", str(document)]) == 5
    assert "nothing is called snyc" in capsys.readouterr().err


def test_our_documents_tables_are_what_their_data_say() -> None:
    document = Path(__file__).parents[2] / "docs" / "experiments.md"
    text = document.read_text(encoding="utf-8")
    assert "<!-- table: " in text
    assert filled(text, document.parent) == text


def _printed(width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), legacy_windows=False)
    with console.capture() as captured:
        for table in tables(_experiment("a"), width=width):
            console.print(table)
    return captured.get().splitlines()


def test_a_table_too_wide_for_the_terminal_has_a_row_per_point() -> None:
    narrow, wide = _printed(60), _printed(200)
    for lines, most in ((narrow, 60), (wide, 200)):
        assert max(map(len, lines)) <= most
        assert not any("…" in line for line in lines)
    (row,) = [line for line in wide if "sync" in line]
    assert all(cell in row for cell in ("400 (360 to 480)", "1,000,000 (900,000 to 1,200,000)"))
    start = next(place for place, line in enumerate(narrow) if "sync" in line)
    for line, cell in zip(narrow[start : start + 3], ("400", "100,000", "1,000,000"), strict=True):
        assert cell in line


def test_unusable_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"schema": "x"}))
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    nowhere = str(tmp_path / "nowhere" / "x.svg")
    calls = [
        ["experiments", "show", str(tmp_path / "none.json")],
        ["experiments", "show", str(other)],
        ["experiments", "show", str(broken)],
        ["experiments", "plot", "--out", nowhere, _file(tmp_path, "a")],
    ]
    for call in calls:
        assert main(call) == 5
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("bench: ")
