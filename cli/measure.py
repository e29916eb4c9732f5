"""``python -m bench run``, ``show``, ``benchstat``: measure a session, show what was measured."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.benchstat import export
from bench.checks import PreconditionError
from bench.interleave import BenchmarkError, run_benchmark
from bench.plan import PROFILES, PlanError, plan_for
from bench.results import Results, ResultsError, from_json
from bench.session import SessionError
from cli.common import (
    MISSING_NUMBERS,
    NO_RESULTS,
    OK,
    PRECONDITION,
    SESSION,
    SESSION_FILE,
    USAGE,
    FatalError,
    add_allow,
    descriptor,
    progress,
)
from components.state import history
from components.targets import open_session
from report.history.store import keep_result
from report.show import print_results, render
from report.stack import StackError, StackOutputs, read_stack


def add_parsers(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the commands."""
    run = commands.add_parser("run", help="measure, then print the medians")
    run.set_defaults(execute=_run)
    run.add_argument("--session", required=True, metavar="FILE", help=SESSION_FILE)
    run.add_argument("--profile", default="quick", metavar="NAME", help=" | ".join(PROFILES))
    run.add_argument("--runs", type=int, metavar="N", help="samples per metric")
    run.add_argument("--seconds", type=int, metavar="S", help="length of each probe's run")
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
    try:
        plan = plan_for(
            options.profile,
            runs=options.runs,
            seconds=options.seconds,
            http_rates=options.http_rates,
            http_connections=options.connections,
            allow=options.allow,
        )
        session = open_session(descriptor(options.session))
        with closing(session):
            results = run_benchmark(session, plan, progress=progress)
    except PlanError as error:
        raise FatalError(USAGE, str(error)) from None
    except PreconditionError as error:
        raise FatalError(PRECONDITION, str(error)) from None
    except SessionError as error:
        raise FatalError(SESSION, str(error)) from None
    except BenchmarkError as error:
        code, results = MISSING_NUMBERS, error.results
        print(f"bench: {error}", file=sys.stderr)
    else:
        keep_result(history(), "run", Path(options.session).stem, results, progress)
    if options.out == "-":
        print(results.to_json(indent=2))
        return code
    if options.out:
        _write(Path(options.out), results)
    print_results(Console(), render(results))
    return code


def _show(options: argparse.Namespace) -> int:
    if options.file:
        print_results(Console(), render(_from_file(options.file)))
        return OK
    outputs = _from_stack(options.stack)
    shown = render(
        outputs.results,
        decisions=outputs.decisions,
        warnings=outputs.warnings,
    )
    print_results(Console(), shown)
    return OK


def _benchstat(options: argparse.Namespace) -> int:
    results = _from_file(options.file) if options.file else _from_stack(options.stack).results
    print(export(results), end="")
    return OK


def _from_file(path: str) -> Results:
    try:
        return from_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ResultsError) as error:
        raise FatalError(NO_RESULTS, f"{path}: {error}") from None


def _from_stack(name: str) -> StackOutputs:
    try:
        return read_stack(name)
    except StackError as error:
        raise FatalError(NO_RESULTS, str(error)) from None


def _write(path: Path, results: Results) -> None:
    try:
        path.write_text(results.to_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise FatalError(USAGE, f"cannot write the results: {error}") from None
