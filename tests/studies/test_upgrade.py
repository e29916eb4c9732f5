"""What an upgrade changes, what Services cost, and what is said of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

from bench.compare import compare
from studies.upgrade import Change, changes, probes, worse_by
from tests.bench.fakes import PLAN
from tests.report.samples import scenario_results

CONFIGS = Path(__file__).parents[1] / "fixtures" / "cni" / "configs"


def test_what_the_user_set_comes_first_then_what_is_gone() -> None:
    before = {"a": "1", "b": "1", "gone": "x", "same": "1", "ours": "on"}
    after = {"a": "2", "b": "1", "same": "1", "ours": "off", "new": "y", "zours": "z"}
    found = changes(before, after, {"ours", "zours", "same"})
    assert [(each.key, each.kind, each.ours) for each in found] == [
        ("ours", "changed", True),
        ("zours", "new", True),
        ("gone", "gone", False),
        ("a", "changed", False),
        ("new", "new", False),
    ]
    assert found[2] == Change(kind="gone", key="gone", before="x", after=None, ours=False)
    assert changes(before, before, {"ours"}) == []


def test_what_changes_in_a_chart_that_was_rendered_for_both_versions() -> None:
    old, new = (
        json.loads((CONFIGS / f"scenario-d-{version}.json").read_text(encoding="utf-8"))
        for version in ("1.16.5", "1.20.2")
    )
    found = changes(old["config"], new["config"], {*old["ours"], *new["ours"]})
    # Nobody sees it in the scenario's file, and what it does is in every packet to the Internet.
    assert [(each.key, each.before, each.after) for each in found if each.ours] == [
        ("update-ec2-adapter-limit-via-api", "true", None),
        ("enable-ipv4-masquerade", "true", "false"),
    ]
    assert all(each.ours for each in found[:2])
    kinds = [each.kind for each in found[2:]]
    assert [kinds.count(kind) for kind in ("gone", "changed", "new")] == [10, 4, 47]
    moved = next(each for each in found if each.key == "bpf-lb-sock-terminate-pod-connections")
    assert (moved.kind, moved.before) == ("gone", "false")


def test_only_what_is_compared_is_measured() -> None:
    build = probes(5_000, print)
    names = [each.name for each in build(PLAN, ("cilium-agent", "cilium-operator"))]
    assert names == ["rtt", "connect", "http", "dns", "transfer", "services"]
    *_, services = build(PLAN, ("aws-node", "kube-proxy"))
    assert [metric.name for metric in services.metrics] == [
        "agents_memory_10", "agents_cpu_10", "agents_memory_5000", "agents_cpu_5000",
        "agents_take_up_5000",
    ]  # fmt: skip


def test_worse_is_a_verdict_and_in_percent() -> None:
    found = compare(scenario_results("scenario-a"), scenario_results("scenario-b"))
    some = next(each for each in found.metrics.values() if each.verdict == "worse")
    assert worse_by(some) == abs(some.effect.value) > 0
    plain = some.model_copy(update={"effect": some.effect.model_copy(update={"relative": False})})
    assert worse_by(plain) == math.inf
    for verdict in ("better", "no evidence", "too few runs"):
        assert worse_by(some.model_copy(update={"verdict": verdict})) == 0
