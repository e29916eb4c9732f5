"""The regression gate: what fails it, what does not, and when it could not have failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.results import Results
from cli.main import main
from components.state import history
from report.sidebyside import judge
from tests.bench.sample_results import metric, results

LABELS = ("old", "new")
RTT = [10.0, 10.2, 10.4, 10.6, 10.8, 11.0]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def made(factor: float = 1.0, *, runs: int = 6, extra: bool = False) -> Results:
    rtt = metric([factor * value for value in RTT[:runs]])
    rate = metric([100 + value for value in RTT[:runs]], unit="1/s", better="higher")
    more = {"dns_p99": metric(RTT[:runs])} if extra else {}
    return results({"rtt_p99": rtt, "http_max_qps": rate, **more})


def test_what_is_worse_fails_with_its_size() -> None:
    verdict = judge(made(), made(1.5), labels=LABELS)
    assert verdict.outcome == "fail"
    assert verdict.lines[0].startswith("worse: rtt_p99 +50 % (")
    assert verdict.lines[-1] == (
        "fail: new against old, verdicts of this bring-up: 1 worse, 0 better of 2 metrics"
    )


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_what_is_equal_or_better_passes(factor: float) -> None:
    assert judge(made(), made(factor), labels=LABELS).outcome == "pass"


def test_a_gate_that_could_not_fail_does_not_pass() -> None:
    verdict = judge(made(runs=3), made(9.0, runs=3), labels=LABELS)
    assert verdict.outcome == "undecided"
    assert "takes 5 rounds of each side. Fix: more rounds, or fewer metrics" in verdict.lines[0]


def test_fewer_metrics_need_fewer_runs() -> None:
    old, new = made(runs=4), made(9.0, runs=4)
    assert judge(old, new, labels=LABELS).outcome == "undecided"
    assert judge(old, new, labels=LABELS, metrics=["rtt_p99"]).outcome == "fail"


def test_a_metric_that_is_gone_fails_only_where_that_is_asked() -> None:
    old, new = made(extra=True), made()
    verdict = judge(old, new, labels=LABELS)
    assert verdict.outcome == "pass"
    assert "not compared: dns_p99: b has no samples of it" in verdict.lines
    assert judge(old, new, labels=LABELS, missing_fails=True).outcome == "fail"
    # A new one is no loss.
    assert judge(new, old, labels=LABELS, missing_fails=True).outcome == "pass"


def file(folder: Path, name: str, made_: Results) -> str:
    path = folder / f"{name}.json"
    path.write_text(made_.to_json())
    return str(path)


@pytest.mark.parametrize(
    ("new", "more", "code"),
    [
        (made(1.5), [], 7),
        (made(), [], 0),
        (made(1.5, runs=2), [], 8),
        (made(1.5), ["--metrics", "http_max_qps"], 0),
        (made(1.5), ["--metrics", "x"], 2),
        (made(), ["--fail-on", "better"], 2),
    ],
)
def test_exit_codes(tmp_path: Path, new: Results, more: list[str], code: int) -> None:
    old = file(tmp_path, "old", made())
    assert main(["gate", file(tmp_path, "new", new), "--baseline", old, *more]) == code


def test_a_baseline_may_come_from_the_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    id_ = history().add("up", "scenario-e", made())
    new = file(tmp_path, "new", made(1.5))
    assert main(["gate", new, "--baseline", f"history:{id_}"]) == 7
    assert f"against history:{id_}" in capsys.readouterr().out
    assert main(["gate", new, "--baseline", "history:99"]) == 5
    assert "has no results 99" in capsys.readouterr().err
    assert main(["gate", new, "--baseline", "history:last"]) == 2
