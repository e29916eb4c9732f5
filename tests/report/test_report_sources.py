"""Stacks, files and folders read into one form, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.environment import ToggleRecord, toggle_records
from report.sources import MeasuredScenario, SourceError, load
from tests.report.samples import TOGGLES, scenario_results, service_scaling, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stacks = [f"scenario-{letter}" for letter in "edcba"]
    return write_folder(tmp_path_factory.mktemp("matrix") / "data", 3, stacks)


def test_a_folder_has_scenarios_experiments_and_what_the_matrix_knows(folder: Path) -> None:
    found = load([str(folder)])
    assert [each.name for each in found.scenarios] == [f"scenario-{letter}" for letter in "edcba"]
    assert [each.name for each in found.experiments] == ["ablate", "scale"]
    assert found.failed == {"scenario-f": "no such <stack>"}
    assert found.scenarios[0].decisions == toggle_records(TOGGLES)
    assert found.scenarios[0].title == "Cilium on ENI with native routing, tuned"


def test_single_files_keep_the_named_order_and_the_matrix_beside_them(folder: Path) -> None:
    named = [
        folder / "scenario-e.json",
        folder / "scenario-a.json",
        folder / "experiments/scale.json",
    ]
    found = load([str(each) for each in named])
    assert [each.name for each in found.scenarios] == ["scenario-e", "scenario-a"]
    assert found.scenarios[0].decisions == toggle_records(TOGGLES)
    assert [each.name for each in found.experiments] == ["scale"]


def test_anything_else_is_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = MeasuredScenario(
        "scenario-a", scenario_results("scenario-a", 3), [ToggleRecord(toggle="bbr")], ("slow",)
    )
    monkeypatch.setattr("report.sources.read_stack", lambda name: measured)
    (scenario,) = load(["scenario-a"]).scenarios
    assert (scenario.name, scenario.decisions, scenario.warnings) == (
        "scenario-a", [ToggleRecord(toggle="bbr")], ("slow",),
    )  # fmt: skip


def refused(*sources: object) -> str:
    with pytest.raises(SourceError) as info:
        load([str(each) for each in sources])
    assert len(str(info.value).splitlines()) == 1
    return str(info.value)


def test_what_cannot_be_read_is_told_in_one_line(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_stack(name: str) -> MeasuredScenario:
        raise SourceError(f"pulumi cannot read stack {name!r}")

    monkeypatch.setattr("report.sources.read_stack", no_stack)
    assert "cannot read stack 'x'" in refused("x")
    assert "no-such.json: " in refused(tmp_path / "no-such.json")
    assert "no results in it" in refused(tmp_path)
    broken = tmp_path / "broken.json"
    for text, told in (
        ("{", "no JSON"), ("[]", "the JSON is no object"), ("{}", "schema is None"),
        (json.dumps({**service_scaling(3).to_dict(), "axis": 1}), "no experiment of schema"),
    ):  # fmt: skip
        broken.write_text(text)
        assert told in refused(broken)
    assert "scenario-a is named twice" in refused(folder / "scenario-a.json", folder)


def test_a_damaged_record_of_a_matrix_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(scenario_results("scenario-a", 3).to_json())
    (tmp_path / "matrix.json").write_text('{"failed": []}')
    assert "no record of a matrix: failed: " in refused(tmp_path)
