"""What docs/extending.md says of a probe is all that it takes."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

import bench.probes
from bench.interleave import BenchmarkError, run_benchmark
from bench.session import CommandResult, Pod
from report.show import metrics_table, print_results
from tests.bench.fakes import PLAN, FakeSession

GUIDE = Path(__file__).parents[2] / "docs" / "extending.md"
PING = """PING 10.0.0.1 (10.0.0.1) 56(84) bytes of data.

--- 10.0.0.1 ping statistics ---
5 packets transmitted, 5 received, 0% packet loss, time 812ms
rtt min/avg/max/mdev = 0.031/0.042/0.055/0.008 ms
"""


class PingSession(FakeSession):
    """As recorded, with an answer to pings."""

    def __init__(self, answer: str) -> None:
        super().__init__()
        self.answer = answer

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        """See ``bench.session.Session``."""
        if argv[0] != "ping":
            return super().run(pod, argv, timeout=timeout)
        return CommandResult(tuple(argv), 0, self.answer, "", 1.0)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The guide's probe, as a module, with its line in the registry."""
    text = GUIDE.read_text(encoding="utf-8")
    code = re.search(r"<!-- example: probe -->\n```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    module = ModuleType("ping")
    exec(compile(code[1], str(GUIDE), "exec"), module.__dict__)
    registry = (*bench.probes.LIGHT_PROBES, module.ping_probe)
    monkeypatch.setattr("bench.probes.LIGHT_PROBES", registry)
    return module


@pytest.mark.usefixtures("example")
def test_the_guides_probe_is_measured_and_shown() -> None:
    session = PingSession(PING)
    results = run_benchmark(session, replace(PLAN, runs=2), clock=session.time.clock())
    metric = results.metrics["ping_mean"]
    assert (metric.samples, metric.unit) == ([42.0, 42.0], "µs")
    console = Console(width=200, record=True)
    print_results(console, metrics_table(results))
    assert "ping_mean" in console.export_text()


@pytest.mark.usefixtures("example")
def test_what_the_guides_probe_cannot_read_is_missing_with_the_reason() -> None:
    session = PingSession("ping: connect: Network is unreachable")
    with pytest.raises(BenchmarkError, match=r"ping_mean: .*Network is unreachable"):
        run_benchmark(session, PLAN, clock=session.time.clock())


def test_every_probe_that_a_module_makes_is_in_the_registry() -> None:
    made = {
        name
        for module in pkgutil.iter_modules(bench.probes.__path__, "bench.probes.")
        for name, each in vars(importlib.import_module(module.name)).items()
        if name.endswith("_probe") and inspect.isfunction(each) and each.__module__ == module.name
    }
    # An import that is not used there is refused by ruff.
    assert made and made <= vars(bench.probes).keys()
