"""A target that only opens sessions, for commands that take a descriptor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pulumi
import pytest

from bench.plan import Plan
from bench.session import Session
from components.settings import Settings, TargetSettings
from components.target import Prepared, Target
from components.targets import TARGETS

NAME = "sessions"


class SessionsTarget(Target):
    """Opens the sessions that a test has, by name."""

    settings = TargetSettings(NAME)

    def __init__(self, sessions: Mapping[str, Callable[[], Session]]) -> None:
        self._sessions = sessions

    def prepare(self, settings: Settings, plan: Plan) -> Prepared:
        raise pulumi.RunError("this target deploys nothing")

    def open_session(self, **args: Any) -> Session:
        return self._sessions[args["name"]]()


def register(patch: pytest.MonkeyPatch, *sessions: Callable[[], Session]) -> None:
    """Make a test's sessions the target's, each by the name of its function."""
    by_name = {each.__name__: each for each in sessions}
    patch.setitem(TARGETS, NAME, SessionsTarget(by_name))


def descriptor(name: str) -> dict[str, Any]:
    """What opens a session."""
    return {"target": NAME, "args": {"name": name}}
