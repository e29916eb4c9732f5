"""What nodes note while a command runs, and what is made of it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from bench.limits import between, take
from bench.probes.cost import components_of
from bench.session import Session, SessionError
from components.kubernetes.watch import parse_notes, watch_command, windows
from components.targets import open_session
from kube.client import Kube
from kube.exec import Container, Conversation
from kube.objects import KubernetesError
from lab.cgroups import hierarchy
from lab.errors import LabError
from tests.components.kubernetes import kube_objects
from tests.components.kubernetes.exec_replies import (
    Conversing,
    Exec,
    Output,
    Process,
    Refused,
    Reply,
)
from tests.components.kubernetes.kube_api import KubeApi
from tests.components.kubernetes.kube_cluster import NODES, WATCH, cluster

CPUS = 4
AGENT, LOAD = "agent", "load"
Share = Callable[[float], float]


def notes(
    busy: Share, runs: Share = lambda at: 0, *, containers: Sequence[str] = (LOAD, AGENT),
    start: float = 1000.0, seconds: float = 4.0,
) -> str:  # fmt: skip
    """Ten notes a second of a node. ``busy`` is how many CPUs are at work when, an eighth of it in
    interrupts and a tenth in each agent; ``runs`` how many commands do in the containers for loads,
    which use half a CPU then."""
    used = pod = 0.0
    lines = []
    for tenth in range(round(seconds * 10) + 1):
        at = tenth / 10
        # Whole ticks, as the kernel gives them.
        ticks = round(100 * used)
        cpu = f"cpu {ticks - ticks // 8} 0 0 {round(400 * at) - ticks} 0 0 {ticks // 8} 0 0 0"
        does = {LOAD: f"{round(1e6 * pod)} {1 + runs(at):.0f}", AGENT: f"{round(1e5 * used)} 1"}
        groups = [does.get(each, "0 1") for each in containers]
        lines.append(" | ".join([f"{start + at:.6f} {cpu}", *groups]))
        used += busy(at + 0.05) / 10
        pod += 0.05 * (runs(at + 0.05) > 0)
    return "\n".join([*lines, "", ""])


def during(start: float, end: float, within: float = 1, outside: float = 0) -> Share:
    return lambda at: within if start <= at < end else outside


def test_a_window_is_from_the_first_note_of_a_command_to_its_last() -> None:
    both = {
        "client": parse_notes("client", notes(lambda at: 1.0, during(1.25, 2.25)), 2),
        "server": parse_notes("server", notes(lambda at: 1.0), 2),
    }
    assert windows(both, {"client": [0], "server": []}) == [(1001.3, 1002.2)]
    assert windows(both, {"client": [], "server": [0, 1]}) == []


def test_a_window_is_cut_to_what_all_nodes_have_noted() -> None:
    both = {
        "client": parse_notes("client", notes(lambda at: 1.0, during(0.5, 3.5)), 2),
        "server": parse_notes("server", notes(lambda at: 1.0, start=1001.0, seconds=1.0), 2),
    }
    assert windows(both, {"client": [0]}) == [(1001.0, 1002.0)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1000.0 cpu 1 1 1 1 1 1 1 1 | 5 1\n1000.1 cpu 1 1 1 1 1 1 1 1 | - -\n\n",
        "1000.1 cpu 1 1 1 1 1 1 1 1 | 5 1\n1000.0 cpu 1 1 1 1 1 1 1 1 | 5 1\n\n",
        "1000.0 cpu 1 1 1 1 1 1 1 1\n1000.1 cpu 1 1 1 1 1 1 1 1\n\n",
        "1000.0 cpu 1 1 | 5 1\n1000.1 cpu 1 1 | 5 1\n\n",
        "1000.0 cpu 1 1 1 1 1 1 1 1 | 5\n1000.1 cpu 1 1 1 1 1 1 1 1 | 5\n\n",
        "nan cpu 1 1 1 1 1 1 1 1 | 5 1\n1000.1 cpu 1 1 1 1 1 1 1 1 | 5 1\n\n",
    ],
)
def test_notes_that_are_none_are_an_error(text: str) -> None:
    with pytest.raises(KubernetesError, match="n1: its notes cannot be read"):
        parse_notes("n1", text, 1)


# -- through a session ----------------------------------------------------------------------------

Answer = Callable[[Exec, Sequence[str]], Reply]


class Noting:
    """A served cluster whose nodes note what a test says."""

    def __init__(self) -> None:
        self.api = cluster("scenario-e")
        self.answer: Answer = lambda call, ids: self._recorded(call)
        self._recorded = self.api.handler
        self.api.handler = self._handle
        self.begun = 0

    def _handle(self, call: Exec) -> Reply:
        if call.argv[:3] != WATCH[:3]:
            return self._recorded(call)
        self.begun += 1
        return self.answer(call, [_kind(each) for each in call.argv[len(WATCH) :]])

    def say(self, **of: Callable[[Sequence[str]], str]) -> None:
        """What client and servers note after the questions of the first reading."""

        def answer(call: Exec, ids: Sequence[str]) -> Reply:
            side = "client" if call.pod.endswith(NODES[0]) else "server"
            at_rest = notes(lambda at: 0.0, containers=ids, seconds=0.1)
            told = [of[side](ids), at_rest, at_rest]
            return Conversing(lambda: told.pop() if told else None)

        self.answer = answer


def _kind(container: str) -> str:
    if container == "fortio-client-0.main":
        return LOAD
    return AGENT if container.startswith("cilium") else "rest"


@pytest.fixture
def noting() -> Iterator[Noting]:
    noting = Noting()
    with noting.api.serving():
        yield noting


@pytest.fixture
def session(noting: Noting, tmp_path: Path) -> Iterator[Session]:
    access = {"kind": "kubeconfig", "path": str(noting.api.kubeconfig(tmp_path / "config"))}
    args = {"access": access, "cni": "cilium", "kube_proxy": "none", "values": {}}
    opened = open_session({"target": "eks", "args": args})
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("client", "server", "by"),
    [(4.0, 1.0, "client"), (1.0, 4.0, "server"), (3.7, 3.7, "none"), (3.9, 1.0, "client")],
)
def test_cpus_without_time_left_are_told_whatever_idle_time_surrounds_the_load(
    noting: Noting, session: Session, client: float, server: float, by: str
) -> None:
    """A load of one second, within four: around it a node uses a twentieth of a CPU."""
    load = during(1.35, 2.35)
    noting.say(
        client=lambda ids: notes(during(1.35, 2.35, client, 0.05), load, containers=ids),
        server=lambda ids: notes(during(1.35, 2.35, server, 0.05), containers=ids),
    )
    before = take(session, 0.0)
    seen = between(before, take(session, 4.0))
    limit = seen.limit({"node-2", "node-3"})
    assert (limit.by, seen.diluted) == (by, "")
    used = {load.name: load.used / load.available for load in seen.machines}
    assert used == pytest.approx(
        {"node-1": client / CPUS, "node-2": server / CPUS, "node-3": server / CPUS}, abs=0.01
    )
    if max(client, server) == CPUS:
        assert max(used.values()) >= 0.95
    assert seen.seconds == pytest.approx(0.9)
    (pod,) = [load for load in seen.pods["client"] if load.name == "fortio-client-0"]
    assert pod.used == pytest.approx(0.5, abs=0.01)
    # A tenth of what is used is the agent's, an eighth is in interrupts, half a CPU is the load's.
    others = {load.name: load.others for load in seen.machines}
    ours = 1 - 0.125 - 0.1
    assert others["node-2"] == pytest.approx(server * ours, abs=0.06)
    assert others["node-3"] == pytest.approx(server * ours, abs=0.06)
    assert seen.span == 4.0


def test_what_components_use_is_told_of_the_commands_time(noting: Noting, session: Session) -> None:
    busy = during(1.0, 2.0, 4.0, 0.05)
    noting.say(
        client=lambda ids: notes(busy, during(1.0, 2.0), containers=ids),
        server=lambda ids: notes(busy, containers=ids),
    )
    first, last = session.worked(), session.worked()
    assert first and last
    assert first.seconds == 0.0
    assert last.seconds == pytest.approx(0.9)
    assert components_of(first.components) == components_of(last.components)
    agents = [each for each in last.components if each.component == "cilium-agent"]
    assert [each.cpu_seconds / last.seconds for each in agents] == pytest.approx([0.4] * 3)
    assert {each.cpu_seconds for each in first.components} == {0.0}


def test_where_no_command_ran_the_whole_time_counts(noting: Noting, session: Session) -> None:
    seen = between(take(session, 0.0), take(session, 5.0))
    assert (seen.seconds, seen.diluted) == (5.0, "")


def test_notes_that_break_off_are_told_of_and_begun_again(noting: Noting, session: Session) -> None:
    def answer(call: Exec, ids: Sequence[str]) -> Reply:
        told = [notes(lambda at: 0.0, containers=ids, seconds=0.1)] * 2
        return Conversing(lambda: told.pop() if told else None)

    noting.answer = answer
    before, broken, after = (take(session, at) for at in (0.0, 5.0, 10.0))
    assert (before.diluted, broken.worked, after.diluted) == ("", None, "")
    seen = between(before, broken)
    assert (seen.seconds, "the connection" in seen.diluted) == (5.0, True)
    assert "with idle time around the commands (node-probe-node-" in seen.limit(()).evidence
    assert noting.begun == 2 * len(NODES)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Refused(403, "not yours"), "not yours"),
        (Output("", "the cgroup of 7 is not found", code=1), "the cgroup of 7 is not found"),
        (Conversing(lambda: "a shell without such words\n\n"), "its notes cannot be read"),
    ],
)
def test_where_nodes_take_no_notes_it_is_not_tried_for_ever(
    noting: Noting, session: Session, reply: Reply, why: str
) -> None:
    noting.answer = lambda call, ids: reply
    for _ in range(4):
        with pytest.raises(SessionError, match=why):
            session.worked()
    assert noting.begun == 2 * len(NODES)


# -- what runs on a node --------------------------------------------------------------------------


def _cgroup(folder: Path, version: int, seconds: float, processes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    usec = round(1e6 * seconds)
    files = {"cpu.stat": f"usage_usec {usec}\nuser_usec 1\n", "cgroup.procs": "0\n" * processes}
    if version == 1:
        files |= {"cpuacct.usage": f"{1000 * usec}\n", "cpu.stat": "nr_periods 0\n"}
    for name, text in files.items():
        # Whole at any time, as the kernel's are.
        (folder / "new").write_text(text)
        (folder / "new").replace(folder / name)


@pytest.mark.parametrize("version", [1, 2])
def test_a_node_notes_what_a_container_does(
    server: KubeApi, client: Kube, tmp_path: Path, version: int
) -> None:
    """The real script, run here; cgroups are files."""
    pod = tmp_path / "kubepods/pod1"
    (tmp_path / "memory/kubepods/pod1/cri-4f.scope").mkdir(parents=True)
    _cgroup(pod / "cri-4f.scope", version, 1.0, 1)
    _cgroup(pod / "cri-a0.scope", version, 0.0, 3)
    server.put(kube_objects.pod("probe", "nodes", "n1", {}, {"main": "image"}))
    server.handler = lambda call: Process(call.argv)
    command = watch_command(["4f", "a0"], str(tmp_path))
    asked = Conversation(client, Container("nodes", "probe", "main"), command, timeout=5)
    try:
        assert len(parse_notes("n1", asked.ask(timeout=5), 2).times) >= 2
        time.sleep(0.25)
        _cgroup(pod / "cri-4f.scope", version, 1.5, 2)
        time.sleep(0.45)
        _cgroup(pod / "cri-4f.scope", version, 2.0, 1)
        time.sleep(0.25)
        told = parse_notes("n1", asked.ask(timeout=5), 2)
    finally:
        asked.close()
    ((start, end),) = told.busy(0)
    assert 0.2 <= end - start <= 0.5
    assert list(told.busy(1)) == []
    assert [told.counters[i][3] for i in (0, -1)] == [1.0, 2.0]
    assert time.time() - 2 < told.times[0] < told.times[-1] <= time.time()
    assert 0 <= told.counters[-1][0] - told.counters[0][0] < 1000


@pytest.mark.integration
@pytest.mark.skipif(os.geteuid() != 0, reason="makes a cgroup")
def test_a_real_cgroups_load_is_told_apart_from_the_idle_time_around_it() -> None:
    """A cgroup of this machine's kernel, in which a process works for a second of three."""
    with suppress(LabError):
        _a_load_in(hierarchy() / f"pytest-{os.getpid()}")
        return
    pytest.skip("no cgroup v2 hierarchy is mounted")


