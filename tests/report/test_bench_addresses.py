"""The table of pods' addresses."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group

from bench.environment import Environment
from report.show import address_tables

ENVIRONMENT: dict[str, Any] = {
    "pod_addresses": [
        {
            "pod": "httpbin-1",
            "node": "node-2",
            "address": "172.30.192.3",
            "block": "172.30.192.0/28",
            "eni": "eni-0123456789abcdef0",
            # The engine makes every number a float.
            "device": 1.0,
        }
    ],
    "pods_per_node": {
        "instance_type": "m6i.xlarge",
        "enis": 4.0,
        "pods": 895.0,
        "pods_with_single_addresses": 55.0,
        "pods_with_prefixes": 895.0,
        "recommended_max_pods": 110.0,
    },
}


def _shown(environment: dict[str, Any], width: int = 120) -> str:
    console = Console(width=width, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(
            Group(*address_tables(Environment.model_validate(environment))), highlight=False
        )
    return capture.get()


def test_every_pods_address_is_shown_with_its_interface() -> None:
    row = next(line for line in _shown(ENVIRONMENT).splitlines() if "httpbin-1" in line)
    assert row.split() == [
        "httpbin-1",
        "node-2",
        "172.30.192.3",
        "172.30.192.0/28",
        "eni-0123456789abcdef0",
        "1",
    ]


def test_nothing_is_cut_off_on_a_narrow_terminal() -> None:
    shown = "".join(_shown(ENVIRONMENT, 80).split())
    assert "172.30.192.0/28" in shown
    assert "…" not in shown


def test_how_many_pods_a_node_takes_is_told() -> None:
    told = " ".join(_shown(ENVIRONMENT).split())
    assert (
        "On a node of type m6i.xlarge, with 4 ENIs, 895 pods have an address of their own: 55 with "
        "single addresses, 895 with prefixes. A kubelet there should run 110 at most."
    ) in told


def test_an_environment_without_enis_has_nothing_to_show() -> None:
    assert address_tables(Environment(target="an overlay")) == []
