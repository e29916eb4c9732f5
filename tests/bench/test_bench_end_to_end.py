"""The whole quick plan with the real programs, between two network namespaces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.metrics import PRIMARY
from bench.plan import plan_for
from bench.probes import build_probes
from cli.main import main
from tests.bench.netns import NetnsSession, lacking
from tests.sessions_target import descriptor, register

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(lacking() is not None, reason=f"needs real programs: {lacking()}"),
]


def test_the_quick_plan_measures_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = tmp_path / "session.json"
    session.write_text(json.dumps(descriptor("running")))
    out = tmp_path / "results.json"
    with NetnsSession() as started:

        def running() -> NetnsSession:
            return started

        register(monkeypatch, running)
        code = main(["run", "--session", str(session), "--profile", "quick", "--out", str(out)])
    said = capsys.readouterr()
    with capsys.disabled():
        print(f"\n{said.out}")
    assert code == 0, said.err
    metrics = json.loads(out.read_text())["metrics"]
    probes = build_probes(plan_for("quick"), ("stand-in",))
    assert set(metrics) == {m.name for p in probes for m in p.metrics}
    assert set(PRIMARY) <= set(metrics)
    assert all(metric["n"] == len(metric["samples"]) == 3 for metric in metrics.values())
    assert metrics["tcp_throughput"]["median"] > 0.1
    assert metrics["http_1000_qps"]["median"] > 0
    assert 1 < metrics["rtt_p50"]["median"] < 10_000
