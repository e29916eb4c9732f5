"""``python -m bench validate``: test the measurement itself, in labs of its own."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.journal import write_whole
from bench.plan import Plan, plan_for
from cli.common import (
    CHECK_FAILED,
    NO_RESULTS,
    OK,
    SESSION,
    USAGE,
    Commands,
    FatalError,
    add_allow,
    interrupted_by_term,
    progress,
)
from studies.validate.model import Check, Report, ReportError, from_json

PAGE, DATA = "index.html", "validation.json"


def add_parsers(commands: Commands) -> None:
    """Add the command."""
    validate = commands.add_parser("validate", help="test the measurement itself, in labs")
    validate.set_defaults(execute=_validate)
    validate.add_argument(
        "--out", default="validation", metavar="FOLDER", help="for index.html and validation.json"
    )
    validate.add_argument(
        "--minutes", type=int, default=30, metavar="M", help="what it may take in all (30)"
    )
    validate.add_argument(
        "--bring-ups", type=int, default=15, metavar="K",
        help="how often three equal labs are brought up (15)",
    )  # fmt: skip
    validate.add_argument(
        "--from", dest="data", metavar="FILE",
        help="make the page of this validation.json again, and measure nothing",
    )  # fmt: skip
    add_allow(validate)


def _validate(options: argparse.Namespace) -> int:
    # The lab, which most commands do without.
    from components.lab.validation import ValidationLabError, benchstat_program, validation_labs
    from studies.validate.run import (
        FEWEST_MINUTES,
        MOST_BRING_UPS,
        MOST_MINUTES,
        run_validation,
    )
    from studies.validate.verdicts import FEWEST

    plan = validation_plan(options.allow)
    if not FEWEST_MINUTES <= options.minutes <= MOST_MINUTES:
        raise FatalError(USAGE, f"--minutes must be {FEWEST_MINUTES} to {MOST_MINUTES}")
    if not FEWEST <= options.bring_ups <= MOST_BRING_UPS:
        raise FatalError(USAGE, f"--bring-ups must be {FEWEST} to {MOST_BRING_UPS}")
    folder = Path(options.out)
    try:
        if options.data:
            report = from_json(Path(options.data).read_text(encoding="utf-8"))
            _prepare(folder)
        else:
            _prepare(folder)
            with interrupted_by_term():
                program = benchstat_program()
                with validation_labs(progress) as labs:
                    report = run_validation(
                        labs, plan, program, progress,
                        minutes=options.minutes, bring_ups=options.bring_ups,
                    )  # fmt: skip
            write_whole(folder / DATA, report.to_json() + "\n")
        _write_page(report, folder)
    except ValidationLabError as error:
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


def _prepare(folder: Path) -> None:
    """Make the folder; one that is ours alone is no part of a checkout."""
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")


def _write_page(report: Report, folder: Path) -> None:
    # Draws with matplotlib.
    from report.validation import render

    (folder / PAGE).write_text(render(report), encoding="utf-8")
    for check in report.checks:
        progress(line(check))
    held = len(report.checks) - len(report.failed)
    progress(f"{held} of {len(report.checks)} checks hold; page: {folder / PAGE}")


def line(check: Check) -> str:
    """A check as one line."""
    mark = "pass" if check.passed else "FAIL"
    return (
        f"{mark}  {check.part}: {check.name}: expected {check.expectation}; "
        f"measured {check.measured}; {check.interval}"
    )
