"""A short run of every version of Cilium that is not the default: labs come up, and hold."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.checks import Gate, check_cluster
from bench.probes.base import Bench
from bench.session import Clock, resolve_targets
from cni.cilium.versions import DEFAULT, VERSIONS
from components.lab import rollout
from lab.errors import ToolchainError
from lab.toolchain.build import Toolchain
from tests.lab.running import RunningLab, bring_up

pytestmark = [pytest.mark.lab, pytest.mark.versions, pytest.mark.usefixtures("lab_host")]

# Between them: tunnel and ENIs, kube-proxy and none, no toggle and all.
STACKS = ("scenario-b", "scenario-e")


@pytest.fixture(scope="module", params=[each for each in VERSIONS if each != DEFAULT])
def version(request: pytest.FixtureRequest) -> str:
    try:
        Toolchain.default().program("cilium-agent", request.param)
    except ToolchainError as missing:
        pytest.skip(f"{missing}, as `make test-all` does")
    return str(request.param)


@pytest.fixture(scope="module", params=STACKS)
def running(
    request: pytest.FixtureRequest, version: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningLab]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        running = bring_up(request.param, {"scenario.cniVersion": version})
        try:
            yield running
        finally:
            running.session.close()
            running.lab.remove()


def test_every_precondition_of_the_dataplane_holds(running: RunningLab, version: str) -> None:
    bench = Bench(running.session, resolve_targets(running.session), Clock())
    check_cluster(bench, Gate())
    told = running.lab.node_command(running.lab.nodes[0], ("cilium-dbg", "version"))
    assert f"Daemon: {version} " in told


def test_agents_prove_what_was_decided(running: RunningLab) -> None:
    states = rollout.toggle_states(running.lab, running.decisions)
    assert [state for state in states if state.verified is False] == []
    asked = [state for state in states if state.requested and state.applied]
    assert all(state.verified for state in asked), asked
