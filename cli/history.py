"""``python -m bench history`` and ``gate``: results over time, and a check against earlier ones."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bench.results import Results, ResultsError
from cli.common import NO_RESULTS, OK, REGRESSION, UNDECIDED, USAGE, FatalError, names, progress
from components.state import history as kept
from report.history.gate import judge
from report.history.show import metric_lines, run_table
from report.history.store import HistoryError
from report.show import print_results
from report.sources import SourceError, load

if TYPE_CHECKING:
    from pandas import DataFrame

FORMATS = ("table", "csv", "json")
OF_HISTORY = "history:"
_SOURCE = f"a Pulumi stack, a result file (JSON), or {OF_HISTORY}ID of python -m bench history"


def add_parsers(commands: argparse._SubParsersAction[Any]) -> None:
    """Add both commands."""
    history = commands.add_parser(
        "history", help="what was measured before, and how a metric went",
        epilog=f"It is kept in {kept().path}; delete the file to forget it all.",
    )  # fmt: skip
    history.set_defaults(execute=_history)
    history.add_argument("--metric", metavar="NAME", help="this one over time, by stack")
    history.add_argument("--stack", metavar="NAME", help="of this stack only")
    history.add_argument("--format", choices=FORMATS, default="table", help="table by default")
    gate = commands.add_parser(
        "gate", help="end with an error if results are worse than a baseline: for CI",
        epilog=f"exit codes: 0 nothing is worse; {REGRESSION} some metric is (or one of the "
        f"baseline's is missing, with --fail-on missing); {UNDECIDED} too few runs to tell; "
        f"{NO_RESULTS} no results; {USAGE} wrong arguments",
    )  # fmt: skip
    gate.set_defaults(execute=_gate)
    gate.add_argument("results", metavar="RESULTS", help=_SOURCE)
    gate.add_argument("--baseline", required=True, metavar="RESULTS", help="likewise")
    gate.add_argument(
        "--metrics", type=names, metavar="M,M",
        help="only these, chosen before any was looked at: fewer metrics need fewer runs",
    )  # fmt: skip
    gate.add_argument(
        "--fail-on", type=names, default=["worse"], metavar="WHAT,WHAT",
        help="worse (default), missing: a metric of the baseline that cannot be compared",
    )  # fmt: skip


def _history(options: argparse.Namespace) -> int:
    history = kept()
    try:
        if options.metric is None:
            frame = history.runs(options.stack)
        else:
            frame = history.metric(options.metric, options.stack)
            if frame.empty and options.metric not in (names := history.names()):
                raise FatalError(
                    USAGE, f"--metric: none of the name {options.metric!r} was ever measured; "
                    f"there are {', '.join(sorted(names))}",
                )  # fmt: skip
    except HistoryError as error:
        raise FatalError(NO_RESULTS, str(error)) from None
    if frame.empty:
        of = f" of stack {options.stack!r}" if options.stack else ""
        raise FatalError(NO_RESULTS, f"nothing{of} in the history {history.path}")
    _print(frame, options)
    progress(f"history: {history.path} (delete the file to forget it all)")
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
    try:
        if source.startswith(OF_HISTORY):
            return _of_history(source.removeprefix(OF_HISTORY))
        scenarios = load([source]).scenarios
    except (SourceError, HistoryError, ResultsError) as error:
        raise FatalError(NO_RESULTS, str(error)) from None
    if len(scenarios) != 1:
        raise FatalError(USAGE, f"{source}: {len(scenarios)} scenarios: name the file of one")
    return scenarios[0].results


def _of_history(text: str) -> Results:
    if not text.isdecimal():
        raise FatalError(
            USAGE, f"{OF_HISTORY}{text}: a number as python -m bench history lists them is wanted"
        )
    return kept().results(int(text))[1]
