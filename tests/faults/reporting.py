"""Faults while results are shown: files that are torn, damaged or gone, and places that take
nothing. What was there before, results and an earlier page, stays as it was."""

from __future__ import annotations

import hashlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.results import SCHEMA
from tests.faults.ground import BENCH, ROOT, Ground
from tests.faults.table import Injection, Seen, line_of

EXAMPLE = ROOT / "docs/example/data"
_PAGE = "an earlier page"


class Reported:
    """Results of two scenarios, and an earlier report of them."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.data = ground.place("results")
        for letter in "ae":
            shutil.copy(EXAMPLE / f"scenario-{letter}.json", self.data)
        self.out = ground.place("report")
        (self.out / "index.html").write_text(_PAGE)

    def digests(self) -> dict[str, str]:
        files = (file for file in self.data.iterdir() if file.is_file())
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    def report(self, out: Path | None = None) -> tuple[str, ...]:
        return (*BENCH, "report", str(self.data), "--out", str(out or self.out))

    def spoilt(self, spoil: Callable[[Path], object], code: int) -> Seen:
        """A file of results is spoiled."""
        file = self.data / "scenario-e.json"
        spoil(file)
        before = self.digests()
        told = self.ground.refused(code, *self.report())
        return self.as_before(told, before)

    def as_before(self, told: str, before: dict[str, str]) -> Seen:
        assert self.digests() == before, "the results have changed"
        assert (self.out / "index.html").read_text() == _PAGE, "the earlier page has changed"
        return Seen(told, "the other results, and the earlier report")

    def no_place(self) -> Seen:
        before = self.digests()
        with self.ground.small_disk("64k", full=True) as disk:
            told = self.ground.refused(2, *self.report(disk / "page"))
        return self.as_before(told, before)

    def read_only(self) -> Seen:
        before = self.digests()
        with self.ground.read_only(self.out):
            told = self.ground.refused(2, *self.report())
        return self.as_before(told, before)

    def stopped(self, by: signal.Signals) -> Seen:
        """While the page is being made."""
        before = self.digests()
        code, told = self.ground.stopped(by, "drawing ", *self.report())
        assert code, "it was over already"
        return self.as_before(told, before)

    def interrupted_at_once(self) -> Seen:
        """While Python still reads the program."""
        before = self.digests()
        process = self.ground.user.start(*self.report())
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=30)[0]
        assert process.returncode == 130, f"{process.returncode}: {line_of(told)}"
        assert "Traceback" not in told, line_of(told)
        return self.as_before(line_of(told), before)

    def closed_pipe(self) -> Seen:
        file = str(self.data / "scenario-a.json")
        shown = (*BENCH, "show", "--file", file)
        done = self.ground.user.run("bash", "-c", '"$@" | true', "bash", *shown)
        assert "Traceback" not in done.stdout, line_of(done.stdout)
        return Seen(line_of(done.stdout), "the results")


def injections(ground: Ground) -> Iterator[Injection]:
    def spoilt(kind: str, what: str, spoil: Callable[[Path], object], code: int) -> Injection:
        return Injection("report", kind, what, partial(Reported(ground).spoilt, spoil, code))

    yield spoilt("torn file", "half of a scenario's results", _halve, 5)
    yield spoilt("garbage in a file", "in place of results", _garbage, 5)
    yield spoilt("empty file", "in place of results", lambda file: file.write_bytes(b""), 5)
    yield spoilt("file of another version", "another schema of results", _other_schema, 5)
    yield spoilt("impossible number", "NaN among the samples", _nan, 5)
    yield Injection("report", "full disk", "for the page", Reported(ground).no_place)
    yield Injection("report", "folder that may only be read", "for the page",
                    Reported(ground).read_only)  # fmt: skip
    for by in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        what = "while the page is made"
        do = partial(Reported(ground).stopped, by)
        yield Injection("report", f"{by.name} to a command", what, do)
    at_once = Reported(ground).interrupted_at_once
    yield Injection("report", "SIGINT to a command", "half a second after its start", at_once)
    yield Injection("report", "closed pipe", "to `bench show`", Reported(ground).closed_pipe)


def _halve(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


def _garbage(file: Path) -> None:
    file.write_bytes(bytes(range(256)) * 8)


def _other_schema(file: Path) -> None:
    file.write_text(file.read_text().replace(SCHEMA, "cni-benchmark/results/v9", 1))


def _nan(file: Path) -> None:
    text = file.read_text()
    start = text.index('"samples": [') + len('"samples": [')
    end = min(text.index(mark, start) for mark in ",]")
    file.write_text(text[:start] + "NaN" + text[end:])
