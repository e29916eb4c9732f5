"""Dynamic resources: what is done again when, and errors as the user should read them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pulumi.dynamic import CreateResult
from pulumi.dynamic.dynamic import serialize_provider

from components.benchmark import BenchmarkProvider
from components.dynamic import Provider, UserError, changed_inputs, inputs
from components.lab.providers import (
    ClusterProvider,
    CniProvider,
    SlotProvider,
    WorkloadsProvider,
)
from lab.wait import until
from tests.components.stack_config import ROOT

PROVIDERS = [SlotProvider, ClusterProvider, CniProvider, WorkloadsProvider, BenchmarkProvider]


@pytest.mark.parametrize(
    ("olds", "news", "changed"),
    [
        ({"spec": "a"}, {"spec": "a"}, []),
        ({"spec": "a"}, {"spec": "b"}, ["spec"]),
        # An output stands among the inputs as None; what it became is no change.
        ({"spec": "a", "boot": "1f"}, {"spec": "a", "boot": None}, []),
        ({"boot": "1f"}, {"spec": "a"}, ["spec"]),
        # The engine's own entries, and what only the state knows.
        ({"__provider": "x"}, {"__provider": "y"}, []),
        ({"spec": "a", "results": {}}, {"spec": "a"}, []),
        ({"a": 1, "b": 2, "c": 3}, {"a": 2, "b": 2, "c": 4}, ["a", "c"]),
        ({"version": 1}, {"version": 2}, ["version"]),
    ],
)
def test_what_has_changed(olds: dict[str, Any], news: dict[str, Any], changed: list[str]) -> None:
    assert changed_inputs(olds, news) == changed


class _Provider(Provider):
    replaced_by = ("spec",)

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("id", inputs(props, ("spec", "note")))


def test_nothing_new_is_nothing_to_do() -> None:
    found = _Provider().diff("id", {"spec": "a", "note": "x"}, {"spec": "a", "note": "x"})
    assert not found.changes
    assert not found.replaces


def test_an_input_of_identity_replaces_and_the_old_one_goes_first() -> None:
    found = _Provider().diff("id", {"spec": "a", "note": "x"}, {"spec": "b", "note": "y"})
    assert found.changes
    assert found.replaces == ["spec"]
    assert found.delete_before_replace


def test_another_input_updates() -> None:
    found = _Provider().diff("id", {"spec": "a", "note": "x"}, {"spec": "a", "note": "y"})
    assert found.changes
    assert not found.replaces


def test_inputs_to_record_are_those_asked_for() -> None:
    assert inputs({"a": 1, "b": 2, "__provider": "x"}, ("a",)) == {"a": 1}


# -- the benchmark: measured again when the plan or the lab is another -------------------------


MEASURED = {"session": "{}", "plan": '{"runs": 3}', "version": 1, "results": {"metrics": {}}}


@pytest.mark.parametrize("name", ["session", "plan", "version"])
def test_another_input_is_measured_again(name: str) -> None:
    news = {**MEASURED, "results": None, name: "another"}
    assert BenchmarkProvider().diff("benchmark", MEASURED, news).changes


def test_the_same_inputs_are_not_measured_again() -> None:
    assert (
        not BenchmarkProvider().diff("benchmark", MEASURED, {**MEASURED, "results": None}).changes
    )


# -- the lab's steps ----------------------------------------------------------------------------


@pytest.mark.parametrize("provider", [CniProvider, WorkloadsProvider])
def test_another_boot_of_the_lab_makes_the_step_anew(provider: type[Provider]) -> None:
    olds = dict.fromkeys(provider.replaced_by, "a")
    for name in provider.replaced_by:
        found = provider().diff("id", olds, {**olds, name: "b"})
        assert found.replaces == [name]
        # The step before it has ended what ran: nothing may be made beside it.
        assert found.delete_before_replace


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_is_the_same_in_every_program_run(provider: type[Provider]) -> None:
    # The engine compares it as text: one that differed would change every resource on every `up`.
    text = serialize_provider(provider())
    assert text == serialize_provider(provider())
    # Found again by its import path, not carried along: a stack takes up the checkout's code.
    assert len(text) < 200


# -- errors -------------------------------------------------------------------------------------

# What pulumi/dynamic/__main__.py does with an exception of a provider.
_HOST = """
import traceback
from components.dynamic import Provider, UserError

class DynamicResourceProviderServicer:
    def Cancel(self, request, context): pass

class P(Provider): pass

P().configure(None)
try:
    raise {error}
except Exception:
    print(traceback.format_exc())
"""


def _told(error: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _HOST.format(error=error)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.rstrip("\n")


def test_an_error_for_the_user_is_told_without_a_traceback() -> None:
    told = _told("UserError('could not start the lab: no memory\\nsee the log') from None")
    assert told == "could not start the lab: no memory\nsee the log"


def test_an_error_of_ours_keeps_its_traceback() -> None:
    told = _told("KeyError('boot')")
    assert told.startswith("Traceback (most recent call last):")
    assert told.endswith("KeyError: 'boot'")


def test_outside_the_host_tracebacks_are_left_alone() -> None:
    import traceback

    host = sys.modules["__main__"]
    before = getattr(host, "traceback", None)
    _Provider().configure(None)
    assert getattr(host, "traceback", None) is before
    try:
        raise UserError("x")
    except UserError:
        assert "Traceback" in traceback.format_exc()


# -- the engine's end ---------------------------------------------------------------------------

# A stand-in of the engine, which starts a script that starts a host of providers.
_ENGINE = """
import subprocess, sys
subprocess.Popen(["sh", "-c", sys.argv[1] + " & wait"], stdin=subprocess.DEVNULL).wait()
"""
_HOST_OF_PROVIDERS = """
import os, sys, time
sys.path.insert(0, os.getcwd())
from components import dynamic
{machine}
dynamic._end_with_the_engine()
print(os.getpid(), dynamic._engine().pid, flush=True)
time.sleep(60)
"""
_LINUX = ""
_WITHOUT_PIDFDS = "del os.pidfd_open"


def _ended(pid: int) -> str | None:
    # Whoever takes over orphans may be slow to bury it.
    status = Path(f"/proc/{pid}/status")
    try:
        return None if "State:\tZ" in status.read_text() else "it runs"
    except (FileNotFoundError, ProcessLookupError):
        return None


@pytest.mark.parametrize("machine", [_LINUX, _WITHOUT_PIDFDS], ids=["pidfd", "polling"])
def test_a_host_of_providers_ends_with_its_engine(tmp_path: Path, machine: str) -> None:
    host = tmp_path / "host.py"
    host.write_text(_HOST_OF_PROVIDERS.format(machine=machine))
    program = tmp_path / "pulumi"
    program.symlink_to(sys.executable)
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(host))}"
    with subprocess.Popen(
        [program, "-c", _ENGINE, command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as engine:
        assert engine.stdout is not None
        pid, ancestor = map(int, engine.stdout.readline().split())
        assert ancestor == engine.pid
        assert _ended(pid)
        engine.kill()
    until("the host to end", lambda: _ended(pid), timeout=10)
