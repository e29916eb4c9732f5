"""The page and the Markdown: complete, whole in one file, honest at the number."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

from bench.metrics import PRIMARY
from report import page
from report.published import letter_of, quantities, study
from report.sentence import NO_VERDICT
from report.sidebyside import side_by_side
from report.sources import Collection, MeasuredScenario, load
from studies.census.model import ServiceShape
from studies.census.twin import Twin
from studies.matrix.state import MatrixRecord
from tests.report.samples import one_toggle_at_a_time, scenario_results, write_folder


def made(found: Collection, *metrics: str) -> dict[str, Any]:
    side = side_by_side(found.scenarios, metrics=metrics or None)
    return page.context(found, side, "python -m bench report x", lambda line: None)


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = write_folder(tmp_path_factory.mktemp("page") / "data")
    return made(load([str(folder)]))


@pytest.fixture(scope="module")
def text(values: dict[str, Any]) -> str:
    return page.html(values)


class Outline(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.anchors: list[str] = []
        self.unlabelled = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags[tag] += 1
        self.ids += [found["id"]] if "id" in found else []
        self.unlabelled += tag == "svg" and not found.get("aria-label")
        for name in ("src", "href", "xlink:href", "data"):
            where = found.get(name, "")
            if where.startswith("#"):
                self.anchors.append(where[1:])
            elif where and not (tag == "a" and where.startswith("https://")):
                self.loaded.append(where)


def test_the_page_is_whole_and_every_reference_leads_somewhere(text: str) -> None:
    outline = Outline(text)
    assert outline.loaded == []
    assert not re.search(r"@import|url\((?!#)", text)
    assert outline.tags["script"] == 0
    assert [each for each, count in Counter(outline.ids).items() if count > 1] == []
    assert set(outline.anchors) <= set(outline.ids)
    assert outline.tags["h1"] == outline.tags["main"] == 1
    assert outline.unlabelled == 0


def test_every_metric_and_every_experiment_is_drawn(values: dict[str, Any], text: str) -> None:
    figures = sum(len(section.figures) for section in values["sections"])
    assert figures == 2
    assert Outline(text).tags["svg"] == len(PRIMARY) + len(values["rows"]) + figures
    assert all(f'id="m-{row.name}"' in text for row in values["rows"])


def test_figures_have_no_colour_that_the_dark_would_swallow(text: str) -> None:
    dark = text.split("prefers-color-scheme: dark")[1].split("body {")[0]
    figures = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", figures)) == set()
    used = set(re.findall(r"var\((--\w+)", figures))
    assert {"--ink", "--c1", "--c5"} <= used
    assert all(f"{name}: " in dark for name in used)


def test_what_others_wrote_is_escaped(text: str) -> None:
    for written in ("no such <stack>", "<only>", "<other> things", "<busy>"):
        assert written not in text
        assert written.replace("<", "&lt;").replace(">", "&gt;") in text


def test_the_first_screen_says_on_what_and_what_is_wrong_with_it(text: str) -> None:
    first = text.split("</section>")[0]
    for said in ("lab&#39;s numbers", "scenario-f failed", "quiet-machine</a> (all)"):
        assert said in first
    sure = text.split('<h2 id="details">')[1].split("</dl>")[0]
    for said in ("Measured in common interleaved rounds", "60 tests", "8 rounds"):
        assert said in sure


def test_a_part_that_tells_why_stands_before_the_details() -> None:
    both = _both()
    side = side_by_side(both.scenarios, metrics=["rtt_p50"])
    plain = page.context(both, side, "x", lambda line: None)
    told = page.context(both, side, "x", lambda line: None, why=Markup("<p>copies</p>"))
    assert 'id="why"' not in page.html(plain)
    shown = page.html(told)
    assert 0 < shown.index("<p>copies</p>") < shown.index('id="details"')


def test_limits_and_the_lab_are_told_at_the_number(text: str) -> None:
    row = text.split('href="#m-http_5000_p99"')[1].split("</tr>")[0]
    assert row.count("limit: server") == 5
    assert "ours (lab)" in text


def test_numbers_of_a_cluster_are_not_called_the_labs() -> None:
    real = scenario_results("scenario-a")
    environment = real.environment.with_facts(target="eks: own", shared_machine=False)
    cluster = real.model_copy(update={"environment": environment})
    text = page.html(made(Collection((MeasuredScenario("scenario-a", cluster),)), "rtt_p50"))
    assert "(lab)" not in text
    assert "lab&#39;s numbers" not in text


def test_too_few_runs_have_no_verdict_anywhere() -> None:
    few = Collection(
        tuple(
            MeasuredScenario(name, scenario_results(name, 3))
            for name in ("scenario-a", "scenario-e")
        )
    )
    text = page.html(made(few, "rtt_p50", "http_1000_p99", "tcp_throughput", "cni_cpu"))
    assert f"<h1>{NO_VERDICT}</h1>" in text
    assert 'class="verdict better"' not in text
    assert 'class="verdict worse"' not in text
    assert "… too few runs" in text


def _both() -> Collection:
    names = ("scenario-a", "scenario-e")
    return Collection(tuple(MeasuredScenario(name, scenario_results(name)) for name in names))


def test_markdown_has_the_same_numbers(values: dict[str, Any], text: str) -> None:
    told = page.markdown(values)
    cell = values["rows"][0].cells[1]
    assert cell.against.effect_text() in told
    assert cell.against.effect_text() in text
    assert values["summary"].sentence.text in told
    for line in told.splitlines():
        if line.startswith("| rtt_p50 |"):
            assert line.count(" | ") == 6
    tables = re.findall(r"(?:^\|.*\n)+", told, re.MULTILINE)
    assert len(tables) > 8
    for table in tables:
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(columns) == 1, table


def test_the_same_data_make_the_same_page(values: dict[str, Any], text: str) -> None:
    assert page.html(values) == text


def test_subjects_of_one_experiment_in_several_files_are_drawn_together() -> None:
    first = one_toggle_at_a_time()
    other = first.model_copy(
        update={"series": [first.series[0].model_copy(update={"subject": "scenario-e"})]}
    )
    baseline = MeasuredScenario("scenario-a", scenario_results("scenario-a", 3))
    found = made(Collection((baseline,), (first, other)), "rtt_p50")["sections"]
    assert [(len(each.runs), len(each.figures)) for each in found] == [(2, 1)]
    assert "scenario-e: D + bbr" in found[0].figures[0].svg
    assert "scenario-d: D + hubbleOff +9." in found[0].figures[0].svg


def test_names_without_a_comparison_are_drawn_as_measured() -> None:
    first = one_toggle_at_a_time()
    bare = first.model_copy(
        update={"series": [first.series[0].model_copy(update={"comparisons": []})]}
    )
    baseline = MeasuredScenario("scenario-a", scenario_results("scenario-a", 3))
    (section,) = made(Collection((baseline,), (bare,)), "rtt_p50")["sections"]
    assert "tcp_throughput: D 1" in section.figures[0].svg


def test_published_goodput_is_the_rate_less_the_loss() -> None:
    udp = next(each for each in quantities() if each.ours == "udp_goodput")
    assert udp.published["a"] == 10.0
    assert {letter: round(value, 2) for letter, value in udp.corrected.items()} == {
        "a": 7.96, "b": 7.85, "c": 7.87, "d": 7.96, "e": 7.96,
    }  # fmt: skip


def test_published_readings_say_what_the_figures_say() -> None:
    http = study().scenarios
    change = 100 * (http["e"].http_1000.p99_ms / http["a"].http_1000.p99_ms - 1)
    assert f"{change:.1f}" == "-9.4"
    tcp = [each.tcp_gbps for each in http.values()]
    assert round(100 * (max(tcp) / min(tcp) - 1), 1) == 0.6
    reached = [each.http_5000.qps for each in http.values()]
    assert (round(min(reached)), round(max(reached))) == (3986, 4071)
    full = [each.http_max.qps for each in http.values()]
    assert (round(min(full)), round(max(full))) == (4019, 4182)


def test_stacks_of_the_study_are_known_by_their_names() -> None:
    assert [letter_of(name) for name in ("scenario-a", "scenario-z", "mine", "a")] == [
        "a", None, None, None,
    ]  # fmt: skip


def test_templates_are_all_used() -> None:
    folder = Path(page.__file__).parent
    used = "".join(each.read_text() for each in (*folder.glob("*.j2"), folder / "page.py"))
    assert all(each.name in used for each in folder.glob("*.j2"))


# -- scenarios in the shape of a census -----------------------------------------------------------

TWIN = Twin(
    services=(ServiceShape(type="ClusterIP", headless=False, ports=1, endpoints=3, count=2_000),),
    policies=(),
    changes_per_minute=30,
    changing=10,
    replaces=False,
    scaled=("2,000 of 9,000 Services.",),
)


def _shape(*twins: Twin | None) -> tuple[str, ...]:
    scenarios = (MeasuredScenario("a", scenario_results("scenario-a")),)
    found = Collection(scenarios, matrices=tuple(MatrixRecord(twin=twin) for twin in twins))
    return page.summary(found, side_by_side(scenarios), ()).shape


def test_the_first_lines_name_the_shape_and_what_it_depends_on(values: dict[str, Any]) -> None:
    shape = _shape(TWIN)
    assert shape[0] == (
        "This answers for a cluster of 2,000 Services (endpoints 3 each; ports 1 each), 0 policies "
        "and 30 changes of endpoints a minute."
    )
    assert shape[1] == "2,000 of 9,000 Services."
    assert "more Services, policies and changes" in shape[-1]
    told = {**values, "summary": replace(values["summary"], shape=shape)}
    assert page.markdown(told).splitlines()[2] == f"**{shape[0]}** {' '.join(shape[1:])}"
    assert shape[0] in page.html(told).partition("</h1>")[2][:300]
    assert list(page.spoken(told["summary"]))[1] == shape[0]


def test_without_a_census_no_shape_is_named(values: dict[str, Any]) -> None:
    assert _shape() == _shape(None) == values["summary"].shape == ()
    assert "This answers for" not in page.markdown(values)


def test_scenarios_of_different_shapes_are_told_apart() -> None:
    (told,) = _shape(TWIN, None)
    assert "clusters of different shapes" in told
