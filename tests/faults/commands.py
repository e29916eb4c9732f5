"""Commands on a lab that runs, which are told to stop or killed: a measurement, and rounds that go
on from their journal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from lab.wait import until
from tests.faults.ground import BENCH, Ground
from tests.faults.measuring import Measured
from tests.faults.table import NO_SAMPLE, Injection, Seen, line_of, plain

_QUICK = ("--runs", "1", "--seconds", "1")
ROUNDS = (sys.executable, "-m", "tests.faults.rounds")
_NONE = "missing: the command has no results"


class Commands:
    """Of a user's, on a lab that is up."""

    def __init__(self, ground: Ground, measured: Measured) -> None:
        self.ground, self.measured = ground, measured
        self.session = ground.place("session") / "session.json"
        lab_id = measured.running.lab.paths.lab_id
        told = {"target": "lab", "args": {"lab_id": lab_id}, "boot": measured.running.boot}
        self.session.write_text(json.dumps(told))

    def inside(self) -> list[str]:
        """The programs that run in the lab now; what is still ending is no command's."""
        sandbox = self.measured.sandbox
        listed = sandbox.run(["ps", "-A", "-o", "comm="]).stdout.split()
        return sorted(name for name in listed if name != "ps")

    def as_before(self, before: list[str]) -> str:
        """All that a command has started in the lab has ended."""
        gone = lambda: None if self.inside() == before else str(set(self.inside()) ^ set(before))  # noqa: E731
        until("what the command has started in the lab to end", gone, timeout=40)
        return self.measured.well()

    def stopped(self, by: signal.Signals, line: str) -> Seen:
        """A measurement."""
        out, before = self.session.with_name("results.json"), self.inside()
        argv = (*BENCH, "run", "--session", str(self.session), *_QUICK, "--out", str(out))
        code, told = self.ground.stopped(by, line, *argv)
        assert code, "it ended well"
        assert not out.exists(), "there are results"
        return Seen(told, self.as_before(before), _NONE)

    # -- rounds ---------------------------------------------------------------------------------

    def _rounds(self, folder: Path) -> tuple[str, ...]:
        return (*ROUNDS, str(self.session), str(folder))

    def gone_on(self, spoil: Callable[[Path], object], by: signal.Signals = signal.SIGKILL) -> Seen:
        """Rounds are killed after their third sample, something happens to their journal, and the
        same command goes on."""
        folder, before = self.ground.place("rounds"), self.inside()
        self.ground.stopped(by, "[3/", *self._rounds(folder))
        journal = folder / "bring-up-1/samples.jsonl"
        whole = journal.read_text().splitlines()
        assert len(whole) >= 4, "samples that were told are not on the disk"
        spoil(journal)
        done = self.ground.user.run(*self._rounds(folder))
        assert done.returncode == 0, line_of(done.stdout)
        first = next(line for line in done.stdout.splitlines() if line.startswith("["))
        assert first.startswith(f"[{len(whole)}/"), f"{first}, after {len(whole) - 1}"
        after = journal.read_text().splitlines()
        assert after[: len(whole)] == whole, "what was kept has changed"
        self.as_before(before)
        return Seen(plain(first), f"all {len(whole) - 1} samples of before", NO_SAMPLE)

    def refused(self, spoil: Callable[[Path], object]) -> Seen:
        """The journal is damaged in its midst: nothing is made up, and nothing lost."""
        folder = self.ground.place("rounds")
        self.ground.stopped(signal.SIGKILL, "[3/", *self._rounds(folder))
        journal = folder / "bring-up-1/samples.jsonl"
        spoil(journal)
        before = journal.read_bytes()
        told = self.ground.refused(1, *self._rounds(folder))
        assert journal.read_bytes() == before
        return Seen(told, "the journal as it is", NO_SAMPLE)

    def no_room(self) -> Seen:
        """The disk is full when a sample has to be kept."""
        with self.ground.small_disk("256k") as disk:
            argv = self._rounds(disk / "rounds")
            process = self.ground.user.start(*argv)
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("[1/"):
                    subprocess.run(
                        ["dd", "if=/dev/zero", f"of={disk}/filler", "bs=4k"],
                        capture_output=True, check=False,
                    )  # fmt: skip
                    break
            told = process.communicate(timeout=120)[0]
            assert process.returncode == 1, f"{process.returncode}: {line_of(told)}"
            assert "Traceback" not in told, line_of(told)
            kept = (disk / "rounds/bring-up-1/samples.jsonl").read_bytes().splitlines()
            samples = [json.loads(line) for line in kept[1:2]]
            assert samples, "the sample before is lost"
        return Seen(line_of(told), "the samples of before", "missing: it could not be kept")


def injections(ground: Ground, measured: Measured) -> Iterator[Injection]:
    user = Commands(ground, measured)
    for by, line, stage, what in (
        (signal.SIGINT, "checking preconditions", "workloads", "while preconditions are checked"),
        (signal.SIGKILL, "warming up", "workloads", "while it warms up"),
        (signal.SIGINT, "[1/", "measuring", "after its first sample"),
        (signal.SIGTERM, "[2/", "measuring", "after its second sample"),
        (signal.SIGHUP, "[1/", "measuring", "after its first sample"),
        (signal.SIGKILL, "[2/", "measuring", "after its second sample"),
    ):
        do = partial(user.stopped, by, line)
        yield Injection(stage, f"{by.name} to a command", f"`bench run`, {what}", do)
    for by in (signal.SIGKILL, signal.SIGINT):
        do = partial(user.gone_on, lambda _: None, by)
        yield Injection("between turns", f"{by.name} to a command", "after three samples", do)
    yield Injection("between turns", "torn file", "half a line at the journal's end",
                    partial(user.gone_on, _half_a_line))  # fmt: skip
    yield Injection("between turns", "garbage in a file", "in the midst of the journal",
                    partial(user.refused, _garbage))  # fmt: skip
    yield Injection("between turns", "full disk", "when a sample is to be kept", user.no_room)


def _half_a_line(journal: Path) -> None:
    with journal.open("a") as file:
        file.write('{"identity": "x", "rou')


def _garbage(journal: Path) -> None:
    lines = journal.read_text().splitlines()
    lines[2] = "\x00garbage"
    journal.write_text("\n".join(lines) + "\n")
