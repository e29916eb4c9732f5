"""Several paths measured in turns of milliseconds: what is asked of the generator, and its answer.

One round trip takes tens of microseconds, while a machine's speed changes within seconds. So the
paths that are compared (*subjects*) take turns of a short *batch* of operations each, in random
order: whatever the machine does meets all of them alike. The first operations of a turn meet the
caches as the other subjects left them, and do not count; the very first is a metric of its own.
Some 50 ms of turns are a *slice*: within a bring-up, differences are taken slice by slice. Slices
are so short because a shared host disturbs for milliseconds at a time. On one where slices differed
by 20 %, the median over slices of 200 ms gave differences of round trips that changed by 4.3 % from
one second of turns to the next, the middle (:func:`bench.stats.middle`) of slices of 50 ms by
3.3 %; of requests by 3.1 and 2.5 %.

With one operation a turn, every operation would be such a first one: round trips took 43 to 50 µs
in place of 25, and a difference of 20 % shrank to 3 or 8 %, by how many others took turns. With
turns of 32 after 8 that are dropped the median is that of one path measured alone.

The program ``turns`` (``tools/turns``) does the operations. Here is what it is told and what it
answers, both pure; :mod:`bench.probes.turns` makes measurements of it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.session import TurnClient
from bench.text import ParseError, problem

OperationName = Literal["roundtrip", "connect", "http", "dns", "transfer", "datagram", "burst"]

SLICE_MILLISECONDS = 50
_MOST = 1 << 20
"""Operations of a turn."""
_FAILED = 0xFFFF_FFFF
"""In the place of a duration: the operation failed."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is timed, and how a turn of it is made: of ``drop + batch`` operations ``batch`` count.

    ``pause_us`` lie between two of them. ``bytes`` are those of a message, a transfer, or each of
    the ``datagrams`` of a burst. With ``renew`` every turn has a connection of its own.
    """

    operation: OperationName
    batch: int
    drop: int
    pause_us: int = 0
    bytes: int = 0
    datagrams: int = 0
    renew: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """One path: where its client is started, and where its operations go (``10.0.0.1:80``).

    ``host`` is the name in an HTTP request or a DNS query, ``path`` an HTTP request's.
    """

    name: str
    client: TurnClient
    address: str
    host: str = ""
    path: str = ""


def plan(task: Task, subjects: Sequence[Subject], *, seconds: float, seed: int) -> str:
    """What ``turns run`` reads from its standard input: JSON.

    :param seconds: of turns, of all subjects together.
    :param seed: of the subjects' order in each cycle.
    """
    return json.dumps(
        {
            "subjects": [
                {
                    "name": each.name,
                    "enter": list(each.client.enter),
                    "usage": list(each.client.usage),
                    "task": {
                        "operation": task.operation,
                        "address": each.address,
                        "cpu": each.client.cpu,
                        "bytes": task.bytes,
                        "datagrams": task.datagrams,
                        "name": each.host,
                        "path": each.path,
                        "pause_us": task.pause_us,
                        "renew": task.renew,
                    },
                }
                for each in subjects
            ],
            "drop": task.drop,
            "batch": task.batch,
            "milliseconds": round(1_000 * seconds),
            "seed": seed,
            "cpu": subjects[0].client.cpu,
        }
    )


class _Head(BaseModel):
    """What the program tells before the turns; lists are by subject."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    drop: Annotated[int, Field(ge=0, le=_MOST)]
    batch: Annotated[int, Field(ge=1, le=_MOST)]
    turns: Annotated[int, Field(ge=0)]
    errors: list[str]
    user_ns: list[Annotated[int, Field(ge=0, le=2**63)]]


