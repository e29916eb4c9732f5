"""A loader of scenarios, the facts of EC2 and of a lab, and the chart with its Helm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cni.cilium.versions import DEFAULT, VERSIONS
from cni.platform import (
    ClusterEndpoint,
    Feature,
    Kernel,
    PlatformFacts,
    known_facts,
    lab_facts,
)
from cni.scenario import Scenario
from lab.errors import ToolchainError
from lab.toolchain.build import Toolchain
from tests.cni.stackfiles import ChartOf, Load, stack_scenario


@pytest.fixture
def load() -> Load:
    """Loads a stack's scenario, with its toggles added to and other settings replaced."""

    def load_changed(
        stack: str, toggles: Mapping[str, object] | None = None, **changes: object
    ) -> Scenario:
        data: dict[str, Any] = stack_scenario(stack) | changes
        if toggles is not None:
            data["toggles"] = {**data.get("toggles", {}), **toggles}
        return Scenario.model_validate(data, by_alias=True, by_name=False)

    return load_changed


@pytest.fixture
def m6i() -> PlatformFacts:
    """The instance type of the study, with the kernel of its nodes."""
    facts = known_facts("m6i.xlarge", kernel=Kernel(6, 1))
    assert facts is not None
    return facts


@pytest.fixture
def lab() -> PlatformFacts:
    """A lab on a kernel without fq, netkit and WireGuard."""
    return lab_facts(
        kernel=Kernel(6, 18),
        arch="x86_64",
        vcpus=2,
        memory_mib=24105,
        lacks=frozenset({Feature.FQ, Feature.NETKIT, Feature.WIREGUARD}),
    )


@pytest.fixture
def endpoint() -> ClusterEndpoint:
    """An EKS cluster."""
    return ClusterEndpoint(
        name="bench-e",
        api_host="ABC.gr7.ap-northeast-2.eks.amazonaws.com",
        eni_subnet_ids=("subnet-2a",),
    )


@pytest.fixture(scope="session")
def helm() -> Path:
    """The toolchain's Helm; skipped where it is not built."""
    return _built(lambda: Toolchain.default().program("helm"))


@pytest.fixture(scope="session")
def chart() -> Path:
    """The chart of the default version of Cilium."""
    return _chart(DEFAULT)


@pytest.fixture(scope="session")
def chart_of() -> ChartOf:
    """The charts of all versions."""
    return _chart


@pytest.fixture(scope="session", params=VERSIONS)
def release(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """Each version of Cilium in turn, with its chart."""
    return request.param, _chart(request.param)


def _chart(version: str) -> Path:
    share = _built(lambda: Toolchain.default().share("cilium", version))
    return share / "install/kubernetes/cilium"


def _built(find: Callable[[], Path]) -> Path:
    try:
        return find()
    except ToolchainError as missing:
        pytest.skip(f"the toolchain is not set up: {missing}")
