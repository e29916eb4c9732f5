"""The names and labels by which the benchmark's own objects are found again."""

from __future__ import annotations

from typing import Final

NAMESPACE: Final = "cni-benchmark"
"""Of the workloads."""
NODES_NAMESPACE: Final = "cni-benchmark-nodes"
"""Of the node probe, which looks at the host and so needs a more permissive pod security level."""
SYSTEM_NAMESPACE: Final = "kube-system"

ROLE_LABEL: Final = "app.kubernetes.io/name"
"""The workload's role (:mod:`bench.workloads`), or :data:`NODE_PROBE`."""
SIDE_LABEL: Final = "cni-benchmark/side"
"""client or server: pods of the two never share a node."""

NODE_PROBE: Final = "node-probe"
MAIN: Final = "main"
"""The container that runs a workload's command, and the measurements' commands."""
TOOLS: Final = "tools"
"""The container beside it, where its image has no shell: it ends commands that outlived a
connection."""

OS_LABEL: Final = "kubernetes.io/os"
LINUX_NODES: Final = f"{OS_LABEL}=linux"
"""Label selector of all nodes that count: agents, workloads and probes run on no others."""

HOST_CGROUPS: Final = "/host/cgroup"
"""Where the node probe sees the node's cgroups."""
OWNER_ANNOTATION: Final = "cni-benchmark/stack"
"""On Cilium's DaemonSet: the stack that has installed it."""
