"""The calls that a lab's EC2 API has written down, and a fixture of them.

With ``RECORD_EC2_CALLS=1`` in the environment, the labs' tests write what their CNI has called to
``tests/fixtures/aws/calls`` at their end.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from lab.cloud.ec2 import Call

FIXTURES = Path(__file__).parents[1] / "fixtures/aws/calls"


def read_calls(file: Path) -> list[Call]:
    """All calls written so far; a last line that is not whole yet is left for the next time."""
    lines = file.read_text().splitlines(keepends=True)
    return [Call.from_json(line) for line in lines if line.endswith("\n")]


def keep(calls: Iterable[Call], scenario: str) -> None:
    """Write a scenario's fixture, where that is asked for: all that wants to change something, and
    of the rest the first of each caller and kind. Keys that STS has made are other ones each time,
    and left out."""
    if not os.environ.get("RECORD_EC2_CALLS"):
        return
    kept: dict[object, Call] = {}
    lasting = (call for call in calls if not call.caller.startswith("ASIA"))
    for number, call in enumerate(lasting):
        kind = (call.caller, call.action, *sorted(call.request))
        kept.setdefault(kind if call.reads else number, call)
    FIXTURES.mkdir(parents=True, exist_ok=True)
    lines = (f"{call.to_json()}\n" for call in kept.values())
    (FIXTURES / f"{scenario}.jsonl").write_text("".join(lines))
