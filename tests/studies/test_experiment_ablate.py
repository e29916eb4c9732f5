"""``python -m bench ablate`` with a stage of fakes: what is measured, kept, skipped and said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bench.plan import PROFILES, Plan
from bench.session import CommandResult, Pod, Service, SessionError
from cli import ablate as command
from cli.common import OK, SESSION, USAGE
from cli.main import main
from studies.experiments.ablate import WITH, WITHOUT, compared
from studies.experiments.capabilities import Progress, Stage, StageError, Trial
from studies.experiments.definition import EXPERIMENTS
from studies.experiments.model import Experiment, from_dict
from studies.experiments.run import run_experiment
from tests.bench import fakes
from tests.bench.fakes import FakeSession
from tests.report.samples import scenario_results
from tests.sessions_target import descriptor, register

HOST = Trial("hostRouting", "+", ("bpfMasquerade",))
BBR = Trial("bbr", "+", reason="needs the fq queueing discipline")
TABLES = Trial("ctTables", "-")
EFFECTS = ["rtt_p50", "rtt_p99", "rtt_p999", "rtt_cold_p50"]
OUTSIDE = Trial("dsr", "+", notes=("tried on veth",), outside=True)


class Slower(FakeSession):
    """Its operations in turns take twice as long."""

    def __init__(self) -> None:
        super().__init__()
        self.longer = 2.0


class FromOutside(FakeSession):
    """A session with a client outside."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []

    def outside(self) -> tuple[Pod, Service]:
        """See ``studies.experiments.capabilities.Outside``."""
        return Pod("outside", "fortio-client", "outside", "172.30.0.200"), Service(
            "httpbin-outside", "172.30.0.11", 30_080
        )

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        """As recorded; who asks what is kept."""
        self.asked.append((pod.name, argv[-1]))
        return super().run(pod, argv, timeout=timeout)


@dataclass
class FakeStage:
    """A base and variants of fakes; ``log`` has what was brought up and taken down."""

    wanted: tuple[Trial, ...] = (HOST, BBR, TABLES)
    make: Callable[[], FakeSession] = Slower
    log: list[str] = field(default_factory=list)
    base_name: str = "D"
    broken: str = ""

    def trials(self) -> Sequence[Trial]:
        return self.wanted

    @contextmanager
    def base(self, say: Progress) -> Iterator[FakeSession]:
        outside = any(each.outside for each in self.wanted)
        with self._up("base", FromOutside() if outside else FakeSession()) as session:
            yield session

    @contextmanager
    def variant(self, trial: Trial, say: Progress) -> Iterator[FakeSession]:
        if trial.toggle == self.broken:
            raise StageError(f"{trial.toggle}: the agent ended")
        with self._up(trial.toggle, self.make()) as session:
            yield session

    @contextmanager
    def _up(self, name: str, session: FakeSession) -> Iterator[FakeSession]:
        self.log.append(f"{name} up")
        try:
            yield session
        finally:
            self.log.append(f"{name} down")


def _recorded(profile: str, *, runs: int, seconds: int, allow: Sequence[str]) -> Plan:
    return replace(fakes.PLAN, runs=runs, allow=(*PROFILES[profile].allow, *allow))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> FakeStage:
    """In place of the lab, with the plan that the recordings were made with."""
    found = FakeStage()

    def made(base: str) -> Stage:
        return found

    monkeypatch.setattr(command, "lab_stage", made)
    monkeypatch.setattr(command, "plan_for", _recorded)
    monkeypatch.setattr("studies.experiments.ablate.RATE", 100)
    monkeypatch.setattr("studies.experiments.ablate.INSIDE", ("rtt", "http_100", "udp"))
    monkeypatch.setattr("studies.experiments.ablate.OUTSIDE", ("fortio_connect", "http_max"))
    monkeypatch.setattr(command, "Clock", lambda: fakes.FakeClock().clock())
    return found


def _ablate(folder: Path, *words: str) -> int:
    return main(["ablate", "--out", str(folder), "--rounds", "8", *words])


def _found(folder: Path, name: str = "ablation") -> Experiment:
    return from_dict(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))


def test_every_toggle_has_its_own_effect_or_the_reason(stage: FakeStage, tmp_path: Path) -> None:
    assert _ablate(tmp_path) == OK
    found = _found(tmp_path)
    added, taken, skipped = found.series
    assert added.subject == "D + hostRouting (with bpfMasquerade)"
    assert [point.label for point in added.points] == [WITHOUT, WITH]
    (comparison,) = added.comparisons
    assert comparison.interleaved
    assert comparison.verdicts("worse") == EFFECTS
    assert comparison.metrics["rtt_p50"].ratio == pytest.approx(2, rel=0.01)
    # The effect is the toggle's: where the variant lacks it, the base is what has it.
    assert taken.comparisons[0].metrics["rtt_p50"].ratio == pytest.approx(0.5, rel=0.01)
    assert taken.comparisons[0].verdicts("better") == EFFECTS
    assert (skipped.subject, skipped.skipped) == ("D + bbr", BBR.reason)
    assert any("its effect is that of hostRouting and bpfMasquerade" in w for w in found.warnings)
    figure = (tmp_path / "effects.svg").read_text(encoding="utf-8")
    assert "D + hostRouting (with bpfMasquerade)" in figure
    assert "rtt_p50 (µs), better ←" in figure


def test_one_start_of_each_side_says_nothing_about_memory() -> None:
    found = compared(scenario_results("scenario-a"), scenario_results("scenario-e"))
    assert "each side was started once" in found.not_compared["cni_memory"]
    assert {"cni_cpu", "rtt_p50"} <= found.metrics.keys()
    assert "cni_memory" not in found.metrics


