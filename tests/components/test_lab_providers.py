"""The lab's steps as resources: when they are made again, and what is left when one fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from cni.toggles import Decision, EvidenceError
from components.dynamic import UserError
from components.lab import providers, rollout
from components.lab.providers import (
    DECISIONS,
    ClusterProvider,
    CniProvider,
    SlotProvider,
    WorkloadsProvider,
)
from lab.cluster import Lab, LabSpec
from lab.errors import LabError, NotBuiltError
from lab.network import Node, node_addresses
from lab.sandbox import LabPaths
from lab.workloads import PodSpec, ServiceSpec

SPEC = LabSpec(3, "10.100.0.0/16", {}, "1.35.8", "iptables", "vpc-cni", "1.19.2", {})
SPEC_JSON = json.dumps(asdict(SPEC))
MADE = {"lab_id": "tiny-1f", "spec": "{}", "version": 1, "boot": "b001"}


class FakeLab(Lab):
    """A lab that does as it is told and starts nothing, and notes what was asked of it."""

    running: str | None = "b001"
    """The boot of the lab that runs."""
    fails: tuple[str, Exception] | None = None
    """A step, and the error that it ends with."""
    stopping_fails = False
    asked: list[str]

    @cached_property
    def spec(self) -> LabSpec:
        return SPEC

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(Node(each, 1, Path("/none")) for each in node_addresses(SPEC.nodes))

    def _step(self, name: str) -> None:
        FakeLab.asked.append(name)
        if FakeLab.fails is not None and FakeLab.fails[0] == name:
            raise FakeLab.fails[1]

    def start(self, spec: LabSpec, progress: object) -> str:
        assert spec == SPEC
        self._step("start")
        return "b002"

    def install(self, progress: object) -> None:
        self._step("install")

    def deploy(
        self, pods: Sequence[PodSpec], services_: Sequence[ServiceSpec], progress: object
    ) -> dict[str, str]:
        self._step("deploy")
        return {pod.name: "10.0.0.1" for pod in pods}

    def stop(self) -> None:
        FakeLab.asked.append("stop")
        if FakeLab.stopping_fails:
            raise LabError("it does not end")

    def remove(self) -> None:
        FakeLab.asked.append("remove")

    def boot_id(self) -> str | None:
        return FakeLab.running


@pytest.fixture(autouse=True)
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeLab]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(providers, "Lab", FakeLab)
    FakeLab.running, FakeLab.fails, FakeLab.stopping_fails, FakeLab.asked = "b001", None, False, []
    LabPaths.of("tiny-1f").make()
    return FakeLab


# -- slot ---------------------------------------------------------------------------------------


def test_a_slot_has_an_id_of_its_own_and_a_folder() -> None:
    one = SlotProvider().create({"stack": "tiny", "version": 1})
    other = SlotProvider().create({"stack": "tiny", "version": 1})
    assert one.id != other.id
    assert one.outs is not None
    assert one.outs["lab_id"] == one.id
    assert one.id.startswith("tiny-")
    assert LabPaths.of(one.id).logs.is_dir()


def test_deleting_a_slot_removes_whatever_runs_under_its_id(lab: type[FakeLab]) -> None:
    SlotProvider().delete("tiny-1f", {"lab_id": "tiny-1f"})
    assert lab.asked == ["remove"]


# -- cluster ------------------------------------------------------------------------------------


def test_a_lab_that_runs_as_recorded_is_left_alone() -> None:
    assert not ClusterProvider().diff("b001", MADE, {**MADE, "boot": None}).changes


@pytest.mark.parametrize("running", [None, "b009"])
def test_a_lab_that_has_died_is_rebuilt_without_a_refresh(
    lab: type[FakeLab], running: str | None
) -> None:
    lab.running = running
    found = ClusterProvider().diff("b001", MADE, {**MADE, "boot": None})
    assert found.changes
    assert found.replaces
    assert found.delete_before_replace


@pytest.mark.parametrize("name", ["lab_id", "spec", "version"])
def test_another_dataplane_is_another_cluster(name: str) -> None:
    found = ClusterProvider().diff("b001", MADE, {**MADE, "boot": None, name: "x"})
    assert found.replaces == [name]
    assert found.delete_before_replace


def test_a_cluster_is_made_from_its_spec_and_known_by_its_boot() -> None:
    made = ClusterProvider().create({"lab_id": "tiny-1f", "spec": SPEC_JSON, "version": 1})
    assert made.id == "b002"
    assert made.outs == {"lab_id": "tiny-1f", "spec": SPEC_JSON, "version": 1, "boot": "b002"}


def test_deleting_a_cluster_stops_it_and_keeps_its_logs(lab: type[FakeLab]) -> None:
    ClusterProvider().delete("b001", MADE)
    assert lab.asked == ["stop"]


# -- refresh ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "id_"),
    [
        (ClusterProvider, "b001"),
        (CniProvider, "b001-cni"),
        (WorkloadsProvider, "b001-workloads"),
    ],
)
def test_a_refresh_sees_whether_the_lab_still_runs(
    lab: type[FakeLab], provider: Callable[[], Any], id_: str
) -> None:
    assert provider().read(id_, MADE).id == id_
    assert provider().read(id_, MADE).outs == MADE
    for running in (None, "b002"):
        lab.running = running
        assert not provider().read(id_, MADE).id


# -- CNI and workloads --------------------------------------------------------------------------


def _decision(**fields: Any) -> Decision:
    usual: dict[str, Any] = {"toggle": "dsr", "requested": True, "applied": False}
    return Decision(**(usual | {"reason": "ENA has no XDP"} | fields))


def _cni(*decisions: Decision) -> dict[str, Any]:
    return {**MADE, "decisions": DECISIONS.dump_json(decisions).decode()}


def test_the_cnis_outputs_are_its_toggles_as_the_agents_say() -> None:
    made = CniProvider().create(_cni(_decision(), _decision(toggle="bbr", applied=True)))
    assert made.id == "b001-cni"
    assert made.outs is not None
    toggles = made.outs["toggles"]
    assert set(toggles) == {"dsr", "bbr"}
    assert toggles["dsr"]["reason"] == "ENA has no XDP"
    # Nobody has proved it.
    assert not toggles["bbr"]["verified"]


def test_other_decisions_for_the_same_cluster_install_nothing_a_second_time(
    lab: type[FakeLab],
) -> None:
    # Say, a toggle that is switched off in so many words, and was off before.
    olds, news = _cni(_decision()), _cni(_decision(reason="switched off in the scenario"))
    found = CniProvider().diff("b001-cni", olds, news)
    assert found.changes
    assert not found.replaces
    made = CniProvider().update("b001-cni", olds, news)
    assert made.outs is not None
    assert made.outs["toggles"]["dsr"]["reason"] == "switched off in the scenario"
    assert made.outs["decisions"] == news["decisions"]
    assert "install" not in lab.asked


def test_the_workloads_outputs_are_the_pods_addresses() -> None:
    made = WorkloadsProvider().create({**MADE, "cni": "b001-cni"})
    assert made.id == "b001-workloads"
    assert made.outs is not None
    assert made.outs["pods"]["httpbin-2"] == "10.0.0.1"


# -- failures -----------------------------------------------------------------------------------

STEPS: list[tuple[str, Callable[[], Any], dict[str, Any], str]] = [
    ("start", ClusterProvider, {**MADE, "spec": SPEC_JSON}, "start the lab's control plane"),
    ("install", CniProvider, _cni(), "install the CNI"),
    ("deploy", WorkloadsProvider, {**MADE, "cni": "b001-cni"}, "deploy the workloads"),
]
ERRORS = [
    LabError("waited 90 s for it; last answer: no"),
    NotBuiltError("etcd 3.5.17 is not built yet; run `make setup` in the checkout"),
    OSError(28, "No space left on device"),
]


@pytest.mark.parametrize(("step", "provider", "props", "told"), STEPS)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_step_that_fails_stops_the_lab_and_tells_one_message(
    lab: type[FakeLab],
    step: str,
    provider: Callable[[], Any],
    props: dict[str, Any],
    told: str,
    error: Exception,
) -> None:
    lab.fails = (step, error)
    with pytest.raises(UserError) as caught:
        provider().create(props)
    first, hint = str(caught.value).splitlines()
    assert first == f"could not {told}: {error}"
    assert f"its logs are in {LabPaths.of('tiny-1f').logs} until pulumi destroy" in hint
    assert caught.value.__suppress_context__
    assert lab.asked == [step, "stop"]


def test_a_lab_that_does_not_stop_does_not_hide_why_it_should(
    lab: type[FakeLab], capsys: pytest.CaptureFixture[str]
) -> None:
    lab.fails, lab.stopping_fails = ("install", LabError("the agent ended")), True
    with pytest.raises(UserError, match="could not install the CNI: the agent ended"):
        CniProvider().create(_cni())
    assert "stopping the lab failed, pulumi destroy will try again" in capsys.readouterr().out


def test_evidence_that_cannot_be_read_fails_the_step(
    lab: type[FakeLab], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise EvidenceError("node-1: cilium-dbg status: no JSON")

    monkeypatch.setattr(rollout, "agents_evidence", broken)
    with pytest.raises(UserError, match="could not install the CNI: node-1: cilium-dbg status"):
        CniProvider().create(_cni())
    assert lab.asked == ["install", "stop"]


def test_an_end_that_fails_is_told(lab: type[FakeLab]) -> None:
    lab.stopping_fails = True
    with pytest.raises(UserError, match="could not stop the lab: it does not end"):
        ClusterProvider().delete("b001", MADE)


def test_a_lab_with_a_step_torn_off_counts_as_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    torn = Lab("tiny-1f")
    torn.paths.make()
    (torn.paths.root / "boot").write_text("b001")
    monkeypatch.setattr(torn.sandbox, "alive", lambda: True)
    with torn.once("install"):
        assert torn.boot_id() is None
    assert torn.boot_id() == "b001"
    with pytest.raises(LabError, match="has done it before"), torn.once("install"):
        pass


def test_a_lab_of_another_version_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    old = Lab("old-1f")
    old.paths.make()
    (old.paths.root / "lab.json").write_text('{"nodes": 3, "cilium_values": null}')
    with pytest.raises(LabError, match=r"^the lab old-1f is of another version .* Fix: pulumi up"):
        _ = old.spec
