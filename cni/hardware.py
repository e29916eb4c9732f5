"""What a node's network hardware can do: native XDP, and direct server return."""

from __future__ import annotations

from typing import Literal, NamedTuple

from cni.platform import Kernel, PlatformFacts

Acceleration = Literal["native", "best-effort"]

# Drivers with native XDP and the kernels that brought it. Source: Cilium documentation, "NodePort
# XDP Acceleration" (network/kubernetes/kubeproxy-free).
XDP_DRIVERS = {
    "mlx5_core": Kernel(4, 9),
    "bnxt_en": Kernel(4, 11),
    "i40e": Kernel(4, 12),
    "ixgbe": Kernel(4, 12),
}
# Interfaces that are built on others, as `ethtool -i` names them.
_STACKED_DRIVERS = frozenset({"bonding", "team", "802.1Q VLAN Support"})


class XdpSupport(NamedTuple):
    """The acceleration mode that is safe here, or None; and why, in one sentence."""

    acceleration: Acceleration | None
    why: str


def xdp_support(facts: PlatformFacts) -> XdpSupport:
    """Whether XDP can attach natively on these nodes, decided without trying."""
    driver, kernel = facts.driver, facts.kernel
    since = XDP_DRIVERS.get(driver) if driver else None
    if since is not None:
        if kernel is not None and kernel < since:
            return XdpSupport(None, f"{driver} has native XDP from kernel {since}, not {kernel}")
        return XdpSupport("native", f"{driver} has native XDP")
    if facts.virtualised_ena:
        return XdpSupport(
            None,
            "the ENA driver on virtualised EC2 instances has no XDP bpf_link support, so XDP does "
            f"not attach{' (ENA Express is unrelated to XDP)' if facts.ena_srd else ''}",
        )
    if driver in _STACKED_DRIVERS:
        return XdpSupport(None, f"XDP wants a physical interface, and {driver} is stacked on one")
    if driver == "virtio_net":
        return XdpSupport(None, "virtio_net runs XDP in generic mode only")
    if facts.bare_metal:
        # `native` stops the agent where XDP cannot attach; `best-effort` attaches in the same
        # driver mode and goes on. Which it was, the interfaces tell afterwards.
        return XdpSupport(
            "best-effort",
            f"bare metal with {driver or 'a driver not known yet'}: set to best-effort, which "
            "attaches natively where the driver lets it (ENA wants an MTU of at most 3498 and at "
            "most half of its queues) instead of stopping the agent",
        )
    if driver is None:
        return XdpSupport(None, "the network driver is unknown, and the machine is not bare metal")
    return XdpSupport(None, f"XDP wants a physical interface, and {driver} is not one")


def dsr_obstacle(facts: PlatformFacts) -> str | None:
    """Why direct server return must not be tried on these nodes, or None."""
    if facts.virtualised_ena:
        return "direct server return crashes the agent on virtualised EC2 instances with ENA"
    return None
