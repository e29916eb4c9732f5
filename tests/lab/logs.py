"""What the programs of running labs complain of, for the report of a failed test.

A lab is gone when its test's failure is read; its logs are gone with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from lab.sandbox import LabPaths

_LINES = 8
_WIDTH = 400
#: By logrus, klog and zap.
_COMPLAINT = re.compile(
    r'level=(warn|error|fatal)|^[WEF]\d{4} |"level":"(warn|error|fatal)"|Traceback|panic:',
    re.IGNORECASE,
)


#: The labs that this process has started; some are gone by now.
STARTED: list[LabPaths] = []


def complaints(labs: Iterable[LabPaths]) -> str:
    """The last warnings and errors of every log, and the last line of one without any."""
    logs = [log for lab in labs for log in sorted(lab.logs.glob("*.log"))]
    return "\n".join(part for log in logs if (part := _of(log)))


def _of(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    found = [line for line in lines if _COMPLAINT.search(line)] or lines[-1:]
    return "\n".join([f"{log.name}:", *(f"  {line[:_WIDTH]}" for line in found[-_LINES:])])
