"""Notes about samples: what kind, with which figures, of which rounds. Their text is made here.

A note qualifies the value of one metric: something other than the network was at its limit, the
load came late, the platform held traffic back. Rules ask for its kind; people read its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from bench.text import number

Kind = Literal[
    "machine-limit",
    "server-limit",
    "client-limit",
    "rate-not-reached",
    "requests-failed",
    "requests-unsent",
    "sent-late",
    "coarse-histogram",
    "coarse-clock",
    "socket-buffer",
    "lower-bound",
    "throttled",
    "remark",
]
LimitedBy = Literal["machine", "server", "client", "none", "unknown"]

TEXTS: Final[Mapping[Kind, str]] = {
    "machine-limit": "the CPUs of the machine that all nodes share were the limit, not the network",
    "server-limit": "the server's CPUs were the limit, not the network",
    "client-limit": "the load generator's CPUs were the limit, not the network",
    "rate-not-reached": "only {reached} of {wanted} requests/s were reached: "
    "latency of a saturated path, not at that rate",
    "requests-failed": "some requests failed",
    "requests-unsent": "some requests that were due had not left at the end and are not in it",
    "sent-late": "more than {percent} % of the requests left over {late_ms} ms late by the "
    "generator's own fault; latency counts from the sending",
    "coarse-histogram": "fortio's histogram only says between {low_us} and {high_us} µs",
    "coarse-clock": "this dig prints whole milliseconds only",
    "socket-buffer": "{percent} % of the loss was at the receiver's full socket buffer: the "
    "server was too slow, not the network",
    "lower-bound": "no loss at the highest rate tried: a lower bound",
    "throttled": "the platform held traffic back",
}
"""The text of each kind, with its figures filled in; a remark has its own text."""

_LIMITS: Mapping[LimitedBy, Kind] = {
    "machine": "machine-limit", "server": "server-limit", "client": "client-limit",
}  # fmt: skip


class Note(BaseModel):
    """One thing that qualifies a metric's value.

    ``figures`` fill its text. ``rounds`` (1 …) are those that it is about; none are named where it
    is about all. ``words`` are a remark's own, of which no rule knows the meaning.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    figures: dict[str, float] = {}
    rounds: list[int] = []
    words: str | None = None

    @property
    def meaning(self) -> str:
        """What it says, whatever rounds it is about."""
        figures = {name: number(value, 4) for name, value in self.figures.items()}
        return self.words or TEXTS[self.kind].format(**figures)

    def text(self) -> str:
        """What it says, after the rounds that it is about."""
        if not self.rounds:
            return self.meaning
        return f"run {', '.join(map(str, self.rounds))}: {self.meaning}"


def limit_kind(by: LimitedBy) -> Kind | None:
    """The kind of note about a metric whose limit was not the network; None where it may be."""
    return _LIMITS.get(by)


def merged(notes: Iterable[tuple[int, Note]], rounds: Sequence[int]) -> list[Note]:
    """Notes by round, as one note each with all its rounds.

    :param notes: with the round that each is about.
    :param rounds: all rounds of the metric; a note that is about every one names none.
    """
    about: dict[str, tuple[Note, list[int]]] = {}
    for round_, note in notes:
        about.setdefault(note.model_dump_json(), (note, []))[1].append(round_)
    return [
        note.model_copy(update={"rounds": [] if set(where) >= set(rounds) else where})
        for note, where in about.values()
    ]
