"""What a run costs, from prices and a length; and where prices come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from bench.interleave import late_seconds, time_bound
from bench.plan import plan_for
from bench.probes import build_probes
from cni.settings import Problem
from components.eks.aws import Caution
from components.eks.preflight import cost
from components.eks.preflight.cost import (
    Duration,
    Footprint,
    PriceError,
    Prices,
    complete,
    products,
)

PRICES = Prices(
    cluster_hour=0.1,
    extended_support_hour=0.5,
    node_hour=0.2,
    volume_gib_month=0.073,
    nat_gateway_hour=0.06,
    nat_gateway_gib=0.05,
    public_ipv4_hour=0.005,
    source="a test",
)
FOOTPRINT = Footprint(
    instance_type="m6i.xlarge",
    nodes=3,
    volume_gib=20,
    nat_gateways=1,
    public_addresses=1,
    download_gib=3,
    extended_support=False,
)
LENGTH = Duration(create=20, measure=30, destroy=10)


def test_an_hour_and_a_run() -> None:
    made = cost.estimate_cost(FOOTPRINT, PRICES, LENGTH)
    hour = 0.1 + 3 * 0.2 + 60 * 0.073 / 730 + 0.06 + 0.005
    assert made.usd_per_hour == pytest.approx(hour)
    # The whole run is an hour; the download is paid once.
    assert made.usd == pytest.approx(hour + 3 * 0.05)
    assert made.summary() == (
        "about $0.92 for this run if it is destroyed right after (create 20 min, measure at most "
        "30 min, destroy 10 min), $0.77 per hour while it exists (control plane $0.100, 3 x "
        "m6i.xlarge $0.600, 60 GiB gp3 $0.006, NAT gateway $0.060, public IPv4 $0.005); prices "
        "from a test"
    )


def test_extended_support_is_an_item_of_its_own() -> None:
    extended = dataclasses.replace(FOOTPRINT, extended_support=True)
    more = cost.estimate_cost(extended, PRICES, LENGTH)
    assert more.usd_per_hour - cost.estimate_cost(FOOTPRINT, PRICES, LENGTH).usd_per_hour == (
        pytest.approx(0.5)
    )


def test_without_a_nat_gateway_nothing_goes_through_it() -> None:
    public = dataclasses.replace(FOOTPRINT, nat_gateways=0)
    assert cost.estimate_cost(public, PRICES, LENGTH).once_usd == 0


def test_the_ceiling_names_the_setting_and_a_value_that_would_do() -> None:
    made = cost.estimate_cost(FOOTPRINT, PRICES, LENGTH)
    assert list(cost.check_cost(made, 1.0)) == []
    (finding,) = cost.check_cost(made, 0.9)
    assert isinstance(finding, Problem)
    assert (finding.fix_key, finding.fix_value) == ("eks.maxCostUsd", 2)
    assert list(cost.check_cost(made, float(str(finding.fix_value)))) == []


def test_a_run_is_as_long_as_its_plan() -> None:
    plan = plan_for("standard")
    length = cost.estimate_duration(plan, cluster_exists=False)
    assert length.measure * 60 == pytest.approx(time_bound(plan, build_probes(plan)))
    assert length.total == length.create + length.measure + length.destroy
    again = cost.estimate_duration(plan, cluster_exists=True)
    assert (again.create, again.up) == (0, length.measure)


def test_far_from_the_region_a_run_takes_longer_and_says_so() -> None:
    plan = plan_for("standard")
    near = cost.estimate_duration(plan, cluster_exists=False, round_trip=0.002)
    far = cost.estimate_duration(plan, cluster_exists=False, round_trip=0.25)
    assert near.late < 1
    assert list(cost.check_distance("eu-west-1", near)) == []
    probes = build_probes(plan)
    whole = time_bound(plan, probes) + late_seconds(plan, len(probes), 1.0)
    assert far.measure * 60 == pytest.approx(whole)
    assert far.measure > 2 * near.measure
    (caution,) = cost.check_distance("eu-west-1", far)
    assert isinstance(caution, Caution)
    assert caution.text.startswith("eu-west-1 is 250 ms away, there and back: measuring may take")
    told = cost.estimate_cost(FOOTPRINT, PRICES, far)
    assert told.usd > cost.estimate_cost(FOOTPRINT, PRICES, near).usd
    assert f"{far.late:.0f} of them for the 250 ms to the region" in told.summary()
    assert "of them" not in cost.estimate_cost(FOOTPRINT, PRICES, near).summary()


def listed(region_price: float | str = 1.0) -> Mapping[str, float | str]:
    return dict.fromkeys(products("m6i.xlarge"), region_price)


def test_prices_of_the_list() -> None:
    result = complete(listed(), "eu-west-1", "c5.metal")
    assert result.node_hour == 1.0
    assert result.source == "AWS's price list for eu-west-1"


def test_prices_of_the_table_say_so_and_why() -> None:
    result = complete(listed("it is shut"), "ap-northeast-2", "m6i.xlarge")
    assert (result.node_hour, result.nat_gateway_hour) == (0.236, 0.059)
    assert result.source == "a table of 2026-10-01 (all: it is shut)"


def test_prices_that_are_alike_everywhere_are_in_the_table_for_every_region() -> None:
    result = complete({**listed(), "cluster_hour": "none"}, "eu-west-1", "c5.metal")
    assert (result.cluster_hour, result.node_hour) == (0.10, 1.0)
    assert result.source == (
        "a table of 2026-10-01 (cluster_hour: none) and AWS's price list for eu-west-1"
    )


@pytest.mark.parametrize(
    ("region", "name", "field"),
    [
        ("ap-northeast-2", "c5.metal", "node_hour"),
        ("eu-west-1", "m6i.xlarge", "node_hour"),
        ("eu-west-1", "m6i.xlarge", "nat_gateway_gib"),
    ],
)
def test_a_price_that_neither_has_is_an_error(region: str, name: str, field: str) -> None:
    with pytest.raises(PriceError, match=f"{name} in {region}: it is shut"):
        complete({**listed(), field: "it is shut"}, region, name)
