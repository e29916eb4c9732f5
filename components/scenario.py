"""One stack: its settings become decisions, a deployment on its target, and a measurement."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import pulumi

from bench.plan import Plan, PlanError, plan_for
from cni.guards import Decision, GuardError, decide
from cni.platform import PlatformFacts, al2023_kernel
from components import handover
from components.benchmark import Benchmark
from components.experiment_settings import extents
from components.experiments import run_experiments
from components.settings import Settings
from components.target import Deployment

_EKS_MODULES = ("components.eks.target", "pulumi_aws.ec2", "pulumi_aws.eks", "pulumi_aws.iam")


@dataclass(frozen=True, slots=True)
class _Target:
    """A target that can take the stack.

    :param facts: by which guards decide.
    :param existing: what the user pays for while the stack exists, and how it ends; None for
        targets that cost nothing.
    """

    facts: PlatformFacts
    deploy: Callable[[tuple[Decision, ...], pulumi.Resource], Deployment]
    existing: Mapping[str, Any] | None = None


class ScenarioStack(pulumi.ComponentResource):
    """A scenario on its target, measured.

    :ivar results: None as long as the measurement is put off (:mod:`components.handover`).
    :ivar session: how the cluster is reached again, as JSON text (``bench.session``).
    :ivar experiments: what the experiments found by name; None where none is asked for, or as long
        as the measurement is put off.
    :ivar cluster: what costs money while the stack exists, and the command that ends it; None for
        targets that cost nothing.
    :raises pulumi.RunError: settings that this machine or the scenario's platform cannot fulfil;
        nothing has been started then.
    """

    results: pulumi.Output[dict[str, Any] | None]
    toggles: pulumi.Output[Any]
    environment: pulumi.Output[Any]
    warnings: pulumi.Output[Any]
    session: pulumi.Output[str]
    experiments: pulumi.Output[Mapping[str, Any]] | None = None
    cluster: Mapping[str, Any] | None

    def __init__(self, name: str, settings: Settings) -> None:
        super().__init__("cni-benchmark:index:Scenario", name)
        with _refused_plainly():
            asked = handover.asked(os.environ)
            plan = _plan(settings)
            target = _target(settings, plan)
            decisions = decide(settings.scenario, target.facts)
        deployment = target.deploy(decisions, self)
        self.session = deployment.session.apply(
            lambda descriptor: json.dumps(descriptor, sort_keys=True)
        )
        benchmark = Benchmark(
            "benchmark", self.session, plan, asked, pulumi.ResourceOptions(parent=self)
        )
        wanted = extents(settings.benchmark.experiments)
        if wanted and asked.measure is None:
            self.experiments = run_experiments(wanted, self.session, plan.allow, benchmark, self)
        self.results = benchmark.results
        self.toggles = deployment.toggles
        measured = benchmark.results.apply(lambda results: results or {})
        self.environment = measured.apply(lambda results: results.get("environment", {}))
        self.warnings = measured.apply(
            lambda results: [*deployment.warnings, *results.get("warnings", [])]
        )
        self.cluster = target.existing
        self.register_outputs({})


@contextmanager
def _refused_plainly() -> Iterator[None]:
    try:
        yield
    except (GuardError, PlanError) as error:
        file = f"Pulumi.{pulumi.get_stack()}.yaml"
        raise pulumi.RunError(
            "\n".join(f"{file}: {line}" for line in str(error).splitlines())
        ) from None
    except handover.HandoverError as error:
        raise pulumi.RunError(str(error)) from None


def _target(settings: Settings, plan: Plan) -> _Target:
    """The stack's target, found able to take it; imported only when it is asked for."""
    match settings.target:
        case "lab":
            return _lab(settings)
        case "eks":
            return _eks(settings, plan)
        case "kubeconfig":
            return _kubeconfig(settings)


def _lab(settings: Settings) -> _Target:
    from components.lab import preflight, target

    preflight.check_machine()
    return _Target(
        target.facts(settings),
        lambda decisions, parent: target.deploy(settings, decisions, parent),
    )


def _eks(settings: Settings, plan: Plan) -> _Target:
    from components.eks import preflight

    # Seconds of CPU, while the preflight waits for AWS.
    with ThreadPoolExecutor(max_workers=1) as pool:
        imported = [pool.submit(_load, name) for name in _EKS_MODULES]
        found = preflight.check(settings, plan)
    for each in imported:
        each.result()
    from components.eks import target

    existing = target.existing(settings, found)
    stack = pulumi.get_stack()
    pulumi.log.info(
        f"EKS: {found.cost.summary()}. If an up stops midway, what it has made stays and costs up "
        f"to that per hour: pulumi up -s {stack} goes on, {existing['clean_up']} removes it all."
    )
    _warn(found.warnings)
    # EC2 does not know what will boot; the version decides, and EKS's image for it.
    facts = replace(found.facts, kernel=al2023_kernel(settings.eks.version))
    return _Target(
        facts,
        lambda decisions, parent: target.deploy(settings, found, decisions, parent),
        existing,
    )


def _load(module: str) -> None:
    """Import a module to its end: parts of pulumi_aws wait for the first use of a name in them."""
    getattr(import_module(module), "__all__", None)


def _kubeconfig(settings: Settings) -> _Target:
    from components.kubernetes import target

    found = target.check(settings)
    _warn(found.warnings)
    return _Target(
        target.facts(settings, found),
        lambda decisions, parent: target.deploy(settings, found, decisions, parent),
    )


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        pulumi.log.warn(warning)


def _plan(settings: Settings) -> Plan:
    wanted = settings.benchmark
    return plan_for(
        settings.profile,
        runs=wanted.runs,
        seconds=wanted.duration_seconds,
        http_rates=wanted.http_qps,
        http_connections=wanted.connections,
        allow=wanted.allow,
    )
