"""Scenarios side by side, and the forms in which they are given away."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from pathlib import Path

import pytest

from bench.compare import from_dict
from bench.metrics import Note
from bench.results import MissingSample
from lab.errors import ToolchainError
from lab.toolchain.build import Toolchain
from report.sidebyside import (
    COLUMNS,
    FORMATS,
    SideBySide,
    as_benchstat,
    as_csv,
    as_json,
    as_markdown,
    caveats,
    certainty,
    level_text,
    qualified,
    side_by_side,
)
from report.sources import MeasuredScenario
from tests.bench.sample_results import metric, results
from tests.report.samples import scenario_results

CHOSEN = ["rtt_p50", "http_5000_p99", "cni_cpu_aws_node"]


@pytest.fixture(scope="module")
def scenarios() -> list[MeasuredScenario]:
    return [
        MeasuredScenario(name, scenario_results(name))
        for name in ("scenario-a", "scenario-c", "scenario-e")
    ]


@pytest.fixture(scope="module")
def side(scenarios: list[MeasuredScenario]) -> SideBySide:
    return side_by_side(scenarios, metrics=CHOSEN)


def test_each_is_compared_with_the_first(side: SideBySide) -> None:
    assert [each.labels for each in side.comparisons] == [
        ("scenario-a", "scenario-c"), ("scenario-a", "scenario-e"),
    ]  # fmt: skip
    row = next(row for row in side.rows() if row.name == "rtt_p50")
    verdicts = [cell.against.verdict if cell.against else None for cell in row.cells]
    assert verdicts == [None, "worse", "better"]


def test_rows_are_all_chosen_metrics_in_the_order_of_groups(side: SideBySide) -> None:
    assert [row.name for row in side.rows()] == CHOSEN
    lacking = [cell.result is None for cell in list(side.rows())[2].cells]
    assert lacking == [False, True, True]


def test_of_one_scenario_too_only_the_chosen_metrics_are_shown(
    scenarios: list[MeasuredScenario],
) -> None:
    alone = side_by_side(scenarios[:1], metrics=["rtt_p50"])
    assert [row.name for row in alone.rows()] == ["rtt_p50"]


def test_common_rounds_are_read_off_the_results(scenarios: list[MeasuredScenario]) -> None:
    assert side_by_side(scenarios, metrics=["rtt_p50"]).interleaved
    apart = [scenarios[0], MeasuredScenario("other", scenario_results("scenario-e", shared=False))]
    side = side_by_side(apart, metrics=["rtt_p50"])
    assert not side.interleaved
    assert "in separate runs" in certainty(side, "Measure more.")


def test_unknown_metrics_and_nothing_to_compare_are_refused(
    scenarios: list[MeasuredScenario],
) -> None:
    with pytest.raises(ValueError, match="no scenario has the metrics typo"):
        side_by_side(scenarios, metrics=["typo"])
    with pytest.raises(ValueError, match="no scenario"):
        side_by_side([])


def test_too_few_runs_are_told_with_the_number_that_it_takes() -> None:
    few = [
        MeasuredScenario(name, scenario_results(name, 3)) for name in ("scenario-a", "scenario-e")
    ]
    side = side_by_side(few)
    assert set(side.comparisons[0].verdicts("better", "worse")) == set()
    alone = MeasuredScenario("a", scenario_results("scenario-a"))
    assert "scenario-e (3 of 7 rounds). Measure more." in certainty(side, "Measure more.")
    assert "Too few" not in certainty(side_by_side([alone]), "")


def test_what_an_interval_covers_is_said_as_it_is() -> None:
    assert level_text([0.95, 0.95]) == "95 %"
    assert level_text([0.0, 0.9922, 0.95]) == "95 to 99 %"
    assert level_text([0.0]) == "of single runs: none"
    few = [MeasuredScenario(n, scenario_results(n, 5)) for n in ("scenario-a", "scenario-e")]
    side = side_by_side(few, metrics=["rtt_p50"])
    # Five ranks against five allow no interval nearer to 95 % than this one.
    assert side.comparisons[0].metrics["rtt_p50"].effect.level == pytest.approx(0.968, abs=0.001)
    assert "effect on scenario-a (interval, 97 %)" in as_markdown(side)


def test_what_limits_a_number_stands_at_it() -> None:
    notes = [
        Note(kind="server-limit"), Note(kind="machine-limit", rounds=[2]),
        Note(kind="remark", words="wide"), Note(kind="throttled", rounds=[2]),
    ]  # fmt: skip
    found = metric([1.0, 2.0, 3.0], notes=notes, missing=[MissingSample(round=4, reason="lost")])
    assert qualified(found) == [
        "limit: machine's CPUs in some runs", "limit: server", "traffic held back in 1 of 3",
        "1 of 4 runs missing",
    ]  # fmt: skip
    assert qualified(metric([1.0])) == []


def test_caveats_name_the_scenarios() -> None:
    a = results({"rtt_p50": metric([1.0, 2.0])}, environment={"kernel": "6.1"})
    b = results({"rtt_p50": metric([1.0, 2.0])}, environment={"kernel": "6.12"})
    side = side_by_side([MeasuredScenario("one", a), MeasuredScenario("two", b)])
    assert caveats(side) == ["one and two: kernel is '6.1' in one, '6.12' in two"]


def test_csv_has_a_line_per_metric_and_scenario_in_full(side: SideBySide) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(side))))
    assert len(rows) == len(CHOSEN) * 3
    assert tuple(rows[0]) == COLUMNS
    found = next(
        row for row in rows if (row["metric"], row["scenario"]) == ("rtt_p50", "scenario-e")
    )
    against = side.comparisons[1].metrics["rtt_p50"]
    assert float(found["effect"]) == against.effect.value
    assert float(found["p_corrected"]) == against.corrected
    assert found["verdict"] == "better"
    limited = next(row for row in rows if row["metric"] == "http_5000_p99")
    assert limited["notes"] == "limit: server"


def test_json_holds_the_comparisons_themselves(side: SideBySide) -> None:
    data = json.loads(as_json(side))
    assert data["baseline"] == "scenario-a"
    assert tuple(map(from_dict, data["comparisons"])) == side.comparisons


def test_markdown_has_effect_verdict_and_limit_in_the_cell(side: SideBySide) -> None:
    text = as_markdown(side)
    line = next(line for line in text.splitlines() if line.startswith("| rtt_p50"))
    assert line.count("|") == 6
    assert ": worse" in line and ": better" in line
    assert "limit: server" in next(x for x in text.splitlines() if x.startswith("| http_5000"))


def test_benchstat_tells_the_scenarios_of_one_file_apart(side: SideBySide, tmp_path: Path) -> None:
    try:
        program = Toolchain.default().program("benchstat")
    except ToolchainError as error:
        pytest.skip(str(error))
    file = tmp_path / "all.txt"
    file.write_text(as_benchstat(side), encoding="utf-8")
    done = subprocess.run(
        [str(program), "-col", "scenario", str(file)], capture_output=True, text=True, check=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("Rtt_p50"))
    assert "p=0.000 n=8" in line
    assert all(f"scenario-{letter}" in done.stdout for letter in "ace")


def test_every_form_has_only_the_chosen_metrics(side: SideBySide) -> None:
    for form in FORMATS.values():
        assert "tcp_throughput" not in form(side).lower()
