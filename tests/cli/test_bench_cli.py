"""``python -m bench``: exit codes, messages, files, stacks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.interleave import Progress, run_benchmark
from bench.plan import Plan
from bench.results import Results
from cli.main import main
from components.state import history
from report.sources import SourceError, parse_outputs, read_stack
from tests.bench.fakes import FakeSession, failing
from tests.sessions_target import descriptor, register

ROOT = Path(__file__).parents[2]
RESULTS_PLAN = ["--runs", "1", "--seconds", "1", "--http-rates", "100"]


def healthy() -> FakeSession:
    return FakeSession()


def without_dns() -> FakeSession:
    """Queries in turns fail."""
    session = FakeSession()
    session.spoil["turns-dns"] = [failing("gone")] * 99
    return session


def on_one_node() -> FakeSession:
    session = FakeSession()
    session.nodes["server"] = "node-1"
    return session


def stopped() -> FakeSession:
    """The user presses ^C."""
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def in_no_time(session: FakeSession, plan: Plan, *, progress: Progress) -> Results:
        return run_benchmark(session, plan, progress=progress, clock=session.time.clock())

    monkeypatch.setattr("cli.measure.run_benchmark", in_no_time)
    register(monkeypatch, healthy, without_dns, on_one_node, stopped)
    monkeypatch.setenv("COLUMNS", "80")


def session_file(folder: Path, name: str) -> str:
    path = folder / "session.json"
    path.write_text(json.dumps(descriptor(name)))
    return str(path)


def run(folder: Path, name: str, *more: str) -> int:
    return main(["run", "--session", session_file(folder, name), *RESULTS_PLAN, *more])


def test_run_prints_progress_and_table_and_writes_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results.json"
    assert run(tmp_path, "healthy", "--out", str(out)) == 0
    said = capsys.readouterr()
    assert re.search(r"\[(\d+)/\1\] run 1 of 1: udp", said.err)
    assert "tcp_throughput" in said.out
    assert json.loads(out.read_text())["metrics"]["http_100_p99"]["n"] == 1
    assert list(history().runs()["origin"]) == ["run"]
    assert main(["show", "--file", str(out)]) == 0
    assert "http_100_p99" in capsys.readouterr().out


def test_run_can_print_json_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "healthy", "--out", "-") == 0
    assert json.loads(capsys.readouterr().out)["profile"] == "quick"


def test_missing_numbers_end_with_1_and_keep_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results.json"
    assert run(tmp_path, "without_dns", "--out", str(out)) == 1
    said = capsys.readouterr()
    assert "no number for dns_p50" in said.err
    assert "No number (6)" in said.out
    assert json.loads(out.read_text())["errors"]


@pytest.mark.parametrize(
    ("name", "more", "code", "message"),
    [
        ("healthy", ["--runs", "0"], 2, "runs must be a whole number from 1"),
        ("healthy", ["--http-rates", "-5"], 2, "an HTTP rate must be"),
        ("healthy", ["--profile", "slow"], 2, "unknown profile 'slow'"),
        ("on_one_node", [], 3, "precondition 'placement' failed"),
        ("stopped", [], 130, "interrupted"),
    ],
)
def test_failures_are_one_line_and_a_code(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    more: list[str],
    code: int,
    message: str,
) -> None:
    assert run(tmp_path, name, *more) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bench:")]
    assert len(lines) == 1
    assert message in lines[0]


def test_a_session_of_an_earlier_version_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "session.json"
    file.write_text(json.dumps({"factory": "components.lab.session:connect", "args": {}}))
    assert main(["run", "--session", str(file), *RESULTS_PLAN]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "recorded by an earlier version of this project. Fix: pulumi up" in line


def test_unusable_files_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert main(["run", "--session", str(tmp_path / "none.json")]) == 4
    assert main(["run", "--session", str(broken)]) == 4
    broken.write_text("[]")
    assert main(["run", "--session", str(broken)]) == 4
    assert main(["show", "--file", str(broken)]) == 5
    assert main(["show", "--file", str(tmp_path / "none.json")]) == 5
    assert len(capsys.readouterr().err.splitlines()) == 5


def test_unwritable_results_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path, "healthy", "--out", str(tmp_path / "no" / "such" / "folder")) == 2
    assert "cannot write the results" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["show"], ["show", "--stack", "a", "--file", "b"]])
def test_wrong_arguments_end_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as info:
        main(arguments)
    assert info.value.code == 2


def test_help_documents_the_exit_codes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert "exit codes:" in done.stdout
    assert "run" in done.stdout


def pulumi_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A stand-in for the pulumi command."""
    program = folder / "pulumi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_show_reads_a_stack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "results.json"
    run(tmp_path, "healthy", "--out", str(out))
    capsys.readouterr()
    outputs = tmp_path / "outputs.json"
    outputs.write_text(
        json.dumps(
            {
                "results": {
                    **json.loads(out.read_text()),
                    "environment": {"target": "the lab", "adaptations": ["routed pod subnets"]},
                },
                "toggles": [{"toggle": "bbr", "requested": True, "applied": False,
                             "verified": None, "reason": "no fq"}],
                "warnings": ["the operator was slow"],
            }
        )
    )  # fmt: skip
    pulumi_on_path(tmp_path, monkeypatch, f'[ "$5" = "-s" ] && cat {outputs}')
    assert main(["show", "--stack", "scenario-e"]) == 0
    text = capsys.readouterr().out
    for part in ("the lab", "tcp_throughput", "bbr", "no fq", "routed pod subnets", "was slow"):
        assert part in text


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'error: no stack named x found' >&2; exit 255", "no stack named x found"),
        ("echo '{}'", "stack 'x' has no results: run pulumi up -s x first"),
        ('echo \'{"results": {"schema": "v0"}}\'', "not results of this version"),
        ("echo '{\"results\": [1]}'", "stack 'x':"),
        ("echo hello", "are no JSON"),
    ],
)
def test_a_stack_without_results_is_told_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    message: str,
) -> None:
    pulumi_on_path(tmp_path, monkeypatch, script)
    assert main(["show", "--stack", "x"]) == 5
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert message in said


def test_no_pulumi_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="pulumi is not on PATH"):
        read_stack("x")


def test_results_may_be_a_json_string(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "results.json"
    run(tmp_path, "healthy", "--out", str(out))
    outputs = parse_outputs("x", json.dumps({"results": out.read_text(), "warnings": "?"}))
    assert outputs.results.profile == "quick"
    assert outputs.warnings == ()
    assert outputs.decisions == []
