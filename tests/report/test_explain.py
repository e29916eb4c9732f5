"""An explanation for people: sentences, tables, a page's part, flame graphs."""

from __future__ import annotations

from io import StringIO
from xml.etree import ElementTree

import pytest
from rich.console import Console

from report.explain import html, interval, markdown, rendered, rows, sentence, sentences, signed
from report.flame import colour, flame_graph, layout
from studies.explain.finding import Explanation, Interval, Operation
from studies.explain.way import CLIENT, SERVER, Followed, Step, Way
from tests.studies.test_explain import BASE, SIDE, explanation, profile_of

NEW: dict[tuple[str, ...], float] = {
    ("node-1", "send", "rules"): 1.0,
    ("node-1", "send", "copy"): 2.0,
}
OLD: dict[tuple[str, ...], float] = {("node-1", "send", "rules"): 3.0, ("node-1", "receive"): 1.0}


def test_a_sentence_says_what_differs_and_where_it_lies() -> None:
    assert sentences(explanation()) == [
        "One round trip takes 2.02 µs less on new than on old (3.03 µs of CPU time against 5.05): "
        "−2.00 netfilter rules."
    ]


def test_parts_may_differ_where_nothing_shows_that_the_whole_does() -> None:
    (operation,) = explanation().operations
    difference = operation.differences["new"]
    unsure = difference.model_copy(update={"whole": Interval(value=0.1, low=-1.0, high=1.2)})
    assert sentence(
        operation.model_copy(update={"differences": {"new": unsure}}), "new", "old"
    ) == (
        "No evidence that one round trip takes more or less on new than on old (3.03 µs of CPU "
        "time against 5.05); its parts differ: −2.00 netfilter rules."
    )


def test_differences_are_signed_and_have_their_bounds() -> None:
    assert signed(-0.3149) == "−0.31"
    assert interval(Interval(value=1.25, low=-0.5, high=3.0)) == "+1.25 (−0.50 to +3.00)"


def test_the_table_ends_with_the_sum_and_the_clocks() -> None:
    (operation,) = explanation().operations
    table = {first: cells for first, *cells in rows(operation)}
    assert table["netfilter rules"][:2] == ["3.00", "1.00"]
    assert table["netfilter rules"][-1] == "function 3.00 / 1.00"
    assert table["all parts"][:2] == ["5.00", "3.00"]
    assert table["the tasks' own clocks"][:2] == ["5.05", "3.03"]
    assert table["parts against clocks"][:2] == ["-1.0 %", "-1.0 %"]


def test_a_part_that_only_one_of_several_sides_has_makes_no_difference_to_the_others() -> None:
    tunnelled = profile_of(**SIDE, tunnel=[1.0, 1.1, 0.9, 1.0])
    sides = {"old": profile_of(**BASE), "new": profile_of(**SIDE), "far": tunnelled}
    operation = Operation.of("roundtrip", "round trip", "old", [sides])
    table = {first: cells for first, *cells in rows(operation)}
    assert table["tunnel"][:4] == ["0.00", "0.00", "1.00", "0.00"]
    assert table["tunnel"][4].startswith("+1.00 (")
    whole = explanation().model_copy(update={"operations": [operation]})
    assert "tunnel" in html(whole)


def test_markdown_has_the_sentences_and_a_table_with_links_to_the_graphs() -> None:
    text = markdown(explanation(), {"roundtrip": ["roundtrip-new.svg"]})
    assert text.startswith("- One round trip takes 2.02 µs less")
    assert (
        "| netfilter rules | 3.00 | 1.00 | −2.00 (−2.00 to −2.00) | function 3.00 / 1.00 |" in text
    )
    assert "[flame graph](roundtrip-new.svg)" in text
    assert "another bring-up may differ by more" in text


