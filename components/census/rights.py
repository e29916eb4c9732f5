"""What a census reads, and the rights for exactly that."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

import yaml

from cni.registry import DATAPLANES
from components.kubernetes.dataplane import KUBE_PROXY_CONFIGS
from kube.objects import CONFIG_MAP, DAEMON_SET, ENDPOINT_SLICE, NODE, POD, SERVICE, Kind
from studies.census.model import PolicyKind
from studies.experiments.policies import API_VERSIONS

NAME: Final = "cni-benchmark-census"
"""Of the ClusterRole, of its binding, and of the group that it is bound to."""

POLICIES: Final[Mapping[PolicyKind, Kind]] = {
    name: Kind(API_VERSIONS[name], name) for name in get_args(PolicyKind)
}


@dataclass(frozen=True, slots=True)
class Right:
    """What may be done with the objects of a kind, or with some of them by their names."""

    kind: Kind
    resource: str
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The API group; empty for the core's."""
        return self.kind.api_version.rpartition("/")[0]


def rights() -> tuple[Right, ...]:
    """All that a census needs beside what every user may do: to ask for the server's version and
    for the kinds that it has (``system:discovery``, ``system:public-info-viewer``)."""
    cni_configs = (each.rollout.config_map for each in DATAPLANES.values())
    configs = {*filter(None, cni_configs), *(name for name, _ in KUBE_PROXY_CONFIGS)}
    return (
        Right(NODE, "nodes", ("list",)),
        Right(POD, "pods", ("list",)),
        Right(SERVICE, "services", ("list",)),
        Right(ENDPOINT_SLICE, "endpointslices", ("list", "watch")),
        Right(DAEMON_SET, "daemonsets", ("list",)),
        Right(CONFIG_MAP, "configmaps", ("get",), tuple(sorted(configs))),
        *(Right(kind, _plural(kind.name), ("list",)) for kind in POLICIES.values()),
    )


def _plural(kind: str) -> str:
    """What the API server calls a kind of policies in paths and in roles."""
    return f"{kind.lower().removesuffix('y')}ies"


def manifests() -> list[dict[str, Any]]:
    """The ClusterRole and its binding to the group :data:`NAME`."""
    api = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{api}/v1", "kind": "ClusterRole", "metadata": {"name": NAME}}
    binding = {**role, "kind": "ClusterRoleBinding"}
    return [
        {**role, "rules": list(_rules())},
        {
            **binding,
            "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": NAME},
            "subjects": [{"apiGroup": api, "kind": "Group", "name": NAME}],
        },
    ]


def _rules() -> Iterator[dict[str, Any]]:
    for each in rights():
        rule = {"apiGroups": [each.group], "resources": [each.resource], "verbs": [*each.verbs]}
        yield {**rule, "resourceNames": [*each.names]} if each.names else rule


def text() -> str:
    """The manifests as YAML, for ``kubectl apply``."""
    return yaml.safe_dump_all(manifests(), sort_keys=False)