@dataclass(frozen=True, slots=True)
class Turns:
    """The turns of one run, in their order.

    By turn: ``subject``, its position; ``slice``, a number that the turns of whole cycles of some
    50 ms share; ``began``, in ns of the wall clock; ``cpu``, what the subject's nodes spent
    meanwhile, in µs of CPU time (0 where it is not told), and ``spent``, what they had spent in all
    before. By turn and operation, (turns, drop + batch): ``took`` in ns, NaN for one that
    failed; ``arrived``, of a burst, the number of datagrams.

    By subject: ``errors``, why its turns ended early ("" where they did not); ``own_us``, the CPU
    time per operation that its client spent outside the kernel: the generator's own share, in µs.
    ``clock_step_ms`` is by how much the wall clock was set meanwhile, against the monotonic one.
    """

    drop: int
    subject: NDArray[np.uint32]
    slice: NDArray[np.intp]
    began: NDArray[np.int64]
    spent: NDArray[np.float64]
    cpu: NDArray[np.float64]
    took: NDArray[np.float64] = field(repr=False)
    arrived: NDArray[np.uint32] = field(repr=False)
    errors: tuple[str, ...]
    own_us: tuple[float, ...]
    clock_step_ms: float

    def of(self, subject: int) -> NDArray[np.bool_]:
        """Which turns are a subject's."""
        return np.asarray(self.subject == subject)

    def by_slice(self, subject: int) -> list[NDArray[np.bool_]]:
        """Which turns are a subject's, slice by slice: the same slices for all subjects.

        The last one may be short, and is left out if there are others.
        """
        own, numbers = self.of(subject), np.unique(self.slice)
        return [own & (self.slice == number) for number in numbers[: max(1, len(numbers) - 1)]]


def parse(output: bytes) -> Turns:
    """Read what ``turns run`` writes.

    :raises ParseError: no head, turns that are cut off or of no subject, or CPU time that shrinks.
    """
    first, newline, data = output.partition(b"\n")
    try:
        head = _Head.model_validate_json(first)
    except ValidationError as error:
        raise ParseError(f"turns: no head in its output: {problem(error)}") from None
    operations = head.drop + head.batch
    layout = np.dtype(
        [
            ("subject", "<u4"),
            ("cycle", "<u4"),
            ("start", "<u8"),
            ("clock", "<i8"),
            ("before", "<u8"),
            ("after", "<u8"),
            ("records", "<u4", (operations, 2)),
        ]
    )
    if not newline or len(data) != head.turns * layout.itemsize:
        raise ParseError("turns: its output is cut off")
    rows = np.frombuffer(data, layout)
    if len(head.user_ns) != len(head.errors) or (rows["subject"] >= len(head.errors)).any():
        raise ParseError("turns: its output has turns of no subject")
    if (rows["after"] < rows["before"]).any():
        raise ParseError("turns: CPU time shrank in a turn")
    nanoseconds = rows["records"][:, :, 0]
    made = operations * np.bincount(rows["subject"], minlength=len(head.errors))
    return Turns(
        drop=head.drop,
        subject=rows["subject"],
        slice=_slices(rows["cycle"], rows["start"]),
        began=rows["start"].astype(np.int64) + rows["clock"],
        spent=rows["before"].astype(float),
        cpu=(rows["after"] - rows["before"]).astype(float),
        took=np.where(nanoseconds == _FAILED, np.nan, nanoseconds.astype(float)),
        arrived=rows["records"][:, :, 1],
        errors=tuple(head.errors),
        own_us=tuple(np.asarray(head.user_ns) / 1_000 / np.maximum(made, 1)),
        clock_step_ms=float(np.ptp(rows["clock"])) / 1e6 if len(rows) else 0.0,
    )


def _slices(cycle: NDArray[np.uint32], start: NDArray[np.uint64]) -> NDArray[np.intp]:
    """The slice of each turn: where its cycle began, in units of a slice."""
    if not len(cycle):
        return np.empty(0, np.intp)
    _, firsts, place = np.unique(cycle, return_index=True, return_inverse=True)
    began = (start[firsts] - start[0]) // np.uint64(SLICE_MILLISECONDS * 1_000_000)
    return np.asarray(began.astype(np.intp)[place])
