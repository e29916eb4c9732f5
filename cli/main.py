"""``python -m bench``: measure a session, show or export what was measured, validate it all."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console

from bench.benchstat import BenchstatError, export
from bench.checks import PreconditionError
from bench.plan import ALLOWABLE, PROFILES, PlanError, plan_for
from bench.results import Results, ResultsError, from_json
from bench.runner import BenchmarkError, run_benchmark
from bench.session import SessionError, open_session
from cli import ablate as ablation
from cli import experiments, history, matrix
from cli import report as reporting
from cli.common import (
    CHECK_FAILED,
    EXIT_CODES,
    INTERRUPTED,
    MISSING_NUMBERS,
    NO_RESULTS,
    OK,
    PRECONDITION,
    SESSION,
    USAGE,
    FatalError,
    Parser,
    descriptor,
    progress,
)
from report.history.store import keep_result
from report.show import print_results, render
from report.stack import StackError, StackOutputs, read_stack


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except FatalError as failure:
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
        keep_result("run", Path(options.session).stem, results, progress)
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
        toggles=outputs.toggles,
        warnings=outputs.warnings,
        environment=outputs.environment,
    )
    print_results(Console(), shown)
    return OK


def _benchstat(options: argparse.Namespace) -> int:
    results = _from_file(options.file) if options.file else _from_stack(options.stack).results
    print(export(results), end="")
    return OK


def _validate(options: argparse.Namespace) -> int:
    # Needs the lab and plots, which no other command does.
    from cli.validate import show_again, validate, validation_plan
    from components.lab.validation import ValidationLabError
    from studies.validate.model import ReportError
    from studies.validate.run import FEWEST_MINUTES, MOST_MINUTES

    try:
        plan = validation_plan(options.allow)
        if not FEWEST_MINUTES <= options.minutes <= MOST_MINUTES:
            raise PlanError(f"--minutes must be {FEWEST_MINUTES} to {MOST_MINUTES}")
        if options.data:
            report = show_again(Path(options.data), Path(options.out), progress)
        else:
            report = validate(plan, Path(options.out), options.minutes, progress)
    except PlanError as error:
        raise FatalError(USAGE, str(error)) from None
    except PreconditionError as error:
        raise FatalError(PRECONDITION, str(error)) from None
    except (SessionError, ValidationLabError, BenchstatError) as error:
        raise FatalError(SESSION, str(error)) from None
    except (ReportError, UnicodeDecodeError) as error:
        raise FatalError(NO_RESULTS, f"{options.data}: {error}") from None
    except OSError as error:
        raise FatalError(USAGE, f"cannot make the page: {error}") from None
    return CHECK_FAILED if report.failed else OK


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "show": _show,
    "benchstat": _benchstat,
    "validate": _validate,
    **matrix.COMMANDS,
    **reporting.COMMANDS,
    **history.COMMANDS,
    **experiments.COMMANDS,
    **ablation.COMMANDS,
}


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


def _rates(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


_rates.__name__ = "list of rates"  # argparse names it in its message: "invalid list of rates value"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m bench",
        description="Measure a cluster's network through a session, or show results.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=Parser
    )
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
    _add_allow(run)
    run.add_argument("--out", metavar="FILE", help="write the results as JSON; - prints only them")
    _add_source(commands.add_parser("show", help="print the medians of a stack or a file"))
    _add_source(commands.add_parser("benchstat", help="print the samples in Go's benchmark format"))
    validate = commands.add_parser("validate", help="test the measurement itself, in the lab")
    validate.add_argument(
        "--out", default="validation", metavar="FOLDER", help="for index.html and validation.json"
    )
    validate.add_argument(
        "--minutes", type=int, default=20, metavar="M", help="what it may take in all (20)"
    )
    validate.add_argument(
        "--from", dest="data", metavar="FILE",
        help="make the page of this validation.json again, and measure nothing",
    )  # fmt: skip
    _add_allow(validate)
    matrix.add_parser(commands)
    reporting.add_parsers(commands)
    history.add_parsers(commands)
    experiments.add_parsers(commands)
    ablation.add_parser(commands)
    return parser


def _add_allow(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--allow", action="append", default=[], metavar="NAME",
        help="measure although this precondition fails; once for each: " + ", ".join(ALLOWABLE),
    )  # fmt: skip


def _add_source(command: argparse.ArgumentParser) -> None:
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--stack", metavar="NAME", help="a Pulumi stack's outputs")
    source.add_argument("--file", metavar="FILE", help="JSON written by run --out")


if __name__ == "__main__":
    sys.exit(main())
