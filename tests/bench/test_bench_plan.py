"""Profiles, overrides, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.plan import PROFILES, Plan, PlanError, plan_for
from bench.probes import build_probes
from bench.probes.base import Bench
from bench.probes.http import http_probe
from bench.session import resolve_targets
from tests.bench.fakes import FakeSession, recorded
from tests.bench.turns_output import TURNS


def commands(profile: str, session: FakeSession) -> dict[str, str]:
    targets = resolve_targets(session)
    found = {}
    for probe in build_probes(plan_for(profile)):
        invocation = probe.invocation(targets)
        if invocation is not None:
            found[probe.name] = " ".join(invocation.full())
    return found


_IPERF = "iperf3 -c 10.0.0.1 -p 5201"
_FORTIO = "fortio load -quiet -json - -p 50,90,99,99.9"
_HTTPBIN = "http://10.100.0.10:80/get"
STUDY = {
    "tcp": f"{_IPERF} -t 30 -P 8 -i 0 -J --connect-timeout 3000",
    "udp": f"{_IPERF} -t 30 -u -b 10G -i 0 -J --connect-timeout 3000",
    "http_1000": f"{_FORTIO} -access-log-file /dev/stdout -c 32 -qps 1000 -t 30s {_HTTPBIN}",
    "http_5000": f"{_FORTIO} -access-log-file /dev/stdout -c 32 -qps 5000 -t 30s {_HTTPBIN}",
    "http_max": f"{_FORTIO} -r 0.00005 -c 64 -qps 0 -t 30s {_HTTPBIN}",
    "dig": "dig @10.100.0.10 -p 53 -u +tries=1 +time=1 +noall +comments +stats"
    + 100 * " kubernetes.default.svc.cluster.local.",
    "fortio_rtt": f"{_FORTIO} -r 0.000001 -c 1 -qps 0 -t 30s tcp://10.0.0.1:8078",
    "loaded_rtt": f"{_FORTIO} -r 0.000001 -c 1 -qps 0 -t 24s tcp://10.0.0.1:8078",
}
"""The published study's parameters, word for word in what is run: 3 runs of each."""


def test_published_is_the_study(session: FakeSession) -> None:
    argv = commands("published", session)
    assert {name: argv[name] for name in STUDY} == STUDY
    assert plan_for("published").runs == 3
    assert plan_for("published").allow == ()


def test_published_has_the_studys_round_trip_beside_ours(session: FakeSession) -> None:
    """Its figure is iperf3's mean_rtt of one stream, read once a second for 30 s."""
    probe = next(each for each in build_probes(plan_for("published")) if each.name == "loaded_rtt")
    reading = probe.measure(Bench(session, resolve_targets(session), session.time.clock()))
    transfer = f"{_IPERF} -t 30 -P 1 -i 1 -J --connect-timeout 3000"
    assert reading.facts["transfer"] == transfer
    assert transfer.split() in [list(argv) for _, argv, _ in session.calls]
    report = json.loads(recorded("iperf3-stream").stdout)
    assert reading.values["bulk_mean_rtt"] == report["end"]["streams"][0]["sender"]["mean_rtt"]
    assert {"loaded_rtt_p50", "loaded_rtt_p99"} < set(reading.values)


def test_only_published_has_the_studys_coordinated_omission() -> None:
    for profile, said in (("published", "omission possible"), ("standard", "without coordinated")):
        metrics = [each for probe in build_probes(plan_for(profile)) for each in probe.metrics]
        fixed = [each for each in metrics if each.name in ("http_1000_p99", "http_5000_p50")]
        assert all(said in str(each.load_model) for each in fixed)
        assert len(fixed) == 2


def test_quick_measures_for_a_minute_and_a_half() -> None:
    plan = plan_for("quick")
    per_round = sum(probe.seconds for probe in build_probes(plan))
    assert plan.runs == 3
    assert plan.runs * per_round + 2 * (plan.warmup_seconds + plan.calibration_seconds) < 90


def test_overrides_replace_the_profiles_numbers(session: FakeSession) -> None:
    plan = plan_for("quick", runs=7, seconds=4, http_rates=[300, 20], http_connections=5)
    assert plan.runs == 7
    assert plan.http_rates == (20, 300)
    names = [probe.name for probe in build_probes(plan)]
    assert names == [
        *TURNS, "idle", "http_20", "http_300",
        "connect_max", "dns_capacity", "http_max", "loaded_rtt", "tcp", "udp_search", "udp",
    ]  # fmt: skip
    timed = {"idle", "http_20", "http_300", "http_max", "tcp", "udp"}
    assert all(probe.seconds == 4 for probe in build_probes(plan) if probe.name in timed)
    metrics = [metric.name for probe in build_probes(plan) for metric in probe.metrics]
    assert "http_300_p99" in metrics
    assert "http_1000_p99" not in metrics
    assert len(metrics) == len(set(metrics))
    targets = resolve_targets(session)
    argv = http_probe(plan, 20).invocation(targets)
    assert "-c 1 -qps 20 -t 4s -uniform" in " ".join(argv.argv), "few calls, few connections"
    argv = http_probe(plan, 300).invocation(targets)
    assert "-c 5 -qps 300 -t 4s -uniform" in " ".join(argv.argv)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"runs": 0}, "runs must be a whole number from 1 to 1,000, got 0"),
        ({"runs": 1_001}, "runs must be"),
        ({"runs": True}, "runs must be"),
        ({"runs": 2.5}, "runs must be"),
        ({"seconds": -1}, "seconds must be a whole number from 1 to 3,600"),
        ({"http_rates": []}, "list of one or more"),
        ({"http_rates": "1000"}, "list of one or more"),
        ({"http_rates": [-1]}, "an HTTP rate must be a whole number from 1 to 1,000,000, got -1"),
        ({"http_rates": [1000, 1000]}, "differ from each other"),
        ({"http_connections": 0}, "HTTP connections must be"),
        ({"allow": ["weather"]}, "no precondition 'weather' to allow: choose of placement, "),
        ({"allow": ["tool fortio"]}, "no precondition 'tool fortio' to allow"),
    ],
)
def test_impossible_numbers_are_refused(overrides: dict[str, Any], reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        plan_for("quick", **overrides)


def test_an_unknown_profile_is_refused_with_those_that_exist() -> None:
    with pytest.raises(PlanError, match="unknown profile 'fast': choose one of quick, standard"):
        plan_for("fast")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_plan_is_json(profile: str) -> None:
    data = json.loads(json.dumps(plan_for(profile).as_dict()))
    assert data["profile"] == profile
    assert data["http_rates"] == [1000, 5000]
    assert Plan.from_dict(data) == plan_for(profile)


def test_what_is_allowed_is_part_of_the_plan() -> None:
    plan = plan_for("standard", allow=["mtu", "clocks", "mtu"])
    assert plan.allow == ("mtu", "clocks")
    quick = plan_for("quick", allow=["mtu", "generator"])
    assert quick.allow == (*PROFILES["quick"].allow, "mtu"), "beside those of the profile"
    assert Plan.from_dict(json.loads(json.dumps(plan.as_dict()))) == plan
