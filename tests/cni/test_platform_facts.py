"""Facts come from EC2's fields, and native XDP from those facts by the spec's table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cni.cilium.toggles import dsr_obstacle, xdp_support
from cni.platform import (
    DESCRIPTIONS,
    Kernel,
    PlatformError,
    PlatformFacts,
    al2023_kernel,
    from_describe_instance_types,
    known_facts,
)
from tests.cni.stackfiles import Load


def test_m6i_xlarge_is_read_from_the_apis_fields() -> None:
    facts = known_facts("m6i.xlarge", kernel=Kernel(6, 1))
    assert facts == PlatformFacts(
        instance_type="m6i.xlarge",
        bare_metal=False,
        hypervisor="nitro",
        driver="ena",
        arch="x86_64",
        vcpus=4,
        memory_mib=16384,
        kernel=Kernel(6, 1),
        max_enis=4,
        addresses_per_eni=15,
        sustained_gbit=1.562,
        burst_gbit=12.5,
    )


def test_where_a_type_can_be_placed_is_what_ec2_says() -> None:
    item: dict[str, Any] = {**DESCRIPTIONS["m6i.xlarge"]}
    for strategies, together in ((["cluster", "spread"], True), (["partition", "spread"], False)):
        item["PlacementGroupInfo"] = {"SupportedStrategies": strategies}
        assert from_describe_instance_types(item).cluster_placement == together


def test_bare_metal_has_no_hypervisor() -> None:
    facts = known_facts("c5.metal")
    assert facts is not None
    assert (facts.bare_metal, facts.hypervisor, facts.vcpus) == (True, None, 96)
    assert (facts.max_enis, facts.addresses_per_eni) == (15, 50)


def test_ena_express_is_read_and_a_type_outside_the_table_is_unknown() -> None:
    metal = known_facts("m6i.metal")
    assert metal is not None
    assert metal.ena_srd
    assert known_facts("x9.huge") is None


@pytest.mark.parametrize("field", ["BareMetal", "NetworkInfo", "MemoryInfo"])
def test_a_missing_field_is_named(field: str) -> None:
    item: dict[str, Any] = {**DESCRIPTIONS["m6i.xlarge"]}
    del item[field]
    with pytest.raises(PlatformError, match=f"description of m6i.xlarge has no {field}"):
        from_describe_instance_types(item)


@pytest.mark.parametrize(
    ("release", "kernel"),
    [("6.1.159-182.297.amzn2023.x86_64", (6, 1)), ("5.10.0-33-amd64", (5, 10)), ("6.18", (6, 18))],
)
def test_kernel_releases(release: str, kernel: tuple[int, int]) -> None:
    assert Kernel.parse(release) == kernel


def test_kernels_compare_as_versions_and_nonsense_is_refused() -> None:
    assert Kernel.parse("5.4.0") < Kernel(5, 10) < Kernel(6, 1)
    with pytest.raises(PlatformError, match="'mainline' is not a kernel release"):
        Kernel.parse("mainline")


@pytest.mark.parametrize(
    ("eks", "kernel"),
    [("1.32", (6, 1)), ("1.33", (6, 12)), ("1.35", (6, 12)), ("1.36", (6, 18)), ("1.37", (6, 18))],
)
def test_amazon_linux_kernels(eks: str, kernel: tuple[int, int]) -> None:
    assert al2023_kernel(eks) == kernel


def _node(driver: str | None, *, bare_metal: bool = True, kernel: Kernel | None) -> PlatformFacts:
    return PlatformFacts(
        instance_type="node",
        bare_metal=bare_metal,
        hypervisor=None if bare_metal else "kvm",
        driver=driver,
        arch="x86_64",
        vcpus=8,
        memory_mib=32768,
        kernel=kernel,
    )


@pytest.mark.parametrize("driver", ["mlx5_core", "i40e", "ixgbe", "bnxt_en"])
def test_bare_metal_with_a_driver_of_the_list_has_native_xdp(driver: str) -> None:
    assert xdp_support(_node(driver, kernel=Kernel(5, 10))).acceleration == "native"


@pytest.mark.parametrize(
    ("driver", "before"), [("mlx5_core", (4, 8)), ("bnxt_en", (4, 10)), ("i40e", (4, 11))]
)
def test_a_driver_has_xdp_from_some_kernel_on(driver: str, before: tuple[int, int]) -> None:
    support = xdp_support(_node(driver, kernel=Kernel(*before)))
    assert support.acceleration is None
    assert f"{driver} has native XDP from kernel 4." in support.why


@pytest.mark.parametrize("instance_type", ["c5.metal", "m6i.metal"])
def test_ec2_bare_metal_attaches_natively_and_never_stops_the_agent(
    load: Load, instance_type: str
) -> None:
    facts = known_facts(instance_type, kernel=Kernel(6, 1))
    assert facts is not None
    assert xdp_support(facts).acceleration == "best-effort"
    assert dsr_obstacle(load("scenario-d"), facts) is None


@pytest.mark.parametrize(
    "instance_type",
    ["m6i.xlarge", "c6i.xlarge", "c6in.xlarge", "m6in.xlarge", "m7g.xlarge", "c7g.xlarge"],
)
def test_virtualised_ena_has_neither_xdp_nor_dsr(load: Load, instance_type: str) -> None:
    facts = known_facts(instance_type, kernel=Kernel(6, 1))
    assert facts is not None
    assert xdp_support(facts).acceleration is None
    assert "no XDP bpf_link support" in xdp_support(facts).why
    assert dsr_obstacle(load("scenario-d"), facts)


def test_it_is_the_facts_that_decide_and_not_the_name() -> None:
    facts = known_facts("m6i.xlarge")
    assert facts is not None
    assert xdp_support(replace(facts, bare_metal=True)).acceleration == "best-effort"
    assert xdp_support(replace(facts, instance_type="m6i.metal")).acceleration is None


def test_ena_express_changes_nothing_for_xdp() -> None:
    facts = known_facts("c6in.xlarge")
    assert facts is not None
    support = xdp_support(replace(facts, ena_srd=True))
    assert support.acceleration is None
    assert "ENA Express is unrelated to XDP" in support.why


@pytest.mark.parametrize(
    ("driver", "bare_metal", "why"),
    [
        ("virtio_net", False, "generic mode only"),
        ("bonding", True, "bonding is stacked on one"),
        ("802.1Q VLAN Support", True, "stacked on one"),
        ("veth", False, "veth is not one"),
        (None, False, "driver is unknown"),
    ],
)
def test_interfaces_without_native_xdp(driver: str | None, bare_metal: bool, why: str) -> None:
    support = xdp_support(_node(driver, bare_metal=bare_metal, kernel=Kernel(6, 1)))
    assert support.acceleration is None
    assert why in support.why
