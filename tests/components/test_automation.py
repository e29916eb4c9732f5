"""Stacks by the Automation API: what a state tells, what failures tell, whose lock is freed."""

from __future__ import annotations

import os
import socket
import subprocess
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from pulumi import automation

from components import automation as ours
from components.automation import NoPulumiError, PulumiStacks, read_state
from studies.matrix.run import StackFailedError

ROOT = {"type": "pulumi:pulumi:Stack", "urn": "urn:pulumi:a::p::pulumi:pulumi:Stack::p-a"}
URN = "urn:pulumi:a::p::cni-benchmark:index:Scenario$pulumi-python:dynamic:Resource::"


def resource(name: str, **outputs: object) -> dict[str, Any]:
    return {"type": "pulumi-python:dynamic:Resource", "urn": URN + name, "outputs": outputs}


def failed(text: str) -> automation.CommandError:
    kind = automation.ConcurrentUpdateError if "locked" in text else automation.CommandError
    return kind(automation.CommandResult(stdout="", stderr=text, code=255))


@pytest.mark.parametrize("deployment", [{}, {"resources": []}, {"resources": [ROOT]}])
def test_a_stack_without_resources_does_not_exist(deployment: dict[str, Any]) -> None:
    state = read_state("a", deployment)
    assert (state.exists, state.session) == (False, None)


def test_without_its_benchmark_a_stack_cannot_be_measured() -> None:
    state = read_state("a", {"resources": [ROOT, resource("slot"), resource("cluster")]})
    assert (state.exists, state.session) == (True, None)


def test_a_stack_tells_its_session_and_toggles() -> None:
    root = {**ROOT, "outputs": {"toggles": {"dsr": {"applied": False}}}}
    benchmark = resource("benchmark", session='{"factory": "a:b", "boot": "1"}')
    state = read_state("a", {"resources": [root, resource("slot"), benchmark]})
    assert state.session == {"factory": "a:b", "boot": "1"}
    assert state.toggles == {"dsr": {"applied": False}}


def test_a_stack_past_its_time_says_so() -> None:
    cluster = {"since": "2026-11-28T00:00:00+00:00", "ttl_hours": 12.0, "usd_per_hour": 0.88}
    root = {**ROOT, "outputs": {"cluster": {**cluster, "clean_up": "pulumi destroy -s a"}}}
    told = read_state("a", {"resources": [root]}).overdue
    assert told is not None
    assert told.startswith("a exists for ")
    assert told.endswith("To end it: pulumi destroy -s a")
    assert read_state("a", {"resources": [ROOT]}).overdue is None


def test_without_pulumi_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NoPulumiError, match="not on PATH"):
        PulumiStacks()


def diagnostic(severity: str, message: str) -> Any:
    told = SimpleNamespace(severity=severity, message=message)
    return SimpleNamespace(diagnostic_event=told)


def test_steps_are_told_and_our_own_error_is_the_one_that_counts() -> None:
    said: list[str] = []
    watch = ours._Watch(said.append)
    nothing: Any = SimpleNamespace(diagnostic_event=None)
    for event in (
        nothing,
        diagnostic("info", "<{%reset%}>starting etcd\n<{%reset%}>"),
        diagnostic("info#err", "\n"),
        diagnostic("error", "update failed"),
        diagnostic("error", "could not install the CNI: it crashed\nThe lab was stopped."),
    ):
        watch(event)
    assert said == ["starting etcd"]
    with pytest.raises(StackFailedError) as caught, ours._one_line_failures(watch):
        raise failed("a page of output")
    assert str(caught.value) == "could not install the CNI: it crashed; The lab was stopped."


def test_without_an_error_of_the_engine_pulumis_words_are_told() -> None:
    with (
        pytest.raises(StackFailedError, match=r"^no stack named 'x' found$"),
        ours._one_line_failures(),
    ):
        raise failed("a warning\nerror: no stack named 'x' found\n")
    with pytest.raises(StackFailedError, match="stderr: panic"), ours._one_line_failures():
        raise failed("panic")


def locked_by(host: str, pid: int) -> str:
    return (
        "error: the stack is currently locked by 1 lock(s). Either wait for the other process(es) "
        "to end or delete the lock file with `pulumi cancel`.\n"
        f"  file:///s/.pulumi/locks/x.json: created by root@{host} (pid {pid}) at 2026-01-01"
    )


@pytest.fixture
def gone() -> int:
    """The PID of a process that has ended."""
    done = subprocess.Popen(["true"])
    done.wait()
    return done.pid


class _Stack:
    cancelled = False

    def cancel(self) -> None:
        """Free the lock."""
        self.cancelled = True


def unlocked(text: str) -> bool:
    stack = _Stack()
    outcome = SimpleNamespace(exception=lambda: failed(text))
    ours._unlock(stack, SimpleNamespace(outcome=outcome), lambda line: None)  # type: ignore[arg-type]
    return stack.cancelled


def test_the_lock_of_a_killed_update_is_freed(gone: int) -> None:
    assert unlocked(locked_by(socket.gethostname(), gone))


def test_the_lock_of_an_update_under_way_is_waited_for(
    gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(psutil.Process, "name", lambda _: "pulumi")
        patch.setattr(psutil.Process, "status", lambda _: psutil.STATUS_RUNNING)
        assert not unlocked(locked_by(socket.gethostname(), os.getpid()))
    assert not unlocked(locked_by("another-machine", gone))
    assert not unlocked("error: [409] Conflict: Another update is currently in progress.")


@pytest.mark.parametrize(
    ("changes", "only"),
    [
        ({"same": 6, "update": 1}, True),
        ({"same": 7}, True),
        (
            {automation.OpType.SAME: 6, automation.OpType.UPDATE: 1, automation.OpType.CREATE: 0},
            True,
        ),
        ({"same": 5, "update": 2}, False),
        ({"same": 6, "update": 1, "create": 1}, False),
        ({automation.OpType.SAME: 6, automation.OpType.REPLACE: 1}, False),
    ],
)
def test_a_hand_over_changes_nothing_but_the_benchmark(changes: Any, only: bool) -> None:
    assert ours._results_only(changes) == only


def _pids(command: str) -> list[int]:
    return [child.pid for child in ours._children(command)]


def test_only_our_own_commands_are_interrupted() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert child.pid in _pids("sleep")
        assert os.getpid() not in _pids("python")
        assert child.pid not in _pids("pulumi")
    finally:
        child.kill()
        child.wait()
