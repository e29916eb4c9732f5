"""A short run of every version that is not the default: labs come up, and hold."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.checks import Gate, check_cluster
from bench.probes.base import Bench
from bench.session import Clock, resolve_targets
from cni import kubernetes
from cni.cilium.versions import DEFAULT, VERSIONS
from cni.vpc_cni import versions as vpc_cni
from components.eks.settings import EksSettings
from components.lab import rollout
from lab.toolchain.build import Toolchain
from lab.toolchain.programs import ENGINE, needs_of_lab
from tests.components.stack_config import read
from tests.lab.running import RunningLab, bring_up

pytestmark = [pytest.mark.lab, pytest.mark.versions, pytest.mark.usefixtures("lab_host")]

# Between them: tunnel and ENIs, kube-proxy and none, no toggle and all.
STACKS = ("scenario-b", "scenario-e")


def _others() -> Iterator[tuple[str, dict[str, object]]]:
    """Stacks, with what is changed in them."""
    for version in VERSIONS.keys() - {DEFAULT}:
        for stack in STACKS:
            yield stack, {"scenario.cniVersion": version}
    for version in vpc_cni.VERSIONS.keys() - {vpc_cni.DEFAULT}:
        yield "scenario-a", {"scenario.cniVersion": version}
    for version in kubernetes.VERSIONS.keys() - {kubernetes.DEFAULT}:
        yield "scenario-a", {"eks.version": version}


@pytest.fixture(
    scope="module",
    params=sorted(_others(), key=str),
    ids=lambda other: " ".join([other[0], *(str(each) for each in other[1].values())]),
)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningLab]:
    stack, changes = request.param
    settings = read(stack, changes)
    scenario, server = settings.scenario, settings.section(EksSettings).version
    needs = needs_of_lab(scenario.cni, scenario.cni_version, server, kube_proxy=True)
    if unbuilt := Toolchain.default().missing(needs - {ENGINE}):
        pytest.skip(f"not built ({', '.join(unbuilt)}), as `make test-all` does")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        running = bring_up(stack, changes)
        try:
            yield running
        finally:
            running.session.close()
            running.lab.remove()


def test_every_precondition_of_the_dataplane_holds(running: RunningLab) -> None:
    bench = Bench(running.session, resolve_targets(running.session), Clock())
    check_cluster(bench, Gate())
    spec = running.lab.spec
    assert running.lab.api.version() == f"v{spec.kubernetes}"
    if running.cilium:
        told = running.lab.node_command(running.lab.nodes[0], ("cilium-dbg", "version"))
        assert f"Daemon: {spec.cni_version} " in told


def test_agents_prove_what_was_decided(running: RunningLab) -> None:
    states = rollout.toggle_states(running.lab, running.decisions)
    assert [state for state in states if state.verified is False] == []
    asked = [state for state in states if state.requested and state.applied]
    assert all(state.verified for state in asked), asked
