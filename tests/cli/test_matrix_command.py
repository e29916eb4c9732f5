"""``python -m bench matrix``: arguments, going on, what is told, exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.plan import PROFILES
from bench.text import minutes
from cli import matrix as command
from cli.display import display
from cli.main import main
from cli.report import write_report
from components import automation
from components.state import history
from studies.matrix.run import Matrix
from tests.bench.fakes import PLAN
from tests.studies.fake_stacks import FakeStacks

AB = ("scenario-a", "scenario-b")


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeStacks:
    """Stacks in Pulumi's place, whose sessions fit the profile that is measured."""
    made = FakeStacks()
    monkeypatch.setattr(automation, "PulumiStacks", lambda: made)
    fitted = partial(Matrix, clock=made.time.clock())
    monkeypatch.setattr(command, "open_session", made.connect)
    monkeypatch.setattr(command, "Matrix", fitted)
    # Drawing takes longer than all else here; one test draws.
    monkeypatch.setattr(command, "write_report", lambda *_: None)
    monkeypatch.setitem(PROFILES, "quick", PLAN)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return made


def run(*arguments: str) -> int:
    return main(["matrix", *arguments])


def once(*arguments: str) -> int:
    """With a single bring-up."""
    return run("--bring-ups", "1", *arguments)


def record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("matrix/matrix.json").read_text())
    return found


def test_it_measures_tells_and_remembers(
    stacks: FakeStacks, capsys: pytest.CaptureFixture[str]
) -> None:
    assert once(*AB, "--rounds", "2", "--seed", "7") == 0
    told = capsys.readouterr().err
    assert "2 scenarios, 1 bring-up of 2 rounds of recorded, seed 7: some " in told
    assert "2 rounds allow verdicts by at most 0 tests at once" in told
    assert re.search(r"\[(\d+)/\1\] round 2 of 2: scenario-", told)
    assert "results: matrix" in told
    assert record()["seed"] == 7
    assert Path("matrix/.gitignore").read_text() == "*\n"
    assert sorted(history().runs()["stack"]) == list(AB)
    assert stacks.done[-1] == "close"


def test_it_ends_with_the_reports_first_sentence_and_path(
    stacks: FakeStacks, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "write_report", write_report)
    assert once(*AB, "--rounds", "2") == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "report: matrix/report/index.html"
    page = Path("matrix/report/index.html").read_text()
    (sentence,) = re.findall(r"<h1>(.*?)</h1>", page)
    assert sentence in lines
    assert "python -m bench report matrix" in page


