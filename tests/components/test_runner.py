"""A benchmark in a pod: what is put there, what comes from there, and what becomes of it when the
connection, the pod or the user's patience ends."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from bench.interleave import SIDE, abba, run_benchmark
from bench.journal import Journal, RoundsHeader
from bench.plan import Plan
from bench.results import Results
from bench.session import SessionError
from components.kubernetes import manifests
from components.kubernetes.access import connect
from components.kubernetes.manifests import MAIN, NAMESPACE, RUNNER, RUNNER_LABEL
from components.runner import UnfinishedError, carried, inside, pod
from components.runner.pod import Place, Runner, identity_of
from kube import client as kube_client
from kube import exec as pod_exec
from kube.objects import KubernetesError
from lab.toolchain.build import Toolchain
from tests.bench.fakes import PLAN, FakeSession
from tests.components.kubernetes.exec_replies import Exec, FromInput, Output, Reply, Torn
from tests.components.kubernetes.kube_api import KubeApi
from tests.components.stack_config import pulumi_config, read, refusal, stack_tree

POD = "benchmark-abcde"
_IDENTITY = r"{\"identity\": \""
INDEX = "https://packages.test/simple"


def _events(folder: Path, monkeypatch: pytest.MonkeyPatch, known: bytes = b"") -> list[str]:
    """What a pod tells of a benchmark of recorded outputs, line by line."""
    session = FakeSession()
    monkeypatch.setattr(inside, "open_session", lambda descriptor: session)
    monkeypatch.setattr(
        inside,
        "run_benchmark",
        lambda *args, **named: run_benchmark(*args, **named, clock=session.time.clock()),
    )
    folder.mkdir()
    header = RoundsHeader(id="a", labels=[SIDE], order=abba([SIDE], PLAN.runs), plan={})
    journal = folder / carried.JOURNAL
    journal.write_bytes(header.model_dump_json(by_alias=True).encode() + b"\n" + known)
    events = folder / inside.EVENTS
    task = {"plan": PLAN.as_dict(), "identity": "this", "session": {}}
    inside.run(folder, task, inside.Events(events))
    return events.read_text().splitlines()


def _values(events: list[str], kind: str) -> list[Any]:
    return [each[kind] for each in map(json.loads, events) if kind in each]


def test_a_pod_tells_progress_samples_and_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = _events(tmp_path / "first", monkeypatch)
    (results,) = _values(events, "results")
    assert results["metrics"]
    samples = _values(events, "sample")
    assert any("run 1 of 3" in line for line in _values(events, "said"))

    half = samples[: len(samples) // 2]
    again = _events(tmp_path / "second", monkeypatch, "".join(f"{s}\n" for s in half).encode())
    assert len(_values(again, "sample")) == len(samples) - len(half)
    (resumed,) = _values(again, "results")
    assert f"{len(half)} samples are of an earlier part" in resumed["warnings"][-1]


def test_a_pod_tells_why_nothing_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeSession, "pods", lambda self, role: [])
    (refused,) = _values(_events(tmp_path / "pod", monkeypatch), "refused")
    assert "0 ready pods" in refused


@dataclass
class InPod:
    """The pod's side: its commands, and how far its events are.

    :ivar steps: how many events come with each look.
    :ivar torn: looks that break.
    """

    events: list[str]
    steps: int = 20
    torn: set[int] = field(default_factory=set)
    archive: bytes = b""
    commands: list[tuple[str, ...]] = field(default_factory=list)
    looks: int = 0
    refusing: str = ""

    def answer(self, call: Exec) -> Reply:
        self.commands.append(call.argv)
        assert (call.namespace, call.pod, call.container) == (NAMESPACE, POD, MAIN)
        words = " ".join(call.argv)
        if "head -c" in words:
            return FromInput(lambda came: self._unpacked(came, int(call.argv[-1])))
        if "tail -c" in words:
            return self._news(int(call.argv[-1]))
        if call.argv[:3] == ("python", "-m", "pip") and self.refusing:
            return Output(stderr=self.refusing, code=1)
        return Output()

    def _unpacked(self, came: bytes, size: int) -> Output | None:
        self.archive = came
        return Output() if len(came) >= size else None

    def _news(self, start: int) -> Reply:
        self.looks += 1
        if self.looks in self.torn:
            return Torn("half of a li")
        text = "".join(f"{line}\n" for line in self.events[: self.looks * self.steps])
        return Output(text.encode()[start - 1 :] + b'{"half of one')


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        return _events(tmp_path_factory.mktemp("events") / "pod", patch)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeApi]:
    for module in (kube_client, pod_exec):
        monkeypatch.setattr(module, "_FIRST_WAIT_SECONDS", 0.005)
    monkeypatch.setattr(pod, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(carried, "_programs", lambda toolchain: [])
    with KubeApi().serving() as server:
        namespace = {"name": NAMESPACE, "uid": "1234"}
        server.put({"apiVersion": "v1", "kind": "Namespace", "metadata": namespace})
        server.job_controller = lambda job, made: _pod(server, made=made)
        yield server


def _pod(server: KubeApi, *, made: bool, **status: Any) -> None:
    server.remove("Pod", POD, NAMESPACE)
    if made:
        labels = {RUNNER_LABEL: RUNNER}
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        server.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": POD, "namespace": NAMESPACE, "labels": labels},
                "spec": {"nodeName": "node-3", "containers": [{"name": MAIN}]},
                "status": status or ready,
            }
        )


@dataclass
class User:
    """Who has a benchmark run in a pod of a cluster."""

    api: KubeApi
    folder: Path
    plan: Plan = PLAN
    said: list[str] = field(default_factory=list)
    patience: float = 1e9
    """How many waits until the user gives up."""

    @property
    def journal(self) -> Path:
        return self.folder / "runner" / "scenario-e.jsonl"

    @cached_property
    def session(self) -> dict[str, Any]:
        """As a stack describes it."""
        kubeconfig = str(self.api.kubeconfig(self.folder / "config"))
        args = {"access": {"kind": "kubeconfig", "path": kubeconfig}, "cni": "cilium"}
        return {"target": "eks", "args": args, "boot": "1"}

    def measure(self, side: InPod) -> Results:
        self.api.handler = side.answer
        own = [
            each.replace(f"{_IDENTITY}this", f"{_IDENTITY}{identity_of(self.session)}")
            for each in side.events
        ]
        side.events[:] = own
        place = Place(image="python:test", index=INDEX)
        runner = Runner(
            self.session, self.plan, place, self.journal, self.said.append, self._stopped
        )
        return runner.measure()

    def _stopped(self, seconds: float) -> bool:
        self.patience -= 1
        return self.patience < 0

    def left(self) -> list[str]:
        """What the cluster still has of it."""
        return [each["kind"] for each in self.api.objects if each["kind"] != "Namespace"]


@pytest.fixture
def user(api: KubeApi, tmp_path: Path) -> User:
    return User(api, tmp_path)


def _files(archive: bytes) -> Mapping[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {each.name: file.read() for each in opened if (file := opened.extractfile(each))}


def test_results_come_from_a_pod_and_nothing_stays(user: User, events: list[str]) -> None:
    side = InPod([*events])
    results = user.measure(side)
    (told,) = _values(events, "results")
    assert results.to_dict()["metrics"] == told["metrics"]
    assert results.environment.runner_node == "node-3"
    assert [line for line in user.said if line in _values(events, "said")] == _values(
        events, "said"
    )
    assert not user.journal.exists()
    assert not user.left()
    installed = next(each for each in side.commands if each[:3] == ("python", "-m", "pip"))
    assert installed[installed.index("--index-url") + 1] == INDEX
    assert side.commands[-1] == ("touch", f"/work/{inside.FETCHED}")
    files = _files(side.archive)
    task = json.loads(files[carried.TASK])
    assert task["session"]["args"]["access"] == {"kind": "pod"}
    assert task["session"]["target"] == "eks"
    assert b"numpy==" in files[carried.REQUIREMENTS]
    assert {"bench/plan.py", "components/kubernetes/scripts/watch.sh"} <= files.keys()


def test_a_look_that_breaks_loses_nothing(user: User, events: list[str]) -> None:
    results = user.measure(InPod([*events], torn={1, 3}))
    assert results.metrics
    said = [line for line in user.said if line in _values(events, "said")]
    assert said == _values(events, "said")
    assert sum("is not heard" in line for line in user.said) == 2


def test_a_pod_that_dies_is_told_and_the_next_one_goes_on(user: User, events: list[str]) -> None:
    dying = InPod(events[: len(events) // 2])
    news = dying._news

    def dies(start: int) -> Reply:
        if dying.looks * dying.steps > len(dying.events):
            state = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
            statuses = [{"name": MAIN, "state": state}]
            _pod(user.api, made=True, phase="Failed", containerStatuses=statuses)
            return Output()
        return news(start)

    dying._news = dies  # type: ignore[method-assign]
    with pytest.raises(
        UnfinishedError, match=r"has died: ended with 137 \(OOMKilled\)\. Its samples"
    ):
        user.measure(dying)
    assert not user.left()
    samples = _values(dying.events, "sample")
    assert samples
    assert user.journal.read_text().splitlines()[1:] == samples

    side = InPod([*events])
    user.measure(side)
    assert f"going on with {len(samples)} samples of an earlier part" in user.said
    assert _files(side.archive)[carried.JOURNAL].decode().splitlines()[1:] == samples


def test_samples_of_another_plan_are_not_gone_on_with(user: User, events: list[str]) -> None:
    user.patience = 4
    with pytest.raises(UnfinishedError):
        user.measure(InPod([*events]))
    assert len(user.journal.read_text().splitlines()) > 1
    user.plan, user.patience = Plan.from_dict({**PLAN.as_dict(), "runs": 4}), 1e9
    side = InPod([*events])
    user.measure(side)
    assert len(_files(side.archive)[carried.JOURNAL].splitlines()) == 1


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_a_user_who_gives_up_ends_the_job(user: User, events: list[str], patience: int) -> None:
    user.patience = patience
    with pytest.raises(UnfinishedError, match="was stopped"):
        user.measure(InPod([*events]))
    assert not user.left()


def test_packages_that_are_not_to_be_had_are_told(user: User, events: list[str]) -> None:
    side = InPod([*events], refusing="ERROR: No matching distribution found for numpy")
    with pytest.raises(SessionError, match=r"`python` ended with 1: ERROR: No matching"):
        user.measure(side)
    assert not user.left()


def test_what_is_refused_in_the_pod_is_told(user: User) -> None:
    side = InPod([json.dumps({"refused": "precondition 'mtu' failed"})])
    with pytest.raises(SessionError, match="in the benchmark's pod: precondition 'mtu' failed"):
        user.measure(side)


def test_what_a_killed_command_has_left_goes_first(user: User, events: list[str]) -> None:
    user.api.put(*manifests.runner_rights("1234"))
    _pod(user.api, made=True)
    user.api.put(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": RUNNER, "namespace": NAMESPACE},
        }
    )
    assert user.measure(InPod([*events])).metrics


def test_a_pod_may_see_pods_and_run_commands_where_the_benchmark_does() -> None:
    roles = {
        each["metadata"].get("namespace", ""): each["rules"]
        for each in manifests.runner_rights("1")
        if each["kind"] in ("Role", "ClusterRole")
    }
    verbs = {verb for rules in roles.values() for rule in rules for verb in rule["verbs"]}
    assert verbs == {"get", "list", "create"}
    creates = {
        resource
        for rules in roles.values()
        for rule in rules
        if "create" in rule["verbs"]
        for resource in rule["resources"]
    }
    assert creates == {"pods/exec"}
    assert not any("pods/exec" in rule["resources"] for rule in roles[""])


def test_every_right_is_the_accounts_of_the_pod() -> None:
    account, *rights = manifests.runner_rights("1")
    name = account["metadata"]["name"]
    bound = [each for each in rights if each["kind"].endswith("Binding")]
    assert len(bound) == len(rights) / 2
    for each in bound:
        (subject,) = each["subjects"]
        assert (subject["name"], subject["namespace"]) == (name, NAMESPACE)
        assert each["roleRef"]["name"] == each["metadata"]["name"]
    job = manifests.runner_job("python", ["true"], "/work", {}, 1, "1")
    assert job["spec"]["template"]["spec"]["serviceAccountName"] == name


def test_journals_of_the_user_are_whole(tmp_path: Path, events: list[str]) -> None:
    header = RoundsHeader(id="a", labels=[SIDE], order=abba([SIDE], PLAN.runs), plan={})
    journal = Journal.begin(tmp_path / "journal", header)
    for line in _values(events, "sample"):
        journal.add(line)
    assert len(Journal.open(journal.path).entries({SIDE: "this"})) == len(_values(events, "sample"))


def test_all_that_is_carried_is_built_or_refused(tmp_path: Path) -> None:
    toolchain = Toolchain.default()
    if toolchain.missing({"pods"}):
        pytest.skip("the generator of turns is not built")
    archive = carried.packed(toolchain, {}, b"")
    programs = [name for name in _files(archive) if name.startswith(f"{carried.CACHE}/programs/")]
    assert {name.rpartition("/")[2] for name in programs} >= {"turns-amd64", "turns-arm64"}


def test_where_there_is_no_pod_there_is_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(KubernetesError, match="no service account of a pod"):
        connect({"kind": "pod"})


def test_settings_say_where_a_benchmark_runs() -> None:
    benchmark = read(changes={"target": "kubeconfig", "benchmark.runner": "pod"}).benchmark
    assert (benchmark.runner, benchmark.package_index) == ("pod", "https://pypi.org/simple")
    assert read().benchmark.runner == "machine"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"benchmark.runner": "pod"},
            "benchmark.runner: pod: the lab is on this machine, and so is what measures it. "
            "Fix: pulumi config set --path 'benchmark.runner' machine -s scenario-e",
        ),
        (
            {"target": "kubeconfig", "benchmark.packageIndex": "pypi"},
            "benchmark.packageIndex: pypi: must be a URL such as https://pypi.org/simple. "
            "Fix: pulumi config set --path 'benchmark.packageIndex' https://pypi.org/simple "
            "-s scenario-e",
        ),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], line: str) -> None:
    (refused,) = refusal(pulumi_config(stack_tree("scenario-e", changes)))
    assert refused.endswith(line)
