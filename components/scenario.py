"""One stack: its settings become decisions, a deployment on its target, and a measurement."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pulumi

from bench.plan import Plan, PlanError, plan_for
from cni.guards import Decision, GuardError, decide
from cni.platform import PlatformFacts
from components.benchmark import Benchmark
from components.settings import Settings
from components.target import Deployment

Deploy = Callable[[Settings, tuple[Decision, ...], pulumi.Resource], Deployment]


class ScenarioStack(pulumi.ComponentResource):
    """A scenario on its target, measured.

    :raises pulumi.RunError: settings that this machine or the scenario's platform cannot fulfil;
        nothing has been started then.
    """

    results: pulumi.Output[dict[str, Any]]
    toggles: pulumi.Output[Any]
    environment: pulumi.Output[Any]
    warnings: pulumi.Output[Any]

    def __init__(self, name: str, settings: Settings) -> None:
        super().__init__("cni-benchmark:index:Scenario", name)
        facts, deploy = _target(settings)
        try:
            decisions = decide(settings.scenario, facts)
            plan = _plan(settings)
        except (GuardError, PlanError) as error:
            file = f"Pulumi.{pulumi.get_stack()}.yaml"
            raise pulumi.RunError(
                "\n".join(f"{file}: {line}" for line in str(error).splitlines())
            ) from None
        deployment = deploy(settings, decisions, self)
        benchmark = Benchmark(
            "benchmark",
            deployment.session.apply(lambda descriptor: json.dumps(descriptor, sort_keys=True)),
            plan,
            pulumi.ResourceOptions(parent=self),
        )
        self.results = benchmark.results
        self.toggles = deployment.toggles
        self.environment = benchmark.results.apply(lambda results: results["environment"])
        self.warnings = benchmark.results.apply(
            lambda results: [*deployment.warnings, *results["warnings"]]
        )
        self.register_outputs({})


def _target(settings: Settings) -> tuple[PlatformFacts, Deploy]:
    """The target's facts for the guards, and how it deploys; imported only when it is asked for."""
    if settings.target == "lab":
        from components.lab import preflight, target

        preflight.check_machine()
        return target.facts(settings), target.deploy
    raise pulumi.RunError(
        f"target {settings.target}: not available in this version, which has the target lab. "
        "Fix: pulumi config set target lab"
    )


def _plan(settings: Settings) -> Plan:
    wanted = settings.benchmark
    return plan_for(
        settings.profile,
        runs=wanted.runs,
        seconds=wanted.duration_seconds,
        http_rates=wanted.http_qps,
        http_connections=wanted.connections,
    )
