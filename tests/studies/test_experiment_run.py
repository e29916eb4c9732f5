"""Experiments on a session: what is chosen, what is skipped, what comes out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bench.plan import PROFILES, Plan
from bench.session import CommandResult, Pod
from bench.workloads import TURNS_ECHO_PORT
from cli.main import main
from report.sources import SourceError
from studies.experiments.capabilities import PodRequest
from studies.experiments.definition import EXPERIMENTS, Definition, Extent, ExtentError
from studies.experiments.host import NODE, POD
from studies.experiments.model import from_dict
from studies.experiments.run import RUNS, run_experiment
from tests.bench import fakes
from tests.bench.fakes import FakeSession
from tests.bench.turns_output import SLICES
from tests.sessions_target import descriptor, register

HOST = EXPERIMENTS["host"]


class PodsSession(FakeSession):
    """A session that can run pods in the nodes' own network."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[PodRequest] = []
        self.asked: list[list[PodRequest]] = []
        self.used: set[str] = set()
        self.aimed: list[list[str]] = []

    @contextmanager
    def experiment_pods(self, wanted: Sequence[PodRequest]) -> Iterator[Sequence[Pod]]:
        """See ``studies.experiments.capabilities``."""
        self.asked.append(list(wanted))
        self.running += wanted
        try:
            yield [
                Pod(each.name, each.role, each.node, f"172.30.0.{each.node[-1]}") for each in wanted
            ]
        finally:
            self.running.clear()

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        """As recorded; pods of the experiment only while they run."""
        if pod.name.startswith("host-"):
            assert pod.name in {each.name for each in self.running}
            self.used.add(pod.role)
        return super().run(pod, argv, timeout=timeout)

    def take_turns(self, pod: Pod, plan: str, *, timeout: float) -> bytes:
        """Made up; where each run's operations go is kept."""
        self.aimed.append([each["task"]["address"] for each in json.loads(plan)["subjects"]])
        return super().take_turns(pod, plan, timeout=timeout)


