"""The engine's own account of an operation: which resource's step began and ended when."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

_BEGINS, _ENDS = "resourcePreEvent", "resOutputsEvent"


@dataclass(frozen=True, slots=True)
class Span:
    """A step's place in the sequence of events.

    :param what: the resource's kind and name: ``NodeGroup nodes``.
    """

    op: str
    what: str
    begin: int
    end: int


class Events:
    """The steps of one operation that did something, from a file of ``--event-log``."""

    def __init__(self, file: Path) -> None:
        self.spans = list(_spans(json.loads(line) for line in file.read_text().splitlines()))

    def did(self, *ops: str) -> set[str]:
        """What was, say, created; all that was touched where nothing is named."""
        return {span.what for span in self.spans if not ops or span.op in ops}

    def span(self, what: str) -> Span:
        """The step of a resource.

        :raises AssertionError: it had none, or several.
        """
        found = [span for span in self.spans if span.what == what]
        assert len(found) == 1, f"{what}: {found or sorted(self.did())}"
        return found[0]

    def assert_order(self, *groups: tuple[str, ...]) -> None:
        """Every resource of a group has ended before any of the next group has begun."""
        for earlier, later in pairwise(groups):
            for first, second in product(earlier, later):
                before, after = self.span(first), self.span(second)
                assert before.end < after.begin, f"{second} did not wait for {first}"


def _spans(events: Iterator[dict[str, Any]]) -> Iterator[Span]:
    begun: dict[tuple[str, str], int] = {}
    for event in events:
        for kind in (_BEGINS, _ENDS):
            if kind not in event:
                continue
            told = event[kind]["metadata"]
            key = told["op"], told["urn"]
            if told["op"] in ("same", "read", "refresh"):
                continue
            if kind == _BEGINS:
                begun[key] = event["sequence"]
            elif key in begun:
                kind_of = told["type"].rpartition(":")[2]
                what = f"{kind_of} {told['urn'].rpartition('::')[2]}"
                yield Span(told["op"], what, begun.pop(key), event["sequence"])
