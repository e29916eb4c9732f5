"""``python -m bench validate``: what it writes, its exit codes, and that nothing stays behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.checks import Check as Precondition
from bench.checks import PreconditionError
from bench.session import SessionError
from cli import main as command_line
from cli.validate import DATA, PAGE, line, validation_plan
from components.lab import validation
from components.lab.validation import ValidationLabError
from report.validation import render
from studies.validate import run as checks
from studies.validate.model import Check, Report

HOLDS = Check(
    part="Known truth", name="a rate", expectation="1 within 3 %", measured="1.01",
    interval="1.00 to 1.02", passed=True,
)  # fmt: skip
FAILS = HOLDS.model_copy(update={"name": "another rate", "passed": False})


def report(*checks: Check) -> Report:
    return Report(
        started="2026-01-02T03:04:05+00:00", seconds=60.0, tools={}, preconditions=[],
        environment={"kernel": "6.1.0", "cpus": 2, "adaptations": []},
        checks=list(checks), bring_ups=0, deviations=[], delays=[], p_values=[], equalities=[],
        sensitivities=[], agreements=[],
    )  # fmt: skip


@pytest.fixture
def validated(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Report]], list[str]]:
    """Puts a stand-in for the lab and the checks in place; the list says how the lab ended."""

    def prepare(run: Callable[[], Report]) -> list[str]:
        ended: list[str] = []

        @contextmanager
        def lab(_say: object) -> Iterator[SimpleNamespace]:
            try:
                yield SimpleNamespace()
            finally:
                ended.append("removed")

        monkeypatch.setattr(validation, "validation_labs", lab)
        monkeypatch.setattr(validation, "benchstat_program", lambda: Path("benchstat"))
        monkeypatch.setattr(checks, "run_validation", lambda *_, **__: run())
        return ended

    return prepare


def validate(folder: Path, *more: str) -> int:
    return command_line.main(["validate", "--out", str(folder), *more])


def test_page_data_and_lines(
    tmp_path: Path,
    validated: Callable[[Callable[[], Report]], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    ended = validated(lambda: report(HOLDS, HOLDS))
    folder = tmp_path / "made"
    assert validate(folder) == 0
    assert ended == ["removed"]
    assert Report.model_validate_json((folder / DATA).read_text()) == report(HOLDS, HOLDS)
    assert "All 2 checks hold" in (folder / PAGE).read_text()
    assert (folder / ".gitignore").read_text() == "*\n"
    said = capsys.readouterr().err.splitlines()
    assert said[-3:-1] == [line(HOLDS)] * 2
    assert said[-1] == f"2 of 2 checks hold; page: {folder / PAGE}"


def test_a_check_that_fails_is_named_and_ends_with_6(
    tmp_path: Path,
    validated: Callable[[Callable[[], Report]], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    validated(lambda: report(HOLDS, FAILS))
    assert validate(tmp_path) == 6
    assert "another rate" in (tmp_path / PAGE).read_text()
    assert not (tmp_path / ".gitignore").exists()  # the folder was somebody's own
    assert "FAIL  Known truth: another rate: expected 1 within 3 %; measured 1.01; 1.00 to" in (
        capsys.readouterr().err
    )


def test_a_page_is_made_again_from_its_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / DATA
    data.write_text(report(HOLDS, FAILS).to_json())
    folder = tmp_path / "again"
    assert validate(folder, "--from", str(data)) == 6
    assert (folder / PAGE).read_text() == render(report(HOLDS, FAILS))
    assert not (folder / DATA).exists()
    assert "1 of 2 checks hold" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("{", 5, "no validation of schema"),
        ('{"schema": "cni-benchmark/results/v1"}', 5, "no validation of schema"),
        (None, 2, "cannot make the page: "),
    ],
)
def test_other_data_make_no_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, code: int, message: str
) -> None:
    data = tmp_path / "other.json"
    if text is not None:
        data.write_text(text)
    assert validate(tmp_path / "made", "--from", str(data)) == code
    (said,) = capsys.readouterr().err.splitlines()
    assert message in said
    assert not (tmp_path / "made").exists()


def raising(error: BaseException) -> Callable[[], Report]:
    def run() -> Report:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (PreconditionError((Precondition("quiet-machine", False, "busy"),)), 3, "quiet-machine"),
        (SessionError("no pods"), 4, "no pods"),
        (ValidationLabError("the lab: no root"), 4, "the lab: no root"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_failures_are_one_line_a_code_and_no_lab(
    tmp_path: Path,
    validated: Callable[[Callable[[], Report]], list[str]],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    message: str,
) -> None:
    ended = validated(raising(error))
    assert validate(tmp_path) == code
    assert ended == ["removed"]
    lines = [said for said in capsys.readouterr().err.splitlines() if said.startswith("bench:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / PAGE).exists()


def test_being_told_to_end_is_as_an_interrupt(
    tmp_path: Path, validated: Callable[[Callable[[], Report]], list[str]]
) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def told() -> Report:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
        raise AssertionError("unreachable")

    ended = validated(told)
    assert validate(tmp_path) == 130
    assert ended == ["removed"]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("minutes", ["11", "241", "-1"])
def test_a_time_that_does_not_do_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], minutes: str
) -> None:
    assert validate(tmp_path, "--minutes", minutes) == 2
    assert "--minutes must be 12 to 240" in capsys.readouterr().err


@pytest.mark.parametrize("bring_ups", ["1", "51"])
def test_a_number_of_bring_ups_that_does_not_do_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bring_ups: str
) -> None:
    assert validate(tmp_path, "--bring-ups", bring_ups) == 2
    assert "--bring-ups must be 2 to 50" in capsys.readouterr().err


def test_only_the_user_lets_preconditions_of_a_validation_fail() -> None:
    assert validation_plan().allow == ()
    assert validation_plan(["quiet-machine"]).allow == ("quiet-machine",)


def test_an_unknown_precondition_is_refused_before_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate(tmp_path, "--allow", "nonesuch") == 2
    assert "no precondition 'nonesuch'" in capsys.readouterr().err
