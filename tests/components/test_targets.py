"""Sessions by their descriptors: the target's name and its arguments."""

from __future__ import annotations

from typing import Any

import pytest

from bench.session import SessionError
from components.targets import open_session
from tests.bench.fakes import FakeSession
from tests.sessions_target import descriptor, register


def calm() -> FakeSession:
    session = FakeSession()
    session.nodes["client"] = "calm"
    return session


def test_a_descriptor_opens_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, calm)
    session = open_session(descriptor("calm"))
    assert session.pods("fortio-client")[0].node == "calm"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({}, "a session descriptor is"),
        ({"target": 3}, "a session descriptor is"),
        ({"target": "lab", "args": []}, "a session descriptor is"),
        ({"target": "moon", "args": {}}, "no target 'moon': there are lab, eks, kubeconfig"),
        ({"target": "lab", "args": {"id": "x"}}, "args do not fit the target lab: .*'id'"),
        ({"factory": "components.lab.session:connect", "args": {}}, "earlier version.*pulumi up"),
    ],
)
def test_a_bad_descriptor_is_refused_in_one_line(bad: dict[str, Any], reason: str) -> None:
    with pytest.raises(SessionError, match=reason) as refused:
        open_session(bad)
    assert len(str(refused.value).splitlines()) == 1
