"""Files of version 1: a benchmark's results as version 1 wrote them, and the stored experiments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.environment import CniRecord
from bench.metrics import Note
from bench.results import SCHEMA, MissingSample, Place, Results, from_dict, from_json
from studies.experiments import model
from tests.bench.fakes import FOLDER

FILE = FOLDER / "results-v1.json"
EXPERIMENTS = sorted((Path(__file__).parents[2] / "docs/experiments").glob("*.json"))


@pytest.fixture(scope="module")
def old() -> Results:
    return from_json(FILE.read_text(encoding="utf-8"))


def test_what_was_measured_becomes_fields(old: Results) -> None:
    assert old.schema_ == SCHEMA
    assert old.scenario.title == "Cilium on ENI with native routing, tuned"
    assert old.cni == CniRecord(name="cilium", version="1.16.5")
    assert (old.environment.target_kind, old.environment.shared_machine) == ("lab", True)
    assert old.environment.emulated_instance_type == "m6i.xlarge"
    assert old.environment.pods_per_node is not None
    assert old.environment.pods_per_node.pods == 895


def test_what_version_1_did_not_know_stays_unknown(old: Results) -> None:
    assert (old.scenario.name, old.scenario.settings, old.decisions, old.values) == ("", {}, [], {})
    assert (old.environment.instance_type, old.environment.zone, old.bring_ups) == (None, None, [])


def test_missing_runs_become_the_rounds_of_the_samples(old: Results) -> None:
    metric = old.metrics["udp_goodput"]
    assert metric.missing == [MissingSample(round=1, reason="it did not answer")]
    assert metric.places == [Place(1, 2), Place(1, 3)]
    assert old.metrics["rtt_p50"].places == [Place(1, 1), Place(1, 2), Place(1, 3)]


def test_sentences_become_notes(old: Results) -> None:
    late = {"percent": 1.0, "late_ms": 5.0}
    assert old.metrics["http_100_p99"].notes == [
        Note(kind="server-limit"),
        Note(kind="sent-late", figures=late, rounds=[1]),
        Note(kind="requests-failed", rounds=[1]),
        Note(kind="sent-late", figures=late, rounds=[2, 3]),
    ]
    assert old.metrics["tcp_throughput"].notes == [
        Note(kind="server-limit"),
        Note(kind="throttled", rounds=[2]),
    ]


def test_it_is_written_as_version_2_and_stays_the_same(old: Results) -> None:
    assert from_dict(json.loads(old.to_json())) == old


def test_an_unknown_sentence_is_kept_and_a_lost_metric_is_named() -> None:
    data = json.loads(FILE.read_text(encoding="utf-8"))
    data["metrics"]["rtt_p50"]["notes"] = ["run 2: the moon was full"]
    data["errors"] = ["udp_loss: no sample in 3 runs (run 1: why: because)"]
    old = from_dict(data)
    assert old.metrics["rtt_p50"].note_texts() == ["run 2: the moon was full"]
    assert old.errors[0].metric == "udp_loss"
    assert old.errors[0].text() == data["errors"][0]


def test_all_notes_of_the_stored_experiments_are_known() -> None:
    assert EXPERIMENTS
    for file in EXPERIMENTS:
        data = json.loads(file.read_text(encoding="utf-8"))
        experiment = model.from_dict(data)
        assert experiment.cni is not None, file
        assert experiment.scenario.title == data["environment"]["scenario"]
        assert model.from_dict(json.loads(experiment.to_json())) == experiment
        notes = [
            note
            for series in experiment.series
            for point in series.points
            for metric in point.metrics.values()
            for note in metric.notes
        ]
        assert not [note.words for note in notes if note.kind == "remark"], file
