"""What is said of a stack that exists for longer than was meant, and when nothing is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from report.lifetime import overdue
from report.sources import SourceError, read_session

SINCE = datetime(2026, 11, 28, 8, 0, tzinfo=UTC)
CLUSTER: dict[str, Any] = {
    "since": SINCE.isoformat(),
    "ttl_hours": 12.0,
    "usd_per_hour": 0.88,
    "clean_up": "pulumi destroy -s scenario-e",
}


def test_past_its_time_a_stack_is_told_with_its_cost_and_its_end() -> None:
    assert overdue("scenario-e", CLUSTER, SINCE + timedelta(hours=30)) == (
        "scenario-e exists for 30 hours, and was meant to for 12 (eks.ttlHours). It costs $0.88 "
        "per hour, about $26.40 so far. To end it: pulumi destroy -s scenario-e"
    )


@pytest.mark.parametrize("cluster", [CLUSTER, {}, None, {"nodes": 2, "clean_up": "x"}])
def test_within_its_time_and_where_nothing_costs_nothing_is_said(cluster: Any) -> None:
    assert overdue("scenario-e", cluster, SINCE + timedelta(hours=12)) is None


@pytest.mark.parametrize(("hours", "told"), [(13, 1), (11, 0)])
def test_whoever_reads_a_stacks_outputs_is_warned(
    hours: int, told: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    since = datetime.now(UTC) - timedelta(hours=hours)
    outputs = {"session": "{}", "cluster": {**CLUSTER, "since": since.isoformat()}}
    (tmp_path / "outputs.json").write_text(json.dumps(outputs))
    program = tmp_path / "pulumi"
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/outputs.json\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert read_session("scenario-e") == {}
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == told
    assert all(line.startswith("warning: scenario-e exists for 13 hours") for line in lines)


def test_outputs_that_are_none_are_refused_by_who_needs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pulumi"
    program.write_text("#!/bin/sh\necho nonsense\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SourceError, match="has no session"):
        read_session("scenario-e")
