"""What the stand-ins were asked to do, and the steps that they are told to fail."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: Names the folder that a test shares with its stand-ins.
FOLDER = "CNI_BENCHMARK_STANDINS"


@dataclass(frozen=True, slots=True)
class Entry:
    """One request of the engine to a provider."""

    op: str
    """create, update, delete, read, invoke or construct."""
    type: str
    name: str
    preview: bool = False
    inputs: dict[str, Any] = field(default_factory=dict)
    """As the provider got them, with secrets left out."""
    id: str = ""
    at: float = 0.0


class StepFailedError(Exception):
    """A step that a test wants to fail, with the provider's words."""


class Journal:
    """Entries in the order of their requests, one JSON line each, written by several processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lines = folder / "journal.jsonl"
        self._faults = folder / "faults"
        self._faults.mkdir(parents=True, exist_ok=True)

    @classmethod
    def of_this_process(cls) -> Journal:
        """The journal of the test that has started this provider."""
        return cls(Path(os.environ[FOLDER]))

    def write(self, entry: Entry) -> None:
        """Add an entry.

        :raises StepFailedError: where a test wants this very step to fail.
        """
        line = json.dumps(asdict(entry) | {"at": time.time()}) + "\n"
        with self._lines.open("a") as lines:  # one write with O_APPEND, whole also beside others
            lines.write(line)
        if not entry.preview:
            self._fail_as_told(entry)

    def _fail_as_told(self, entry: Entry) -> None:
        for fault in sorted(self._faults.iterdir()):
            told = json.loads(fault.read_text())
            if (told["op"], told["type"]) == (entry.op, entry.type):
                fault.unlink()
                raise StepFailedError(told["message"])

    def fail_once(self, op: str, type_: str, message: str) -> None:
        """Make the next such step fail."""
        told = {"op": op, "type": type_, "message": message}
        (self._faults / f"{time.time_ns()}.json").write_text(json.dumps(told))

    def entries(self) -> list[Entry]:
        """All entries, in order."""
        if not self._lines.exists():
            return []
        return [Entry(**json.loads(line)) for line in self._lines.read_text().splitlines()]
