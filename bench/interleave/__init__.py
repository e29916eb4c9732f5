"""Rounds in which several sides are measured in turn, as results that can be compared.

A plain benchmark is an interleave of one side (:mod:`bench.runner`).
"""

from __future__ import annotations

from bench.interleave.journal import Journal, JournalError, RoundsHeader
from bench.interleave.rounds import Keep, Order, Step, Watch, abba, interleave, shuffled
from bench.interleave.sides import Entry, Evidence, Side, prepare

__all__ = [
    "Entry",
    "Evidence",
    "Journal",
    "JournalError",
    "Keep",
    "Order",
    "RoundsHeader",
    "Side",
    "Step",
    "Watch",
    "abba",
    "interleave",
    "prepare",
    "shuffled",
]
