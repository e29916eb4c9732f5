"""One toggle at a time: what each does by itself, a base and a variant measured in turn.

Here is what is measured, and how much, light to import; :mod:`.run` measures it.
"""

from __future__ import annotations

from typing import Final

NAME: Final = "ablate"
QUESTION: Final = "What does each tuning toggle do by itself?"
RATE: Final = 1_000
INSIDE: Final = ("rtt", "connect", f"http_{RATE}", "loaded_rtt", "tcp", "udp")
"""The probes between pods. Searches, DNS and full speed are left out: they take the longest and
are the noisiest, or the machine's limit."""
OUTSIDE: Final = ("connect", f"http_{RATE}", "connect_max", "http_max")
"""Those from outside the nodes, through a NodePort: what DSR and XDP are for."""
ROUNDS: Final = 8
SECONDS: Final = 1
BASES: Final = {
    "d": "D, to which each toggle is added",
    "e": "E, from which each toggle is taken away",
    "outside": "D at an MTU of 3,498, from outside the nodes: DSR and XDP on the lab's veth",
}
