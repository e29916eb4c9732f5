"""The first screen: every number of it is traced to its row in the data beside the page.

Nothing of the report's own code makes the expected numbers: they are computed here, from
``metrics.csv``, ``comparison.json`` and the dated price.
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pytest

from bench.metrics import PRIMARY
from cli.main import main
from components.eks.preflight.facts import FACTS
from tests.report.samples import write_folder

NUMBER = r"[−+-]?\$?\d[\d,]*(?:\.\d+)?"
BASE = "scenario-a"


@dataclass
class Screen:
    """The first screen's parts, and the data beside it."""

    html: str
    rows: dict[tuple[str, str], dict[str, str]]
    tests: int

    def value(self, metric: str, scenario: str, column: str) -> float:
        return float(self.rows[metric, scenario][column])

    def absolute(self, metric: str, scenario: str, column: str = "effect") -> float:
        """An effect in the metric's unit, at the baseline's median."""
        share = self.value(metric, scenario, column) / 100
        return share * self.value(metric, BASE, "median")

    @property
    def others(self) -> list[str]:
        return [name for metric, name in self.rows if metric == "http_p50" and name != BASE]


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Screen:
    folder = tmp_path_factory.mktemp("first")
    data = write_folder(folder / "data")
    assert main(["report", str(data), "--out", str(folder / "out")]) == 0
    with (folder / "out" / "metrics.csv").open() as file:
        rows = {(row["metric"], row["scenario"]): row for row in csv.DictReader(file)}
    first = json.loads((folder / "out" / "comparison.json").read_text())["comparisons"][0]
    page = (folder / "out" / "index.html").read_text()
    section = page.split('<section id="first">')[1].split("</section>")[0]
    return Screen(section, rows, first["primary"])


