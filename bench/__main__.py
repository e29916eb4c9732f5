"""``python -m bench``: measure a session, or show what was measured."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from bench.checks import PreconditionError
from bench.plan import PROFILES, PlanError, plan_for
from bench.results import Results, ResultsError, from_json
from bench.runner import BenchmarkError, run_benchmark
from bench.session import SessionError, open_session
from bench.show import print_results, render
from bench.stack import StackError, read_stack

OK, MISSING_NUMBERS, USAGE, PRECONDITION, SESSION, NO_RESULTS, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

_EXIT_CODES = """exit codes:
  0    done
  1    measured, but some metric has no number (the others are kept)
  2    wrong arguments, or an impossible plan
  3    a precondition failed: nothing was measured
  4    the session descriptor or the cluster behind it does not work
  5    there are no results to show
  130  interrupted"""


class _FatalError(Exception):
    """Ends the program with one line and an exit code."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options) if options.command == "run" else _show(options)
    except _FatalError as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    code = OK
    try:
        plan = plan_for(
            options.profile,
            runs=options.runs,
            seconds=options.seconds,
            http_rates=options.http_rates,
            http_connections=options.connections,
        )
        session = open_session(_descriptor(options.session))
        with closing(session):
            results = run_benchmark(session, plan, progress=_progress)
    except PlanError as error:
        raise _FatalError(USAGE, str(error)) from None
    except PreconditionError as error:
        raise _FatalError(PRECONDITION, str(error)) from None
    except SessionError as error:
        raise _FatalError(SESSION, str(error)) from None
    except BenchmarkError as error:
        code, results = MISSING_NUMBERS, error.results
        print(f"bench: {error}", file=sys.stderr)
    if options.out == "-":
        print(results.to_json(indent=2))
        return code
    if options.out:
        _write(Path(options.out), results)
    print_results(Console(), render(results))
    return code


def _show(options: argparse.Namespace) -> int:
    if options.file:
        try:
            results = from_json(Path(options.file).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ResultsError) as error:
            raise _FatalError(NO_RESULTS, f"{options.file}: {error}") from None
        print_results(Console(), render(results))
        return OK
    try:
        outputs = read_stack(options.stack)
    except StackError as error:
        raise _FatalError(NO_RESULTS, str(error)) from None
    shown = render(
        outputs.results,
        toggles=outputs.toggles,
        warnings=outputs.warnings,
        environment=outputs.environment,
    )
    print_results(Console(), shown)
    return OK


def _descriptor(path: str) -> dict[str, Any]:
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SessionError(f"session descriptor {path}: {error}") from None
    if not isinstance(data, dict):
        raise SessionError(f"session descriptor {path}: not a JSON object")
    return data


def _write(path: Path, results: Results) -> None:
    try:
        path.write_text(results.to_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise _FatalError(USAGE, f"cannot write the results: {error}") from None


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _rates(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


_rates.__name__ = "list of rates"  # argparse names it in its message: "invalid list of rates value"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m bench",
        description="Measure a cluster's network through a session, or show results.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="run|show")
    run = commands.add_parser("run", help="measure, then print the medians")
    run.add_argument(
        "--session", required=True, metavar="FILE",
        help='JSON: {"factory": "package.module:callable", "args": {…}}',
    )  # fmt: skip
    run.add_argument("--profile", default="quick", metavar="NAME", help=" | ".join(PROFILES))
    run.add_argument("--runs", type=int, metavar="N", help="samples per metric")
    run.add_argument("--seconds", type=int, metavar="S", help="length of each probe's run")
    run.add_argument(
        "--http-rates", type=_rates, metavar="R,R", help="fixed HTTP rates in requests/s"
    )
    run.add_argument("--connections", type=int, metavar="C", help="HTTP connections at them")
    run.add_argument("--out", metavar="FILE", help="write the results as JSON; - prints only them")
    show = commands.add_parser("show", help="print the medians of a stack or a file")
    source = show.add_mutually_exclusive_group(required=True)
    source.add_argument("--stack", metavar="NAME", help="a Pulumi stack's outputs")
    source.add_argument("--file", metavar="FILE", help="JSON written by run --out")
    return parser


class _Parser(argparse.ArgumentParser):
    """Reports wrong arguments in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message} (see --help)\n")


if __name__ == "__main__":
    sys.exit(main())
