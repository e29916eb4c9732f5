"""One stack: its settings become decisions, a deployment on its target, and a measurement."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pulumi

from bench.plan import Plan, PlanError, plan_for
from cni.decisions import GuardError, decide
from components.benchmark import Asked, Benchmark, HandoverError
from components.experiments import run_experiments
from components.settings import Settings
from components.targets import TARGETS


class ScenarioStack(pulumi.ComponentResource):
    """A scenario on its target, measured.

    :ivar results: None as long as the measurement is put off (:mod:`components.benchmark`).
    :ivar session: how the cluster is reached again, as JSON text (:mod:`components.targets`).
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
            asked = Asked.by(os.environ)
            plan = _plan(settings)
            target = TARGETS[settings.target].prepare(settings, plan)
            warnings = [*target.warnings, *_skipped(settings)]
            for warning in warnings:
                pulumi.log.warn(warning)
            decisions = decide(settings.scenario, target.facts)
        deployment = target.deploy(decisions, self)
        self.session = deployment.session.apply(
            lambda descriptor: json.dumps(descriptor, sort_keys=True)
        )
        below = pulumi.ResourceOptions(parent=self)
        wanted_in = settings.benchmark
        benchmark = Benchmark(
            *("benchmark", self.session, plan, asked, target.digests, below),
            index=wanted_in.package_index if wanted_in.runner == "pod" else None,
        )
        wanted = {each.name: each.extent for each in settings.benchmark.experiments}
        if wanted and asked.measure is None:
            self.experiments = run_experiments(wanted, self.session, plan.allow, benchmark, self)
        self.results = benchmark.results
        self.toggles = deployment.toggles
        measured = benchmark.results.apply(lambda results: results or {})
        self.environment = measured.apply(lambda results: results.get("environment", {}))
        self.warnings = measured.apply(lambda results: [*warnings, *results.get("warnings", [])])
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
    except HandoverError as error:
        raise pulumi.RunError(str(error)) from None


def _skipped(settings: Settings) -> Iterator[str]:
    """What is asked for and will not be done, with the reason."""
    if settings.benchmark.explain:
        why = TARGETS[settings.target].settings.unexplained
        yield f"benchmark.explain: skipped: {why}"


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
