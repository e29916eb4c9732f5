"""The program of a stack, as the engine runs it: exports, or one plain refusal."""

from __future__ import annotations

import json
import os
import runpy
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components.lab import target
from tests.components import engine_mocks
from tests.components.engine_mocks import Program
from tests.components.stack_config import ROOT, pulumi_config, stack_tree


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[object, Any]:
    """What the engine's process has: not this one's signals, and a machine with all that it needs.

    Gives the signal handlers that the program sets.
    """
    handlers: dict[object, Any] = {}
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(target, "check_machine", lambda: None)
    monkeypatch.setattr(target, "check_programs", lambda scenario: None)
    monkeypatch.setattr(target, "check_values", lambda *_: None)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return handlers


Run = Callable[..., Program]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the program with a stack's changed configuration."""

    def program(changes: dict[str, object] | None = None, **more: str) -> Program:
        config = pulumi_config(stack_tree("scenario-e", changes)) | more
        monkeypatch.setenv("PULUMI_CONFIG", json.dumps(config))
        exported: dict[str, Any] = {}
        monkeypatch.setattr(pulumi, "export", exported.__setitem__)

        def declare() -> dict[str, Any]:
            runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")
            return exported

        return engine_mocks.run("scenario-e", declare)

    return program


def test_the_five_outputs(run: Run) -> None:
    outputs = run().outputs
    assert set(outputs) == {"results", "toggles", "environment", "warnings", "session"}
    assert outputs["results"]["metrics"]


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"benchmark.runs": 0}, "cni-benchmark:benchmark.runs: 0: must be at least 1"),
    ({"benchmark.httpQps": [-1]}, "cni-benchmark:benchmark.httpQps[0]: -1: must be at least 1"),
    ({"benchmark.durationSeconds": 5000}, "cni-benchmark:benchmark.durationSeconds: 5000: "),
    (
        {"benchmark.rnus": 3},
        "cni-benchmark:benchmark.rnus: 3: unknown setting (did you mean runs?)",
    ),
    (
        {"scenario.toggles.turbo": True},
        "cni-benchmark:scenario.toggles.turbo: true: unknown setting",
    ),
    (
        {"scenario.kubeProxy": "iptables"},
        "cni-benchmark:scenario.kubeProxy: iptables: kubeProxyReplacement is true",
    ),
    ({"scenario.strict": True}, "toggles.dsr: strict is set"),
    (
        {"target": "eks", "eks.apiCidrs": ["10.0.0.0/8"]},
        "cni-benchmark:eks.apiCidrs[0]: 10.0.0.0/8: must be public addresses",
    ),
]


@pytest.mark.parametrize(("changes", "told"), REFUSED)
def test_bad_settings_are_one_message_and_start_nothing(
    run: Run, changes: dict[str, object], told: str
) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        run(changes)
    assert told in str(caught.value)
    # RunError is what the engine's host shows without a traceback, and this is all of it.
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert engine_mocks.PROGRAMS[0].resources.keys() <= {"scenario"}


def test_every_problem_is_told_at_once(run: Run) -> None:
    changes: dict[str, object] = {"benchmark.runs": 0, "lab.nodes": 1}
    with pytest.raises(pulumi.RunError) as caught:
        run(changes, **{"cni-benchmark:tarket": "lab"})
    assert len(str(caught.value).splitlines()) == 3


def test_without_any_configuration_it_is_told_how_to_get_some(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PULUMI_CONFIG", raising=False)
    monkeypatch.setattr(json, "dumps", lambda *_: "{}")
    with pytest.raises(pulumi.RunError, match="scenario: missing: a stack is one scenario"):
        run()


def test_an_interrupt_by_the_engine_ends_it_without_a_traceback(
    run: Run, engine: dict[object, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    engine[signal.SIGINT](signal.SIGINT, None)
    assert codes == [128 + signal.SIGINT]
