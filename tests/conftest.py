"""Fixtures of all tests: what a lab needs of this machine, and that no lab is left behind."""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import suppress

import pytest

from lab import machine
from lab.toolchain import doctor
from lab.toolchain.build import Toolchain
from lab.toolchain.programs import ENGINE, FAMILIES, USUAL, packages_for
from tests.lab import leftovers, logs

_GONE_SECONDS = 20
_HEAVY = ("lab", "engine", "integration")
#: Fixtures that start another program: a mock of AWS, Helm, a browser, benchstat.
_STARTS_A_PROGRAM = {"running", "helm", "opened", "program"}

# A shell starts what it runs in the background with SIGINT ignored, and children inherit that:
# what tests say of Ctrl-C would not hold there.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A user's wish to put measuring off, or not to wait, is not the tests' wish.
os.environ.pop("CNI_BENCHMARK_MEASURE", None)
os.environ.pop(machine.BUSY, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what starts other programs out of ``make check``."""
    for item in items:
        if _STARTS_A_PROGRAM & set(getattr(item, "fixturenames", ())):
            item.add_marker("process")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test's report tells what the programs of running labs complained of."""
    report = yield
    if report.failed and (told := logs.complaints(logs.STARTED)):
        report.sections.append(("warnings of the running labs", told))
    return report


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[str]:
    """Marks every process that the tests start, and fails the run where one outlives it."""
    mark = secrets.token_hex(8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(leftovers.RUN_MARK, mark)
        yield mark
    if sys.platform != "linux":
        return
    # Processes that have been told to end may need a moment on a busy machine.
    deadline = time.monotonic() + _GONE_SECONDS
    while (left := leftovers.of_this_run(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left, f"the tests have left processes, which were ended now: {left}"


@pytest.fixture(scope="module", autouse=True)
def one_after_the_other(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Files that want the whole machine have it to themselves, whichever worker runs them.

    A lab takes both cores of a small machine: two at once make each other wait, and tests fail by
    their time limits. The machine's own lock (:mod:`lab.machine`), which the labs' sessions take,
    is always asked for after this one.
    """
    if not any(request.node.get_closest_marker(name) for name in _HEAVY):
        # They measure nothing, and wait for nobody who does.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(machine.LOCK, str(tmp_path_factory.getbasetemp() / "machine.lock"))
            yield
        return
    file = machine.lock_file({}).with_name("cni-benchmark-tests.lock")
    with os.fdopen(machine.open_shared(file), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def lab_host() -> None:
    """Skips on a machine that cannot run the lab, or has not been set up for it."""
    problems = doctor.missing(doctor.gather())
    if problems:
        pytest.skip(doctor.message(problems))
    lacking = doctor.missing_packages(packages_for(USUAL)) if doctor.is_debian() else []
    if lacking:
        pytest.skip(f"Debian packages are missing ({', '.join(lacking)}): make setup")
    toolchain = Toolchain.default()
    lacking = toolchain.missing(USUAL - {ENGINE})  # a Pulumi of the user's own serves as well
    lacking += [each.label for each in FAMILIES if toolchain.builder.missing_share(each, USUAL)]
    if lacking:
        pytest.skip(f"not built ({', '.join(lacking)}): make setup")
