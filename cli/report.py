"""``python -m bench compare``, ``report``, ``history`` and ``gate``: what is stored, and no more.

Nothing is measured: scenarios side by side, results over time, and a check against earlier ones.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from markupsafe import Markup
from rich.console import Console

from bench.journal import write_whole
from bench.results import Results, ResultsError
from cli.common import (
    NO_RESULTS,
    OK,
    REGRESSION,
    UNDECIDED,
    USAGE,
    Commands,
    FatalError,
    add_chosen_metrics,
    names,
    progress,
    writing,
)
from cni.platform import known_facts
from components.state import history as kept
from report import explain
from report.cost import NodePrice
from report.history import metric_lines, run_table
from report.show import print_results
from report.sidebyside import FORMATS, SideBySide, as_csv, judge, render, side_by_side
from report.sources import Collection, load

if TYPE_CHECKING:
    from pandas import DataFrame

DEFAULT = "matrix"
PAGE, MARKDOWN, TABLE, RAW = "index.html", "report.md", "metrics.csv", "comparison.json"
EXPERIMENTS = "experiments.csv"
HISTORY_FORMATS = ("table", "csv", "json")
OF_HISTORY = "history:"

_SOURCES = (
    "a Pulumi stack, a result file (JSON), or a folder that a matrix wrote; the first scenario "
    "is the baseline"
)
_GATED = f"a Pulumi stack, a result file (JSON), or {OF_HISTORY}ID of python -m bench history"


def add_parsers(commands: Commands) -> None:
    """Add the commands."""
    compare = commands.add_parser("compare", help="compare scenarios, with intervals and verdicts")
    compare.set_defaults(execute=_compare)
    compare.add_argument("sources", nargs="+", metavar="SOURCE", help=_SOURCES)
    add_chosen_metrics(compare)
    compare.add_argument(
        "--interleaved", action="store_true",
        help="refuse scenarios that were not measured in common rounds",
    )  # fmt: skip
    compare.add_argument(
        "--format", choices=("terminal", *FORMATS), default="terminal", help="terminal by default"
    )
    compare.add_argument("--out", metavar="FILE", help="write into a file instead")
    report = commands.add_parser("report", help="write the report of a matrix, of stacks or files")
    report.set_defaults(execute=_report)
    report.add_argument(
        "sources", nargs="*", default=[DEFAULT], metavar="SOURCE",
        help=f"{_SOURCES}; {DEFAULT} by default, where a matrix puts its results",
    )  # fmt: skip
    report.add_argument(
        "--out", default="report", metavar="FOLDER",
        help=f"for {PAGE}, {MARKDOWN}, {TABLE}, {RAW}; report by default",
    )  # fmt: skip
    history = commands.add_parser(
        "history", help="list earlier results, or show one metric over time",
        epilog=f"The history is in {kept().path}. To clear it, delete the file.",
    )  # fmt: skip
    history.set_defaults(execute=_history)
    history.add_argument("--metric", metavar="NAME", help="show this metric over time")
    history.add_argument("--stack", metavar="NAME", help="only this stack")
    history.add_argument(
        "--format", choices=HISTORY_FORMATS, default="table", help="table by default"
    )
    gate = commands.add_parser(
        "gate", help="fail if results are worse than a baseline, for CI",
        epilog=f"exit codes: 0 nothing is worse; {REGRESSION} some metric is (or one of the "
        f"baseline's is missing, with --fail-on missing); {UNDECIDED} too few runs to tell; "
        f"{NO_RESULTS} no results; {USAGE} wrong arguments",
    )  # fmt: skip
    gate.set_defaults(execute=_gate)
    gate.add_argument("results", metavar="RESULTS", help=_GATED)
    gate.add_argument("--baseline", required=True, metavar="RESULTS", help="as RESULTS")
    add_chosen_metrics(gate)
    gate.add_argument(
        "--fail-on", type=names, default=["worse"], metavar="WHAT,WHAT",
        help="worse (default), missing: a metric of the baseline that cannot be compared",
    )  # fmt: skip


def _compare(options: argparse.Namespace) -> int:
    collection = load(options.sources)
    if len(collection.scenarios) < 2:
        raise FatalError(
            USAGE, "compare: two scenarios or more are needed: name another stack, file or folder"
        )
    side = _side_by_side(collection, options.metrics)
    if options.interleaved and not side.interleaved:
        raise FatalError(
            USAGE, "--interleaved: not all were measured in common rounds: leave it out, or "
            "measure them by python -m bench matrix",
        )  # fmt: skip
    with writing("the comparison"), _output(options.out) as file:
        if options.format != "terminal":
            file.write(FORMATS[options.format](side))
        else:
            width = 120 if options.out else None
            print_results(Console(file=file, width=width), render(side))
    return OK


def _report(options: argparse.Namespace) -> int:
    if options.sources == [DEFAULT] and not Path(DEFAULT).is_dir():
        raise FatalError(
            NO_RESULTS,
            f"report: there is no folder {DEFAULT} here: name stacks, result files or a folder, or "
            "make it by python -m bench matrix",
        )
    collection = load(options.sources)
    if not collection.scenarios:
        raise FatalError(NO_RESULTS, "report: no scenario among the sources, only experiments")
    command = shlex.join(["python", "-m", "bench", "report", *options.sources])
    write_report(collection, Path(options.out), command)
    return OK


def write_report(collection: Collection, folder: Path, command: str) -> None:
    """Write the report of one scenario or more into a folder, and say what it begins with.

    :param command: what makes it again.
    """
    # Draws with matplotlib, which no other command needs.
    from report import page

    with writing("the report"):  # drawing takes a while: refuse before it
        folder.mkdir(parents=True, exist_ok=True)
    side = _side_by_side(collection, None)
    why = Markup().join(map(explain.html, collection.explanations))
    words = "\n".join(explain.markdown(each, {}) for each in collection.explanations)
    values = page.context(
        collection, side, command, progress, price=_price(side), why=why, why_in_words=words
    )
    files = {
        PAGE: page.html(values),
        MARKDOWN: page.markdown(values),
        TABLE: as_csv(side),
        RAW: FORMATS["json"](side),
    }
    if values["sections"]:
        files[EXPERIMENTS] = page.experiments_csv(values["sections"])
    with writing("the report"):
        for name, text in files.items():
            write_whole(folder / name, text)
    for line in page.spoken(values["summary"]):
        progress(line)
    progress(f"report: {folder / PAGE}")


def _price(side: SideBySide) -> NodePrice | None:
    """Of a node of the baseline's type, or of the type whose limits the lab has."""
    # Asks AWS with boto3, which no other command here needs.
    from components.eks.preflight.cost import look_up_node

    environment = side.baseline.environment
    name = environment.instance_type or environment.emulated_instance_type
    region = environment.region
    if not isinstance(name, str) or isinstance(region, list):
        return None  # of several types or regions
    facts, found = known_facts(name), look_up_node(name, region)
    return NodePrice(name, facts.vcpus, *found) if facts and found else None


