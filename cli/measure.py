"""``python -m bench run``, ``show``, ``benchstat``: measure a session, show what was measured."""

import argparse
import sys
from contextlib import closing
from pathlib import Path

from rich.console import Console

from bench.benchstat import export
from bench.interleave import BenchmarkError, run_benchmark
from bench.journal import write_whole
from bench.plan import plan_for
from bench.results import ResultsError, from_json
from cli.common import (
    MISSING_NUMBERS,
    NO_RESULTS,
    OK,
    SESSION_FILE,
    Commands,
    FatalError,
    add_allow,
    add_profile,
    descriptor,
    interrupted_by_term,
    progress,
    writing,
)
from components.state import history
from components.targets import open_session
from report.history import keep_result
from report.show import print_results, render
from report.sources import MeasuredScenario, read_stack


def add_parsers(commands: Commands) -> None:
    """Add the commands."""
    run = commands.add_parser("run", help="measure, then print the medians")
    run.set_defaults(execute=_run)
    run.add_argument("--session", required=True, metavar="FILE", help=SESSION_FILE)
    add_profile(run)
    run.add_argument("--runs", type=int, metavar="N", help="samples per metric")
    run.add_argument(
        "--http-rates", type=_rates, metavar="R,R", help="fixed HTTP rates in requests/s"
    )
    run.add_argument("--connections", type=int, metavar="C", help="HTTP connections at them")
    add_allow(run)
    run.add_argument("--out", metavar="FILE", help="write the results as JSON; - prints only them")
    show = commands.add_parser("show", help="print the medians of a stack or a file")
    show.set_defaults(execute=_show)
    benchstat = commands.add_parser("benchstat", help="print the samples in Go's benchmark format")
    benchstat.set_defaults(execute=_benchstat)
    for command in (show, benchstat):
        source = command.add_mutually_exclusive_group(required=True)
        source.add_argument("--stack", metavar="NAME", help="a Pulumi stack's outputs")
        source.add_argument("--file", metavar="FILE", help="JSON written by run --out")


def _rates(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


_rates.__name__ = "list of rates"  # argparse names it in its message: "invalid list of rates value"


def _run(options: argparse.Namespace) -> int:
    code = OK
    plan = plan_for(
        options.profile,
        runs=options.runs,
        seconds=options.seconds,
        http_rates=options.http_rates,
        http_connections=options.connections,
        allow=options.allow,
    )
    try:
        with closing(open_session(descriptor(options.session))) as session, interrupted_by_term():
            results = run_benchmark(session, plan, progress=progress)
    except BenchmarkError as error:
        code, results = MISSING_NUMBERS, error.results
        print(f"bench: {error}", file=sys.stderr)
    else:
        keep_result(history(), "run", Path(options.session).stem, results, progress)
    if options.out == "-":
        print(results.to_json(indent=2))
        return code
    if options.out:
        with writing("the results"):
            write_whole(Path(options.out), results.to_json(indent=2) + "\n")
    print_results(Console(), render(results))
    return code


def _show(options: argparse.Namespace) -> int:
    scenario = _scenario(options)
    shown = render(scenario.results, decisions=scenario.toggles, warnings=scenario.warnings)
    print_results(Console(), shown)
    return OK


def _benchstat(options: argparse.Namespace) -> int:
    print(export(_scenario(options).results), end="")
    return OK


def _scenario(options: argparse.Namespace) -> MeasuredScenario:
    if options.stack:
        return read_stack(options.stack)
    try:
        results = from_json(Path(options.file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ResultsError) as error:
        raise FatalError(NO_RESULTS, f"{options.file}: {error}") from None
    return MeasuredScenario(options.file, results)
