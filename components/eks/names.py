"""How a stack's cluster and everything around it is named and tagged."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from cni.registry import DATAPLANES
from components.settings import PROJECT

CLUSTER_TAG = f"{PROJECT}:cluster"
"""On everything that a stack makes, with the cluster's name as its value."""

# As cni.platform.ClusterEndpoint wants it: Cilium tags its ENIs with the name.
_LONGEST = 32
_DIGEST = 6


def cluster_name(organization: str, stack: str) -> str:
    """A stack's cluster: the same at every `up`, another for every stack of every organization.

    At most 32 of a-z, 0-9 and `-`. It must be known before there is a cluster (IAM conditions and
    Cilium's values hold it), so it is not left to the engine to make it unique.
    """
    identity = f"{organization}/{PROJECT}/{stack}".encode()
    digest = hashlib.sha256(identity).hexdigest()[:_DIGEST]
    readable = re.sub(r"[^a-z0-9]+", "-", f"{PROJECT}-{stack}".lower())
    return f"{readable[: _LONGEST - _DIGEST - 1].strip('-')}-{digest}"


def tags(cluster: str, stack: str, own: Mapping[str, str]) -> dict[str, str]:
    """The tags of everything that a stack makes: whose it is, then the user's own."""
    return {CLUSTER_TAG: cluster, f"{PROJECT}:stack": stack, **own}


def interface_tags(cni: str, cluster: str) -> dict[str, str]:
    """The tags of every ENI that a CNI makes for a cluster."""
    return dict(DATAPLANES[cni].interface_tags(cluster, {CLUSTER_TAG: cluster}))
