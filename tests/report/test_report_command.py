"""``python -m bench compare`` and ``report``: output, files, exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cli.main import main
from report.explain import to_json
from tests.report.samples import scenario_results, write_folder
from tests.studies.test_explain import explanation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("command") / "data"
    return write_folder(path, 5, ("scenario-a", "scenario-e"))


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_compare_prints_a_table_that_fits_a_terminal(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(folder), "--metrics", "rtt_p50,http_5000_p99"]) == 0
    said = capsys.readouterr().out
    counts = "scenario-e against scenario-a, verdicts of this bring-up: 1 better, 1 no evidence"
    assert counts in " ".join(said.split())
    assert "* scenario-e: limit: server: http_5000_p99" in said
    assert max(map(len, said.splitlines())) <= 80
    assert re.search(r"↓ rtt_p50 .* % +better *\n +µs +\(.* to .*\)", said)


def test_every_verdict_and_interval_of_all_metrics_is_whole_in_80_columns(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(folder)]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert "…" not in said
    assert "too few runs" in said
    assert "(0 to 0)" in said


@pytest.mark.parametrize("form", ["markdown", "csv", "json", "benchstat", "terminal"])
def test_compare_writes_every_form_into_a_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    out = tmp_path / "out"
    assert main(["compare", str(folder), "--format", form, "--out", str(out)]) == 0
    assert capsys.readouterr().out == ""
    assert "scenario-e" in out.read_text()


def test_report_writes_page_markdown_and_data(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "report"
    assert main(["report", str(folder), "--out", str(out)]) == 0
    assert sorted(each.name for each in out.iterdir()) == [
        "comparison.json", "experiments.csv", "index.html", "metrics.csv", "report.md",
    ]  # fmt: skip
    lines = (out / "experiments.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 4 + 3
    assert lines[1].startswith("ablate,toggle,scenario-d,D,,tcp_throughput,Gbit/s,higher,11,")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1].endswith("index.html")
    assert f"python -m bench report {folder}" in (out / "index.html").read_text()


def test_an_explanation_among_the_sources_is_the_pages_why(folder: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "explain.json", tmp_path / "report"
    file.write_text(to_json(explanation()))
    assert main(["report", str(folder), str(file), "--out", str(out)]) == 0
    page = (out / "index.html").read_text()
    assert page.count('id="why"') == 1
    assert "One round trip takes 2.02 µs less on new than on old" in page


def refused(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    assert main([str(each) for each in arguments]) == code
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("bench:")]
    return line


def test_what_cannot_be_compared_is_told_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = folder / "scenario-a.json"
    apart = tmp_path / "apart.json"
    apart.write_text(scenario_results("scenario-e", 5, shared=False).to_json())
    experiment = folder / "experiments" / "scale.json"
    assert "two scenarios or more" in refused(capsys, 2, "compare", alone)
    assert "no scenario has the metrics typo" in refused(
        capsys, 2, "compare", folder, "--metrics", "typo"
    )
    assert "common rounds" in refused(capsys, 2, "compare", alone, apart, "--interleaved")
    assert "no scenario among the sources" in refused(capsys, 5, "report", experiment)
    assert "no-such.json" in refused(capsys, 5, "report", tmp_path / "no-such.json")
    assert "--out: " in refused(capsys, 2, "compare", folder, "--format", "csv", "--out", tmp_path)
    assert "--out: " in refused(capsys, 2, "report", folder, "--out", apart)


def test_without_a_source_the_folder_of_a_matrix_is_reported(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no folder matrix here" in refused(capsys, 5, "report")
    (tmp_path / "matrix").symlink_to(folder)
    monkeypatch.setattr("report.page.context", lambda *_, **__: {"sections": (), "summary": None})
    monkeypatch.setattr("report.page.spoken", lambda _: ())
    monkeypatch.setattr("report.page.html", lambda _: "page")
    monkeypatch.setattr("report.page.markdown", lambda _: "text")
    assert main(["report"]) == 0
    assert (tmp_path / "report" / "index.html").read_text() == "page"


def test_common_rounds_may_be_demanded_where_there_are_any(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(folder), "--interleaved", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["interleaved"]
