"""``python -m bench merge``: files in, one file out, refusals in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.compare import compare
from bench.results import from_json
from cli.main import main
from tests.bench.sample_results import metric, results


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, bring_up: str, *samples: float, scenario: str = "a") -> str:
    made = results(
        {"rtt_p50": metric(samples)}, bring_ups=[bring_up], scenario={"name": scenario},
        plan={"profile": "quick", "runs": len(samples)},
    )  # fmt: skip
    Path(name).write_text(made.to_json())
    return name


def test_deployments_become_bring_ups_that_can_be_compared() -> None:
    for stack, shift in (("a", 0.0), ("b", 50.0)):
        files = [
            write(
                f"{stack}{n}.json",
                f"{stack}{n}",
                10.0 + n + shift,
                11.0 + n + shift,
                scenario=stack,
            )
            for n in (1, 2, 3)
        ]
        assert main(["merge", *files, "--out", f"{stack}.json"]) == 0
    a, b = (from_json(Path(f"{stack}.json").read_text()) for stack in "ab")
    assert a.metrics["rtt_p50"].bring_ups == [1, 1, 2, 2, 3, 3]
    # They share no rounds, so that nothing is paired.
    assert not a.interleaved_with(b)
    assert compare(a, b).metrics["rtt_p50"].medians == (12.5, 62.5)


@pytest.mark.parametrize(
    ("files", "code", "told"),
    [
        (["1.json", "1.json"], 2, "1.json is named twice"),
        (["1.json", "again.json"], 2, "again.json is of the same bring-up as 1.json. Fix: "),
        (["1.json", "other.json"], 2, "other.json cannot be merged with 1.json: the scenario is"),
        (["1.json", "none.json"], 5, "none.json: "),
        (["1.json", "text.json"], 5, "text.json: not results: no JSON"),
        (["1.json", "old.json"], 5, "old.json: not results of this version"),
    ],
)
def test_what_cannot_be_merged_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], files: list[str], code: int, told: str
) -> None:
    write("1.json", "b1", 1.0)
    write("again.json", "b1", 1.0)
    write("other.json", "b2", 1.0, scenario="b")
    Path("text.json").write_text("no")
    Path("old.json").write_text('{"schema": "cni-benchmark/results/v1"}')
    assert main(["merge", *files, "--out", "whole.json"]) == code
    said = capsys.readouterr().err
    assert told in said
    assert len(said.splitlines()) == 1
    assert not Path("whole.json").exists()


def test_a_file_that_cannot_be_written_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    write("1.json", "b1", 1.0)
    assert main(["merge", "1.json", "--out", "no/such/folder.json"]) == 2
    assert "--out: cannot write the results" in capsys.readouterr().err
