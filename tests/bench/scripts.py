"""What commands that are scripts ask for."""

from __future__ import annotations

import re
from collections.abc import Sequence


def connections_of(argv: Sequence[str]) -> int:
    """How many connections a loop of bash's ``/dev/tcp`` opens."""
    found = re.search(r"\{1\.\.(\d+)\}.*/dev/tcp/", argv[-1])
    assert found, argv
    return int(found[1])