def test_every_variant_has_a_base_of_its_own_age(stage: FakeStage, tmp_path: Path) -> None:
    _ablate(tmp_path)
    assert stage.log == [
        "base up", "hostRouting up", "hostRouting down", "base down",
        "base up", "ctTables up", "ctTables down", "base down",
    ]  # fmt: skip


def test_a_finished_toggle_is_not_measured_again(stage: FakeStage, tmp_path: Path) -> None:
    stage.broken = "ctTables"
    assert _ablate(tmp_path) == SESSION
    assert stage.log[-1] == "base down"
    stage.broken, stage.log[:] = "", []
    assert _ablate(tmp_path) == OK
    assert stage.log == ["base up", "ctTables up", "ctTables down", "base down"]
    assert len(_found(tmp_path).series) == 3
    stage.log.clear()
    assert _ablate(tmp_path) == OK  # nothing is left to be brought up
    assert stage.log == []


def test_what_another_plan_has_measured_is_not_taken_over(
    stage: FakeStage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ablate(tmp_path) == OK
    assert _ablate(tmp_path, "--rounds", "9") == USAGE
    said = capsys.readouterr().err.splitlines()[-1]
    assert "hostRouting.json was measured with rounds 8, not 9. Fix: remove it" in said


def test_only_the_toggles_asked_for(
    stage: FakeStage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ablate(tmp_path, "--toggles", "ctTables") == OK
    assert [each.subject for each in _found(tmp_path).series] == ["D - ctTables"]
    assert _ablate(tmp_path, "--toggles", "ctTable") == USAGE
    assert "no toggle ctTable: choose of hostRouting, bbr, ctTables" in capsys.readouterr().err
    assert _ablate(tmp_path, "--toggles", "bbr") == USAGE  # refused by the platform


def test_few_rounds_are_warned_of(
    stage: FakeStage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _ablate(tmp_path, "--rounds", "3", "--toggles", "ctTables")
    assert "3 rounds allow no verdict" in capsys.readouterr().err


def test_from_outside_the_other_client_asks_the_node_port(stage: FakeStage, tmp_path: Path) -> None:
    sessions: list[FromOutside] = []

    def make() -> FakeSession:
        sessions.append(FromOutside())
        return sessions[-1]

    stage.wanted, stage.make = (OUTSIDE,), make
    assert _ablate(tmp_path) == OK
    (series,) = _found(tmp_path).series
    assert {metric.probe for metric in series.points[0].metrics.values()} == {
        "fortio_connect", "http_max",
    }  # fmt: skip
    (session,) = sessions
    asked = {url for pod, url in session.asked if pod == "outside"}
    assert asked == {"http://172.30.0.11:30080/get"}
    warnings = _found(tmp_path).warnings
    assert any("tried on veth" in text for text in warnings)
    assert not any("pods changed" in text for text in warnings)  # the client is another on purpose


def test_sessions_that_are_up_need_no_stage(
    stage: FakeStage,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("base_session", "variant_session"):
        (tmp_path / f"{name}.json").write_text(json.dumps(descriptor(name)))
    register(monkeypatch, base_session, variant_session)
    base, variant = (
        str(tmp_path / "base_session.json"),
        f"no-hubbleOff={tmp_path / 'variant_session.json'}",
    )
    assert _ablate(tmp_path, "--session", base, "--variant", variant) == OK
    (series,) = _found(tmp_path).series
    assert series.subject == "D - hubbleOff"
    assert series.comparisons[0].metrics["rtt_p50"].ratio == pytest.approx(0.5, rel=0.01)
    assert _ablate(tmp_path, "--session", base) == USAGE
    assert "--session and --variant go together" in capsys.readouterr().err
    assert _ablate(tmp_path, "--session", base, "--variant", "hubbleOff") == USAGE
    assert "--variant wants TOGGLE=FILE" in capsys.readouterr().err


class Beside(FakeSession):
    """A session of a stack that has variants."""

    def __init__(self, stage: FakeStage) -> None:
        super().__init__()
        self.stage = stage

    def toggle_stage(self) -> Stage:
        """See ``studies.experiments.capabilities.Variants``."""
        if not self.stage.wanted:
            raise StageError("scenario-a has no toggles")
        return self.stage


@pytest.fixture
def beside(stage: FakeStage, monkeypatch: pytest.MonkeyPatch) -> Beside:
    monkeypatch.setattr("studies.experiments.run.plan_for", _recorded)
    return Beside(stage)


def _beside(session: Beside, *toggles: str) -> Experiment:
    definition = EXPERIMENTS["toggles"]
    extent = definition.extent(toggles, rounds=8)
    return run_experiment(definition, session, extent, command="up", clock=session.time.clock())


def test_beside_a_stack_that_is_up_only_variants_are_brought_up(beside: Beside) -> None:
    found = _beside(beside, "hostRouting", "bbr")
    measured, skipped = found.series
    assert measured.comparisons[0].metrics["rtt_p50"].ratio == pytest.approx(2, rel=0.01)
    assert skipped.skipped == BBR.reason
    assert beside.stage.log == ["hostRouting up", "hostRouting down"]
    assert "D was up before its variants: agents' memory drifts with their age" in found.warnings


def test_a_stack_without_toggles_is_skipped(beside: Beside) -> None:
    beside.stage.wanted = ()
    (series,) = _beside(beside).series
    assert series.skipped == "scenario-a has no toggles"


def test_a_variant_that_does_not_come_up_fails_the_experiment(beside: Beside) -> None:
    beside.stage.broken = "ctTables"
    with pytest.raises(SessionError, match="the agent ended"):
        _beside(beside, "ctTables")


def base_session() -> FakeSession:
    return FakeSession()


def variant_session() -> FakeSession:
    return Slower()
