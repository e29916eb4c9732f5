"""Rounds in which several sides are measured in turn, as results that can be compared.

A plain benchmark is an interleave of one side (:mod:`bench.runner`).
"""

from __future__ import annotations

from bench.interleave.journal import Journal, JournalError, RoundsHeader
from bench.interleave.loop import interleave
from bench.interleave.model import Entry, Evidence, Keep, Side, Step, Watch
from bench.interleave.order import Order, abba, shuffled
from bench.interleave.prepare import prepare

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
