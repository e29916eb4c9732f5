"""Nested Helm values: merging, listing leaves, and finding keys that a chart does not know."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from cni.problems import did_you_mean

HelmValues = dict[str, object]

# Keys that the Cilium 1.16.5 chart documents in comments only: templates test them with `hasKey`,
# so its parsed values.yaml cannot know them. Source: install/kubernetes/cilium/values.yaml.
OPTIONAL_VALUES = (
    "devices",
    "disableEnvoyVersionCheck",
    "egressMasqueradeInterfaces",
    "enableIdentityMark",
    "fragmentTracking",
    "hubble.eventBufferCapacity",
    "hubble.eventQueueSize",
    "iptablesLockTimeout",
    "kubeProxyReplacement",
    "loadBalancer.algorithm",
    "loadBalancer.dsrDispatch",
    "loadBalancer.mode",
    "loadBalancer.serviceTopology",
    "loadBalancer.standalone",
    "logOptions",
    "nodePort.directRoutingDevice",
    "nodePort.range",
    "policyAuditMode",
    "sessionAffinity",
    "socketLB.hostNamespaceOnly",
    "socketLB.terminatePodConnections",
    "socketLB.tracing",
)


def merge(*trees: Mapping[str, object]) -> HelmValues:
    """Merge value trees as `helm -f a -f b` does: maps merge by key, anything later wins."""
    merged: HelmValues = {}
    for tree in trees:
        for key, value in tree.items():
            present = merged.get(key)
            if isinstance(value, Mapping):
                merged[key] = merge(present, value) if isinstance(present, dict) else merge(value)
            else:
                merged[key] = value
    return merged


def leaves(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Each dotted path with its value, `("bpf.masquerade", True)`; lists and `{}` are leaves."""
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}.")
        else:
            yield path, value


def unknown_values(
    values: Mapping[str, object],
    chart_defaults: Mapping[str, object],
    optional: Collection[str] = OPTIONAL_VALUES,
) -> list[str]:
    """The dotted paths in `values` that a chart does not have, each as one sentence.

    `chart_defaults` is the chart's parsed values.yaml; `optional` are paths it leaves out. Where a
    default is `{}` or null, any content below is free-form and accepted. The Cilium chart's own
    schema rejects no unknown key, so without this a misspelt one silently renders to nothing.
    """
    known = [path for path, _ in leaves(chart_defaults)] + list(optional)
    return [
        f"{path}: not a value of this chart{did_you_mean(path, known)}"
        for path, _ in leaves(values)
        if path not in optional and not _has(chart_defaults, path.split("."))
    ]


def _has(defaults: Mapping[str, object], path: list[str]) -> bool:
    node: object = defaults
    for key in path:
        if node is None or node == {}:
            return True
        if not isinstance(node, Mapping) or key not in node:
            return False
        node = node[key]
    return True