def _side_by_side(collection: Collection, metrics: Sequence[str] | None) -> SideBySide:
    try:
        return side_by_side(collection.scenarios, metrics=metrics)
    except ValueError as error:
        raise FatalError(USAGE, f"--metrics: {error}") from None


def _output(out: str | None) -> AbstractContextManager[TextIO]:
    """The file to write into, or standard output, which stays open."""
    return Path(out).open("w", encoding="utf-8") if out else nullcontext(sys.stdout)


def _history(options: argparse.Namespace) -> int:
    history = kept()
    if options.metric is None:
        frame = history.runs(options.stack)
    else:
        frame = history.metric(options.metric, options.stack)
        if frame.empty and options.metric not in (known := history.names()):
            raise FatalError(
                USAGE, f"--metric: none of the name {options.metric!r} was ever measured; "
                f"there are {', '.join(sorted(known))}",
            )  # fmt: skip
    if frame.empty:
        of = f" of stack {options.stack!r}" if options.stack else ""
        raise FatalError(NO_RESULTS, f"nothing{of} in the history {history.path}")
    _print(frame, options)
    progress(f"history: {history.path} (to clear it, delete the file)")
    return OK


def _print(frame: DataFrame, options: argparse.Namespace) -> None:
    match options.format:
        case "csv":
            print(frame.to_csv(index=False), end="")
        case "json":
            print(frame.to_json(orient="records", indent=2))
        case _ if options.metric is None:
            print_results(Console(), run_table(frame))
        case _:
            print_results(Console(), metric_lines(options.metric, frame))


def _gate(options: argparse.Namespace) -> int:
    unknown = sorted(set(options.fail_on) - {"worse", "missing"})
    if unknown or not options.fail_on:
        raise FatalError(USAGE, f"--fail-on: {', '.join(unknown) or 'nothing'}: worse, missing")
    baseline, new = _results(options.baseline), _results(options.results)
    try:
        verdict = judge(
            baseline, new,
            labels=(options.baseline, options.results),
            metrics=options.metrics,
            missing_fails="missing" in options.fail_on,
        )  # fmt: skip
    except ValueError as error:
        raise FatalError(USAGE, f"--metrics: {error}") from None
    for line in verdict.lines:
        print(line)
    return {"pass": OK, "fail": REGRESSION, "undecided": UNDECIDED}[verdict.outcome]


def _results(source: str) -> Results:
    if source.startswith(OF_HISTORY):
        id_ = source.removeprefix(OF_HISTORY)
        if not id_.isdecimal():
            raise FatalError(
                USAGE, f"{source}: a number as python -m bench history lists them is wanted"
            )
        try:
            return kept().results(int(id_))[1]
        except ResultsError as error:
            raise FatalError(NO_RESULTS, str(error)) from None
    scenarios = load([source]).scenarios
    if len(scenarios) != 1:
        raise FatalError(USAGE, f"{source}: {len(scenarios)} scenarios: name the file of one")
    return scenarios[0].results
