"""What the lab tells of the two sides of an upgrade."""

from __future__ import annotations

from cni.toggles import Evidence
from components.lab.upgrade import reported
from lab.sandbox import LabPaths


def test_agents_settings_are_those_that_all_tell_alike() -> None:
    agents = [
        Evidence(
            node=f"node-{number}",
            config={
                "EnableX": True,
                "Unsafe": {"EnableY": False},
                "Device": f"ens{number}",
                "RunDir": "/run/lab-1/cilium",
            },
        )
        for number in (1, 2)
    ]
    told = reported(agents, "lab-1")
    # Where a version keeps a setting is not what it is.
    assert told == {"EnableX": "true", "EnableY": "false", "RunDir": "/run/LAB/cilium"}


def test_agents_that_are_not_asked_tell_nothing() -> None:
    assert reported([], "lab-1") == {}
    assert reported([Evidence(node="node-1")], "lab-1") == {}


def test_a_labs_place_on_its_machine_is_not_told() -> None:
    config = {"ConfigDir": str(LabPaths.of("lab-1").config / "cilium")}
    assert reported([Evidence(node="node-1", config=config)], "lab-1") == {
        "ConfigDir": "LAB/config/cilium"
    }
