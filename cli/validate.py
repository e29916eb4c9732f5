"""``python -m bench validate``: the lab, the checks, the page, the exit code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.plan import Plan, plan_for
from cli.common import interrupted_by_term
from components.lab.validation import benchstat_program, running_lab
from report.validation.page import render
from studies.validate.model import Check, Report, from_json
from studies.validate.run import run_validation

Progress = Callable[[str], None]

PAGE, DATA = "index.html", "validation.json"


def validation_plan(allow: Sequence[str] = ()) -> Plan:
    """The probes of the profile ``quick``, which only the user may let pass preconditions.

    :raises PlanError: ``allow`` has an unknown name.
    """
    return replace(plan_for("quick", allow=allow), allow=tuple(allow))


def validate(plan: Plan, folder: Path, minutes: int, say: Progress) -> Report:
    """Validate in a lab of its own and write the page and its data into ``folder``.

    :param minutes: what it may take in all.

    :raises ValidationLabError: the lab cannot be brought up.
    :raises PreconditionError: what would be measured is not what is meant.
    :raises SessionError: the lab cannot be asked any more.
    :raises BenchstatError: benchstat failed.
    :raises OSError: the folder cannot be written.
    """
    _prepare(folder)
    with interrupted_by_term():
        program = benchstat_program()
        with running_lab(say) as lab:
            report = run_validation(lab, plan, program, say, minutes=minutes)
    (folder / DATA).write_text(report.to_json() + "\n", encoding="utf-8")
    return _tell(report, folder, say)


def show_again(data: Path, folder: Path, say: Progress) -> Report:
    """Make the page of an earlier validation again.

    :param data: its ``validation.json``.
    :raises ReportError: it is none.
    :raises OSError: a file cannot be read or written.
    """
    report = from_json(data.read_text(encoding="utf-8"))
    _prepare(folder)
    return _tell(report, folder, say)


def _prepare(folder: Path) -> None:
    """Make the folder; one that is ours alone is no part of a checkout."""
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")


def _tell(report: Report, folder: Path, say: Progress) -> Report:
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
