"""Results that are handed to a stack's benchmark, and a measurement that is put off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.results import Results
from components.benchmark import (
    LATER,
    MEASURE,
    RESULTS,
    Asked,
    BenchmarkProvider,
    Handover,
    HandoverError,
    write_handover,
)
from components.dynamic import UserError
from tests.bench.fakes import PLAN
from tests.bench.sample_results import metric, results

SESSION = {"factory": "nowhere:none", "args": {"lab_id": "e-1"}, "boot": "1"}
PROPS: dict[str, Any] = {
    "session": json.dumps(SESSION, sort_keys=True),
    "plan": json.dumps(PLAN.as_dict()),
    "stack": "scenario-e",
    "version": 1,
    "measure": None,
    "adopt": None,
    "results": None,
}


def measured(**changes: Any) -> Results:
    return results({"tcp_throughput": metric([1.0, 2.0, 3.0])}, **changes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "handed.json"
    write_handover(path, SESSION, measured())
    return path


def adopting(file: Path) -> dict[str, Any]:
    return {**PROPS, "adopt": Handover.of(file).model_dump_json()}


def kept(outs: dict[str, Any] | None) -> dict[str, Any]:
    """As the engine keeps a resource's outputs: without what is None."""
    assert outs is not None
    return {
        name: value for name, value in json.loads(json.dumps(outs)).items() if value is not None
    }


def test_a_plain_command_asks_for_nothing() -> None:
    assert Asked.by({"HOME": "/root", MEASURE: "", RESULTS: ""}) == Asked()


def test_the_environment_says_what_is_asked(file: Path) -> None:
    assert Asked.by({MEASURE: LATER}) == Asked(LATER)
    found = Asked.by({RESULTS: str(file)})
    assert found.adopt is not None
    assert Handover.model_validate_json(found.adopt).results(PROPS["session"]) == measured()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({MEASURE: "never"}, "CNI_BENCHMARK_MEASURE=never: must be later"),
        ({RESULTS: "/nowhere/x.json"}, "CNI_BENCHMARK_RESULTS: .*No such file"),
    ],
)
def test_what_cannot_be_done_is_refused(told: dict[str, str], message: str) -> None:
    with pytest.raises(HandoverError, match=message):
        Asked.by(told)


def test_a_measurement_that_is_put_off_has_no_results(file: Path) -> None:
    outs = kept(BenchmarkProvider().create({**PROPS, "measure": LATER}).outs)
    assert "results" not in outs
    assert outs["session"] == PROPS["session"]


def test_put_off_it_stays_put_off_until_a_plain_up() -> None:
    provider = BenchmarkProvider()
    outs = kept(provider.create({**PROPS, "measure": LATER}).outs)
    assert not provider.diff("benchmark", outs, {**PROPS, "measure": LATER}).changes
    assert provider.diff("benchmark", outs, PROPS).changes


def test_results_of_another_cluster_go_when_the_measurement_is_put_off(file: Path) -> None:
    provider = BenchmarkProvider()
    olds = kept(provider.create(adopting(file)).outs)
    rebuilt = {**PROPS, "session": "{}", "measure": LATER}
    assert provider.diff("benchmark", olds, rebuilt).changes
    assert "results" not in kept(provider.update("benchmark", olds, rebuilt).outs)


def test_putting_off_leaves_results_that_still_hold(file: Path) -> None:
    provider = BenchmarkProvider()
    olds = kept(provider.create(adopting(file)).outs)
    assert not provider.diff("benchmark", olds, {**PROPS, "measure": LATER}).changes


def test_results_are_taken_once_and_a_plain_up_changes_nothing(file: Path) -> None:
    provider = BenchmarkProvider()
    olds = kept(provider.create({**PROPS, "measure": LATER}).outs)
    assert provider.diff("benchmark", olds, adopting(file)).changes
    outs = kept(provider.update("benchmark", olds, adopting(file)).outs)
    assert outs["results"] == measured().to_dict()
    assert not provider.diff("benchmark", outs, adopting(file)).changes
    assert not provider.diff("benchmark", outs, PROPS).changes


def test_a_changed_plan_is_measured_also_after_a_handover(file: Path) -> None:
    provider = BenchmarkProvider()
    outs = kept(provider.create(adopting(file)).outs)
    assert provider.diff("benchmark", outs, {**PROPS, "plan": "{}"}).changes


def _other_session(path: Path) -> None:
    write_handover(path, {**SESSION, "boot": "2"}, measured())


def _incomplete(path: Path) -> None:
    missing = {"metric": "dns_p50", "reason": "no sample in 3 runs"}
    write_handover(path, SESSION, measured(errors=[missing]))


def _nonsense(path: Path) -> None:
    path.write_text('{"session": {}}')


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_other_session, "measured in another session"),
        (_incomplete, "no number for dns_p50"),
        (_nonsense, "no results to hand over"),
    ],
)
def test_what_does_not_belong_to_the_stack_is_not_taken(
    tmp_path: Path, spoil: Any, message: str
) -> None:
    path = tmp_path / "handed.json"
    spoil(path)
    with pytest.raises(UserError, match=f"the results were not taken: .*{message}"):
        BenchmarkProvider().create(adopting(path))


def test_a_file_that_has_changed_since_is_not_taken(file: Path) -> None:
    props = adopting(file)
    write_handover(file, SESSION, measured(seconds=1.0))
    with pytest.raises(UserError, match="has changed since"):
        BenchmarkProvider().create(props)
