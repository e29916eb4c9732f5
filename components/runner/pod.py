"""A benchmark in a pod, from its user's machine: put there, watched, and fetched from there.

Whatever happens to the connection, the pod goes on: its events are read by their place in a file,
so that nothing is lost or read twice. Samples are journalled on the user's machine as they come; a
benchmark that was stopped, or whose pod has died, goes on with them.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.interleave import SIDE, BenchmarkError, abba, time_bound
from bench.journal import Journal, JournalError, RoundsHeader
from bench.plan import Plan
from bench.probes import build_probes
from bench.results import Results, from_dict
from bench.session import SessionError
from components.kubernetes import access, manifests
from components.kubernetes.access import PodAccess
from components.kubernetes.facts import script
from components.kubernetes.gate import why_not_ready
from components.kubernetes.manifests import MAIN, NAMESPACE, RUNNER, RUNNER_LABEL
from components.runner import UnfinishedError, carried
from components.runner.inside import EVENTS, FETCHED
from kube import exec as pod_exec
from kube.exec import Container
from kube.objects import (
    JOB,
    POD,
    ApiError,
    Json,
    Kind,
    KubernetesError,
    NotStartedError,
    TornError,
    condition,
    is_ready,
)
from kube.objects import (
    NAMESPACE as NAMESPACES,
)
from kube.wait import Waiter
from lab.errors import ToolchainError
from lab.toolchain.build import Toolchain

_FOLDER = "/work"
_GO = "go"
_COMING_SECONDS = 600.0
_INSTALLING_SECONDS = 900.0
_PUT_SECONDS = 300.0
_SECONDS = 30.0
_POLL_SECONDS = 2.0
_AWAY_SECONDS = 300.0
_AROUND_SECONDS = 1_800
"""What a Job may take beside its plan's bound, of an API server that is near."""
_GONE_SECONDS = 60.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How a pod is to measure.

    :param image: a Python's, with its digest where that is known.
    :param index: of Python packages.
    """

    image: str
    index: str


def identity_of(session: Mapping[str, Any]) -> str:
    """What samples of a session are of; another one after every bring-up."""
    return hashlib.sha256(json.dumps(session, sort_keys=True).encode()).hexdigest()


class Runner:
    """The pod that measures what a session's descriptor names.

    :param session: of a cluster that is reached by a Kubernetes API.
    :param file: the journal of samples, on this machine; it need not be there.
    :param stopped: waits for so many seconds, and says whether the user has given up meanwhile.
    """

    def __init__(
        self,
        session: Mapping[str, Any],
        plan: Plan,
        place: Place,
        file: Path,
        say: Say,
        stopped: Callable[[float], bool],
    ) -> None:
        self._api = access.connect(session["args"]["access"])
        self._plan = plan
        self._place = place
        self._say = say
        self._stopped = stopped
        self._identity = identity_of(session)
        inside = {**session["args"], "access": json.loads(access.to_json(PodAccess()))}
        self._task = {
            "session": {**session, "args": inside},
            "plan": plan.as_dict(),
            "identity": self._identity,
        }
        self._journal = self._opened(file)
        self._offset = 1
        self._node = ""

    def _opened(self, file: Path) -> Journal:
        """The journal to go on with; an empty one where it is of another cluster or plan."""
        plan = self._plan.as_dict()
        fixed = json.dumps([self._identity, plan], sort_keys=True).encode()
        header = RoundsHeader(
            id=hashlib.sha256(fixed).hexdigest(),
            labels=[SIDE],
            order=abba([SIDE], self._plan.runs),
            plan=plan,
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(JournalError, FileNotFoundError):
            journal = Journal.open(file)
            if journal.header.id == header.id:
                known = len(journal.entries({SIDE: self._identity}))
                if known:
                    self._say(f"going on with {known} samples of an earlier part")
                return journal
        return Journal.begin(file, header)

    def measure(self) -> Results:
        """Have it measured; the Job and its rights are gone then.

        :raises BenchmarkError: a metric has no sample.
        :raises UnfinishedError: the pod has died, or the user has given up.
        :raises SessionError: nothing was measured.
        """
        try:
            self._end()
            with self._job():
                self._prepare()
                results = self._watched()
        except KubernetesError as error:
            raise SessionError(str(error)) from error
        except ToolchainError as error:
            raise SessionError(str(error)) from None
        self._journal.path.unlink(missing_ok=True)
        told = results.environment.with_facts(runner_node=self._node)
        results = results.model_copy(update={"environment": told})
        if results.errors:
            raise BenchmarkError(results)
        return results

    # -- the Job ----------------------------------------------------------------------------------

    @cached_property
    def _owner(self) -> str:
        return str(self._api.get(NAMESPACES, NAMESPACE)["metadata"]["uid"])

    @contextmanager
    def _job(self) -> Iterator[None]:
        variables = {
            "HOME": _FOLDER,
            "PYTHONUNBUFFERED": "1",
            "CNI_BENCHMARK_CACHE": f"{_FOLDER}/{carried.CACHE}",
        }
        # Where packages are depends on the image's Python.
        wait = f'until [ -e {_GO} ]; do sleep 0.5; done; . ./{_GO}; exec "$@"'
        command = ["sh", "-c", wait, "sh", "python", "-m", "components.runner.inside", _FOLDER]
        bound = time_bound(self._plan, build_probes(self._plan))
        job = manifests.runner_job(
            self._place.image,
            command,
            _FOLDER,
            variables,
            round(bound + _INSTALLING_SECONDS + _AROUND_SECONDS),
            self._owner,
        )
        try:
            for each in (*manifests.runner_rights(self._owner), job):
                self._api.create(each)
            yield
        finally:
            self._end()

    def _end(self) -> None:
        """Remove the Job and its rights, and wait until its pod is gone."""
        for kind, name, namespace in self._objects():
            background = [("propagationPolicy", "Background")]
            with suppress(ApiError):  # it was not there
                self._api.delete(kind, name, namespace, background)

        def left() -> str | None:
            there = self._pods()
            return f"{len(there)} still there" if there else None

        quiet = Waiter(lambda line: None, 0.5)
        quiet.until("the benchmark's pod to end", left, timeout=_GONE_SECONDS)

    def _objects(self) -> Iterator[tuple[Kind, str, str]]:
        yield JOB, RUNNER, NAMESPACE
        for each in reversed(manifests.runner_rights("")):
            metadata = each["metadata"]
            yield Kind.of(each), metadata["name"], metadata.get("namespace", "")

    def _pods(self) -> list[Json]:
        return self._api.items(POD, NAMESPACE, labels=f"{RUNNER_LABEL}={RUNNER}")

    # -- before it goes ---------------------------------------------------------------------------

    def _prepare(self) -> None:
        self._awaited()
        archive = carried.packed(Toolchain.default(), self._task, self._journal.path.read_bytes())
        pod = self._pods()[0]
        self._node = str(pod["spec"]["nodeName"])
        self._say(f"the benchmark's pod is {_name(pod)} on {self._node}")
        self._run(script("unpack", _FOLDER, str(len(archive))), _PUT_SECONDS, archive)
        self._say(f"installing {carried.REQUIREMENTS} there from {self._place.index}")
        self._run(
            (
                *("python", "-m", "pip", "install", "--quiet", "--no-input", "--no-cache-dir"),
                *("--disable-pip-version-check", "--no-compile", "--prefix", f"{_FOLDER}/python"),
                *("--index-url", self._place.index, "-r", f"{_FOLDER}/{carried.REQUIREMENTS}"),
            ),
            _INSTALLING_SECONDS,
        )
        # The main process starts in the folder and finds modules there and among these.
        found = (
            "import sys; print('export PYTHONPATH=%s/python/lib/python%d.%d/site-packages'"
            " % (sys.argv[1], *sys.version_info[:2]))"
        )
        go = 'python -c "$1" "$2" >"$2/$3.new" && mv "$2/$3.new" "$2/$3"'
        self._run(("sh", "-c", go, "sh", found, _FOLDER, _GO), _SECONDS)

    def _awaited(self) -> None:
        def missing() -> str | None:
            if self._stopped(0):
                raise _stopped()
            there = self._pods()
            if not there:
                return "there is none"
            return None if is_ready(there[0]) else _why(there[0])

        Waiter(self._say, _POLL_SECONDS, sleep=lambda seconds: self._wait(seconds)).until(
            "the benchmark's pod",
            missing,
            timeout=_COMING_SECONDS,
            evidence=lambda: why_not_ready(self._api, NAMESPACE, f"{RUNNER_LABEL}={RUNNER}"),
        )

    def _wait(self, seconds: float) -> None:
        if self._stopped(seconds):
            raise _stopped()

    def _run(self, argv: tuple[str, ...], timeout: float, stdin: bytes = b"") -> None:
        done = pod_exec.run(self._api, self._container, argv, timeout=timeout, stdin=stdin)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-500:]
            raise KubernetesError(
                f"{self._container}: `{argv[0]}` ended with {done.returncode}: {said}"
            )

    @cached_property
    def _container(self) -> Container:
        return Container(NAMESPACE, _name(self._pods()[0]), MAIN)

    # -- while it goes ----------------------------------------------------------------------------

    def _watched(self) -> Results:
        heard = time.monotonic()
        while True:
            try:
                news = self._news()
                heard = time.monotonic()
            except (NotStartedError, TornError, ApiError) as error:
                self._refuse_dead()
                if time.monotonic() - heard > _AWAY_SECONDS:
                    raise
                self._say(f"the benchmark's pod is not heard: {error}")
                news = []
            for event in news:
                if (results := self._taken(event)) is not None:
                    self._run(("touch", f"{_FOLDER}/{FETCHED}"), _SECONDS)
                    return results
            self._wait(_POLL_SECONDS)

    def _news(self) -> list[Mapping[str, Any]]:
        """Whole events since the last ones."""
        asked = script("news", _FOLDER, EVENTS, str(self._offset))
        done = pod_exec.run(self._api, self._container, asked, timeout=_SECONDS)
        if done.returncode:
            raise TornError(f"{self._container}: {done.stderr.strip()[-200:]}")
        whole = done.output[: done.output.rfind(b"\n") + 1]
        self._offset += len(whole)
        if not whole:
            self._refuse_dead()
        return [json.loads(line) for line in whole.splitlines()]

    def _taken(self, event: Mapping[str, Any]) -> Results | None:
        ((kind, value),) = event.items()
        match kind:
            case "said":
                self._say(value)
            case "sample":
                self._journal.add(value)
            case "refused":
                raise SessionError(f"in the benchmark's pod: {value}")
            case "results" | "failed":
                return from_dict(value)
        return None

    def _refuse_dead(self) -> None:
        """:raises UnfinishedError: the pod is gone, or has ended before its results were there."""
        name = self._container.pod
        pod = self._api.find(POD, name, NAMESPACE)
        if pod is not None and pod["status"].get("phase") == "Running" and is_ready(pod):
            return
        why = "is gone" if pod is None else _why(pod)
        raise UnfinishedError(f"the benchmark's pod {name} has died: {why}")


def _stopped() -> UnfinishedError:
    return UnfinishedError("the benchmark was stopped")


def _name(pod: Json) -> str:
    return str(pod["metadata"]["name"])


def _why(pod: Json) -> str:
    """What a pod that does not run says, in a few words."""
    status = pod["status"]
    for each in status.get("containerStatuses", ()):
        state = each.get("state", {})
        if ended := state.get("terminated"):
            return f"ended with {ended['exitCode']} ({ended.get('reason', 'no reason')})"
        if waiting := state.get("waiting"):
            return f"{waiting.get('reason')}: {waiting.get('message', '')}".rstrip(": ")
    scheduled = condition(pod, "PodScheduled")
    return str(scheduled.get("message") or status.get("reason") or status.get("phase"))
