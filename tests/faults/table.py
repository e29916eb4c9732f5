"""What an injection is, what was seen of it, and the table of all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

STAGES = (
    "set-up", "preview", "bring-up", "CNI ready", "workloads", "measuring", "between turns",
    "report", "destroy", "destroyed",
)  # fmt: skip
"""From an empty cache until nothing is there any more."""
NO_SAMPLE = "no sample"
"""Where nothing was being measured."""


@dataclass(frozen=True)
class Seen:
    """What was seen of an injection, everything asserted before it is said.

    ``told`` is the line that the user sees, ``kept`` what is still there, ``sample`` what became of
    the sample beside it.
    """

    told: str
    kept: str
    sample: str = NO_SAMPLE


@dataclass(frozen=True)
class Injection:
    """One fault at one stage. ``do`` injects it and raises :class:`AssertionError` where what
    follows is not as it should be."""

    stage: str
    kind: str
    what: str
    do: Callable[[], Seen]


@dataclass(frozen=True)
class Row:
    """What became of an injection; ``problem`` is empty where all is as it should be."""

    injection: Injection
    seconds: float
    seen: Seen | None = None
    problem: str = ""

    def text(self) -> str:
        """For whoever watches."""
        one, end = self.injection, self.problem or (self.seen.told if self.seen else "")
        mark = "FAILED" if self.problem else "ok"
        return f"{mark} {one.stage} · {one.kind} · {one.what}: {end} ({self.seconds:.0f} s)"


_VARIABLE = (
    (
        re.compile(r"/(?:[\w.@+-]+/)*[\w.@+-]*(?:faults|cni-benchmark)[\w@+-]*/(?:[\w.@+-]+/)*"),
        "…/",
    ),
    (re.compile(r"\b(?:faults|pytest-[a-z])-[0-9a-f]{8}\b"), "<lab>"),
    (re.compile(r"\bpid \d+"), "pid …"),
)
_LONGEST = 220


def line_of(output: str) -> str:
    """The last line that was printed, as users see it; what differs in every run is left out."""
    lines = [each.strip() for each in output.splitlines() if each.strip()]
    return plain(lines[-1]) if lines else "nothing"


def plain(text: str) -> str:
    """Without what differs in every run."""
    text = " ".join(text.split())
    for pattern, instead in _VARIABLE:
        text = pattern.sub(instead, text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def markdown(rows: Sequence[Row], seconds: float, command: str) -> str:
    """The document of a run."""
    failed = [row for row in rows if row.problem]
    kinds = {row.injection.kind for row in rows}
    stages = [stage for stage in STAGES if any(row.injection.stage == stage for row in rows)]
    affected = sum(bool(row.seen and row.seen.sample != NO_SAMPLE) for row in rows)
    lines = [
        "# What happens when something breaks",
        "",
        f"`{command}` breaks things on purpose, with real commands and processes, and looks at "
        "what",
        "follows: what the user is told, what is kept, that no sample beside a fault counts, and",
        "that nothing is left. It wrote this page.",
        "",
        f"**{len(rows)} injections of {len(kinds)} kinds at {len(stages)} stages in "
        f"{seconds / 60:.0f} minutes: {len(rows) - len(failed)} as they should be, "
        f"{len(failed)} not.** {affected} of them fell beside a sample. After each one no process "
        "that the run had started was left but those of a lab that others follow in, and Pulumi's "
        "host of programs, which looks after an engine that was killed only after five minutes.",
        "",
        "| stage | kind | injected | the user sees | kept | the sample beside it |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: STAGES.index(row.injection.stage)):
        one, seen = row.injection, row.seen or Seen(f"**FAILED**: {row.problem}", "")
        cells = (one.stage, one.kind, one.what, f"`{_cell(seen.told)}`", seen.kept, seen.sample)
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join([*lines, "", "Kinds: " + ", ".join(_counted(rows)) + ".", ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _counted(rows: Iterable[Row]) -> list[str]:
    kinds = [row.injection.kind for row in rows]
    return [f"{kind} ({kinds.count(kind)})" for kind in dict.fromkeys(kinds)]


def write(path: Path, rows: Sequence[Row], seconds: float, command: str) -> None:
    """Write the document."""
    path.write_text(markdown(rows, seconds, command), encoding="utf-8")
