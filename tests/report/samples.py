"""Five scenarios as the lab measures them, and experiments, made up from a seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.compare import compare
from bench.environment import Environment
from bench.metrics import Metric, Note
from bench.plan import plan_for
from bench.probes import build_probes
from bench.results import MetricResult, Results
from bench.stats import summarise
from studies.experiments.model import Axis, Experiment, Fit, Point, Series

STACKS: Mapping[str, Mapping[str, Any]] = {
    "scenario-a": {
        "scenario": {"title": "AWS VPC CNI with kube-proxy"},
        "cni": {"name": "vpc-cni", "version": "1.19.2"},
        "environment": {
            "kube_proxy": "iptables", "agents": {},
        },
    },
    "scenario-b": {
        "scenario": {"title": "Cilium overlay with kube-proxy"},
        "cni": {"name": "cilium", "version": "1.16.5"},
        "environment": {
            "kube_proxy": "iptables", "agents": {"network_routing": "Tunnel", "hubble": "Ok"},
        },
    },
    "scenario-c": {
        "scenario": {"title": "Cilium overlay without kube-proxy"},
        "cni": {"name": "cilium", "version": "1.16.5"},
        "environment": {
            "kube_proxy": "none", "agents": {"network_routing": "Tunnel", "hubble": "Ok"},
        },
    },
    "scenario-d": {
        "scenario": {"title": "Cilium on ENI with native routing"},
        "cni": {"name": "cilium", "version": "1.16.5"},
        "environment": {
            "kube_proxy": "none", "agents": {"network_routing": "Native", "hubble": "Ok"},
        },
    },
    "scenario-e": {
        "scenario": {"title": "Cilium on ENI with native routing, tuned"},
        "cni": {"name": "cilium", "version": "1.16.5"},
        "environment": {
            "kube_proxy": "none", "agents": {"network_routing": "Native", "hubble": "Disabled"},
        },
    },
}  # fmt: skip

FACTORS: Mapping[str, Mapping[str, float]] = {
    "scenario-b": {
        "cpu_per_r": 1.6, "tcp": 0.75, "udp_max": 0.7, "rtt": 1.3, "http": 1.2, "cni_m": 3.0,
    },
    "scenario-c": {"tcp": 0.76, "udp_max": 0.7, "rtt": 1.3, "http": 1.15, "cni_m": 2.8},
    "scenario-d": {"tcp": 1.02, "rtt": 0.98, "cni_m": 2.6},
    "scenario-e": {
        "tcp": 1.05, "rtt": 0.8, "http_p": 0.85, "http_1000": 0.85, "connect": 0.8, "cni_m": 2.4,
    },
}  # fmt: skip
"""By which a scenario differs from scenario-a, by the beginning of metrics' names."""

_TYPICAL = {
    "CPU µs": 60.0, "kpps": 600.0,
    "Gbit/s": 12.0, "µs": 150.0, "%": 0.0, "1/s": 30_000.0, "segments": 3.0, "millicores": 5.0,
    "MiB": 50.0, "CPU s/GB": 0.6,
}  # fmt: skip
_SPREAD = {"Gbit/s": 0.03, "µs": 0.06, "MiB": 0.01}

TOGGLES = [
    {"toggle": "hostRouting", "title": "BPF host routing", "requested": True, "applied": True,
     "verified": True, "reason": None},
    {"toggle": "xdp", "title": "XDP acceleration", "requested": True, "applied": False,
     "verified": False, "reason": "the ENA driver on virtualised EC2 instances has no XDP "
     "bpf_link support"},
]  # fmt: skip


@cache
def scenario_results(stack: str, runs: int = 8, shared: bool = True) -> Results:
    """One scenario's results of every metric that a benchmark has."""
    plan = plan_for("standard", runs=runs)
    draw = np.random.default_rng(sum(map(ord, stack)))
    probes = build_probes(plan, ("aws-node",) if stack == "scenario-a" else ("cilium-agent",))
    metrics = {
        metric.name: made(
            metric, _samples(draw, stack, metric, runs), probe.name,
            notes=[Note(kind="server-limit")] if probe.name in ("http_5000", "http_max") else [],
        )
        for probe in probes
        for metric in probe.metrics
    }  # fmt: skip
    environment = {
        "target": "lab: network namespaces of one machine, no cloud",
        "target_kind": "lab",
        "shared_machine": True,
        "emulated_instance_type": "m6i.xlarge",
        "kernel": "6.1.0",
        "cpus": 2,
        "nodes": ["node-1", "node-2", "node-3"],
        **STACKS[stack]["environment"],
        "adaptations": ["Nodes are network namespaces.", f"Adapted for {stack[:8]} <only>."],
    }
    return Results.model_validate(
        {
            "profile": "standard",
            "started": "2026-01-02T03:04:05+00:00",
            "finished": "2026-01-02T03:14:05+00:00",
            "seconds": 600.0,
            "plan": plan.as_dict(),
            "metrics": metrics,
            "probes": {
                probe.name: {
                    "role": "fortio-client", "argv": ["fortio", "load", "http://10.100.0.9/a b"],
                    "repeat_last": 2 if probe.name == "dns" else 1, "runs": runs,
                }
                for probe in probes
            },
            "tools": {"iperf3": "3.12", "fortio": "1.65.0"},
            "environment": environment,
            "scenario": STACKS[stack]["scenario"],
            "cni": STACKS[stack]["cni"],
            "placement": [],
            "checks": [
                {"name": "placement", "passed": True, "evidence": "clients on node-1"},
                {"name": "quiet-machine", "passed": False, "allowed": True,
                 "evidence": "30 % busy with <other> things"},
            ],
            "rounds": {"id": "one", "labels": list(STACKS), "seed": 7} if shared else None,
            "warnings": ["the hypervisor withheld CPU time during 2 samples"],
        }
    )  # fmt: skip