def _a_load_in(group: Path) -> None:
    def inside(*argv: str) -> Popen[bytes]:
        return Popen(["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(group / "cgroup.procs"), *argv])

    group.mkdir()
    rest = inside("sleep", "60")
    try:
        while not (group / "cgroup.procs").read_text():
            assert rest.poll() is None, "it has not entered the cgroup"
            time.sleep(0.01)
        command = watch_command([group.name], str(group.parent))
        with Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as watching:
            time.sleep(0.8)
            load = inside("timeout", "1", "sh", "-c", "while :; do :; done")
            load.wait(10)
            time.sleep(0.8)
            told, errors = watching.communicate("\n", timeout=10)
        assert (watching.returncode, errors) == (0, "")
    finally:
        rest.kill()
        rest.wait()
        group.rmdir()
    found = parse_notes("here", told, 1)
    ((start, end),) = found.busy(0)
    assert 0.7 <= end - start <= 1.3
    used, before = found.at(end)[3] - found.at(start)[3], found.at(start)[3] - found.counters[0][3]
    whole = found.counters[-1][3] - found.counters[0][3]
    assert before < 0.15 * whole, "no more than its start is before the first note"
    assert used / (end - start) > 1.5 * whole / (found.times[-1] - found.times[0])


def test_a_node_that_nobody_asks_takes_no_notes_for_ever(tmp_path: Path) -> None:
    _cgroup(tmp_path / "4f", 2, 1.0, 1)
    command = [*watch_command(["4f"], str(tmp_path))]
    command[command.index("0.1") : command.index("0.1") + 2] = ["0.01", "5"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as left:
        assert left.wait(5) == 1
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=5, check=True)
    assert done.stdout == "", "the end of its input is the end"
    gone = subprocess.run([*command[:-1], "77"], capture_output=True, text=True, timeout=5)
    assert (gone.returncode, gone.stderr) == (1, "the cgroup of 77 is not found\n")
