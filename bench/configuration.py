"""The dataplane's settings: what the Helm values ask for against what every agent reports.

Only what the values decide is compared; what they leave open is the agent's own choice. Names of
values: the Cilium 1.16.5 chart. A fall-back that was decided before the deployment is part of the
values, so it is asked for here; that it was one is told with the toggles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.session import Setting
from cni.agent import AgentEvidence
from cni.proofs import ANY_CONNTRACK_MAP, TCP_CONNTRACK_MAP
from cni.value_tree import leaves

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Aspect:
    """One setting: what flattened values ask for (None: nothing), and what an agent reports."""

    name: str
    requested: Callable[[Values], str | None]
    effective: Callable[[AgentEvidence], str | None]


def compare(
    values: Mapping[str, object] | None,
    agents: Sequence[AgentEvidence],
    *,
    kube_proxy: tuple[str, str],
) -> tuple[Setting, ...]:
    """Every setting that is asked for, with what is at work.

    :param values: Cilium's Helm values; None where Cilium is not the CNI.
    :param kube_proxy: its mode as asked for and as found, ``none`` where there is none.
    """
    found = [Setting("kube-proxy", *kube_proxy)]
    if values is not None:
        flat = dict(leaves(values))
        for aspect in _ASPECTS:
            wanted = aspect.requested(flat)
            if wanted is not None:
                found.append(Setting(aspect.name, wanted, _said(map(aspect.effective, agents))))
    return tuple(found)


def _said(answers: Iterable[str | None]) -> str | None:
    told = sorted({answer or "not reported" for answer in answers})
    return ", ".join(told) if told != ["not reported"] and told else None


def _is_true(values: Values, path: str) -> bool:
    return str(values.get(path, False)).lower() == "true"


def _routing(values: Values) -> str:
    if values.get("routingMode") == "native":
        return "native"
    return f"tunnel {values.get('tunnelProtocol') or 'vxlan'}"


def _routing_of(agent: AgentEvidence) -> str | None:
    if agent.network_routing is None:
        return None
    if agent.network_routing == "Tunnel":
        return f"tunnel {agent.tunnel_protocol}".lower()
    return agent.network_routing.lower()


def _socket_lb(values: Values) -> str:
    return _on(_is_true(values, "kubeProxyReplacement") or _is_true(values, "socketLB.enabled"))


def _switch(path: str) -> Callable[[Values], str | None]:
    """A switch that counts only where the values have it."""
    return lambda values: _on(_is_true(values, path)) if path in values else None


def _word(path: str) -> Callable[[Values], str | None]:
    return lambda values: str(values[path]).lower() if values.get(path) else None


def _on(value: bool | None) -> str:
    return "on" if value else "off"


def _reported(value: bool | None) -> str | None:
    return None if value is None else _on(value)


def _is(value: str | None, *on: str) -> str | None:
    return None if value is None else _on(value in on)


def _lower(value: str | None) -> str | None:
    return None if value is None else value.lower()


def _map_size(name: str) -> Callable[[AgentEvidence], str | None]:
    return lambda agent: str(size) if (size := (agent.map_sizes or {}).get(name)) else None


_ASPECTS = (
    _Aspect("routing", _routing, _routing_of),
    _Aspect(
        "kube-proxy replacement",
        lambda values: _on(_is_true(values, "kubeProxyReplacement")),
        lambda agent: _reported(agent.kube_proxy_replacement),
    ),
    _Aspect("socket load-balancing", _socket_lb, lambda agent: _reported(agent.socket_lb)),
    _Aspect(
        "masquerading",
        lambda values: "bpf" if _is_true(values, "bpf.masquerade") else "iptables",
        lambda agent: _lower(agent.masquerading),
    ),
    _Aspect(
        "BPF host routing",
        lambda values: (
            _on(not _is_true(values, "bpf.hostLegacyRouting"))
            if "bpf.hostLegacyRouting" in values
            else None
        ),
        lambda agent: _is(agent.host_routing, "BPF"),
    ),
    _Aspect(
        "Bandwidth Manager",
        _switch("bandwidthManager.enabled"),
        lambda agent: _reported(agent.bandwidth_manager),
    ),
    _Aspect("NodePort mode", _word("loadBalancer.mode"), lambda a: _lower(a.node_port_mode)),
    _Aspect("acceleration", _word("loadBalancer.acceleration"), lambda a: _lower(a.acceleration)),
    _Aspect(
        "Hubble",
        _switch("hubble.enabled"),
        lambda agent: _is(agent.hubble, "Ok", "Warning", "Failure"),
    ),
    _Aspect(
        "TCP conntrack entries",
        _word("extraConfig.bpf-ct-global-tcp-max"),
        _map_size(TCP_CONNTRACK_MAP),
    ),
    _Aspect(
        "other conntrack entries",
        _word("extraConfig.bpf-ct-global-any-max"),
        _map_size(ANY_CONNTRACK_MAP),
    ),
)
