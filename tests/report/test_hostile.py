"""Whatever names and tools' outputs hold, a page shows it as text: nothing of it becomes a tag."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench import results
from bench.results import ResultsError
from report import page
from report.sidebyside import side_by_side
from report.sources import load
from studies.experiments import model as experiments
from studies.experiments.model import ExperimentError
from tests.report.samples import write_folder

pytestmark = pytest.mark.filterwarnings("ignore:constrained_layout not applied")

EVIL = """<script>alert(1)</script><img src=x onerror=alert(1)>"'`&$x^$ | [a](javascript:b) {{7}}"""
STEM = "<img src=x onerror=alert(1)>&'$x^$"
"""Of a file, which a scenario is called by."""
STACKS = ("scenario-a", "scenario-e")


class Tags(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def leaves(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every text of a tree of JSON, as the container and the key in it."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, str):
            yield node, key
        elif isinstance(value, dict | list):
            yield from leaves(value)


def spoilt(data: dict[str, Any], read: Callable[[dict[str, Any]], object]) -> int:
    """Put the hostile text wherever a reader takes it; how many places that are."""
    taken = 0
    for container, key in list(leaves(data)):
        before = container[key]
        container[key] = EVIL
        try:
            read(data)
            taken += 1
        except (ResultsError, ExperimentError):
            container[key] = before
    return taken


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a matrix leaves, with the hostile text wherever a file may have one."""
    made = write_folder(tmp_path_factory.mktemp("hostile") / "data", stacks=STACKS)
    for file in made.glob("scenario-*.json"):
        data = json.loads(file.read_text())
        assert spoilt(data, results.from_dict) > 50
        file.write_text(json.dumps(data))
    for file in (made / "experiments").glob("*.json"):
        data = json.loads(file.read_text())
        assert spoilt(data, experiments.from_dict) > 10
        file.write_text(json.dumps(data))
    (made / "scenario-a.json").rename(made / f"{STEM}.json")
    record = json.loads((made / "matrix.json").read_text())
    record["failed"] = {"scenario-f": EVIL, EVIL: EVIL}
    record["toggles"] = {
        "scenario-e": [{**each, "reason": EVIL} for each in record["toggles"]["scenario-e"]]
    }
    (made / "matrix.json").write_text(json.dumps(record))
    return made


def test_a_page_of_hostile_names_and_outputs_has_its_own_tags_only(
    folder: Path, tmp_path: Path
) -> None:
    def made(of: Path) -> Tags:
        found = load([str(of)])
        side = side_by_side(found.scenarios, metrics=["rtt_p50", "http_1000_p99", "cni_cpu"])
        return Tags(page.html(page.context(found, side, EVIL, lambda line: None)))

    plain, hostile = made(write_folder(tmp_path / "plain", stacks=STACKS)), made(folder)
    assert hostile.names <= plain.names
    assert {name for name, _ in hostile.attributes} <= {name for name, _ in plain.attributes}
    assert not [value for _, value in hostile.attributes if value.startswith("javascript:")]
    assert EVIL in hostile.text
    assert "<img src=x" in hostile.text