def test_the_pages_part_is_whole_and_draws_every_difference() -> None:
    part = ElementTree.fromstring(f"<main>{html(explanation())}</main>".replace(" open", ""))
    assert [each.tag.rpartition("}")[2] for each in part.iter() if "svg" in each.tag]
    text = "".join(part.itertext())
    assert "One round trip takes 2.02 µs less" in text
    assert "the tasks' own clocks" in text


def _followed() -> Explanation:
    steps = [
        Step(place=CLIENT, kind="device", what="ens5", note="in"),
        Step(place=CLIENT, kind="hook", what="FORWARD", note="filter: 1,002 rules", rules=1_002),
        Step(place=SERVER, kind="program", what="from_<device>"),
    ]
    ways = {"old": Way(packets=40, share=0.9, steps=steps)}
    return explanation().model_copy(update={"ways": [Followed(packet="data", sides=ways)]})


def test_the_page_draws_a_packets_way_place_by_place() -> None:
    part = ElementTree.fromstring(f"<main>{html(_followed())}</main>".replace(" open", ""))
    assert "The way of data" in [each.text for each in part.iter("h3")]
    places = [each for each in part.iter("section") if each.find("h4") is not None]
    assert [each.findtext("h4") for each in places] == [CLIENT, SERVER]
    assert [(each.get("class"), each.text) for each in places[0].iter("li")] == [
        ("device", "in at ens5"),
        ("hook", "FORWARD, filter: 1,002 rules"),
    ]
    assert places[1].findtext("ol/li") == "BPF: from_<device>"


def test_text_and_markdown_tell_a_packets_way_in_order() -> None:
    console = Console(width=200, record=True, file=StringIO())
    console.print(rendered(_followed()))
    said = console.export_text()
    line = f"{CLIENT}: in at ens5 → FORWARD, filter: 1,002 rules"
    assert line in said
    text = markdown(_followed(), {})
    assert f"- old\n  1. {line}\n  1. {SERVER}: BPF: from_<device>\n" in text
    assert "- old: 1 device, 1 BPF program, 1,002 rules (90 % of 40 packets)." in text


# -- flame graphs ---------------------------------------------------------------------------------


def test_boxes_are_as_wide_as_the_time_in_them_and_below_what_they_call() -> None:
    boxes = {box.name: box for box in layout(NEW, OLD)}
    assert set(boxes) == {"all", "node-1", "send", "rules", "copy"}  # receive takes no time here
    assert (boxes["all"].width, boxes["all"].base) == (3.0, 4.0)
    assert (boxes["send"].row, boxes["send"].own, boxes["send"].base) == (2, 3.0, 3.0)
    assert (boxes["rules"].left, boxes["rules"].width, boxes["rules"].base) == (2.0, 1.0, 3.0)
    lower = {box.name: box.width for box in layout(NEW, OLD, of_base=True)}
    assert lower == {"all": 4.0, "node-1": 4.0, "send": 3.0, "rules": 3.0, "receive": 1.0}


@pytest.mark.parametrize(
    ("difference", "drawn"),
    [(5.0, "rgb(235,90,90)"), (-5.0, "rgb(90,90,235)"), (0.0, "rgb(235,235,235)")],
)
def test_more_is_red_and_less_is_blue(difference: float, drawn: str) -> None:
    assert colour(difference, 10.0) == drawn


def test_a_flame_graph_is_one_file_that_loads_nothing_and_tells_both_figures() -> None:
    drawn = flame_graph(NEW, OLD, names=("<new>", "old"), what="round trip")
    root = ElementTree.fromstring(drawn)
    titles = [each.text for each in root.iter() if each.tag.endswith("title")]
    assert "rules: <new> 1 µs, old 3 µs (-2.00)" in titles
    assert "receive: <new> 0 µs, old 1 µs (-1.00)" in titles
    assert "<script" not in drawn
    assert "href" not in drawn
    widths = [each.get("width", "") for each in root.iter() if each.tag.endswith("rect")]
    assert max(float(each) for each in widths if each.endswith(".0")) == 1_184
