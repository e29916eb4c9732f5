"""What ``turns load`` writes, made up."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import numpy as np


def load_output(
    plan: str,
    began: float,
    *,
    unanswered: Mapping[str, tuple[float, float]] | None = None,
    broken: int = 0,
    late_us: int = 100,
) -> str:
    """Every request is sent ``late_us`` late and answered in 0.2 ms.

    :param plan: what the program is told.
    :param began: the wall clock's time of its begin, in seconds since 1970.
    :param unanswered: by stream, the span in s since its begin in which what is due has no answer.
    :param broken: kept connections that break 1.5 s after its begin.
    """
    asked = json.loads(plan)
    heads, lines = [], []
    for place, each in enumerate(asked["streams"]):
        interval = 10**9 // each["rate"]
        offset = interval * place // len(asked["streams"])
        count = asked["milliseconds"] * 10**6 // interval
        due = (offset + interval * np.arange(count)) / 1e9
        start, end = (unanswered or {}).get(each["name"], (0.0, 0.0))
        none = (due >= start) & (due < end)
        rows = np.stack(
            [np.full(count, late_us), np.where(none, 0xFFFFFFFF, late_us + 200), ~none], axis=1
        )
        lines.append(base64.b64encode(rows.astype("<u4").tobytes()).decode())
        ends = [{"at_ns": 1_500_000_000, "why": "reset"}] * (
            broken if each["name"] == "kept" else 0
        )
        heads.append(
            {"name": each["name"], "offset_ns": offset, "interval_ns": interval, "requests": count,
             "broken": ends}
        )  # fmt: skip
    head = {"began_ns": round(began * 1e9), "cpu_us": 100_000, "streams": heads}
    return "\n".join([json.dumps(head), *lines]) + "\n"
