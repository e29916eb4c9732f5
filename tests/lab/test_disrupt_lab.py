"""Disruptions on a real lab: a gap of known length, a starved client, and that all is put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from bench.limits import faults
from bench.probes.base import Bench, Reading, SampleError
from bench.session import Clock, resolve_targets
from lab.dataplane.cilium.agents import AGENT, OPERATOR
from studies.experiments.definition import DISRUPTIONS
from studies.experiments.disrupt.events import Event, Stage, events, staged
from studies.experiments.disrupt.run import DisruptionProbe
from tests.lab.running import RunningLab, bring_up
from tests.studies.blackout import black_out, stopped

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("lab_host")]

_ATTEMPTS = 8
"""An event does not count while others use this machine."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab of scenario D, on two nodes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        running = bring_up("scenario-d", {"lab.nodes": 2})
        try:
            yield running
        finally:
            running.session.close()
            running.lab.remove()


@pytest.fixture(scope="module")
def bench(running: RunningLab) -> Bench:
    return Bench(running.session, resolve_targets(running.session), Clock())


@pytest.fixture(scope="module")
def stage(bench: Bench) -> Iterator[Stage]:
    with staged(bench, print) as made:
        yield made


def measured(bench: Bench, stage: Stage, act: Callable[[Stage, ExitStack], None]) -> Reading:
    """An event, as often as it takes until it counts."""
    probe = DisruptionProbe(Event("injected", "", act, 2.0), stage, 2.5)
    for _ in range(_ATTEMPTS - 1):
        try:
            return probe.measure(bench)
        except SampleError as error:
            print(error)
    return probe.measure(bench)


@pytest.mark.parametrize("seconds", [0.1, 1.0])
def test_an_injected_gap_is_measured_within_5_percent(
    running: RunningLab, bench: Bench, stage: Stage, seconds: float
) -> None:
    lasted = []

    def inject(stage: Stage, _after: ExitStack) -> None:
        namespace = running.lab.sandbox.netns_path(stage.client.name)
        lasted.append(1e3 * black_out(namespace, "eth0", seconds))

    reading = measured(bench, stage, inject)
    assert reading.values["gap_all"] == pytest.approx(lasted[-1], rel=0.05)
    for name in ("gap_new", "gap_dns", "gap_udp"):  # each is known to 4 ms
        assert reading.values[name] == pytest.approx(lasted[-1], abs=10)
    assert reading.values["connections_broken"] == 0
    assert reading.values["recovery"] > 0.95 * lasted[-1]


def test_a_stopped_client_is_told_as_such_and_not_as_a_drop(bench: Bench, stage: Stage) -> None:
    def stop(_stage: Stage, _after: ExitStack) -> None:
        stopped(0.2, stage.address)

    probe = DisruptionProbe(Event("stopped", "", stop, 2.0), stage, 2.0)
    with pytest.raises(SampleError, match=r"^the client itself sent up to "):
        probe.measure(bench)


def test_every_kind_of_event_can_be_had_on_d_and_leaves_all_as_it_was(
    running: RunningLab, bench: Bench, stage: Stage
) -> None:
    session = running.session
    found, reasons = events(bench, DISRUPTIONS)
    assert reasons == {"kube-proxy-restart": "there is none here"}
    for each in found:
        before = session.health()
        pods = {pod.name for pod in session.pods("coredns")}
        with ExitStack() as after:
            each.act(stage, after)
        # What was started anew or ended on purpose is no fault, and nothing else was.
        assert list(faults(before, session.health())) == [], each.name
        assert {pod.name for pod in session.pods("coredns")} == pods
        assert len({pod.name for pod, _ in stage.servers}) == 2
    for component in (AGENT, OPERATOR):
        assert component in {each.component for each in session.cni_usage()}
