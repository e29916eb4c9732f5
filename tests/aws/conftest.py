"""A machine whose AWS is the stand-in, and a stack to check on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.loaders import Loader, create_loader

from bench.plan import plan_for
from components.eks.preflight import Report, Subject, Survey, cost, machine, report, survey
from components.eks.settings import cluster_name
from components.settings import StackFile
from tests.aws.machine import put_aws_cli, set_up
from tests.aws.server import AwsServer
from tests.components.stack_config import read

STACK = "scenario-e"
ADDRESS = "203.0.113.7"

Check = Callable[..., tuple[Survey, Report]]


@pytest.fixture(scope="session")
def running() -> Iterator[AwsServer]:
    """A server for all tests; use `aws`, which is a fresh account on it."""
    with AwsServer() as server:
        server.warm_up()
        yield server


@pytest.fixture(scope="session")
def models() -> Loader:
    """botocore's descriptions of the services, which take most of a preflight's time to read."""
    return create_loader()


@pytest.fixture
def aws(
    running: AwsServer, models: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AwsServer:
    """A usable account, credentials for it, the AWS CLI, and a way to the internet."""
    running.reset()
    set_up(monkeypatch, tmp_path, running.url)
    put_aws_cli(tmp_path / "bin")
    monkeypatch.setattr("botocore.session.create_loader", lambda path: models)
    monkeypatch.setattr(machine, "public_address", lambda: ADDRESS)
    monkeypatch.setattr(machine, "round_trip", lambda url: 0.0)
    monkeypatch.setattr(machine, "look_up_images", lambda wanted: dict.fromkeys(wanted, "there"))
    return running


@pytest.fixture
def check(aws: AwsServer, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Check a stack with changed settings: the survey, and its report.

    Measuring takes four minutes a run here, whatever the benchmark's probes are.
    """
    monkeypatch.setattr(cost, "build_probes", lambda plan: ())
    monkeypatch.setattr(cost, "time_bound", lambda plan, probes: 240.0 * plan.runs)

    def run(
        changes: dict[str, object] | None = None, runs: int = 3, stack: str = STACK
    ) -> tuple[Survey, Report]:
        settings = read(stack, {"target": "eks", **(changes or {})})
        plan, cluster = plan_for("standard", runs=runs), cluster_name("organization", stack)
        result = survey(Subject.of(settings, plan, stack, cluster, datetime.now(UTC)))
        return result, report(result.findings, StackFile("cni-benchmark", stack))

    return run
