"""The gate and the toggles' verification as dynamic resources; they make nothing in the cluster.

Found again by import path for as long as a stack lives, on a machine that has no Pulumi providers
loaded: this module imports neither pulumi_kubernetes nor boto3.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import TypeAdapter

from cni.decisions import verify
from cni.registry import DATAPLANES
from cni.toggles import Decision, Evidence, EvidenceError
from components.dynamic import RepeatableProvider, UserError, inputs, say
from components.kubernetes import gate
from components.kubernetes.access import connect, watch_nodes
from components.kubernetes.dataplane import collect
from components.kubernetes.manifests import LINUX_NODES
from components.target import toggle_outputs
from kube.objects import NODE, KubernetesError
from kube.wait import Waiter

DECISIONS = TypeAdapter(tuple[Decision, ...])


class GateProvider(RepeatableProvider):
    """Waits until the cluster's network is as the spec says; again when anything has changed."""

    name = "gate"
    names = ("access", "spec", "revision", "version")

    def outputs(self, props: Mapping[str, Any]) -> dict[str, Any]:
        with _as_user_error("the cluster's network is not ready"):
            spec, broken = gate.read_spec(props["spec"]), watch_nodes(props["access"])
            gate.wait(connect(props["access"]), spec, Waiter(say), broken)
        return inputs(props, self.names)


class DataplaneProvider(RepeatableProvider):
    """The toggles as the running agents report them; asked again when anything has changed."""

    name = "dataplane"
    names = ("access", "cni", "decisions", "expected_nodes", "revision", "version")

    def outputs(self, props: Mapping[str, Any]) -> dict[str, Any]:
        decisions = DECISIONS.validate_json(props["decisions"])
        with _as_user_error("could not verify the toggles"):
            evidence, nodes = _evidence(props["access"], props["cni"], int(props["expected_nodes"]))
        states = verify(decisions, evidence, nodes)
        return {**inputs(props, self.names), "toggles": toggle_outputs(states)}


def _evidence(access: str, cni: str, expected: int) -> tuple[list[Evidence], list[str]]:
    """What every agent says, and the nodes that must have one."""
    if expected == 0:
        return [], []
    api = connect(access)
    nodes = [node["metadata"]["name"] for node in api.items(NODE, labels=LINUX_NODES)]
    if len(nodes) < expected:
        raise KubernetesError(f"{len(nodes)} of {expected} nodes are there")
    return collect(api, DATAPLANES[cni]), nodes


@contextmanager
def _as_user_error(step: str) -> Iterator[None]:
    try:
        yield
    except (KubernetesError, EvidenceError) as error:
        raise UserError(f"{step}: {error}") from None
