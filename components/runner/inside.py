"""What runs in the pod: the benchmark, told as events in a file that its user reads as it grows.

``python -m components.runner.inside FOLDER`` takes its task from the folder's ``task.json`` and
goes on with the samples of ``journal.jsonl``. An event is a line of JSON with one key: ``said`` (a
line of progress), ``sample`` (a journal's line), and at the end ``results``, ``failed`` (results of
which some are missing) or ``refused`` (why there is nothing). Then it waits until the last event
has been read.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.checks import PreconditionError
from bench.interleave import SIDE, BenchmarkError, Entry, run_benchmark
from bench.journal import Journal, JournalError, line_of
from bench.plan import Plan
from bench.session import SessionError
from components.runner.carried import JOURNAL, TASK
from components.targets import open_session

EVENTS, ALIVE, FETCHED = "events", "alive", "fetched"
"""Files: the events; touched by each reader; made once the last event has been read."""
LONELY_SECONDS = 900.0
"""Without a reader for so long, nobody wants the results any more."""


class Events:
    """The file of events."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def tell(self, kind: str, value: object) -> None:
        """Append an event; whole, on the disk, when it returns."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({kind: value}) + "\n")
            file.flush()
            os.fsync(file.fileno())


def run(folder: Path, task: Mapping[str, Any], events: Events) -> None:
    """Do a task; its end is the last event."""
    plan, identity = Plan.from_dict(task["plan"]), str(task["identity"])

    def keep(entry: Entry) -> None:
        events.tell("sample", line_of(entry, identity))

    try:
        known = Journal.open(folder / JOURNAL).entries({SIDE: identity})
        with closing(open_session(task["session"])) as session:
            results = run_benchmark(
                session,
                plan,
                progress=lambda line: events.tell("said", line),
                known=known,
                keep=keep,
            )
    except BenchmarkError as error:
        events.tell("failed", error.results.to_dict())
    except (PreconditionError, SessionError, JournalError) as error:
        events.tell("refused", str(error))
    except Exception as error:
        events.tell("refused", f"unexpected: {error!r}")
        raise
    else:
        events.tell("results", results.to_dict())


def _end_when_lonely(alive: Path) -> None:
    while time.time() - alive.stat().st_mtime < LONELY_SECONDS:
        time.sleep(5)
    print("nobody has asked for a long time", flush=True)
    os._exit(1)


def main(folder: Path) -> int:
    alive = folder / ALIVE
    alive.touch()
    threading.Thread(target=_end_when_lonely, args=(alive,), daemon=True).start()
    task = json.loads((folder / TASK).read_text(encoding="utf-8"))
    run(folder, task, Events(folder / EVENTS))
    while not (folder / FETCHED).exists():
        time.sleep(0.2)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
