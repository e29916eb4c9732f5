"""``python -m bench validate``: test the measurement itself, in a lab of its own."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.benchstat import BenchstatError
from bench.checks import PreconditionError
from bench.plan import Plan, PlanError, plan_for
from bench.session import SessionError
from cli.common import (
    CHECK_FAILED,
    NO_RESULTS,
    OK,
    PRECONDITION,
    SESSION,
    USAGE,
    FatalError,
    add_allow,
    interrupted_by_term,
    progress,
)
from studies.validate.model import Check, Report, ReportError, from_json

Progress = Callable[[str], None]

PAGE, DATA = "index.html", "validation.json"


def add_parsers(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    validate = commands.add_parser("validate", help="test the measurement itself, in the lab")
    validate.set_defaults(execute=_validate)
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
    add_allow(validate)


def _validate(options: argparse.Namespace) -> int:
    # The lab, which most commands do without.
    from components.lab.validation import ValidationLabError
    from studies.validate.run import FEWEST_MINUTES, MOST_MINUTES

    try:
        plan = validation_plan(options.allow)
        if not FEWEST_MINUTES <= options.minutes <= MOST_MINUTES:
            raise PlanError(f"--minutes must be {FEWEST_MINUTES} to {MOST_MINUTES}")
        if options.data:
            report = show_again(Path(options.data), Path(options.out), progress)
        else:
            report = run_in_lab(plan, Path(options.out), options.minutes, progress)
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


def validation_plan(allow: Sequence[str] = ()) -> Plan:
    """The probes of the profile ``quick``, which only the user may let pass preconditions.

    :raises PlanError: ``allow`` has an unknown name.
    """
    return replace(plan_for("quick", allow=allow), allow=tuple(allow))


def run_in_lab(plan: Plan, folder: Path, minutes: int, say: Progress) -> Report:
    """Validate in a lab of its own and write the page and its data into ``folder``.

    :param minutes: what it may take in all.
    :raises ValidationLabError: the lab cannot be brought up.
    :raises PreconditionError: what would be measured is not what is meant.
    :raises SessionError: the lab cannot be asked any more.
    :raises BenchstatError: benchstat failed.
    :raises OSError: the folder cannot be written.
    """
    from components.lab.validation import benchstat_program, running_lab
    from studies.validate.run import run_validation

    _prepare(folder)
    with interrupted_by_term():
        program = benchstat_program()
        with running_lab(say) as lab:
            report = run_validation(lab, plan, program, say, minutes=minutes)
    (folder / DATA).write_text(report.to_json() + "\n", encoding="utf-8")
    return _write_page(report, folder, say)


def show_again(data: Path, folder: Path, say: Progress) -> Report:
    """Make the page of an earlier validation again.

    :param data: its ``validation.json``.
    :raises ReportError: it is none.
    :raises OSError: a file cannot be read or written.
    """
    report = from_json(data.read_text(encoding="utf-8"))
    _prepare(folder)
    return _write_page(report, folder, say)


def _prepare(folder: Path) -> None:
    """Make the folder; one that is ours alone is no part of a checkout."""
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")


def _write_page(report: Report, folder: Path, say: Progress) -> Report:
    # Draws with matplotlib.
    from report.validation.page import render

    (folder / PAGE).write_text(render(report), encoding="utf-8")
    for check in report.checks:
        say(line(check))
    say(f"{len(report.checks) - len(report.failed)} of {len(report.checks)} checks hold; "
        f"page: {folder / PAGE}")  # fmt: skip
    return report


def line(check: Check) -> str:
    """A check as one line."""
    mark = "pass" if check.passed else "FAIL"
    return (
        f"{mark}  {check.part}: {check.name}: expected {check.expectation}; "
        f"measured {check.measured}; {check.interval}"
    )
