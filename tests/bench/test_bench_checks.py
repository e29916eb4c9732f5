"""Preconditions: each fails by name, with its evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.checks import PreconditionError, check_preconditions
from bench.probes.base import Bench
from bench.targets import resolve_targets
from tests.bench.fakes import FakeSession, failing, instead


def check(session: FakeSession) -> None:
    check_preconditions(Bench(session, resolve_targets(session)))


def test_all_hold_and_say_why(session: FakeSession) -> None:
    done = check_preconditions(Bench(session, resolve_targets(session)))
    evidence = {item.name: item.evidence for item in done.checks}
    assert all(item.passed for item in done.checks)
    assert "fortio-client on node-1" in evidence["placement"]
    assert evidence["tool iperf3"] == "3.12"
    assert evidence["httpbin Service answers"].endswith(" requests, none failed")
    assert evidence["DNS answers kubernetes.default.svc.cluster.local."].startswith("answered in")
    assert done.tools["fortio"] == "1.65.0"


def test_clients_and_servers_on_one_node_are_refused(session: FakeSession) -> None:
    session.nodes["server"] = "node-1"
    with pytest.raises(PreconditionError, match="clients and servers share node-1") as info:
        check(session)
    assert info.value.checks[-1].name == "placement"
    assert session.calls == []


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("fortio-version", failing("no fortio in the pod"), "'tool fortio' failed: no fortio in"),
        ("dig-version", lambda r: replace(r, stdout="", stderr="what?"), "no version in: what?"),
        ("fortio-tcp", instead("fortio-all-failed"), "'echo answers' failed: .*refused"),
        ("fortio-http-max", instead("fortio-http-refused"), "'httpbin Service answers' failed"),
        ("iperf3-tcp", instead("iperf3-busy"), "'iperf3 answers' failed: .*busy"),
        ("dig-one", instead("dig-refused"), "'DNS answers .*' failed"),
    ],
)
def test_an_endpoint_that_does_not_answer_is_named(
    session: FakeSession, name: str, spoil: Callable[..., object], reason: str
) -> None:
    session.spoil[name] = [spoil]  # type: ignore[list-item]
    with pytest.raises(PreconditionError, match=reason) as info:
        check(session)
    failed = info.value.checks[-1]
    assert not failed.passed
    assert "-client-0 on node-1: " in failed.evidence


def test_one_failed_request_is_enough(session: FakeSession) -> None:
    session.spoil["fortio-http-max"] = [instead("fortio-some-errors")]
    with pytest.raises(PreconditionError, match="requests failed"):
        check(session)
