"""A loader of scenarios, and the facts of EC2 and of a lab."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cni.instances import known_facts
from cni.platform import Kernel, PlatformFacts, lab_facts
from cni.scenario import Scenario
from cni.values import ClusterEndpoint
from tests.cni.stackfiles import Load, stack_scenario


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
    """A lab on a kernel without fq."""
    return lab_facts(
        kernel=Kernel(6, 18), arch="x86_64", vcpus=2, memory_mib=24105, has_fq=False, has_bbr=True
    )


@pytest.fixture
def endpoint() -> ClusterEndpoint:
    """An EKS cluster."""
    return ClusterEndpoint(
        name="bench-e",
        api_host="ABC.gr7.ap-northeast-2.eks.amazonaws.com",
        eni_subnet_ids=("subnet-2a",),
    )
