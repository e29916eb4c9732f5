"""``python -m bench upgrade`` with labs of fakes: verdicts, exit codes, going on, refusals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench.environment import About
from bench.metrics import PRIMARY
from bench.plan import PROFILES
from bench.session import CommandResult, ComponentUsage, Pod
from cli import upgrade as command
from cli.main import main
from components.lab import upgrade as lab_side
from lab.toolchain import doctor
from lab.toolchain.build import Toolchain
from studies.experiments.capabilities import Manifest, Progress
from studies.matrix.run import Matrix
from studies.upgrade import UpgradeSide
from tests.bench.fakes import PLAN, FakeSession
from tests.studies.fake_stacks import FakeStacks
from tests.studies.test_scale_services import Store

MIB = 1 << 20


class UpgradeSession(Store, FakeSession):
    """Its agents need memory for every Service."""

    def __init__(self, per_service: float) -> None:
        Store.__init__(self)
        FakeSession.__init__(self)
        self.per_service, self.behind, self.first_asked = per_service, 0.0, math.inf
        self.cpu_per_read = 0.001
        self.objects[("Service", "httpbin")] = {"metadata": {"labels": {}}, "spec": {}}

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        """Many Services are served only after ``behind`` seconds."""
        answer = super().run(pod, argv, timeout=timeout)
        if argv[:2] != ("fortio", "curl") or len(self.objects) < 50:
            return answer
        self.first_asked = min(self.first_asked, self.time.seconds)
        early = self.time.seconds < self.first_asked + self.behind
        return replace(answer, returncode=int(early))

    def create_objects(self, manifests: Sequence[Manifest], say: Progress) -> None:
        """At a hundred per second."""
        self.time.seconds += 0.01 * len(manifests)
        super().create_objects(manifests, say)

    def cni_usage(self) -> Sequence[ComponentUsage]:
        """100 MiB, and what the Services take."""
        services = sum(kind == "Service" for kind, _ in self.objects)
        memory = 100 * MIB + int(self.per_service * MIB * services)
        found = super().cni_usage()
        agents = [each for each in found if each.component == "cilium-agent"]
        operator = ComponentUsage("node-1", "cilium-operator", agents[0].cpu_seconds, 50 * MIB)
        return [*(replace(each, memory_bytes=memory) for each in agents), operator]


@dataclass
class FakeLabs(FakeStacks):
    """In the place of the lab's; ``longer`` is how much longer the new side's operations take, and
    ``per_service`` its agents' memory for each Service in MiB, and ``behind`` how long they take to
    serve many. No two bring-ups are quite alike."""

    longer: float = 1.0
    per_service: float = 0.05
    behind: float = 0.0
    told: dict[str, dict[str, str]] = field(default_factory=dict)
    waited: int = 0

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See ``components.lab.upgrade``."""
        self.waited += 1
        yield

    def connect(self, descriptor: Mapping[str, Any]) -> FakeSession:
        """See ``tests.studies.fake_stacks``."""
        side, boot = descriptor["args"]["stack"], descriptor["boot"]
        new, chance = side == "to", 1 + 0.001 * (descriptor["boot"] - 2)
        session = UpgradeSession(self.per_service * chance if new else 0.05)
        session.time, session.told = self.time, About(bring_up=f"{side}{boot}")
        session.longer = self.longer * chance if new else 1.0
        session.behind = self.behind if new else 0.0
        self.told = {"from": {"Old": "1", "Renamed": "1"}, "to": {"Old": "2", "New": "1"}}
        return session


@dataclass
class FakePlanned:
    """A side without a toolchain."""

    version: str

    @classmethod
    def of(cls, stack: str, *, cni: str | None = None, **_: str | None) -> FakePlanned:
        """See ``components.lab.upgrade``."""
        return cls(cni or "1")

    def described(self) -> UpgradeSide:
        """One setting changes."""
        return UpgradeSide(
            facts={"cni": self.version, "Kubernetes": "1.35"}, settings={}, values={},
            configuration={"mode": self.version, "other": "x"}, ours=["mode"],
        )  # fmt: skip


