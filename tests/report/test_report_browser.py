"""The page in a real browser: drawn, quiet, readable on a phone, in the dark, with a keyboard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.main import main
from tests.report.browser import Page, page
from tests.report.samples import write_folder

SIZES = {"desktop": (1280, 900), "phone": (360, 740)}

# What sticks out to the right of the window, less what lies in something that scrolls by itself.
_STICKING_OUT = """[...document.querySelectorAll('main *')].filter(each =>
    each.getBoundingClientRect().right > document.documentElement.clientWidth + 1
    && !each.parentElement.closest('.scroll')).slice(0, 5).map(each => each.outerHTML)"""
_DRAWN = """[...document.querySelectorAll('.plots svg')].map(each => {
    const box = each.getBoundingClientRect();
    return [box.width, box.height, each.querySelectorAll('use').length,
            each.querySelectorAll('text').length]; })"""
_SHUT_ALL = "document.querySelectorAll('details').forEach(each => { each.open = false; })"
_OPEN_ALL = "document.querySelectorAll('details').forEach(each => { each.open = true; })"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("browser")
    data = write_folder(folder / "data")
    assert main(["report", str(data), "--out", str(folder / "report")]) == 0
    return (folder / "report" / "index.html").as_uri()


@pytest.fixture(scope="module")
def opened(report: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with page(tmp_path_factory.mktemp("chromium")) as found:
        found.resize(*SIZES["desktop"])
        found.open(report)
        yield found


def test_nothing_is_asked_of_a_network_and_nothing_complained_of(opened: Page, report: str) -> None:
    assert opened.requests == [report]
    assert opened.complaints == []


@pytest.mark.parametrize("size", SIZES)
def test_every_figure_is_drawn_and_nothing_sticks_out(opened: Page, size: str) -> None:
    opened.resize(*SIZES[size])
    opened.evaluate(_OPEN_ALL)
    figures = opened.evaluate(_DRAWN)
    assert len(figures) > 50
    for width, height, marks, texts in figures:
        assert min(width, height) > 60
        assert marks > 6
        assert texts > 5
    assert opened.evaluate(_STICKING_OUT) == []
    assert opened.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


def test_the_first_screen_has_the_figure_and_all_else_is_folded(opened: Page) -> None:
    opened.evaluate(_SHUT_ALL)
    columns = (
        "new Set([...document.querySelectorAll('.panels > div')].map(each => each.offsetLeft))"
    )
    for size, side_by_side in (("desktop", 3), ("phone", 1)):
        opened.resize(*SIZES[size])
        assert opened.evaluate(f"{columns}.size") == side_by_side
    opened.resize(*SIZES["desktop"])
    top = opened.evaluate("document.getElementById('effects').offsetTop")
    assert top < SIZES["desktop"][1] * 2 / 3
    # Four screens instead of hundreds.
    assert opened.evaluate("document.documentElement.scrollHeight") < 4_000


def test_figures_and_text_turn_light_in_the_dark(opened: Page) -> None:
    def lightness(of: str, what: str) -> float:
        colour = opened.evaluate(f"getComputedStyle(document.querySelector('{of}')).{what}")
        return sum(map(float, colour.removeprefix("rgb(").rstrip(")").split(","))) / 765

    for scheme, dark in (("light", False), ("dark", True)):
        opened.media(scheme=scheme)
        assert (lightness("body", "backgroundColor") < 0.3) == dark
        assert (lightness("body", "color") > 0.7) == dark
        assert (lightness(".plots svg text", "fill") > 0.7) == dark
    opened.media()


def test_the_keyboard_comes_to_the_content_first(opened: Page) -> None:
    opened.evaluate("document.activeElement.blur()")
    opened.press("Tab")
    assert opened.evaluate("document.activeElement.className") == "skip"
    assert opened.evaluate("document.activeElement.getBoundingClientRect().left >= 0")


def test_on_paper_everything_is_unfolded(opened: Page) -> None:
    opened.evaluate(_SHUT_ALL)
    shut = "[...document.querySelectorAll('details pre')].every(each => each.checkVisibility())"
    assert not opened.evaluate(shut)
    opened.media("print")
    assert opened.evaluate(shut)
    opened.media()


def test_a_link_opens_the_folded_part_that_it_leads_to(opened: Page) -> None:
    opened.evaluate(_SHUT_ALL)
    shown = "document.getElementById('m-rtt_p50').checkVisibility()"
    assert not opened.evaluate(shown)
    opened.evaluate("""document.querySelector('a[href="#m-rtt_p50"]').click()""")
    assert opened.evaluate(shown)


@pytest.mark.skipif("PICTURES" not in os.environ, reason="PICTURES names a folder to look at")
def test_pictures_to_look_at(opened: Page) -> None:
    folder = Path(os.environ["PICTURES"])
    folder.mkdir(parents=True, exist_ok=True)
    opened.evaluate(_OPEN_ALL)
    for size, (width, height) in SIZES.items():
        for scheme in ("light", "dark"):
            opened.resize(width, height)
            opened.media(scheme=scheme)
            for place in ("main", "scenarios", "metrics", "experiments", "published", "policies"):
                opened.evaluate(f"document.getElementById('{place}').scrollIntoView()")
                opened.picture(folder / f"{size}-{scheme}-{place}.png")
