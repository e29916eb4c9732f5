"""The parts of ``make check``, ``make test`` and ``make test-all``, each with its time.

Static checks and pure tests run side by side; labs and engines follow one after the other, since
each wants the whole machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

_HEAVY = "lab or engine or integration"


@dataclass(frozen=True)
class Part:
    """One command of the suite. ``junit``: it is a pytest run, whose tests are counted."""

    name: str
    argv: tuple[str, ...]
    junit: bool = False


@dataclass
class Outcome:
    """How a part ended: its exit code, seconds, and the tests by their result."""

    part: Part
    code: int
    seconds: float
    tests: dict[str, int] = field(default_factory=dict)


def _module(name: str, *words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name, *words)


def _pytest(name: str, marks: str, *words: str) -> Part:
    return Part(name, _module("pytest", "-q", "-rs", "-m", marks, *words), junit=True)


STATIC = (
    Part("ruff check", _module("ruff", "check", ".")),
    Part("ruff format", _module("ruff", "format", "--check", ".")),
    Part("import contracts", (str(Path(sys.executable).with_name("lint-imports")), "--no-logo")),
    Part("mypy --strict", _module("mypy", "--strict", ".")),
)
_TWO_WORKERS = ("-n", "2", "--dist", "loadfile")
PURE = _pytest("pure tests", f"not ({_HEAVY}) and not process", *_TWO_WORKERS)
WITH_PROCESSES = _pytest("tests that start programs", f"process and not ({_HEAVY})", *_TWO_WORKERS)
LABS = _pytest("tests in labs", "(lab or integration) and not engine and not versions")
VERSIONS = _pytest("labs of every version", "versions")
ENGINES = _pytest("tests with the Pulumi engine", "engine and not provider")
PROVIDER = _pytest("the real provider of Kubernetes", "provider")
FUZZING = Part(
    "readers, 10,000 cases each",
    _module("pytest", "-q", "tests/fuzz", "--hypothesis-profile=thorough", "-n", "2"),
    junit=True,
)
VALIDATION = Part("make validate", _module("bench", "validate", "--out", "validation"))

SUITES: dict[str, tuple[Part, ...]] = {
    "check": (),
    "test": (WITH_PROCESSES, LABS, ENGINES),
    "all": (WITH_PROCESSES, LABS, VERSIONS, ENGINES, PROVIDER, FUZZING, VALIDATION),
}
"""What follows :data:`STATIC` and :data:`PURE`, by the suite's name."""


class Suite:
    """Runs parts, shows what they print, and keeps how they ended."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def side_by_side(self, *lanes: Sequence[Part]) -> None:
        """Run several sequences of parts at once; each part's output is shown when it has ended."""
        with ThreadPoolExecutor(max_workers=len(lanes)) as pool:
            for each in [pool.submit(self._lane, lane) for lane in lanes]:
                each.result()

    def _lane(self, parts: Sequence[Part]) -> None:
        for part in parts:
            self.run(part, show=False)

    def run(self, part: Part, *, show: bool = True) -> None:
        """Run one part; with ``show`` its output is shown as it comes."""
        if self._stopped:
            return
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "junit.xml"
            argv = [*part.argv, *([f"--junitxml={report}"] if part.junit else [])]
            start = time.monotonic()
            process = subprocess.Popen(
                argv,
                stdout=None if show else subprocess.PIPE,
                stderr=None if show else subprocess.STDOUT,
                text=True,
            )
            with self._lock:
                self._running.add(process)
            output, _ = process.communicate()
            outcome = Outcome(part, process.returncode, time.monotonic() - start, _counts(report))
        with self._lock:
            self._running.discard(process)
            self.outcomes.append(outcome)
            if output:
                print(output, end="", flush=True)
            print(_line(outcome), flush=True)

    def stop(self) -> None:
        """End what is running, and start nothing more."""
        self._stopped = True
        with self._lock:
            running = list(self._running)
        for process in running:
            process.terminate()

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.code != 0]


def _counts(report: Path) -> dict[str, int]:
    """The tests of a pytest run by their result; nothing where there is no report."""
    if not report.exists():
        return {}
    suites = ET.parse(report).getroot().iter("testsuite")
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in suites:
        for name in counts:
            counts[name] += int(suite.get(name, 0))
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    return {"passed": passed, "failed": failed, "skipped": counts["skipped"]}


def _line(outcome: Outcome) -> str:
    tests = ", ".join(f"{number:,} {name}" for name, number in outcome.tests.items())
    end = "ok" if outcome.code == 0 else f"FAILED (exit code {outcome.code})"
    return f"== {outcome.part.name}: {end}{f', {tests}' if tests else ''}, {outcome.seconds:.0f} s"


def _summary(suite: Suite, seconds: float) -> str:
    lines = [_line(outcome) for outcome in suite.outcomes]
    totals = {
        name: sum(outcome.tests.get(name, 0) for outcome in suite.outcomes)
        for name in ("passed", "failed", "skipped")
    }
    counted = ", ".join(f"{number} {name}" for name, number in totals.items())
    return "\n".join(["", *lines, f"== all parts: {seconds / 60:.1f} minutes", counted])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a suite; returns 0 where every part ended well, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.suite", description=__doc__)
    parser.add_argument("suite", choices=SUITES)
    wanted = parser.parse_args(arguments).suite
    suite, start = Suite(), time.monotonic()
    try:
        suite.side_by_side(STATIC, [PURE])
        for part in SUITES[wanted]:
            suite.run(part)
    except KeyboardInterrupt:
        suite.stop()
        return 130
    print(_summary(suite, time.monotonic() - start))
    return 1 if suite.failed else 0


if __name__ == "__main__":
    sys.exit(main())