def test_by_default_all_scenarios_and_five_bring_ups_of_a_round(
    stacks: FakeStacks, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    found = record()
    assert found["stacks"] == [f"scenario-{each}" for each in "abcde"]
    assert (found["bring_ups"], found["rounds"], len(found["order"])) == (5, 1, 5)
    told = capsys.readouterr().err
    assert "5 scenarios, 5 bring-ups of 1 round of recorded, seed " in told
    assert "bring-up 5 of 5: measuring" in told


@pytest.mark.parametrize("name", ["matrix", "explain"])
def test_a_stack_whose_results_would_be_the_matrixs_own_file_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "PROJECT", tmp_path)
    (tmp_path / f"Pulumi.{name}.yaml").touch()
    assert run(name, "--out", str(tmp_path / "out")) == 2
    told = f"bench: {name}.json is a matrix's own file: give that stack's file another name\n"
    assert capsys.readouterr().err == told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("refused", "code", "told"),
    [
        (BlockingIOError(11, "Resource temporarily unavailable"), 4,
         "bench: the system refuses: [Errno 11] Resource temporarily unavailable. What was "),
        (OSError(28, "No space left on device"), 2, "bench: --out: [Errno 28] No space left"),
        (PermissionError(1, "Not permitted", "/sys/fs/cgroup/x"), 4,
         "bench: the system refuses: [Errno 1] Not permitted: '/sys/fs/cgroup/x'. What was "),
        (PermissionError(1, "Not permitted", "matrix/matrix.json"), 2, "bench: --out: [Errno 1]"),
    ],
)  # fmt: skip
def test_what_the_system_refuses_is_told_as_what_it_is(
    stacks: FakeStacks, refused: OSError, code: int, told: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def refuse(*_: object) -> int:
        raise refused

    monkeypatch.setattr(command, "_in_folder", refuse)
    assert once("scenario-a") == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(told)


def test_a_single_bring_up_has_five_rounds_by_default(stacks: FakeStacks) -> None:
    assert once("scenario-a") == 0
    assert (record()["bring_ups"], record()["rounds"]) == (1, 5)


def test_what_is_not_in_the_lab_is_brought_up_once_by_default(
    stacks: FakeStacks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for stack, target in (("scenario-a", "lab"), ("scenario-b", "eks")):
        file = tmp_path / f"Pulumi.{stack}.yaml"
        file.write_text(f"config:\n  cni-benchmark:target: {target}\n")
    monkeypatch.setattr(command, "PROJECT", tmp_path)
    assert run("scenario-a", "--rounds", "1") == 0
    assert record()["bring_ups"] == 5
    assert run(*AB, "--rounds", "1") == 0
    assert record()["bring_ups"] == 1


def test_a_stack_that_is_up_is_refused_before_anything_starts(
    stacks: FakeStacks, capsys: pytest.CaptureFixture[str]
) -> None:
    assert once(*AB, "--rounds", "1") == 0
    capsys.readouterr()
    before, done = record(), list(stacks.done)
    stacks.there.add("scenario-b")
    assert run(*AB) == 2
    told = capsys.readouterr().err
    assert told == (
        "bench: scenario-b: up already, and 5 bring-ups begin with none. "
        "Fix: make down STACK=scenario-b, or --bring-ups 1 to measure it as it is\n"
    )
    assert (record(), stacks.done) == (before, [*done, "close"])
    assert Path("matrix/scenario-a.json").exists()


def test_a_bring_up_without_some_scenario_is_told(
    stacks: FakeStacks, capsys: pytest.CaptureFixture[str]
) -> None:
    def second_time(operation: str) -> None:
        if operation == "up scenario-b":
            second = stacks.done.count(operation) == 1
            stacks.fails = {operation: "no memory"} if second else {}

    stacks.before = second_time
    assert run(*AB, "--bring-ups", "3") == 1
    assert "bring-up 2 has no results of scenario-b: no memory" in capsys.readouterr().err


def test_going_on_it_says_how_many_bring_ups_are_over(
    stacks: FakeStacks, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(begun: str) -> None:
        if begun == "destroy scenario-a" and stacks.done.count("up scenario-a") == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    stacks.before = stop
    assert run(*AB, "--bring-ups", "3") == 130
    stacks.before = lambda operation: None
    capsys.readouterr()
    assert run(*AB, "--bring-ups", "3") == 0
    assert ", 2 of 3 bring-ups are over" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["scenario-x"], "no stack 'scenario-x': choose of scenario-a, "),
        (["scenario-a", "scenario-a"], "scenario-a is named twice"),
        (["--rounds", "0"], "--rounds must be a whole number from 1"),
        (["--bring-ups", "0"], "--bring-ups must be from 1 to 1,000, got 0"),
        (["--seconds", "0"], "seconds must be a whole number from 1"),
        (["--profile", "slow"], "unknown profile 'slow'"),
        (["--allow", "luck"], "no precondition 'luck' to allow"),
        (["--down"], "there is no matrix in matrix: name its --out"),
        (["--out", "/proc/x"], "the folder cannot be used"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_starts(
    stacks: FakeStacks, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert run(*arguments) == 2
    said = capsys.readouterr().err
    assert told in said
    assert len(said.splitlines()) == 1
    assert stacks.done == []


def stop_at(stacks: FakeStacks, operation: str) -> None:
    def stop(begun: str) -> None:
        if begun == operation:
            os.kill(os.getpid(), signal.SIGTERM)

    stacks.before = stop


def test_stopped_it_says_how_to_go_on_and_does(
    stacks: FakeStacks, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studies.matrix.run.AT_ONCE", 1)
    stop_at(stacks, "destroy scenario-a")
    assert once(*AB, "--rounds", "2") == 130
    told = capsys.readouterr().err
    assert "bench: stopped; the same command goes on" in told
    assert "python -m bench matrix --out matrix --down takes them down" in told
    seed = record()["seed"]
    # What is under way is ended, and nothing more begun.
    assert stacks.there == {"scenario-b"}
    stacks.before = lambda operation: None
    assert once(*AB, "--rounds", "2") == 0
    assert f"going on with the matrix of {record()['started']}, seed {seed}" in (
        capsys.readouterr().err
    )
    assert stacks.there == set()


@pytest.mark.parametrize(
    "arguments",
    [
        (*AB, "--rounds", "3"),
        ("scenario-a",),
        (*AB, "--rounds", "2", "--seed", "1"),
        (*AB, "--rounds", "2", "--bring-ups", "2"),
    ],
)
def test_another_matrix_that_is_not_finished_is_not_overwritten(
    stacks: FakeStacks, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    stop_at(stacks, "up scenario-b")
    assert once(*AB, "--rounds", "2", "--seed", "5") == 130
    capsys.readouterr()
    before = record()
    assert once(*arguments) == 2
    told = capsys.readouterr().err
    assert (
        "another matrix that is not finished (scenario-a, scenario-b; --bring-ups 1 --rounds 2 of"
    ) in told
    assert "--down, or choose another --out" in told
    assert record() == before


def test_taken_down_it_is_ended_and_a_new_one_may_begin(stacks: FakeStacks) -> None:
    stop_at(stacks, "up scenario-b")
    assert once(*AB, "--rounds", "2") == 130
    stacks.before = lambda operation: None
    assert run("--down") == 0
    assert stacks.there == set()
    assert record()["status"] == "ended"
    assert once("scenario-c", "--rounds", "1") == 0


def test_a_finished_one_is_measured_anew(stacks: FakeStacks) -> None:
    assert once(*AB, "--rounds", "1", "--seed", "1") == 0
    first = record()
    assert once("scenario-b", "--rounds", "1", "--seed", "2") == 0
    assert record()["id"] != first["id"]
    assert not Path("matrix/scenario-a.json").exists()
    assert len(history().runs()) == 3


def test_exit_codes_of_what_failed(stacks: FakeStacks, capsys: pytest.CaptureFixture[str]) -> None:
    stacks.fails["up scenario-a"] = "no memory"
    assert once(*AB, "--rounds", "1") == 1
    assert "failed: scenario-a: no memory" in capsys.readouterr().err
    stacks.fails["up scenario-b"] = "no memory"
    assert once(*AB, "--rounds", "1") == 4
    assert "no scenario could be measured" in capsys.readouterr().err


def test_what_stays_up_against_its_will_is_told(
    stacks: FakeStacks, capsys: pytest.CaptureFixture[str]
) -> None:
    stacks.fails["destroy scenario-b"] = "it hangs"
    assert once(*AB, "--rounds", "1") == 1
    told = capsys.readouterr().err
    assert "warning: scenario-b: could not be taken down: it hangs" in told
    assert "still up: scenario-b; the same command tries again" in told


def test_on_a_terminal_there_is_a_row_per_scenario(stacks: FakeStacks) -> None:
    with Path("shown").open("w") as file:
        console = Console(file=file, force_terminal=True, width=80, color_system=None)
        with display(AB, console) as shown:
            shown.phase("measuring")
            # Long enough to squeeze everything else, and with what looks like a style.
            shown.about("scenario-b", "failed: [red] the agent said: " + 20 * "no memory ")
    text = Path("shown").read_text()
    last = text.rpartition("scenario  ")[2]
    rows = [line for line in last.splitlines() if line.lstrip().startswith("scenario-")]
    assert [row.split()[0] for row in rows] == list(AB)
    assert "failed: [red] the" in rows[1]
    assert all(len(row.rstrip()) <= 80 for row in rows)
    assert "measuring" in last


@pytest.mark.parametrize(("seconds", "text"), [(5.4, "5 s"), (89, "89 s"), (600, "10 min")])
def test_spans_of_time_are_short(seconds: float, text: str) -> None:
    assert minutes(seconds) == text
