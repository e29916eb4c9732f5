"""What the generator of turns would write, made up: for sessions without a cluster."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

NANOSECONDS = {
    "roundtrip": 30_000, "connect": 90_000, "http": 120_000, "dns": 80_000, "transfer": 4_000_000,
    "datagram": 25_000, "burst": 400_000,
}  # fmt: skip
"""What an operation takes."""
TURNS = (
    "rtt", "connect", "http", "dns", "transfer", "udp_rtt", "burst_64", "burst_512", "burst_1400",
)  # fmt: skip
"""The probes that take turns, in order."""
SLICES, CYCLES = 12, 2


def turns_output(
    plan: str, *, factors: Sequence[float] = (), errors: Sequence[str] = (), step_ns: int = 0
) -> bytes:
    """The answer to a plan: a few slices of a few cycles.

    :param factors: by subject, how much longer its operations take.
    :param errors: by subject.
    :param step_ns: by how much the wall clock is set in the middle.
    """
    asked = json.loads(plan)
    subjects, operations = asked["subjects"], asked["drop"] + asked["batch"]
    layout = [
        ("subject", "<u4"), ("cycle", "<u4"), ("start", "<u8"), ("clock", "<i8"),
        ("before", "<u8"), ("after", "<u8"), ("records", "<u4", (operations, 2)),
    ]  # fmt: skip
    chance = np.random.default_rng(asked["seed"])
    places = [place for place in range(len(subjects)) if not (errors and errors[place])]
    rows = np.zeros((SLICES + 1) * CYCLES * len(places), layout)
    for number, row in enumerate(rows):
        cycle, place = divmod(number, len(places))
        subject = places[place]
        task = subjects[subject]["task"]
        base = NANOSECONDS[task["operation"]] * (factors[subject] if factors else 1.0)
        row["subject"], row["cycle"] = subject, cycle
        row["start"] = 50_000_000 * (cycle // CYCLES) + 1_000 * number
        row["clock"] = step_ns if number > len(rows) // 2 else 0
        if subjects[subject]["usage"]:
            row["after"] = operations * base / 1_000
        took = base * chance.normal(1, 0.01, operations)
        took[0] *= 2
        row["records"][:, 0] = took
        row["records"][:, 1] = task["datagrams"]
    head = {
        "drop": asked["drop"], "batch": asked["batch"], "turns": len(rows),
        "errors": list(errors) or [""] * len(subjects),
        "user_ns": [1_000 * operations] * len(subjects),
    }  # fmt: skip
    return json.dumps(head).encode() + b"\n" + rows.tobytes()
