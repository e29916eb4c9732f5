"""What was written earlier, or by hand: read, or refused in words by the reader's own error."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.journal import Journal, JournalError
from bench.results import ResultsError, from_json
from bench.session import SessionError
from components.kubernetes import eks_login
from components.settings import SettingsError
from components.targets import open_session, settings_of
from kube.objects import KubernetesError
from studies.census.model import CensusError, described, read_census
from studies.census.twin import MAP_ENTRIES, Room, entries, twin_of
from tests.bench.sample_results import metric, results
from tests.bench.test_interleave_journal import IDENTITIES, entry, header
from tests.components.stack_config import STACKS, pulumi_config, stack_tree
from tests.fuzz.spoiling import in_time, spoiled_data, spoiled_text
from tests.studies.test_twin import census, policy, service

RESULTS = results(
    {
        "rtt_p50": metric([30.1, 30.5, 29.9]),
        "tcp_throughput": metric([12.5, 12.6], unit="Gbit/s", better="higher"),
    },
    probes={"rtt": {"role": "iperf3-client", "argv": ["turns"], "runs": 3, "facts": {"n": 1}}},
    checks=[{"name": "quiet-machine", "passed": True, "evidence": "1 % busy"}],
    rounds={"id": "m1", "labels": ["a", "b"], "seed": 5},
).to_dict()
DESCRIPTORS: list[Any] = [
    {"target": "lab", "args": {"lab_id": "none-such", "about": {"bring_up": "x"}, "stack": "e"}},
    {
        "target": "kubeconfig",
        "args": {
            "access": {"kind": "kubeconfig", "path": "/dev/null", "context": "x"},
            "cni": "cilium", "kube_proxy": "none", "values": {"a": 1}, "about": {"bring_up": "x"},
        },
    },
    {
        "target": "eks",
        "args": {
            "access": {"kind": "eks", "cluster": "c", "region": "r", "profile": None},
            "cni": "vpc-cni", "kube_proxy": "iptables",
        },
    },
]  # fmt: skip


def one_line(error: Exception) -> None:
    """It says what is wrong, in one line."""
    assert str(error)
    assert len(str(error).splitlines()) == 1


def as_text(data: Any) -> str:
    return json.dumps(data, allow_nan=True)


@given(spoiled_data([RESULTS]).map(as_text) | spoiled_text([as_text(RESULTS)]))
def test_results(text: str) -> None:
    with in_time():
        try:
            read = from_json(text)
        except ResultsError as error:
            assert str(error)
            return
        for each in read.metrics.values():
            assert all(map(math.isfinite, (each.median, *each.ci, *each.samples)))
            assert each.samples and len(each.by_place()) == len(each.samples)
            assert isinstance(each.note_texts(), list)
        assert from_json(read.to_json()) == read


@given(data=st.data())
def test_a_journal(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.jsonl"
        journal = Journal.begin(path, header())
        for round_ in (1, 2):
            journal.keep(IDENTITIES)(entry(round_))
        first, *lines = path.read_text(encoding="utf-8").splitlines()
        if data.draw(st.booleans()):
            made = [data.draw(spoiled_data([json.loads(line)]).map(as_text)) for line in lines]
            text = "\n".join([first, *made, ""])
        else:
            text = data.draw(spoiled_text([path.read_text(encoding="utf-8")]))
        path.write_bytes(text.encode(errors="surrogatepass"))
        with in_time():
            try:
                entries = Journal.open(path).entries(IDENTITIES)
            except JournalError as error:
                one_line(error)
                return
    for each in entries:
        if each.outcome.reading:
            assert all(map(math.isfinite, each.outcome.reading.values.values()))
        else:
            assert each.outcome.failures


CENSUS = census(
    service(7, 3, 2), service(1, 0, headless=True), policies=(policy(3), policy(1, rules=0))
).to_json()  # fmt: skip


@given(spoiled_data([json.loads(CENSUS)]).map(as_text) | spoiled_text([CENSUS]))
def test_a_census(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder, in_time():
        path = Path(folder) / "census.json"
        path.write_bytes(text.encode(errors="surrogatepass"))
        try:
            read = read_census(path)
            assert all(map(str.isprintable, described(read)))
            twin = twin_of(read, Room(5, 12_000))
        except CensusError as error:
            one_line(error)
            return
    assert twin.headline
    assert sum(entries(each) * each.count for each in twin.services) <= MAP_ENTRIES


@given(data=st.data())
def test_settings(data: st.DataObject) -> None:
    stack = data.draw(st.sampled_from(STACKS))
    target = data.draw(st.sampled_from(["lab", "eks", "kubeconfig"]))
    tree = data.draw(spoiled_data([stack_tree(stack, {"target": target})]))
    raw = pulumi_config(tree) if isinstance(tree, dict) else {}
    for key in data.draw(st.lists(st.sampled_from(sorted(raw)), max_size=2)) if raw else []:
        raw[key] = data.draw(spoiled_text([raw[key]]))
    with in_time():
        try:
            read = settings_of(raw, stack)
        except SettingsError as error:
            assert error.lines and all(error.lines)
            assert all("Fix: " in line for line in error.lines)
        else:
            assert read.benchmark.runs != 0 and 0 not in read.benchmark.http_qps


@given(descriptor=spoiled_data(DESCRIPTORS))
def test_a_sessions_descriptor(descriptor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_login(*_: object) -> None:
        raise KubernetesError("no credentials here")

    monkeypatch.setattr(eks_login, "connect", no_login)
    monkeypatch.setenv("KUBECONFIG", "/dev/null")
    with in_time():
        try:
            session = open_session(descriptor)
        except SessionError as error:
            one_line(error)
        else:
            session.close()
