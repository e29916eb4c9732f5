"""The generator of turns in pods of a cluster: how it comes there, and how it is asked."""

from __future__ import annotations

import platform
import random
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.session import Session, SessionError, TurnClient
from bench.turns import Subject, Task, parse
from bench.turns import plan as turns_plan
from components.kubernetes import facts, manifests
from components.kubernetes.manifests import MAIN, NAMESPACE
from components.kubernetes.pods import kill_command
from components.programs import path_in_pods
from components.targets import open_session
from lab.errors import NotBuiltError
from lab.toolchain.build import Toolchain
from lab.toolchain.programs import program_of
from studies.experiments.capabilities import ExperimentPods, PodRequest
from tests.components.kubernetes.exec_replies import Exec, Output, Process, Reply, Silence
from tests.components.kubernetes.kube_api import KubeApi
from tests.components.kubernetes.kube_cluster import NODES, cluster


@pytest.fixture
def api() -> Iterator[KubeApi]:
    """The cluster of scenario E."""
    with cluster("scenario-e").serving() as served:
        yield served


@pytest.fixture
def session(api: KubeApi, tmp_path: Path) -> Session:
    return _open(api, tmp_path)


def _open(api: KubeApi, folder: Path) -> Session:
    access = {"kind": "kubeconfig", "path": str(api.kubeconfig(folder / "config"))}
    args: dict[str, Any] = {"access": access, "cni": "cilium", "kube_proxy": "none"}
    return open_session({"target": "kubeconfig", "args": args})


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bytes:
    """A toolchain that has built the generator for amd64: what it is."""
    monkeypatch.setenv("CNI_BENCHMARK_CACHE", str(tmp_path / "cache"))
    builder = Toolchain.default().builder
    made = builder.program_path(*program_of("turns-amd64"))
    made.parent.mkdir(parents=True)
    content = random.Random(1).randbytes(300_000)
    made.write_bytes(content)
    return content


def _commands(api: KubeApi, reply: Callable[[Exec], Reply | None]) -> list[Exec]:
    """Let commands reply otherwise, where it is told how; what is run from now on."""
    before, called = api.handler, []

    def handle(call: Exec) -> Reply:
        called.append(call)
        return reply(call) or before(call)

    api.handler = handle
    return called


def _here(folder: Path, call: Exec) -> Process:
    """A command of a pod, run on this machine with a folder as the pod's /tmp."""
    place = folder / call.pod
    place.mkdir(exist_ok=True)
    return Process(tuple(word.replace("/tmp", str(place)) for word in call.argv))


def _on_this_machine(api: KubeApi, folder: Path) -> list[Exec]:
    """Let the commands that bring the generator into pods run here; those that do."""
    called: list[Exec] = []

    def reply(call: Exec) -> Reply | None:
        if path_in_pods() not in call.argv:
            return None
        called.append(call)
        return _here(folder, call)

    _commands(api, reply)
    return called


def test_the_generator_is_brought_into_pods_once(
    api: KubeApi, session: Session, built: bytes, tmp_path: Path
) -> None:
    called = _on_this_machine(api, tmp_path)
    (pod,) = session.pods("iperf3-client")
    client = session.turn_client(pod)
    assert client == TurnClient(f"{api.url} {pod.name}")
    pods = [pod.name, session.pods("turns-server")[0].name]
    for name in pods:
        (file,) = (tmp_path / name).iterdir()
        assert (file.name, file.read_bytes()) == (path_in_pods()[5:], built)
        assert file.stat().st_mode & 0o777 == 0o755
    assert [(call.pod, call.argv[0]) for call in called] == [
        (name, word) for name in pods for word in ("test", "sh")
    ]
    assert session.turn_client(pod) == client
    assert len(called) == 4


def test_pods_that_have_the_generator_get_it_no_more(
    api: KubeApi, session: Session, built: bytes, tmp_path: Path
) -> None:
    called = _on_this_machine(api, tmp_path)
    (pod,) = session.pods("iperf3-client")
    session.turn_client(pod)
    del called[:]
    _open(api, tmp_path).turn_client(pod)
    assert [call.argv[0] for call in called] == ["test", "test"]


def test_a_server_is_awaited_once_it_has_the_generator(api: KubeApi, session: Session) -> None:
    (server,) = session.pods("turns-server")
    listening = facts.script("listening", "8100", "100")
    deaf = Output("", "nothing listens on port 8100", code=1)
    called = _commands(api, lambda call: deaf if call.argv == listening else None)
    with pytest.raises(SessionError, match=rf"{server.name} .*nothing listens on port 8100"):
        session.turn_client(session.pods("iperf3-client")[0])
    assert Exec(NAMESPACE, server.name, MAIN, listening) in called


def test_waiting_for_a_port_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        assert subprocess.run(facts.script("listening", port, "1"), check=False).returncode == 0
    gone = facts.script("listening", port, "2")
    done = subprocess.run(gone, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"nothing listens on port {port}\n")


