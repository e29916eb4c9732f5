"""A stack's lab made anew: only the very lab that is up, and only as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi
import pytest

from cni.decisions import decide
from components.lab import beside, target
from lab.cluster import SPEC, Lab, LabSpec
from lab.errors import LabError
from tests.components.stack_config import read

STACK = "scenario-c"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What labs were made, with the file of the stack as it is."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(target, "check_programs", lambda settings: None)
    monkeypatch.setattr(target, "check_values", lambda *_: None)
    labs: list[str] = []

    def bring_up(lab: Lab, *_: object, specified: target.Specified, stack: str) -> dict[str, Any]:
        assert specified[0] == lab.spec
        labs.append(f"{lab.paths.lab_id} of {stack}")
        return {"bring_up": "b2", "decisions": []}

    monkeypatch.setattr(beside, "bring_up", bring_up)
    return labs


def spec() -> LabSpec:
    settings = read(STACK)
    return target.spec(settings, decide(settings.scenario, target.facts(settings)))[0]


def session(of: LabSpec) -> dict[str, Any]:
    lab = Lab("scenario-c-1")
    lab.paths.make()
    (lab.paths.root / "lab.json").write_bytes(SPEC.dump_json(of))
    args = {"lab_id": "scenario-c-1", "about": {"bring_up": "b1"}, "stack": STACK}
    return {"target": "lab", "args": args, "boot": "b1"}


def say(line: str) -> None:
    """Nobody listens."""


def test_a_lab_is_made_anew_under_its_id_and_is_another_one(made: list[str]) -> None:
    before = session(spec())
    after = beside.renew(STACK, before, say)
    assert made == ["scenario-c-1 of scenario-c"]
    about = {"bring_up": "b2", "decisions": []}
    assert after == {**before, "args": {**before["args"], "about": about}, "boot": "b2"}


def test_a_file_that_would_make_another_lab_is_refused(made: list[str]) -> None:
    before = session(replace(spec(), nodes=2))
    fix = "Fix: change it back, or begin another matrix"
    with pytest.raises(LabError, match=rf"^Pulumi\.scenario-c\.yaml has changed .*{fix}$"):
        beside.renew(STACK, before, say)
    assert made == []


def test_settings_that_are_refused_now_are_told(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = session(spec())
    monkeypatch.setattr(beside, "settings_of_stack", lambda *_: {"scenario": {"cni": "calico"}})
    with pytest.raises(LabError, match=r"first bring-up: .*scenario\.cni"):
        beside.renew(STACK, before, say)
    assert made == []


def test_programs_that_are_gone_are_told_as_that(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = session(spec())

    def gone(settings: object) -> None:
        raise pulumi.RunError("cilium-agent is not built\nFix: make setup")

    monkeypatch.setattr(target, "check_programs", gone)
    with pytest.raises(LabError, match=r"^cilium-agent is not built; Fix: make setup$"):
        beside.renew(STACK, before, say)
    assert made == []


@pytest.mark.parametrize(
    ("boot", "target_", "up"),
    [("b1", "lab", True), ("b0", "lab", False), (None, "lab", False), ("b1", "eks", False)],
)
def test_only_the_very_lab_of_a_session_is_up(
    monkeypatch: pytest.MonkeyPatch, boot: str | None, target_: str, up: bool
) -> None:
    monkeypatch.setattr(Lab, "boot_id", lambda self: boot)
    descriptor = {"target": target_, "args": {"lab_id": "scenario-c-1"}, "boot": "b1"}
    assert beside.is_up(descriptor) is up
