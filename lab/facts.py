"""What a result's reader must know of the machine and its network."""

from __future__ import annotations

import json
from typing import Any

from lab import kernel, network
from lab.sandbox import Place, Sandbox


def collect(sandbox: Sandbox, node: str, pod: str) -> dict[str, Any]:
    """Kernel, CPUs, and what fits into a packet (bytes).

    :param node: the network namespace of any node.
    :param pod: that of any pod.
    """
    return {
        "kernel": kernel.release(),
        "cpus": kernel.cpus(),
        "node_mtu": _mtu(sandbox, node, network.device_name(0)),
        "pod_mtu": _mtu(sandbox, pod, "eth0"),
        "congestion_control": network.congestion_control(sandbox, node),
    }


def _mtu(sandbox: Sandbox, netns: str, device: str) -> int:
    """The device's MTU, or the default route's where it is smaller (Cilium leaves room for a
    tunnel's headers there)."""
    place = Place(netns=netns)
    links = json.loads(sandbox.run(["ip", "-json", "link", "show", device], place).stdout)
    routes = json.loads(sandbox.run(["ip", "-json", "route", "show", "default"], place).stdout)
    metrics = [metric for each in routes for metric in each.get("metrics", [])]
    limits = [int(metric["mtu"]) for metric in metrics if "mtu" in metric]
    return min([int(links[0]["mtu"]), *limits])
