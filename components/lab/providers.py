"""The lab's steps as dynamic resources: slot, cluster, CNI, workloads.

The slot exists from the first moment of an `up`, before any process is started. Whatever is left by
an `up` that failed or was interrupted belongs to a slot that is in the state, and `destroy` ends it
with the slot.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pulumi.dynamic import CreateResult, DiffResult, ReadResult, UpdateResult
from pydantic import TypeAdapter

from cni.toggles import Decision
from components.dynamic import Provider, UserError, inputs
from components.lab import rollout
from components.target import toggle_outputs
from kube.objects import KubernetesError
from lab.cluster import SPEC, Lab
from lab.errors import LabError, MachineBusyError

DECISIONS = TypeAdapter(tuple[Decision, ...])


class SlotProvider(Provider):
    """A lab's identity and folder. Deleting it ends whatever runs under that identity."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        lab_id = f"{props['stack']}-{secrets.token_hex(4)}"
        with _step("make the lab's folder"):
            Lab(lab_id).paths.make()
        return CreateResult(lab_id, {**inputs(props, ("stack", "version")), "lab_id": lab_id})

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        with _step("remove the lab"):
            Lab(_id).remove()


class ClusterProvider(Provider):
    """Sandbox, fabric, nodes and control plane. Another dataplane is another cluster: an agent's
    leftovers (BPF programs, rules, routes) would be measured with its successor."""

    replaced_by = ("lab_id", "spec", "version")

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        diff = super().diff(_id, _olds, _news)
        # A lab that has died (a reboot, a step that failed) is rebuilt by the next `up`, refreshed
        # or not.
        if not diff.changes and Lab(_olds["lab_id"]).boot_id() != _olds["boot"]:
            return DiffResult(changes=True, replaces=["spec"], delete_before_replace=True)
        return diff

    def create(self, props: dict[str, Any]) -> CreateResult:
        lab = Lab(props["lab_id"])
        with _step("start the lab's control plane", lab):
            boot = lab.start(SPEC.validate_json(props["spec"]), say)
        return CreateResult(boot, {**inputs(props, self.replaced_by), "boot": boot})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        return _present(id_, props, id_)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        with _step("stop the lab"):
            Lab(_props["lab_id"]).stop()


class CniProvider(Provider):
    """kube-proxy and CNI on a started cluster, and the toggles as the agents report them."""

    replaced_by = ("lab_id", "boot", "version")

    def create(self, props: dict[str, Any]) -> CreateResult:
        lab = Lab(props["lab_id"])
        with _step("install the CNI", lab), lab.once("install"):
            lab.install(say)
            outs = self._verified(lab, props)
        return CreateResult(f"{props['boot']}-cni", outs)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Other decisions for the same values (others are another cluster): judged anew."""
        with _step("verify the toggles"):
            return UpdateResult(self._verified(Lab(_news["lab_id"]), _news))

    def _verified(self, lab: Lab, props: dict[str, Any]) -> dict[str, Any]:
        decisions = DECISIONS.validate_json(props["decisions"])
        toggles = toggle_outputs(rollout.toggle_states(lab, decisions))
        return {**inputs(props, (*self.replaced_by, "decisions")), "toggles": toggles}

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        return _present(id_, props, props["boot"])


class WorkloadsProvider(Provider):
    """The benchmark's pods and services; they end with the cluster that they run on."""

    replaced_by = ("lab_id", "boot", "cni", "version")

    def create(self, props: dict[str, Any]) -> CreateResult:
        lab = Lab(props["lab_id"])
        with _step("deploy the workloads", lab), lab.once("deploy"):
            addresses = rollout.deploy_workloads(lab, say)
        outs = {**inputs(props, self.replaced_by), "pods": addresses}
        return CreateResult(f"{props['boot']}-workloads", outs)

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        return _present(id_, props, props["boot"])


def say(line: str) -> None:
    """A line of progress; the engine shows it while the step runs."""
    print(line, flush=True)


def _present(id_: str, props: dict[str, Any], boot: str) -> ReadResult:
    """The resource as recorded while its boot of the lab is alive, else that it is gone."""
    if Lab(props["lab_id"]).boot_id() == boot:
        return ReadResult(id_, props)
    return ReadResult("", {})


@contextmanager
def _step(name: str, lab: Lab | None = None) -> Iterator[None]:
    """Errors as one message; a lab whose step failed is stopped, its logs stay until destroy."""
    try:
        yield
    except MachineBusyError as error:  # the step has not begun
        raise UserError(f"could not {name}: {error}") from None
    except rollout.FAILURES as error:
        hint = ""
        if lab is not None:
            _stop(lab)
            hint = f"\nThe lab was stopped; its logs are in {lab.paths.logs} until pulumi destroy."
        raise UserError(f"could not {name}: {error}{hint}") from None


def _stop(lab: Lab) -> None:
    try:
        lab.stop()
    except (LabError, KubernetesError, OSError) as error:
        say(f"stopping the lab failed, pulumi destroy will try again: {error}")
