"""The files that the project keeps for the user, beside Pulumi's state and the labs'."""

import os
from pathlib import Path

from lab.toolchain.cache import state_root
from report.history import History


def history() -> History:
    """``${XDG_STATE_HOME:-~/.local/state}/cni-benchmark/history.sqlite``."""
    return History(state_root(os.environ) / "history.sqlite")


def runner_journal(stack: str) -> Path:
    """Where the samples of a benchmark in a pod are, until it is over."""
    return state_root(os.environ) / "runner" / f"{stack}.jsonl"


def failed_results(stack: str) -> Path:
    """Where the results of a stack's failed benchmark are, until one succeeds."""
    return state_root(os.environ) / "failed" / f"{stack}.json"
