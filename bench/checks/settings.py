"""The dataplane at work is the one that the stack asks for."""

from __future__ import annotations

from bench.checks.check import Check
from bench.probes.base import Bench
from bench.session import SessionError, Setting

NAME = "configuration"


def configuration(bench: Bench) -> Check:
    """Every setting asked of the dataplane is at work on every node."""
    try:
        settings = bench.session.configuration()
    except SessionError as error:
        return Check(NAME, False, str(error))
    wrong = [setting for setting in settings if setting.effective != setting.requested]
    if wrong:
        return Check(NAME, False, "; ".join(map(_difference, wrong)))
    listed = ", ".join(f"{each.name} {each.requested}" for each in settings)
    return Check(NAME, True, listed or "nothing is asked of the dataplane")


def _difference(setting: Setting) -> str:
    found = setting.effective or "nothing that any node reports"
    return f"{setting.name} is {found}, {setting.requested} was asked for"
