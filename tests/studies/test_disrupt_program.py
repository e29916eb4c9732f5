"""The load and its reading against a gap of known length, in two network namespaces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from studies.experiments.disrupt.load import ALL, impact, parse, starved
from tests.bench.netns import NetnsSession, lacking
from tests.studies.blackout import black_out, loaded, stopped, told

_ATTEMPTS = 8
"""As an event is tried again whose load was not at work in time: others use this machine, too."""

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def session() -> Iterator[NetnsSession]:
    if why := lacking():
        pytest.skip(why)
    with loaded() as running:
        yield running


@pytest.mark.parametrize("seconds", [0.1, 1.0])
def test_an_injected_gap_is_measured_within_5_percent(
    session: NetnsSession, seconds: float
) -> None:
    namespace = session.namespace("client")
    for _ in range(_ATTEMPTS):
        made = told(session, seconds + 2.8, lambda: black_out(namespace, "eth0", seconds))
        why = starved(log := parse(made.output), "client")
        if why is None:
            break
    assert why is None, why
    found = impact(log, made.began)
    assert found.gaps[ALL] == pytest.approx(1e3 * made.seconds, rel=0.05)
    for name in ("new", "dns", "udp"):  # each is known to 4 ms
        assert found.gaps[name] == pytest.approx(1e3 * made.seconds, abs=10)
    # TCP sends again what was sent meanwhile.
    assert found.broken == 0
    assert found.recovery is not None
    assert found.recovery > 950 * made.seconds


def test_a_stopped_client_is_told_as_such_and_not_as_a_drop(session: NetnsSession) -> None:
    made = told(session, 2.0, lambda: stopped(0.2))
    why = starved(parse(made.output), "client")
    assert why is not None
    assert why.startswith("the client itself sent up to ")
    late = float(why.removeprefix("the client itself sent up to ").split()[0])
    assert 1e3 * made.seconds - 20 < late < 1e3 * made.seconds + 100
