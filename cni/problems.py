"""What is wrong with a setting, why, and which single change mends it."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One refused setting.

    `key` and `fix_key` are dotted paths below the object that was checked (`toggles.dsr`);
    `fix_value` is what to set `fix_key` to, or None to remove it.
    """

    key: str
    value: object
    reason: str
    fix_key: str
    fix_value: object = None

    def __str__(self) -> str:
        return f"{self.key}: {show(self.value)}: {self.reason}. Fix: {self._fix()}"

    def _fix(self) -> str:
        if self.fix_value is None:
            return f"remove {self.fix_key}"
        return f"{self.fix_key}: {show(self.fix_value)}"


class CombinationError(ValueError):
    """Settings that are each valid but contradict each other; holds every problem found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def show(value: object) -> str:
    """A setting's value as it is written in YAML: `true`, `null`, `[a, b]`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(show(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {show(item)}" for key, item in value.items()) + "}"
    return str(value) if value != "" else '""'


def property_path(loc: Sequence[int | str]) -> str:
    """`benchmark.httpQps[1]` or `eks.tags["a.b"]`, as `pulumi config --path` takes it."""
    return "".join(_step(part) for part in loc).removeprefix(".")


def _step(part: int | str) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if re.fullmatch(r"[\w-]+", part) else f"[{json.dumps(part)}]"


def nearest(word: str, candidates: Collection[str]) -> str | None:
    """The candidate most like `word`, ignoring case, or None where nothing is close."""
    by_folded = {candidate.casefold(): candidate for candidate in candidates}
    close = difflib.get_close_matches(word.casefold(), list(by_folded), n=1)
    return by_folded[close[0]] if close else None


def did_you_mean(word: str, known: Collection[str]) -> str:
    """A suggestion to append to a reason, or nothing where no known name is near."""
    match = nearest(word, known)
    return f" (did you mean {match}?)" if match else ""