def text(html: str) -> str:
    """What a reader sees of it, figures left out."""
    html = re.sub(r"<svg.*?</svg>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def shows(told: str, value: float) -> bool:
    """Whether a number as it is told is this value, rounded to the digits told."""
    plain = told.replace(",", "").replace("$", "").replace("−", "-")
    decimals = len(plain.partition(".")[2])
    return bool(abs(float(plain) - value) <= 0.5 * 10**-decimals + 1e-9)


def check_range(told: str, values: list[float]) -> None:
    """``12 to 17`` are the smallest and the largest, a single number all of them."""
    low, _, high = told.partition(" to ")
    sizes = sorted(map(abs, values))
    assert shows(low, sizes[0]), (told, sizes)
    assert shows(high or low, sizes[-1]), (told, sizes)


RANGE = rf"{NUMBER}(?: to {NUMBER})?"


def meant(screen: Screen, words: str) -> list[str]:
    """The scenarios of ``the other two`` are those that the sentence calls so."""
    (sentence,) = re.findall(r"<h1>(.*?)</h1>", screen.html)
    others = re.search(r"the other \w+ \(([^)]*)\)", text(sentence))
    return re.findall(r"scenario-[b-z]", words if "scenario-" in words or not others else others[1])


def test_the_sentence_says_what_the_verdicts_say(screen: Screen) -> None:
    (sentence,) = re.findall(r"<h1>(.*?)</h1>", screen.html)
    assert sentence.startswith("In the lab, ")
    said: list[str] = []
    for clause in text(sentence).rstrip(".").split("; "):
        subject = re.split(r" (?:answers?|takes?) ", clause)[0]
        names = re.findall(r"scenario-[b-z]", subject)
        said += names
        for pattern, metric, verdict in (
            (rf"a request in ({RANGE}) % less time", "http_p50", "better"),
            (rf"takes? ({RANGE}) % longer", "http_p50", "worse"),
            (rf"moves? ({RANGE}) % more data", "tcp_throughput", "better"),
            (rf"moves? ({RANGE}) % less data", "tcp_throughput", "worse"),
        ):
            found = re.findall(pattern, clause)
            verdicts = {screen.rows[metric, name]["verdict"] for name in names}
            assert bool(found) == (verdicts == {verdict}), (clause, metric, verdicts)
            for told in found:
                check_range(told, [screen.value(metric, name, "effect") for name in names])
            clause = re.sub(pattern, "", clause)
        assert not re.search(r"\d", clause), clause
    assert sorted(said) == screen.others


def test_its_absolute_figures_and_the_cpu_time_are_in_the_data(screen: Screen) -> None:
    absolute = text(screen.html.split("</h1>")[1].split("</p>")[0])
    for line, metric, unit in zip(
        re.split(r"(?<=\.) (?=A )", absolute),
        ("http_p50", "tcp_throughput"),
        ("µs", "Gbit/s"),
        strict=True,
    ):
        usual, parts = line.rstrip(".").split(f" {unit} in {BASE}: ")
        assert shows(usual.split()[-1], screen.value(metric, BASE, "median"))
        for part in parts.split(", "):
            match = re.fullmatch(rf"({RANGE}) {unit} (more|less) in (.*)", part)
            assert match, part
            names = meant(screen, match[3])
            assert names, part
            effects = [screen.absolute(metric, name) for name in names]
            check_range(match[1], effects)
            assert {effect > 0 for effect in effects} == {match[2] == "more"}
    carried = text(screen.html.split('<p class="lab">')[1].split("</p>")[0])
    cpu = carried.partition("CPU time of a request: ")[2]
    assert cpu
    for share, more, names in re.findall(
        rf"({RANGE}) % \(({RANGE}) µs\) (?:more|less) in ([^,]*)", cpu
    ):
        meant_by = meant(screen, names)
        check_range(share, [screen.value("cpu_per_request", name, "effect") for name in meant_by])
        check_range(more, [screen.absolute("cpu_per_request", name) for name in meant_by])


@pytest.mark.parametrize("metric", PRIMARY)
def test_every_row_of_the_figure_is_its_row_in_the_data(screen: Screen, metric: str) -> None:
    panel = screen.html.split(f'href="#m-{metric}"')[1].split("</svg>")[0]
    usual = re.search(rf'"about">({NUMBER}) (.*?) in {BASE};', panel)
    assert usual
    assert shows(usual[1], screen.value(metric, BASE, "median"))
    assert usual[2] == screen.rows[metric, BASE]["unit"]
    (spoken,) = re.findall(r'aria-label="(.*?)"', panel)
    rows = spoken.partition(": ")[2].split("; ")
    told = [unescape(each) for each in re.findall(r">([−+]?[\d.,]+ %, .*?)</text>", panel)]
    assert len(rows) == len(told) == len(screen.others)
    for name, row, short in zip(screen.others, rows, reversed(told), strict=True):
        match = re.fullmatch(
            rf"{name} ({NUMBER}) % \(({NUMBER}) to ({NUMBER})\), ({NUMBER}) (.*?), (.*)", row
        )
        assert match, row
        columns = ("effect", "effect_low", "effect_high")
        for shown, column in zip(match.groups()[:3], columns, strict=True):
            assert shows(shown, screen.value(metric, name, column))
        assert shows(match[4], screen.absolute(metric, name))
        assert match[6] == screen.rows[metric, name]["verdict"]
        percent, absolute = short.split(" %, ")
        assert shows(percent, screen.value(metric, name, "effect"))
        assert shows(absolute.split()[0], screen.absolute(metric, name))


def test_money_is_cpu_time_at_the_instances_price(screen: Screen) -> None:
    section = screen.html.split('<h2 id="cost">')[1]
    price = FACTS.prices.node_hour["m6i.xlarge"]
    assert f"m6i.xlarge costs ${price} an hour for 4 vCPUs" in text(section)
    assert f"a table of {FACTS.prices.date:%Y-%m-%d} (the price list was not read" in section
    second = price / 4 / 3600
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', section, re.DOTALL)
    assert [name for name, _ in rows] == [BASE, *screen.others]
    for name, cells in rows:
        seconds, million, month, _ = map(text, re.findall(r"<td.*?</td>", cells, re.DOTALL))
        told = re.findall(NUMBER, seconds)
        if name == BASE:
            values = [screen.value("cpu_per_request", BASE, c) for c in ("median", "low", "high")]
        else:
            columns = ("effect", "effect_low", "effect_high")
            values = [screen.absolute("cpu_per_request", name, c) for c in columns]
            values += [screen.value("cpu_per_request", name, column) for column in columns]
        assert len(told) == len(values)
        assert all(map(shows, told, values)), (told, values)
        assert shows(million, values[0] * second)
        # 10,000 a second for 730 hours.
        assert shows(month, values[0] * second * 0.01 * 730 * 3600)


def test_no_other_number_is_on_it(screen: Screen) -> None:
    left = screen.html
    for traced in (
        r"<h1>.*?</h1>\s*<p>.*?</p>",
        r"CPU time of a request:.*?</p>",
        rf'<div class="about">{NUMBER} .*?</div>',
        r'<h2 id="cost">.*',
        # The workloads' own words.
        r'<th scope="row">.*?</th>',
    ):
        left, count = re.subn(traced, " ", left, flags=re.DOTALL)
        assert count, traced
    left = text(left)
    assert f"corrected for {screen.tests} tests" in left
    assert screen.tests == 10 * len(PRIMARY)
    left = left.replace(f"for {screen.tests} tests", "")
    # Eight rounds of ranks allow no interval of exactly 95 %.
    assert re.findall(r"[\d,.]*\d", left) == ["95", "96"]


def test_the_terminal_says_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], screen: Screen
) -> None:
    data = write_folder(tmp_path / "data")
    assert main(["report", str(data), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err.splitlines()
    (sentence,) = re.findall(r"<h1>(.*?)</h1>", screen.html)
    assert unescape(sentence) in said
    assert said[-1] == f"report: {tmp_path / 'out' / 'index.html'}"
