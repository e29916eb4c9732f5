"""Every CNI by the name that settings have for it. A CNI is added by its folder and a line here."""

from collections.abc import Mapping
from typing import Any

from cni.cilium.dataplane import Cilium
from cni.dataplane import Dataplane
from cni.toggles import Toggle
from cni.vpc_cni.dataplane import VpcCni

DATAPLANES: dict[str, Dataplane] = {each.name: each for each in (VpcCni(), Cilium())}

TOGGLES: Mapping[str, Toggle[Any]] = {
    name: toggle for each in DATAPLANES.values() for name, toggle in each.toggles.items()
}
"""Every toggle of every CNI by its name, in the order of reports."""


def owner(toggle: str) -> Dataplane:
    """The CNI that a toggle is of."""
    return next(each for each in DATAPLANES.values() if toggle in each.toggles)
