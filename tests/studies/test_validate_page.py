"""The validation's page and data, from a report made by the checks' own judgements."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from bench.metrics import PRIMARY
from bench.results import CheckResult
from report.validation import render
from studies.validate.delays import path_of
from studies.validate.model import Agreement, Report
from studies.validate.parity import judge_parity
from studies.validate.testbed import LossCount
from studies.validate.truth import deviation, judge_loss
from studies.validate.verdicts import judge
from tests.studies.test_validate_faults import columns
from tests.studies.test_validate_verdicts import bring_ups


@pytest.fixture(scope="module")
def report() -> Report:
    """A report of every part, with one check that fails."""
    found = [
        deviation("a rate", 1.0, [0.99, 1.0, 1.01], "Gbit/s", 3.0, "because"),
        deviation("a delay <b>", 10.0, [12.0], "µs", 2.0, "because"),
        *judge_loss(0.01, LossCount(20_000, 200, 0), [1.0, 1.0]),
    ]
    parity, delay = judge_parity(path_of("rtt_p50"), columns(5.2, 5.0, 0.2))
    judged = judge(bring_ups())
    return Report(
        started="2026-01-02T03:04:05+00:00",
        seconds=1_080.0,
        environment={"kernel": "6.1.0", "cpus": 2, "adaptations": ["nothing <is> real"]},
        tools={"iperf3": "3.12", "fortio": "1.65.0"},
        preconditions=[
            CheckResult(name="placement", passed=True, evidence="apart"),
            CheckResult(name="quiet-machine", passed=False, evidence="30 % busy", allowed=True),
        ],
        checks=[*judged.checks, parity, *(check for check, _ in found)],
        bring_ups=5,
        deviations=[data for _, data in found],
        delays=[delay],
        p_values=judged.p_values,
        equalities=judged.equalities,
        sensitivities=judged.sensitivities,
        agreements=[Agreement(metric="m", ours=(1, 2), theirs=(1, 2), our_p=0.1, their_p=0.1)],
    )


def test_the_data_survive_json(report: Report) -> None:
    assert Report.model_validate_json(report.to_json()) == report
    assert [check.name for check in report.failed] == ["a delay <b>"]


class Outline(HTMLParser):
    """Headings, cells and everything that a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.loaded: list[str] = []
        self.svgs = 0
        self._in_heading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.svgs += tag == "svg"
        self._in_heading = tag == "h2"
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and value and not value.startswith("#"):
                self.loaded.append(value)

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.headings.append(data)
            self._in_heading = False


def test_the_page_has_every_check_and_loads_nothing(report: Report) -> None:
    page = render(report)
    outline = Outline()
    outline.feed(page)
    assert outline.headings == [
        "A/A", "Sensitivity", "Turns", "Parity", "Known truth", "What was measured on",
    ]  # fmt: skip
    assert outline.svgs == 6
    assert outline.loaded == []
    assert "@import" not in page
    for check in report.checks:
        assert check.name.replace("<b>", "&lt;b&gt;") in page
    assert f"1 of {len(report.checks)} checks failed" in page
    assert page.count(">FAIL<") == 1
    assert "nothing &lt;is&gt; real" in page
    assert "<li>quiet-machine: 30 % busy</li>" in page
    assert "<li>placement" not in page


def test_the_page_tells_the_spread_of_every_pair_and_metric(report: Report) -> None:
    page = render(report)
    for name in PRIMARY:
        assert page.count(f'<td class="name">{name}</td>') == 3
    assert "spread within bring-ups" in page
    for each in report.equalities:
        assert f"±{each.between:.2f} %" in page


def test_what_figures_refer_to_is_in_the_page_once(report: Report) -> None:
    page = render(report)
    referred = set(re.findall(r'(?:url\(|href=")#([^")]+)', page))
    assert len(referred) > 5
    for each in referred:
        assert page.count(f' id="{each}"') == 1, each


def test_figures_follow_the_page_into_the_dark(report: Report) -> None:
    page = render(report)
    dark = page.split("prefers-color-scheme: dark")[1].split("body {")[0]
    figures = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    used = set(re.findall(r"var\((--\w+)", figures))
    assert used == {"--c1", "--c5", "--muted", "--band", "--ink"}
    assert all(f"{name}: " in dark for name in used)
    left = set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"var\([^)]*\)", "", figures)))
    assert left <= {"#ffffff"}, "no colour of its own that the dark would swallow"


def test_the_page_is_the_same_every_time(report: Report) -> None:
    assert render(report) == render(report)


def test_parts_that_were_not_reached_are_left_out(report: Report) -> None:
    few = report.model_copy(
        update={"sensitivities": [], "equalities": [], "delays": [], "deviations": []}
    )
    outline = Outline()
    outline.feed(render(few))
    assert outline.svgs == 0