def test_a_server_of_another_version_is_told(api: KubeApi, session: Session) -> None:
    (server,) = session.pods("turns-server")
    command = api.object("Pod", server.name)["spec"]["containers"][0]["command"]
    assert command[3] == path_in_pods()
    command[3] = "/tmp/turns-00000000"
    with pytest.raises(SessionError, match=r"made for another version of turns .*Fix: pulumi up$"):
        session.turn_client(session.pods("iperf3-client")[0])


@pytest.mark.parametrize(
    ("architecture", "why"),
    [
        ("arm64", r"turns-arm64 1\.0\.0 is not built yet; run `make setup`"),
        ("riscv64", "turns is not made for nodes of riscv64"),
    ],
)
def test_nodes_that_it_is_not_built_for(
    api: KubeApi, session: Session, built: bytes, tmp_path: Path, architecture: str, why: str
) -> None:
    _on_this_machine(api, tmp_path)
    (pod,) = session.pods("iperf3-client")
    api.object("Node", pod.node)["status"]["nodeInfo"]["architecture"] = architecture
    with pytest.raises(SessionError, match=why):
        session.turn_client(pod)


def test_a_pod_without_room_for_it_is_told(
    api: KubeApi, session: Session, built: bytes, tmp_path: Path
) -> None:
    full = Process(("sh", "-c", "head -c 100000 >/dev/null; echo no space left >&2; exit 1"))
    replies: dict[str, Reply] = {"test": Output(code=1), "sh": full}
    _commands(api, lambda call: replies.get(call.argv[0]))
    with pytest.raises(SessionError, match=r"turns could not be put there: no space left"):
        session.turn_client(session.pods("iperf3-client")[0])


def test_turns_get_their_plan_and_give_bytes(api: KubeApi, session: Session) -> None:
    plan = '{"subjects": []}' * 10_000
    take = Process(("sh", "-c", f"head -c {len(plan)}; printf '\\377\\000'"))
    called = _commands(api, lambda call: take)
    (pod,) = session.pods("iperf3-client")
    assert session.take_turns(pod, plan, timeout=10) == plan.encode() + b"\xff\x00"
    assert called == [Exec(NAMESPACE, pod.name, MAIN, (path_in_pods(), "run"))]


def test_turns_that_fail_or_are_torn(api: KubeApi, session: Session) -> None:
    run = (path_in_pods(), "run")
    failing = Output("", "turns run: the plan: unknown field\n", code=1)
    replies: dict[tuple[str, ...], Reply] = {run: failing}
    called = _commands(api, lambda call: replies.get(call.argv))
    (pod,) = session.pods("iperf3-client")
    with pytest.raises(SessionError, match=rf"{pod.name}: turns run: the plan: unknown field$"):
        session.take_turns(pod, "{}", timeout=5)
    replies[run], replies[kill_command(run)] = Silence(9), Output()
    with pytest.raises(SessionError, match="had not ended after 1 s"):
        session.take_turns(pod, "{}", timeout=0.6)
    assert called[-1].argv == kill_command(run)


def test_a_server_of_an_experiment_gets_it_too(
    api: KubeApi, session: Session, built: bytes, tmp_path: Path
) -> None:
    assert isinstance(session, ExperimentPods)
    called = _on_this_machine(api, tmp_path)
    serves = PodRequest("serves", "step", NODES[0], "image:1", ("turns", "serve"))
    idle = PodRequest("idle", "step", NODES[0], "image:1", ("sleep", "1"))
    with session.experiment_pods([serves, idle]):
        assert (tmp_path / "serves" / path_in_pods()[5:]).read_bytes() == built
    assert {call.pod for call in called} == {"serves"}


@pytest.mark.process
def test_the_real_one_is_brought_and_takes_turns(
    api: KubeApi, session: Session, tmp_path: Path
) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("the pods' nodes are said to be x86_64 machines")
    try:
        Toolchain.default().program("turns-amd64")
    except NotBuiltError as error:
        pytest.skip(str(error))
    (pod,), (server,) = session.pods("iperf3-client"), session.pods("turns-server")

    def reply(call: Exec) -> Reply | None:
        # Clients and servers share this machine, and so its ports.
        ours = path_in_pods() in call.argv or call.argv[2:3] == facts.script("listening")[2:3]
        return _here(tmp_path, call) if ours else None

    _commands(api, reply)
    waiting = Exec(NAMESPACE, server.name, MAIN, tuple(manifests.started(("turns", "serve"))))
    with subprocess.Popen(_here(tmp_path, waiting).argv, stdout=subprocess.DEVNULL) as serving:
        try:
            subject = Subject("0", session.turn_client(pod), "127.0.0.1:8100")
            plan = turns_plan(Task("roundtrip", 32, 8, bytes=24), [subject], seconds=0.3, seed=1)
            turns = parse(session.take_turns(pod, plan, timeout=20))
        finally:
            serving.kill()
    assert turns.errors == ("",)
    assert len(turns.took) > 10
    assert np.nanmedian(turns.took[:, turns.drop :]) < 1e6
