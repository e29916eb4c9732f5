"""Services and their EndpointSlices, written through the API as a controller would."""

from __future__ import annotations

from collections.abc import Sequence

from lab import objects
from lab.api import Api
from lab.objects import ServiceSpec


def create(api: Api, spec: ServiceSpec, endpoints: Sequence[tuple[str, str]]) -> str:
    """Create a Service with its endpoints (address, node); returns its ClusterIP."""
    made = api.create(f"/api/v1/namespaces/{spec.namespace}/services", objects.service(spec))
    api.create(
        f"/apis/discovery.k8s.io/v1/namespaces/{spec.namespace}/endpointslices",
        objects.endpoint_slice(spec, endpoints),
    )
    return str(made["spec"]["clusterIP"])
