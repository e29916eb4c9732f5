"""A stack's experiments: what is asked for, in which order they run, and what they keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest

from bench.session import SessionError
from components import experiments
from components.dynamic import UserError
from components.experiments import ExperimentProvider
from components.lab import target
from components.scenario import ScenarioStack
from studies.experiments import run as experiment_run
from studies.experiments.definition import EXPERIMENTS, Extent
from studies.experiments.model import from_dict
from tests.bench.fakes import FakeSession
from tests.components import engine_mocks
from tests.components.engine_mocks import Monitor, Program
from tests.components.stack_config import pulumi_config, read, refusal, stack_tree


@pytest.fixture(autouse=True)
def nothing_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which everything is there."""
    monkeypatch.setattr(target, "check_machine", lambda: None)
    monkeypatch.setattr(target, "check_programs", lambda scenario: None)
    monkeypatch.setattr(target, "check_values", lambda *_: None)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


FOUND = {f"experiment-{name}": {"found": f'{{"name": "{name}"}}'} for name in EXPERIMENTS}


def _program(asked: list[object]) -> Program:
    settings = read("scenario-d", {"benchmark.experiments": asked})

    def declare() -> dict[str, pulumi.Input[Any]]:
        stack = ScenarioStack("scenario", settings)
        assert stack.experiments is not None
        return {"experiments": stack.experiments}

    outputs = {**engine_mocks.OUTPUTS, **FOUND}
    return engine_mocks.run("scenario-d", declare, lambda made: Monitor(made, outputs))


def test_each_is_a_resource_of_its_own_after_the_benchmark() -> None:
    program = _program(["host"])
    made = program.resources["experiment-host"]
    assert made.parent == "scenario" and "benchmark" in made.after
    assert json.loads(made.inputs["extent"]) == EXPERIMENTS["host"].usual.as_dict()
    benchmark = program.resources["benchmark"]
    assert made.inputs["session"] == benchmark.inputs["session"]
    # Measuring again needs no experiment.
    assert not any("experiment" in name for name in benchmark.after)
    assert program.outputs["experiments"] == {"host": {"name": "host"}}


def test_a_stack_without_any_has_no_such_output() -> None:
    def declare() -> dict[str, pulumi.Input[Any]]:
        stack = ScenarioStack("scenario", read("scenario-d"))
        assert stack.experiments is None
        return {}

    program = engine_mocks.run("scenario-d", declare)
    assert not any(name.startswith("experiment") for name in program.resources)


def test_the_extent_is_the_users() -> None:
    wanted: list[object] = [{"name": "host", "rounds": 3, "seconds": 1}]
    made = _program(wanted).resources["experiment-host"]
    usual = EXPERIMENTS["host"].usual
    assert json.loads(made.inputs["extent"]) == Extent(usual.points, 3, 1).as_dict()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["hots"], "experiments[0].name: hots: no such experiment (did you mean host?)"),
        (["host", "host"], "must not have an experiment twice"),
        ([{"name": "host", "rounds": 0}], "experiments[0].rounds: 0: must be at least 1"),
        ([{"name": "host", "rouns": 3}], "experiments[0].rouns: 3: unknown setting"),
        ([{"name": "host", "points": ["pod to pod"]}], "its points are always node to node"),
        ([3], "must be a map of settings"),
        ("host", "must be a list"),
    ],
)
def test_wrong_ones_are_refused_in_one_line(asked: object, told: str) -> None:
    (line,) = refusal(pulumi_config(stack_tree("scenario-d", {"benchmark.experiments": asked})))
    assert told in line and "cni-benchmark:benchmark.experiments" in line
    assert ". Fix: pulumi config " in line


# -- the provider -------------------------------------------------------------------------------

PROPS: dict[str, Any] = {
    "session": '{"factory": "nowhere:none"}',
    "name": "host",
    "extent": json.dumps(EXPERIMENTS["host"].usual.as_dict()),
    "allow": "[]",
    "stack": "scenario-e",
    "version": 1,
    "found": None,
}


def test_what_was_found_is_kept_with_what_it_was_found_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(experiments, "open_session", lambda descriptor: FakeSession())
    made = ExperimentProvider().create(PROPS)
    assert made.outs is not None
    found = from_dict(json.loads(made.outs["found"]))
    # The fake runs no pods: that an experiment is skipped is no error of the stack.
    assert found.name == "host" and found.series[0].skipped
    assert found.command == "pulumi up -s scenario-e --replace '**::experiment-host'"
    assert {name: made.outs[name] for name in PROPS if name != "found"} == {
        name: value for name, value in PROPS.items() if name != "found"
    }
    assert "host: skipped: this target cannot run pods" in capsys.readouterr().out
    again = ExperimentProvider().diff("x", made.outs, PROPS)
    assert not again.changes
    other = {**PROPS, "extent": json.dumps(Extent(("a",), 1, 1).as_dict())}
    assert ExperimentProvider().diff("x", made.outs, other).changes


def test_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object, **__: object) -> None:
        raise SessionError("POST /api/v1/services: 507: no room")

    monkeypatch.setattr(experiments, "open_session", lambda descriptor: FakeSession())
    monkeypatch.setattr(experiment_run, "run_experiment", no)
    with pytest.raises(UserError) as caught:
        ExperimentProvider().create(PROPS)
    assert str(caught.value) == "the experiment host failed: POST /api/v1/services: 507: no room"
    assert caught.value.__suppress_context__
