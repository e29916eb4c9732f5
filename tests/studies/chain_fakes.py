"""A session with the experiments' capabilities: it keeps objects, runs pods, and has a dataplane
of its own that follows the policies in its store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from bench.environment import About, ScenarioRecord
from bench.session import CommandResult, Pod
from studies.experiments.capabilities import Manifest, PodRequest, Progress
from tests.bench.fakes import FakeSession


class StoreSession(FakeSession):
    """Objects and pods; what is left of either is seen at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = {"client": "node-1", "server": "node-2"}
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.running: list[PodRequest] = []
        self.asked: list[PodRequest] = []
        self.writes: list[tuple[str, int]] = []

    def pods(self, role: str) -> Sequence[Pod]:
        """The second of a role's pods is on a third node."""
        found = super().pods(role)
        return [
            replace(pod, node="node-3") if place and pod.node == "node-2" else pod
            for place, pod in enumerate(found)
        ]

    def create_objects(self, manifests: Sequence[Manifest], say: Progress) -> None:
        """See ``studies.experiments.capabilities``; a Service gets an address."""
        self.writes.append(("create", len(manifests)))
        for manifest in manifests:
            made: dict[str, Any] = {**manifest}
            if made["kind"] == "Service":
                address = f"10.100.1.{len(self.objects) + 1}"
                made["spec"] = {**made["spec"], "clusterIP": address}
            self.objects[made["kind"], made["metadata"]["name"]] = made

    def delete_objects(self, manifests: Sequence[Manifest], say: Progress) -> None:
        """See ``studies.experiments.capabilities``."""
        self.writes.append(("delete", len(manifests)))
        for manifest in manifests:
            self.objects.pop((manifest["kind"], manifest["metadata"]["name"]), None)

    def merge_object(self, manifest: Manifest) -> None:
        """See ``studies.experiments.capabilities``."""
        raise NotImplementedError

    def list_objects(self, api_version: str, kind: str, selector: str = "") -> list[Manifest]:
        """See ``studies.experiments.capabilities``."""
        name, _, value = selector.partition("=")
        return [
            {key: found[key] for key in ("metadata", "spec")}
            for (each, _), found in self.objects.items()
            if each == kind and found["metadata"].get("labels", {}).get(name) == value
        ]

    @contextmanager
    def experiment_pods(self, wanted: Sequence[PodRequest]) -> Iterator[Sequence[Pod]]:
        """See ``studies.experiments.capabilities``."""
        self.running += wanted
        self.asked += wanted
        try:
            yield [
                Pod(each.name, each.role, each.node, f"172.30.9.{place}")
                for place, each in enumerate(wanted, start=1)
            ]
        finally:
            self.running.clear()

    def about(self) -> About:
        """See ``bench.session.Session``."""
        return About(scenario=ScenarioRecord(title="a fake"))

    def answered(self, argv: Sequence[str], returncode: int, out: str, err: str) -> CommandResult:
        """A command of the experiment's own, answered."""
        self.time.seconds += 0.1
        return CommandResult(tuple(argv), returncode, out, err, 0.1)
