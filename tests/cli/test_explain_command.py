"""``python -m bench explain``, with made-up labs and profiles."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import components.lab.upgrade as lab_side
from bench.interleave import Side as Compared
from bench.probes.base import Bench
from bench.session import resolve_targets
from cli import explain as command
from cli.display import Lines
from cli.main import main
from report.sources import load
from studies.explain.profile import Profile
from studies.explain.run import Asked, ExplainError, Kind
from studies.explain.way import Followed, Step, Way
from studies.matrix.state import MatrixFolder
from tests.bench.fakes import FakeSession
from tests.studies.test_explain import BASE, SIDE, profile_of


class FakeLabs:
    """In the place of the lab's."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See ``components.lab.upgrade``."""
        yield


def _planned(stack: str) -> Any:
    scenario = SimpleNamespace(title=stack.upper(), cni="cilium", cni_version="1.2")
    return SimpleNamespace(settings=SimpleNamespace(scenario=scenario))


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, dict[str, list[float]]]:
    """What each side's parts are."""
    sides = {"old": BASE, "new": SIDE}

    def bring_up(
        asked: Asked, *_: object
    ) -> tuple[dict[str, dict[str, Profile]], list[Followed], list[str]]:
        found = {side: profile_of(**sides[side]) for side in asked.sides}
        step = Step(place="the client's node", kind="hook", what="FORWARD", note="", rules=1_000)
        ways = {side: Way(packets=20, share=1.0, steps=[step]) for side in asked.sides}
        followed = Followed(packet="the first packet", sides=ways)
        return {kind.name: found for kind in asked.kinds}, [followed], ["old: noisy"]

    monkeypatch.setattr(command, "bring_up", bring_up)
    monkeypatch.setattr(lab_side, "Planned", SimpleNamespace(of=_planned))
    monkeypatch.setattr(lab_side, "UpgradeLabs", lambda sides, what: FakeLabs())
    monkeypatch.chdir(tmp_path)
    return sides


def run(*words: str) -> int:
    return main(["explain", "--stack", "new", "--against", "old", *words])


def test_the_folder_has_the_record_the_stacks_and_a_graph_of_every_operation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--operations", "roundtrip,megabyte", "--format", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "cni-benchmark/explain/v1"
    assert [each["name"] for each in told["operations"]] == ["roundtrip", "megabyte"]
    assert told["warnings"] == ["old: noisy"]
    folder = Path("explain-new")
    assert {each.name for each in folder.iterdir()} >= {
        "explain.json", "roundtrip-new.svg", "roundtrip-new.folded", "roundtrip-old.folded",
        "megabyte-new.svg",
    }  # fmt: skip
    assert "node-1;netfilter rules 3.0000" in (folder / "roundtrip-old.folded").read_text()
    assert json.loads((folder / "explain.json").read_text()) == told
    (read,) = load([str(folder / "explain.json")]).explanations
    assert read.operations[0].differences["new"].causes()[0][0] == "netfilter rules"
    assert read.ways[0].sides["new"].steps[0].rules == 1_000


def test_text_says_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--operations", "roundtrip") == 0
    said = capsys.readouterr().out
    assert "One round trip takes 2.02 µs less on new than on old" in said
    assert "The way of the first packet: new" in said


def test_parts_that_do_not_add_up_are_an_exit_code(made: dict[str, dict[str, list[float]]]) -> None:
    made["new"] = {**SIDE, "other": [2.0] * 4}
    assert run("--operations", "roundtrip") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--operations", "lookup"), "--operations lookup: must be of roundtrip"),
        (("--stack", "old"), "a stack is named twice"),
        (("--bring-ups", "0"), "--bring-ups must be"),
        (("--seconds", "0.1"), "--seconds must be"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    assert said in capsys.readouterr().err


def test_labs_that_cannot_be_sampled_end_it_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> None:
        raise ExplainError("nothing is explained: no perf")

    monkeypatch.setattr(command, "bring_up", refused)
    assert run() == 4
    assert capsys.readouterr().err.endswith("bench: nothing is explained: no perf\n")


def sides(*labels: str) -> list[Compared]:
    session = FakeSession()
    bench = Bench(session, resolve_targets(session), session.time.clock(), 1.0)
    return [Compared(label, bench, ()) for label in labels]


class Screen(Lines):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        super().__init__(self.said.append)


def test_a_matrix_explains_the_clusters_of_its_last_bring_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deadlines = set[float]()

    def taken(kind: Kind, benches: Sequence[Bench], seconds: float) -> list[Profile]:
        deadlines.update(bench.deadline for bench in benches)
        return [profile_of(**BASE), profile_of(**SIDE)]

    monkeypatch.setattr(command, "profile", taken)
    command.explaining(MatrixFolder(tmp_path), Screen())(sides("old", "new"))
    (read,) = load([str(tmp_path / "explain.json")]).explanations
    assert [side.name for side in read.sides] == ["old", "new"]
    assert read.operations[0].differences["new"].causes()[0][0] == "netfilter rules"
    assert (tmp_path / "why" / "roundtrip-new.svg").exists()
    # A target that can sample may not be able to follow packets: that is said.
    assert any("no packet is followed" in line for line in read.warnings)
    # The matrix's own time limit is for its samples.
    assert deadlines == {math.inf}


def test_a_matrix_whose_clusters_cannot_be_sampled_goes_on_without(tmp_path: Path) -> None:
    screen = Screen()
    command.explaining(MatrixFolder(tmp_path), screen)(sides("old", "new"))
    assert any(line.startswith("no CPU time is explained: nothing is") for line in screen.said)
    assert not (tmp_path / "explain.json").exists()