@pytest.fixture
def labs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeLabs:
    """Instead of the lab."""
    made = FakeLabs()
    monkeypatch.setattr(lab_side, "Planned", FakePlanned)
    monkeypatch.setattr(lab_side, "UpgradeLabs", lambda sides: made)
    monkeypatch.setattr(lab_side, "refused", lambda before, after: ["it wants more"])
    monkeypatch.setattr(command, "open_session", made.connect)
    monkeypatch.setattr("studies.upgrade.Matrix", partial(_clocked, made))
    monkeypatch.setitem(PROFILES, "quick", PLAN)
    monkeypatch.chdir(tmp_path)
    return made


def _clocked(labs: FakeLabs, *arguments: Any, **named: Any) -> Matrix:
    return Matrix(*arguments, **{**named, "clock": labs.time.clock()})


def run(*words: str) -> int:
    return main(["upgrade", "--stack", "scenario-d", "--services", "100", *words])


def test_a_version_against_itself_differs_in_nothing(
    labs: FakeLabs, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--to", "1", "--bring-ups", "3", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "cni-benchmark/upgrade/v1"
    assert (found["worse"], found["undecided"]) == ([], [])
    assert [each["key"] for each in found["changes"]["agent"]] == ["Old"]
    assert "configuration" not in found["changes"]
    assert found["verdict"].startswith("cni 1 → 1 on scenario-d: no evidence that rtt_p50, ")
    assert found["verdict"].endswith("nothing primary is worse by more than 5 %")
    metrics = found["comparison"]["metrics"]
    assert set(PRIMARY) < set(metrics)
    assert metrics["agents_memory_100"]["medians"][0] == pytest.approx(105, rel=0.01)
    assert metrics["operator_memory_10"]["medians"] == [50, 50]
    assert labs.there == set()
    assert json.loads(Path("upgrade-scenario-d/upgrade.json").read_text()) == found


def test_a_slower_version_is_a_regression_if_it_is_not_tolerated(
    labs: FakeLabs, capsys: pytest.CaptureFixture[str]
) -> None:
    labs.longer = 1.2
    assert run("--to", "2", "--bring-ups", "3") == 7
    told = capsys.readouterr()
    assert "cni 1 → 2 on scenario-d: rtt_p50 +20.1" in told.out
    assert "of them only agents_memory_100 decides anything" in " ".join(told.out.split())
    assert "WORSE by more than 5 %: rtt_p50, " in told.out
    assert "changed*  mode" in told.out.replace("   ", "  ")
    assert "caution: it wants more" in told.err
    # Nothing is measured again to say it otherwise.
    done = list(labs.done)
    assert run("--to", "2", "--bring-ups", "3", "--tolerate", "30", "--format", "markdown") == 0
    assert (labs.done, labs.waited) == (done, 1)
    told = capsys.readouterr()
    assert told.out.startswith("**cni 1 → 2 on scenario-d: rtt_p50 +20.1")
    shown, _, folded = told.out.partition("<details><summary>1 that the scenario does not set<")
    assert "| changed* | mode | 1 | 2 |\n" in shown
    assert "| changed | Old | 1 | 2 |\n\n</details>" in folded


def test_memory_with_many_services_is_a_regression_and_with_few_is_not(
    labs: FakeLabs, capsys: pytest.CaptureFixture[str]
) -> None:
    labs.per_service = 0.5
    assert run("--to", "2", "--bring-ups", "3", "--format", "json") == 7
    assert json.loads(capsys.readouterr().out)["worse"] == ["agents_memory_100"]


def test_agents_that_are_minutes_behind_are_waited_for_and_told_of_if_they_never_serve(
    labs: FakeLabs, capsys: pytest.CaptureFixture[str]
) -> None:
    labs.per_service, labs.behind = 0.5, 300
    assert run("--to", "2", "--bring-ups", "2", "--format", "json") == 7
    assert json.loads(capsys.readouterr().out)["worse"] == ["agents_memory_100"]
    labs.behind = 700
    assert run("--to", "3", "--bring-ups", "2", "--out", "never") == 1
    told = capsys.readouterr()
    assert "does not answer after 600 s" in told.err
    assert "nothing can be said of agents_memory_100" in told.out


def test_a_stopped_upgrade_leaves_no_lab_and_goes_on(
    labs: FakeLabs, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(operation: str) -> None:
        if operation == "up to" and labs.done.count(operation) == 2:
            raise KeyboardInterrupt

    labs.before = stop
    assert run("--to", "2", "--bring-ups", "3") == 130
    assert labs.there == set()
    assert "the same command goes on" in capsys.readouterr().err
    labs.before = lambda operation: None
    # The folder belongs to one upgrade.
    assert run("--to", "3", "--bring-ups", "3") == 2
    assert "has another upgrade" in capsys.readouterr().err
    assert run("--to", "2", "--bring-ups", "3") == 0
    assert "3 bring-ups of both, 2 are over" in capsys.readouterr().err
    assert labs.done.count("up to") == 3


def test_a_version_that_does_not_come_up_ends_it_and_is_tried_again(
    labs: FakeLabs, capsys: pytest.CaptureFixture[str]
) -> None:
    labs.fails["up to"] = "cilium-agent ended: BPF masquerade requires more"
    assert run("--to", "2", "--bring-ups", "3") == 4
    assert "bench: to: cilium-agent ended: BPF masquerade requires" in capsys.readouterr().err
    assert labs.done.count("up from") == 1
    assert labs.there == set()
    labs.fails.clear()
    assert run("--to", "2", "--bring-ups", "3") == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "nothing changes: name --to"),
        (["--to", "1.16.5", "--bring-ups", "1"], "one says nothing of the next"),
        (["--to", "1.16.5", "--services", "10"], "--services must be more than 10"),
        (["--to", "1.16.5", "--tolerate", "-1"], "--tolerate must be"),
    ],
)
def test_impossible_arguments_are_refused(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["upgrade", "--stack", "scenario-d", *words]) == 2
    told = capsys.readouterr().err
    assert why in told
    assert told.count("\n") == 1


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], None]:
    """Says what the toolchain lacks."""

    def lacks(names: Sequence[str]) -> None:
        monkeypatch.setattr(Toolchain, "missing", lambda *_: list(names))

    monkeypatch.setattr(doctor, "is_debian", lambda: False)
    lacks([])
    return lacks


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["scenario-d", "--to", "0.1"], "bench: 0.1: the lab has Cilium 1.16.5"),
        (["scenario-a", "--to", "0.1"], "bench: 0.1: the lab has the VPC CNI 1.19.2"),
        (["scenario-x", "--to", "0.1"], "unknown stack 'scenario-x'; the stacks are: scenario-a, "),
        (["scenario-d", "--kube-proxy", "nftables"], "kubeProxyReplacement is true"),
        (["scenario-a", "--kubernetes", "1.2"], "1.2: the lab has Kubernetes 1.31, "),
    ],
)
def test_an_impossible_upgrade_is_refused_before_anything_is_made(
    words: list[str],
    why: str,
    lacking: object,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["upgrade", "--stack", *words]) == 2
    told = capsys.readouterr().err
    assert why in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_version_without_programs_is_refused(
    lacking: Callable[[Sequence[str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    lacking(["cilium-agent"])
    assert main(["upgrade", "--stack", "scenario-d", "--from", "1.16.5"]) == 2
    told = capsys.readouterr().err
    assert "bench: cilium 1.16.5 on Kubernetes 1.35 is not built here (cilium-agent). " in told
    assert "Built are: cilium (none); kubernetes (none). Fix: python3 -m lab.toolchain" in told


def test_a_stack_of_another_target_is_refused(
    lacking: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = {"target": "eks", "scenario": {}}
    monkeypatch.setattr(lab_side, "settings_of_stack", lambda checkout, stack: tree)
    assert main(["upgrade", "--stack", "scenario-d", "--to", "1.16.5"]) == 2
    assert "scenario-d has target eks" in capsys.readouterr().err
