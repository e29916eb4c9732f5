"""Preconditions: asserted before anything is measured, named, and stored with their evidence.

In two steps: those that a look at the cluster tells (:func:`check_cluster`), and, after the
warm-up, those of the load generator and of a quiet machine (:func:`check_readiness`).
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.checks.check import Check, Gate, PreconditionError
from bench.checks.cluster import allowances, clocks, configuration, placement
from bench.checks.generators import calibrate, generator
from bench.checks.quiet import quiet
from bench.checks.traffic import endpoints, mtu, service_path, tools
from bench.plan import Plan
from bench.probes.base import Bench
from bench.results import CalibrationResult

__all__ = ["Check", "Gate", "PreconditionError", "check_cluster", "check_readiness", "placement"]


def check_cluster(bench: Bench, gate: Gate) -> dict[str, str]:
    """Check the pods, programs, endpoints and the dataplane.

    :returns: the versions of the load generators, as they state them.
    :raises PreconditionError: at the first check that fails and is not allowed to.
    """
    versions: dict[str, str] = {}
    for check in _cluster(bench, versions):
        gate.require(check)
    return versions


def _cluster(bench: Bench, versions: dict[str, str]) -> Iterator[Check]:
    yield placement(bench.targets)
    yield from tools(bench, versions)
    yield from endpoints(bench)
    yield configuration(bench)
    yield mtu(bench)
    yield service_path(bench)
    yield clocks(bench)


def check_readiness(bench: Bench, plan: Plan, gate: Gate) -> CalibrationResult | None:
    """Wait for a quiet machine, then calibrate the load generator: what else runs slows it, too.

    :returns: what the generator reaches, if that could be told.
    :raises PreconditionError: as :func:`check_cluster`.
    """
    held_back = allowances(bench)
    for check in quiet(bench, plan.settle_seconds):
        gate.require(check)
    gate.require(held_back())
    calibration = calibrate(bench, plan)
    gate.require(generator(calibration))
    return calibration.result
