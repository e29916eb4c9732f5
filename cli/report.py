"""``python -m bench compare`` and ``report``: from what is stored, without measuring anything."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.common import NO_RESULTS, OK, USAGE, FatalError, names, progress
from report.export import FORMATS, as_csv
from report.show import print_results
from report.show_comparison import render
from report.sidebyside import SideBySide, side_by_side
from report.sources import Collection, SourceError, load

DEFAULT = "matrix"
PAGE, MARKDOWN, TABLE, RAW = "index.html", "report.md", "metrics.csv", "comparison.json"
EXPERIMENTS = "experiments.csv"

_SOURCES = (
    "a Pulumi stack, a result file (JSON), or a folder that a matrix wrote; the first scenario "
    "is the baseline"
)


def add_parsers(commands: argparse._SubParsersAction[Any]) -> None:
    """Add both commands."""
    compare = commands.add_parser(
        "compare", help="what differs between scenarios, and how sure that is"
    )
    compare.set_defaults(execute=_compare)
    compare.add_argument("sources", nargs="+", metavar="SOURCE", help=_SOURCES)
    compare.add_argument(
        "--metrics", type=names, metavar="M,M",
        help="only these, chosen before any was looked at: fewer metrics need fewer runs",
    )  # fmt: skip
    compare.add_argument(
        "--interleaved", action="store_true",
        help="refuse scenarios that were not measured in common rounds",
    )  # fmt: skip
    compare.add_argument(
        "--format", choices=("terminal", *FORMATS), default="terminal", help="terminal by default"
    )
    compare.add_argument("--out", metavar="FILE", help="write into a file instead")
    report = commands.add_parser("report", help="one page with all there is, for people")
    report.set_defaults(execute=_report)
    report.add_argument(
        "sources", nargs="*", default=[DEFAULT], metavar="SOURCE",
        help=f"{_SOURCES}; {DEFAULT} by default, where a matrix puts its results",
    )  # fmt: skip
    report.add_argument(
        "--out", default="report", metavar="FOLDER",
        help=f"for {PAGE}, {MARKDOWN}, {TABLE}, {RAW}; report by default",
    )  # fmt: skip


def _compare(options: argparse.Namespace) -> int:
    collection = _load(options.sources)
    if len(collection.scenarios) < 2:
        raise FatalError(
            USAGE, "compare: two scenarios or more are needed: name another stack, file or folder"
        )
    side = _side_by_side(collection, options.metrics)
    if options.interleaved and not side.interleaved:
        raise FatalError(
            USAGE, "--interleaved: not all were measured in common rounds: leave it out, or "
            "measure "
            "them by python -m bench matrix",
        )  # fmt: skip
    if options.format != "terminal":
        _put(FORMATS[options.format](side), options.out)
    elif options.out:
        with _writing(), Path(options.out).open("w", encoding="utf-8") as file:
            print_results(Console(file=file, width=120), render(side))
    else:
        print_results(Console(), render(side))
    return OK


def _report(options: argparse.Namespace) -> int:
    # Draws with matplotlib, which no other command needs.
    from report import page
    from report.experiments import page as experiments

    if options.sources == [DEFAULT] and not Path(DEFAULT).is_dir():
        raise FatalError(
            NO_RESULTS,
            f"report: there is no folder {DEFAULT} here: name stacks, result files or a folder, or "
            "make it by python -m bench matrix",
        )
    collection = _load(options.sources)
    if not collection.scenarios:
        raise FatalError(NO_RESULTS, "report: no scenario among the sources, only experiments")
    folder = Path(options.out)
    with _writing():  # drawing takes a while: refuse before it
        folder.mkdir(parents=True, exist_ok=True)
    side = _side_by_side(collection, None)
    command = shlex.join(["python", "-m", "bench", "report", *options.sources])
    values = page.context(collection, side, command, progress)
    files = {
        PAGE: page.html(values),
        MARKDOWN: page.markdown(values),
        TABLE: as_csv(side),
        RAW: FORMATS["json"](side),
    }
    if values["sections"]:
        files[EXPERIMENTS] = experiments.as_csv(values["sections"])
    with _writing():
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    progress(f"report: {folder / PAGE}")
    return OK


def _load(sources: Sequence[str]) -> Collection:
    try:
        return load(sources)
    except SourceError as error:
        raise FatalError(NO_RESULTS, str(error)) from None


def _side_by_side(collection: Collection, metrics: Sequence[str] | None) -> SideBySide:
    try:
        return side_by_side(collection.scenarios, metrics=metrics)
    except ValueError as error:
        raise FatalError(USAGE, f"--metrics: {error}") from None


def _put(text: str, out: str | None) -> None:
    if out is None:
        print(text, end="")
        return
    with _writing():
        Path(out).write_text(text, encoding="utf-8")


@contextmanager
def _writing() -> Iterator[None]:
    """Turns a refused write into one line."""
    try:
        yield
    except OSError as error:
        raise FatalError(USAGE, f"--out: {error}") from None
