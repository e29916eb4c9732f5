"""Waits end: with what was waited for, or with an error that says all that is known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import CommandError, LabError, WaitTimeoutError, tail
from lab.wait import until


def test_what_is_there_already_is_not_slept_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("slept"))
    until("a thing", lambda: None, timeout=60, interval=60)


def test_the_probe_is_asked_until_it_has_no_more_to_say() -> None:
    answers: Iterator[str | None] = iter(["no", "not yet", None, "never asked"])
    until("a thing", lambda: next(answers), timeout=60, interval=0.001)
    assert next(answers) == "never asked"


def test_a_wait_that_runs_out_says_what_the_last_answer_and_the_logs_end(tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    log.write_text("".join(f"line {number}\n" for number in range(1, 101)))
    with pytest.raises(WaitTimeoutError) as caught:
        until("the agent on node-1", lambda: "503 starting", timeout=0.02, interval=0.01, log=log)
    first, where, *shown = str(caught.value).splitlines()
    assert first == "waited 0 s for the agent on node-1; last answer: 503 starting"
    assert where == f"last lines of {log}:"
    assert shown == [f"line {number}" for number in range(86, 101)]


def test_a_missing_log_does_not_hide_what_was_waited_for(tmp_path: Path) -> None:
    with pytest.raises(WaitTimeoutError, match=r"for etcd; last answer: no(.|\n)*No such file"):
        until("etcd", lambda: "no", timeout=0.01, interval=0.01, log=tmp_path / "none.log")


def test_a_time_out_is_an_error_of_the_lab() -> None:
    assert str(WaitTimeoutError("etcd", 20)) == "waited 20 s for etcd"
    assert issubclass(WaitTimeoutError, LabError)


def test_a_probe_that_knows_better_ends_the_wait() -> None:
    asked = []

    def ended() -> str | None:
        asked.append(1)
        raise LabError("it has ended")

    with pytest.raises(LabError, match=r"^it has ended$"):
        until("a thing", ended, timeout=60, interval=0.001)
    assert len(asked) == 1


def test_a_command_error_has_the_command_its_code_and_the_end_of_its_output() -> None:
    error = CommandError(["ip", "link", "add"], 2, "x" * 9000 + "\nRTNETLINK: File exists\n")
    assert str(error).startswith("`ip link add` ended with 2: x")
    assert str(error).endswith("RTNETLINK: File exists")
    assert len(str(error)) < 2100
    assert (error.returncode, len(error.output)) == (2, 9024)


def test_the_tail_of_a_log_that_is_no_text(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\ntwo \xff\xfe\n")
    assert tail(log, lines=1) == "two \ufffd\ufffd"
