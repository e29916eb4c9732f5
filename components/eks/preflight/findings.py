"""What checks find, and how it is told: every problem as one line, all of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cni.problems import Problem
from components.settings_errors import StackFile


@dataclass(frozen=True, slots=True)
class Refusal:
    """A cause that lies outside the stack's settings: credentials, a tool, a quota."""

    cause: str
    found: str
    fix: str

    def __str__(self) -> str:
        return f"{self.cause}: {self.found}. Fix: {self.fix}"


@dataclass(frozen=True, slots=True)
class Caution:
    """Something that the reader should know and that refuses nothing."""

    text: str


Finding = Problem | Refusal | Caution
"""A `Problem` is a setting's, `eks.version` say."""


@dataclass(frozen=True, slots=True)
class Report:
    """What all checks found, each line once, in the order of the checks."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def report(findings: Iterable[Finding], file: StackFile) -> Report:
    """The findings as lines; settings with their file and the command that mends them."""
    problems: dict[str, None] = {}
    warnings: dict[str, None] = {}
    for finding in findings:
        match finding:
            case Problem():
                problems[file.contradiction(finding)] = None
            case Refusal():
                problems[str(finding)] = None
            case Caution(text):
                warnings[text] = None
    return Report(tuple(problems), tuple(warnings))
