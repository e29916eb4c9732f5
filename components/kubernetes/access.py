"""How to reach a cluster, as plain data: no token, key or certificate is in it.

A descriptor may stand in a stack's state and in a session's descriptor. Whoever uses it logs in
anew, with the credentials of the machine that it runs on.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from bench.text import problem
from kube.client import Kube, settings_in_pod, settings_of
from kube.objects import KubernetesError


@dataclass(frozen=True, slots=True, kw_only=True)
class EksAccess:
    """An EKS cluster, by the AWS credentials at hand; ``profile`` None is the AWS tools' choice."""

    kind: Literal["eks"] = "eks"
    cluster: str
    region: str
    profile: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeconfigAccess:
    """A kubeconfig file and a context in it; None is kubectl's own default."""

    kind: Literal["kubeconfig"] = "kubeconfig"
    path: str | None = None
    context: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAccess:
    """The cluster that this process is a pod of, by the pod's own service account."""

    kind: Literal["pod"] = "pod"


Access = EksAccess | KubeconfigAccess | PodAccess

_ACCESS: TypeAdapter[Access] = TypeAdapter(Annotated[Access, Field(discriminator="kind")])


def to_json(access: Access) -> str:
    """The descriptor as JSON text, the same for the same access."""
    return json.dumps(asdict(access), sort_keys=True)


def read_access(descriptor: str | Mapping[str, Any]) -> Access:
    """Read a descriptor, as data or as its JSON text.

    :raises KubernetesError: it is none.
    """
    try:
        if isinstance(descriptor, str):
            return _ACCESS.validate_json(descriptor)
        return _ACCESS.validate_python(dict(descriptor))
    except ValidationError as error:
        raise KubernetesError(f"no descriptor of a cluster: {problem(error, 'kind')}") from None


def connect(descriptor: str | Mapping[str, Any]) -> Kube:
    """Log in to a cluster; the login is kept alive for as long as the :class:`Kube` is used.

    :raises KubernetesError: the credentials are missing or refused, or there is no such cluster.
    """
    access = read_access(descriptor)
    if isinstance(access, EksAccess):
        from components.kubernetes import eks_login  # boto3 takes a second to import

        return eks_login.connect(access.cluster, access.region, access.profile)
    if isinstance(access, PodAccess):
        return Kube(settings_in_pod())
    return Kube(settings_of(access.path, access.context))


def watch_nodes(descriptor: str) -> Callable[[], str]:
    """What tells why nodes do not come up, as far as whoever runs them knows; empty for nothing.

    :raises KubernetesError: the credentials are missing.
    """
    access = read_access(descriptor)
    if isinstance(access, EksAccess):
        from components.kubernetes import eks_login

        return eks_login.watch_nodes(access.cluster, access.region, access.profile)
    return lambda: ""
