"""The machine's lock: who measures is alone, who works shares, who has to wait says for whom."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pulumi.dynamic
import pytest

from components import dynamic
from lab import machine
from lab.cluster import Lab
from lab.errors import LabError, MachineBusyError, ToolchainError
from lab.toolchain.build import Builder
from lab.toolchain.cache import Cache
from lab.toolchain.commands import Setup
from lab.toolchain.programs import ALL
from tests.speed import bring_up

ROOT = Path(__file__).parents[2]
_PROGRAM = """
import subprocess, sys
from lab import machine
take, what, child = sys.argv[1:4]
with getattr(machine, take)(what):
    print("has it", flush=True)
    if child:
        subprocess.run([sys.executable, "-c", child], check=True)
    sys.stdin.read()
"""


class Process:
    """Another process, which takes the lock and holds it until its input ends."""

    def __init__(self, take: str, what: str, child: str = "", **environment: str) -> None:
        self.running = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, take, what, child],
            cwd=ROOT, env={**os.environ, **environment}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def has_it(self) -> None:
        """Waits until it has the lock."""
        assert self.running.stdout is not None
        assert self.running.stdout.readline() == "has it\n"

    def says(self) -> str:
        """The next line of what it complains of."""
        assert self.running.stderr is not None
        return self.running.stderr.readline()

    def ends(self) -> int:
        """Lets it go on to its end."""
        assert self.running.stdin is not None
        self.running.stdin.close()
        return self.running.wait(10)

    @property
    def runs(self) -> bool:
        return self.running.poll() is None


Start = Callable[..., Process]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Start]:
    """Starts processes on a machine of their own."""
    monkeypatch.setenv(machine.LOCK, str(tmp_path / "lock"))
    started: list[Process] = []

    def start(*words: str, **environment: str) -> Process:
        started.append(Process(*words, **environment))
        return started[-1]

    yield start
    for each in started:
        each.running.kill()
        with each.running:
            pass  # closes its pipes and waits


pytestmark = pytest.mark.process


def test_a_second_measurement_waits_and_says_for_whom(start: Start) -> None:
    first = start("measuring", "measuring the lab a")
    first.has_it()
    second = start("measuring", "measuring the lab b")
    waiting = rf"waiting for measuring the lab a \(pid {first.running.pid}, since \d\d:\d\d:\d\d\)"
    assert re.fullmatch(waiting, second.says().rstrip())
    assert second.runs
    assert first.ends() == 0
    second.has_it()
    assert second.ends() == 0


@pytest.mark.parametrize(("first", "second"), [("measuring", "working"), ("working", "measuring")])
def test_work_and_measurement_wait_for_each_other(start: Start, first: str, second: str) -> None:
    one = start(first, "one")
    one.has_it()
    two = start(second, "two")
    assert two.says().startswith("waiting for one (pid ")
    one.ends()
    two.has_it()


def test_bring_ups_are_timed_alone(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(_stacks: object) -> None:
        # Named as nobody's child, or it would not have to wait.
        set_up = start("working", "a set-up", **{machine.MEASURED_BY: ""})
        assert set_up.says().startswith("waiting for timing bring-ups (pid ")

    monkeypatch.setattr(bring_up, "one_by_one", timed)
    bring_up.main(["scenario-a"])


def test_work_meets_work_and_a_measurement_waits_for_all_of_it(start: Start) -> None:
    builds, brings_up = start("working", "a set-up"), start("working", "bringing up the lab a")
    builds.has_it()
    brings_up.has_it()
    measures = start("measuring", "a measurement")
    assert {*re.findall(r"(a set-up|the lab a)", measures.says())} == {"a set-up", "the lab a"}
    builds.ends()
    assert measures.says().startswith("waiting for bringing up the lab a (pid ")
    brings_up.ends()
    measures.has_it()


def test_a_killed_process_has_it_no_more(start: Start) -> None:
    first = start("measuring", "one")
    first.has_it()
    first.running.kill()
    first.running.wait()
    with machine.measuring("two", pytest.fail):
        pass


def test_a_measurements_own_children_do_not_wait_for_it(start: Start) -> None:
    inner = "from lab import machine\nmachine.working('w').release()\nmachine.measuring('m')"
    outer = start("measuring", "a matrix", inner)
    outer.has_it()
    assert outer.ends() == 0


def test_a_child_that_outlives_the_measurement_waits_as_others_do(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = start("measuring", "another")
    other.has_it()
    monkeypatch.setenv(machine.MEASURED_BY, "1")
    monkeypatch.setenv(machine.BUSY, machine.REFUSE)
    with pytest.raises(MachineBusyError):
        machine.working("one")


def test_ctrl_c_ends_the_waiting(start: Start) -> None:
    first = start("measuring", "one")
    first.has_it()
    second = start("measuring", "two")
    second.says()
    second.running.send_signal(signal.SIGINT)
    assert second.running.wait(10) == -signal.SIGINT
    assert first.ends() == 0
    with machine.measuring("three", pytest.fail):
        pass


@pytest.mark.parametrize("take", [machine.measuring, machine.working])
def test_it_is_refused_where_that_is_wanted(
    start: Start, monkeypatch: pytest.MonkeyPatch, take: Callable[[str], object]
) -> None:
    first = start("measuring", "one")
    first.has_it()
    monkeypatch.setenv(machine.BUSY, machine.REFUSE)
    with pytest.raises(MachineBusyError, match=r"is taken by one \(pid .* Fix: wait") as refused:
        take("two")
    # Toolchain and lab each know it as an error of theirs.
    assert isinstance(refused.value, LabError)
    assert isinstance(refused.value, ToolchainError)
    first.ends()
    take("two").release()  # type: ignore[attr-defined]


def test_another_word_for_waiting_is_refused_although_nobody_has_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(machine.BUSY, "queue")
    with pytest.raises(MachineBusyError, match="CNI_BENCHMARK_BUSY=queue: must be wait or refuse"):
        machine.measuring("one")


def test_a_file_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(machine.LOCK, "/nowhere/lock")
    with pytest.raises(MachineBusyError, match=r"'/nowhere/lock'\. Fix: .*CNI_BENCHMARK_LOCK"):
        machine.measuring("one")


def test_one_process_may_have_it_several_times_over(start: Start) -> None:
    # Sides of a comparison are sessions of one process, which brings labs up meanwhile.
    sides = [machine.measuring("a", pytest.fail), machine.measuring("b", pytest.fail)]
    up = machine.working("bringing up", pytest.fail)
    sides[0].release()
    sides[0].release()
    works = start("working", "another", **{machine.MEASURED_BY: ""})  # as if it were no child
    assert works.says().startswith(f"waiting for a (pid {os.getpid()}, ")
    sides[1].release()
    works.has_it()  # beside what is left: work
    measures = start("measuring", "a third")
    measures.says()
    works.ends()
    assert measures.runs
    up.release()
    measures.has_it()


def test_whoever_is_told_to_stop_waits_no_more(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_given_up", threading.Event())
    first = start("measuring", "one")
    first.has_it()
    with pytest.raises(MachineBusyError, match="stopped while waiting for one"):
        machine.measuring("two", lambda line: machine.give_up())


def test_the_engines_cancel_ends_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_given_up", threading.Event())
    source = Path(pulumi.dynamic.__file__).with_name("__main__.py").read_text()
    host = types.ModuleType("__main__")
    exec(compile(source.replace("\nmain()\n", "\n"), "host", "exec"), host.__dict__)
    bound = host.DynamicResourceProviderServicer().Cancel  # as the server has it
    monkeypatch.setitem(sys.modules, "__main__", host)
    dynamic._wait_no_more_when_cancelled()
    bound(None, None)
    assert machine._given_up.is_set()


@pytest.mark.parametrize("step", ["start", "install", "deploy", "stop", "remove"])
def test_no_lab_comes_up_or_goes_beside_a_measurement(
    start: Start, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    start("measuring", "one").has_it()
    monkeypatch.setenv(machine.BUSY, machine.REFUSE)
    arguments: dict[str, tuple[Any, ...]] = {
        "start": (None, print), "install": (print,), "deploy": ((), (), print),
    }  # fmt: skip
    with pytest.raises(MachineBusyError, match="is taken by one"):
        getattr(Lab("of-a-test"), step)(*arguments.get(step, ()))


def test_nothing_is_built_beside_a_measurement(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start("measuring", "one").has_it()
    monkeypatch.setenv(machine.BUSY, machine.REFUSE)
    builder = Builder(ROOT / "tools", Cache(tmp_path / "cache"))
    with pytest.raises(MachineBusyError, match="is taken by one"):
        Setup(ALL, False, builder).ensure()
    assert not (tmp_path / "cache").exists()


def test_all_users_may_use_the_file(start: Start, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        machine.measuring("one").release()
    finally:
        os.umask(before)
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o666