@pytest.fixture(autouse=True)
def as_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan that the recordings were made with."""

    def recorded(profile: str, *, runs: int, seconds: int, allow: Sequence[str]) -> Plan:
        return replace(fakes.PLAN, runs=runs, allow=(*PROFILES[profile].allow, *allow))

    monkeypatch.setattr("studies.experiments.run.plan_for", recorded)


def test_node_to_node_is_measured_beside_pod_to_pod() -> None:
    session = PodsSession()
    extent = HOST.extent(rounds=3)
    found = run_experiment(HOST, session, extent, command="again", clock=session.time.clock())
    (series,) = found.series
    assert [point.label for point in series.points] == [NODE, POD]
    assert {"tcp_throughput", "tcp_cpu_per_gb", "rtt_p50", "udp_goodput"} <= set(
        series.points[0].metrics
    )
    for point in series.points:
        for metric in point.metrics.values():
            assert {place.round for place in metric.by_place()} == {1, 2, 3}
    (compared,) = series.comparisons
    assert compared.labels == (NODE, POD)
    # The fake answers alike everywhere; both take turns, and are compared by blocks of four slices.
    assert compared.metrics["rtt_p50"].ratio == pytest.approx(1.0, rel=0.01)
    assert compared.metrics["rtt_p50"].n == (3 * SLICES // 4, 3 * SLICES // 4)
    assert compared.metrics["udp_goodput"].ratio == 1.0
    assert session.used == {"host-iperf3-client", "host-iperf3-server"}
    (wanted,) = session.asked
    assert {each.node for each in wanted if "client" in each.role} == {"node-1"}
    assert {each.node for each in wanted if "server" in each.role} == {"node-2"}
    assert all(each.host_network for each in wanted)
    assert not any("pods changed" in warning for warning in found.warnings)
    assert found.checks and found.tools["fortio"]


def test_commands_of_the_nodes_go_to_the_nodes_address() -> None:
    session = PodsSession()
    run_experiment(HOST, session, HOST.extent(rounds=1), command="", clock=session.time.clock())
    addresses = {argv[2] for name, argv, _ in session.calls if name == "iperf3-tcp"}
    assert addresses == {"10.0.0.1", "172.30.0.2"}
    # Pods and nodes take turns in one run.
    of_pod, of_node = f"10.0.0.1:{TURNS_ECHO_PORT}", f"172.30.0.2:{TURNS_ECHO_PORT}"
    assert session.aimed.count([of_node, of_pod]) == 1


def test_pods_of_an_experiment_end_when_it_is_interrupted() -> None:
    session = PodsSession()

    def interrupt(_: object) -> CommandResult:
        raise KeyboardInterrupt

    def begin(line: str) -> None:
        if "pods in the nodes" in line:
            session.spoil["iperf3-tcp"] = [interrupt]

    with pytest.raises(KeyboardInterrupt):
        run_experiment(
            HOST, session, HOST.extent(rounds=1), command="", clock=session.time.clock(),
            progress=begin,
        )  # fmt: skip
    assert session.asked and not session.running


def test_a_session_that_cannot_is_skipped_with_its_reason_and_nothing_is_measured() -> None:
    session, said = FakeSession(), list[str]()
    found = run_experiment(
        HOST, session, HOST.usual, command="", clock=session.time.clock(), progress=said.append
    )
    (series,) = found.series
    assert series.skipped == "this target cannot run pods of an experiment"
    assert said == [f"skipped: {series.skipped}"]
    assert not session.calls and not series.points


def test_what_was_found_survives_json_and_an_engine_that_drops_what_is_none() -> None:
    session = PodsSession()
    found = run_experiment(
        HOST, session, HOST.extent(rounds=2), command="x", clock=session.time.clock()
    )
    assert from_dict(json.loads(found.to_json())) == found
    assert from_dict(_without_none(found.to_dict())) == found


def _without_none(data: object) -> dict[str, object]:
    def strip(value: object) -> object:
        if isinstance(value, dict):
            return {key: strip(each) for key, each in value.items() if each is not None}
        return [strip(each) for each in value] if isinstance(value, list) else value

    stripped = strip(data)
    assert isinstance(stripped, dict)
    return stripped


def test_every_experiment_that_can_be_asked_for_can_be_run() -> None:
    assert RUNS.keys() == EXPERIMENTS.keys()


SIZES = Definition("sizes", "How large?", "size", (), Extent((4, 100), 5, 1), "n", 2, 500)
NAMES = Definition("names", "Which?", "name", (), Extent(("a", "b", "c"), 5, 1))


@pytest.mark.parametrize(
    ("definition", "points", "chosen"),
    [(SIZES, ("7", "500"), (7, 500)), (SIZES, (2,), (2,)), (NAMES, ("c", "a"), ("c", "a"))],
)
def test_points_can_be_chosen(
    definition: Definition, points: tuple[str | int, ...], chosen: tuple[str | int, ...]
) -> None:
    assert definition.extent(points, rounds=2, seconds=9) == Extent(chosen, 2, 9)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("definition", "points", "told"),
    [
        (SIZES, ("x",), "sizes: a point is a whole number from 2 to 500, not 'x'"),
        (SIZES, ("1",), "not 1"),
        (SIZES, (501,), "not 501"),
        (SIZES, ("4", 4), "a point twice"),
        (NAMES, ("d",), "names: no such point: d; choose of a, b, c"),
        (HOST, ("pod to pod",), "its points are always node to node, pod to pod"),
    ],
)
def test_impossible_points_are_refused(
    definition: Definition, points: tuple[str | int, ...], told: str
) -> None:
    with pytest.raises(ExtentError) as caught:
        definition.extent(points)
    assert told in str(caught.value)


@pytest.mark.parametrize(("rounds", "seconds"), [(0, None), (1_001, None), (None, 0)])
def test_impossible_numbers_are_refused(rounds: int | None, seconds: int | None) -> None:
    with pytest.raises(ExtentError, match="must be a whole number from 1 to"):
        SIZES.extent((), rounds, seconds)


# -- the command --------------------------------------------------------------------------------


def can_run_pods() -> FakeSession:
    return PodsSession()


def cannot() -> FakeSession:
    return FakeSession()


def _command(folder: Path, name: str, *more: str) -> int:
    path = folder / "session.json"
    path.write_text(json.dumps(descriptor(name)))
    with pytest.MonkeyPatch.context() as patch:
        register(patch, can_run_pods, cannot)
        return main(["host", "--session", str(path), *more])


def test_the_command_prints_what_was_found_and_how_to_find_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert _command(tmp_path, "cannot", "--rounds", "3", "--out", "-") == 0
    said = capsys.readouterr()
    found = from_dict(json.loads(said.out))
    assert found.series[0].skipped
    assert found.command == ("python -m bench host --session FILE --rounds 3 --seconds 2")
    assert "skipped: this target cannot" in said.err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--rounds", "0"], 2, "rounds must be a whole number"),
        (["--points", "a,b"], 2, "its points are always"),
        (["--allow", "everything"], 2, "no precondition 'everything'"),
    ],
)
def test_wrong_arguments_are_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    told: str,
) -> None:
    from bench.plan import plan_for

    monkeypatch.setattr("studies.experiments.run.plan_for", plan_for)
    assert _command(tmp_path, "cannot", *arguments) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bench: ") and told in line


@pytest.mark.parametrize("command", ["host", "sweep"])
def test_a_stack_that_is_not_up_is_told(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(stack: str) -> dict[str, object]:
        raise SourceError(f"stack {stack!r} has no session: run pulumi up -s {stack} first")

    monkeypatch.setattr("cli.experiments.read_session", no)
    assert main([command, "--stack", "scenario-a"]) == 4
    assert "has no session: run pulumi up -s scenario-a first" in capsys.readouterr().err