def made(
    metric: Metric, samples: list[float], probe: str = "rtt", notes: list[Note] | None = None
) -> MetricResult:
    """A metric as the benchmark makes it."""
    summary = summarise(samples)
    return MetricResult(
        median=summary.median, ci=(summary.low, summary.high), ci_level=summary.level,
        unit=metric.unit, n=summary.n, better=metric.better, samples=samples, group=metric.group,
        description=metric.description, load_model=metric.load_model, probe=probe,
        notes=notes or [],
    )  # fmt: skip


def _samples(draw: np.random.Generator, stack: str, metric: Metric, runs: int) -> list[float]:
    factor = next(
        (each for start, each in FACTORS.get(stack, {}).items() if metric.name.startswith(start)),
        1.0,
    )
    noise = draw.lognormal(sigma=_SPREAD.get(metric.unit, 0.1), size=runs)
    tail = 4.0 if metric.name.endswith(("p99", "p999")) else 1.0
    return [float(f"{_TYPICAL[metric.unit] * factor * tail * each:.6g}") for each in noise]


_LATENCY = Metric(
    "connect_p50_last", "µs", "lower", "Connection", "TCP handshake to the last Service"
)
_THROUGHPUT = Metric("tcp_throughput", "Gbit/s", "higher", "Bulk transfer", "TCP payload")


def service_scaling(runs: int = 8) -> Experiment:
    """An axis of numbers: iptables grows, eBPF does not."""
    draw = np.random.default_rng(3)
    sizes = (4, 104, 1_000, 5_000)

    def series(subject: str, slope: float) -> Series:
        points = []
        for size in sizes:
            noise = draw.lognormal(sigma=0.03, size=runs)
            samples = [float((120 + slope * size) * each) for each in noise]
            points.append(
                Point(label=f"{size:,}", x=size, facts={"nat_rules": size * 5},
                      metrics={"connect_p50_last": made(_LATENCY, samples)})
            )  # fmt: skip
        fit = Fit(
            metric="connect_p50_last", form="linear", constant=120, slope=slope,
            slope_ci=(slope * 0.9, slope * 1.1), level=0.95,
            verdict="grows by 0.02 µs per service" if slope else "no growth seen",
        )  # fmt: skip
        return Series(subject=subject, points=points, fits=[fit])

    return _experiment(
        "scale", "Does connection setup grow with the number of services?",
        Axis(name="services", unit="services"),
        [
            series("kube-proxy iptables", 0.02), series("Cilium eBPF", 0.0),
            Series(subject="kube-proxy nftables", skipped="the kernel has no nftables"),
        ],
    )  # fmt: skip


def one_toggle_at_a_time(runs: int = 11) -> Experiment:
    """An axis of names."""
    draw = np.random.default_rng(4)
    points = [
        Point(
            label=label,
            metrics={
                "tcp_throughput": made(
                    _THROUGHPUT, [float(12 * factor * each) for each in
                                  draw.lognormal(sigma=0.02, size=runs)],
                )
            },
        )
        for label, factor in (("D", 1.0), ("D + bbr", 1.0), ("D + hubbleOff", 1.1))
    ]  # fmt: skip
    base = scenario_results("scenario-d", 3)
    sides = [base.model_copy(update={"metrics": point.metrics}) for point in points]
    comparisons = [
        compare(sides[0], side, labels=("D", point.label))
        for side, point in zip(sides[1:], points[1:], strict=True)
    ]
    series = Series(subject="scenario-d", points=points, comparisons=comparisons)
    axis = Axis(name="toggle")
    return _experiment("ablate", "What does each toggle do by itself?", axis, [series])


def _experiment(name: str, question: str, axis: Axis, series: list[Series]) -> Experiment:
    return Experiment(
        name=name, question=question, axis=axis, series=series,
        started="2026-01-02T04:00:00+00:00", finished="2026-01-02T04:10:00+00:00", seconds=600,
        command=f"python -m bench {name} --stack scenario-d", plan={"profile": "standard"},
        tools={"fortio": "1.65.0"},
        environment=Environment(target="lab: one machine", shared_machine=True),
        warnings=["the machine was <busy>"],
    )  # fmt: skip


def write_folder(folder: Path, runs: int = 8, stacks: Sequence[str] = tuple(STACKS)) -> Path:
    """A folder as a matrix of these stacks leaves it, with one that failed, and experiments."""
    (folder / "experiments").mkdir(parents=True)
    for stack in stacks:
        (folder / f"{stack}.json").write_text(scenario_results(stack, runs).to_json())
    record = {
        "seed": 7,
        "stacks": [*stacks, "scenario-f"],
        "failed": {"scenario-f": "no such <stack>"},
        "toggles": {"scenario-e": TOGGLES},
    }
    (folder / "matrix.json").write_text(json.dumps(record))
    for experiment in (service_scaling(), one_toggle_at_a_time()):
        file = folder / "experiments" / f"{experiment.name}.json"
        file.write_text(experiment.to_json())
    return folder
