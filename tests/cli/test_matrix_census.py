"""``python -m bench matrix --census``: scenarios in a shape, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench.environment import About, CniRecord
from bench.plan import PROFILES
from cli import matrix as command
from cli.main import main
from components import automation
from lab import kernel
from studies.census.around import Around
from studies.matrix.run import Matrix
from studies.matrix.state import MatrixFolder
from tests.bench.fakes import PLAN
from tests.studies.fake_stacks import FakeStacks
from tests.studies.test_twin import Cluster, census, policy, service

AB = ("scenario-a", "scenario-b", "--rounds", "1", "--bring-ups", "2")
_HEADLINE = (
    "This answers for a cluster of 40 Services (endpoints 2 each; ports 1 each), 3 policies and 0 "
    "changes of endpoints a minute."
)


class TwinStacks(FakeStacks):
    """Their clusters take objects."""

    def connect(self, descriptor: Mapping[str, Any]) -> Cluster:
        """See ``FakeStacks``."""
        stack = descriptor["args"]["stack"]
        made = Cluster()
        made.time = self.time
        cni = CniRecord(name="cilium", version="1")
        made.told = About(bring_up=f"{stack}{descriptor['boot']}", cni=cni)
        self.sessions[stack] = made
        return made


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TwinStacks:
    """In Pulumi's place."""
    made = TwinStacks()
    monkeypatch.setattr(automation, "PulumiStacks", lambda: made)
    monkeypatch.setattr(command, "open_session", made.connect)
    monkeypatch.setattr(command, "Matrix", partial(Matrix, clock=made.time.clock()))
    monkeypatch.setattr(command, "Around", partial(Around, clock=made.time.clock()))
    # Drawing takes longer than all else here; tests/report looks at it.
    monkeypatch.setattr(command, "write_report", lambda *_: None)
    monkeypatch.setattr(kernel, "memory_mib", lambda: 24_000)
    monkeypatch.setitem(PROFILES, "quick", PLAN)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return made


def _write(*services: Any) -> None:
    asked = census(*services, policies=(policy(3),), churn=None)
    Path("census.json").write_text(asked.to_json())


def test_scenarios_are_measured_in_the_shape_which_is_told_before(
    stacks: TwinStacks, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(service(40))
    assert main(["matrix", *AB, "--census", "census.json"]) == 0
    told = capsys.readouterr().err
    assert told.index(_HEADLINE) < told.index("bringing stacks up")
    kept = MatrixFolder(Path("matrix")).load()
    assert kept is not None
    assert kept.twin is not None
    assert kept.twin.headline == _HEADLINE
    for session in stacks.sessions.values():
        assert isinstance(session, Cluster)
        assert sum(kind == "Service" for kind, _ in session.objects) == 41


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"schema": "cni-benchmark/census/v0"}', "Fix: take the census anew"),
        ("nothing", "no census"),
    ],
)
def test_what_is_no_census_is_refused_in_one_line_and_nothing_is_started(
    stacks: TwinStacks, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    Path("census.json").write_text(text)
    assert main(["matrix", *AB, "--census", "census.json"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert words in told
    assert stacks.done == []
    assert not Path("matrix").exists()


def test_a_shape_that_has_no_room_here_is_refused_before_anything_is_started(
    stacks: TwinStacks, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(service(100, 90_000))
    assert main(["matrix", *AB, "--census", "census.json"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "would be no twin" in told
    assert stacks.done == []


def test_a_stopped_matrix_goes_on_with_the_same_census_only(
    stacks: TwinStacks, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(service(40))

    def stop(operation: str) -> None:
        raise KeyboardInterrupt

    stacks.before = stop
    assert main(["matrix", *AB, "--census", "census.json", "--seed", "1"]) == 130
    stacks.before = lambda operation: None
    assert main(["matrix", *AB, "--seed", "1"]) == 2
    assert "another matrix that is not finished" in capsys.readouterr().err
    assert main(["matrix", *AB, "--census", "census.json", "--seed", "1"]) == 0


@pytest.mark.parametrize("words", [("--times", "2"), ("--times", "0", "--census", "census.json")])
def test_times_goes_with_a_census(
    stacks: TwinStacks, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    _write(service(40))
    assert main(["matrix", *AB, *words]) == 2
    assert "--times goes with --census" in capsys.readouterr().err
    assert stacks.done == []


def test_a_census_times_two(stacks: TwinStacks, capsys: pytest.CaptureFixture[str]) -> None:
    _write(service(40))
    argv = ["matrix", *AB, "--census", "census.json", "--times", "2", "--bring-ups", "1"]
    assert main(argv) == 0
    assert "a cluster of 80 Services" in capsys.readouterr().err
