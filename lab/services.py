"""Services and their EndpointSlices, written through the API as a controller would."""

from __future__ import annotations

from collections.abc import Sequence

from kube.client import Kube
from lab import objects
from lab.objects import ServiceSpec


def create(api: Kube, spec: ServiceSpec, endpoints: Sequence[tuple[str, str]]) -> str:
    """Create a Service with its endpoints (address, node); returns its ClusterIP."""
    made = api.ensure(objects.service(spec))
    api.ensure(objects.endpoint_slice(spec, endpoints))
    return str(made["spec"]["clusterIP"])
