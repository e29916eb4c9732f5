"""Stacks of this project through Pulumi's Automation API, for a matrix (:mod:`studies.matrix`).

The same engine, backend, stack files and program as by hand: the API runs ``pulumi`` as it is found
on PATH, so the toolchain's launcher keeps tracked files clean here too.
"""

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import psutil
from pulumi import automation
from pulumi.automation import events
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from bench.results import Results
from bench.text import tail
from components.benchmark import LATER, MEASURE, RESULTS, write_handover
from components.lab import beside, rollout
from lab.toolchain.killed import has_ended
from report.lifetime import overdue
from studies.matrix.run import Progress, StackFailedError, StackState

PROJECT = Path(__file__).parents[1]
_ROOT = "pulumi:pulumi:Stack"
_LOCK_WAIT_SECONDS = 120.0
_LOCK_POLL_SECONDS = 3.0
_ENGINES = ("update failed", "preview failed", "an unhandled error occurred")
_HOLDER = re.compile(r"created by \S+@(\S+) \(pid (\d+)\)")

T = TypeVar("T")
Watch = Callable[[events.EngineEvent], None]


class NoPulumiError(Exception):
    """There is no Pulumi that can be used; the message says what to do."""


class PulumiStacks:
    """:class:`studies.matrix.run.Stacks` of this checkout.

    :raises NoPulumiError: there is no ``pulumi`` on PATH, or it is too old.
    """

    def __init__(self, project: Path = PROJECT) -> None:
        self._project = project
        try:
            self._command = automation.PulumiCommand()
        except (OSError, subprocess.CalledProcessError):
            raise NoPulumiError('pulumi is not on PATH: try eval "$(make -s env)" first') from None
        except automation.InvalidVersionError as error:
            raise NoPulumiError(str(error)) from None
        try:
            self._selected = self._workspace().stack()
        except automation.CommandError as error:
            raise NoPulumiError(f"pulumi does not work here: {_words(error)}") from None

    def state(self, stack: str) -> StackState:
        """See :class:`studies.matrix.run.Stacks`."""
        with _one_line_failures():
            try:
                exported = self._workspace().export_stack(stack)
            except automation.StackNotFoundError:
                return StackState(exists=False)
        return read_state(stack, exported.deployment or {})

    def up(self, stack: str, say: Progress) -> StackState:
        """See :class:`studies.matrix.run.Stacks`."""
        self._operate(stack, _up, say, {MEASURE: LATER})
        return self.state(stack)

    def renew(self, stack: str, session: Mapping[str, Any] | None, say: Progress) -> StackState:
        """See :class:`studies.matrix.run.Stacks`. A lab needs no engine for that, which would take
        more CPU time than the lab."""
        if session is not None and beside.is_up(session):
            try:
                made = beside.renew(stack, session, say)
            except rollout.FAILURES as error:
                raise StackFailedError(str(error)) from error
            return StackState(True, made)
        self.destroy(stack, say)
        return self.up(stack, say)

    def hand_over(
        self, stack: str, session: Mapping[str, Any], results: Results, say: Progress
    ) -> None:
        """See :class:`studies.matrix.run.Stacks`."""
        with TemporaryDirectory(prefix="cni-benchmark-") as folder:
            file = Path(folder) / f"{stack}.json"
            write_handover(file, session, results)
            asked = {RESULTS: str(file)}
            changes = self._operate(stack, _preview, say, asked).change_summary
            if not _results_only(changes):
                raise StackFailedError(
                    "its file or the program has changed since its up, so more than its results "
                    f"would change. Fix: pulumi up -s {stack} takes the change, and measures"
                )
            self._operate(stack, _up, say, asked)

    def destroy(self, stack: str, say: Progress) -> None:
        """See :class:`studies.matrix.run.Stacks`."""
        self._operate(stack, _destroy, say, {})

    def interrupt(self) -> None:
        """See :class:`studies.matrix.run.Stacks`: as Ctrl-C does, where only we got it."""
        for child in _children("pulumi"):
            with suppress(psutil.NoSuchProcess):
                child.send_signal(signal.SIGINT)

    def close(self) -> None:
        """See :class:`studies.matrix.run.Stacks`: the API selects the stack that it works on."""
        if self._selected is not None:
            with _one_line_failures():
                self._workspace().select_stack(self._selected.name)

    def _workspace(self, environment: Mapping[str, str] | None = None) -> automation.LocalWorkspace:
        return automation.LocalWorkspace(
            work_dir=str(self._project),
            pulumi_command=self._command,
            env_vars=dict(environment or {}),
        )

    def _select(self, stack: str, workspace: automation.LocalWorkspace) -> automation.Stack:
        """The stack of a file, made if it is new."""
        try:
            return automation.Stack.select(stack, workspace)
        except automation.StackNotFoundError:
            # In a scratch project, whose file of the stack takes the salt of its passphrase.
            with TemporaryDirectory(prefix="cni-benchmark-") as scratch:
                name = workspace.project_settings().name
                Path(scratch, "Pulumi.yaml").write_text(f"name: {name}\nruntime: python\n")
                automation.LocalWorkspace(
                    work_dir=scratch, pulumi_command=self._command
                ).create_stack(stack)
            return automation.Stack.select(stack, workspace)

    def _operate(
        self,
        stack: str,
        operation: Callable[[automation.Stack, Watch], T],
        say: Progress,
        environment: Mapping[str, str],
    ) -> T:
        """Run an operation once nobody else is at work on the stack, and say how it goes."""
        watch = _Watch(say)
        with _one_line_failures(watch):
            selected = self._select(stack, self._workspace(environment))
            waiting = Retrying(
                retry=retry_if_exception_type(automation.ConcurrentUpdateError),
                stop=stop_after_delay(_LOCK_WAIT_SECONDS),
                wait=wait_fixed(_LOCK_POLL_SECONDS),
                before_sleep=lambda state: _unlock(selected, state, say),
                reraise=True,
            )
            return waiting(operation, selected, watch)


def _results_only(changes: automation.OpMap) -> bool:
    """At most one resource would be updated, which then is the benchmark, and nothing else done."""
    counts = {automation.OpType(op).value: count for op, count in changes.items() if count}
    return counts.keys() <= {"same", "update"} and counts.get("update", 0) <= 1


def _preview(stack: automation.Stack, watch: Watch) -> automation.PreviewResult:
    return stack.preview(on_event=watch, color="never")


# With secrets in what they return, both would have Pulumi write its passphrase's salt into the
# stack's tracked file.
def _up(stack: automation.Stack, watch: Watch) -> automation.UpResult:
    return stack.up(on_event=watch, color="never", suppress_outputs=True, show_secrets=False)


def _destroy(stack: automation.Stack, watch: Watch) -> automation.DestroyResult:
    return stack.destroy(on_event=watch, color="never", show_secrets=False)


class _Watch:
    """Tells what the engine does, step by step, and remembers its errors."""

    def __init__(self, say: Progress) -> None:
        self._say = say
        self.errors: list[str] = []

    def __call__(self, event: events.EngineEvent) -> None:
        diagnostic = event.diagnostic_event
        if diagnostic is None:
            return
        text = re.sub(r"<\{%.*?%\}>", "", diagnostic.message).strip()  # without marks of colour
        if diagnostic.severity == "error":
            self.errors.append(text)
        elif diagnostic.severity.startswith("info") and text:
            self._say(text.splitlines()[-1])


@contextmanager
def _one_line_failures(watch: _Watch | None = None) -> Iterator[None]:
    """Failed commands as one message: the first error of our own steps, or what Pulumi says."""
    try:
        yield
    except automation.CommandError as error:
        errors = [text for text in (watch.errors if watch else []) if text]
        ours = [text for text in errors if not text.startswith(_ENGINES)]
        first = (ours or errors or [_words(error)])[0]
        lines = [line.strip() for line in first.splitlines() if line.strip()]
        raise StackFailedError("; ".join(lines)) from None


def _words(error: automation.CommandError) -> str:
    """What Pulumi calls the error, or else the end of all that it said."""
    match = re.search(r"error: (.+)", str(error))
    return match[1] if match else tail(str(error))


def _unlock(stack: automation.Stack, state: RetryCallState, say: Progress) -> None:
    """Free a stack whose lock is held by a process of this machine that has ended."""
    error = state.outcome.exception() if state.outcome else None
    holders = _HOLDER.findall(str(error))
    say("waiting: another update of this stack is under way")
    if holders and all(has_ended(host, int(pid)) for host, pid in holders):
        say("freeing the lock of an update that was killed")
        stack.cancel()


def _children(command: str) -> list[psutil.Process]:
    """This process's own children that run a command."""
    children = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if child.name() == command:
                children.append(child)
    return children


def read_state(stack: str, deployment: Mapping[str, Any]) -> StackState:
    """A stack's state from its exported deployment."""
    resources = deployment.get("resources") or []
    root: Mapping[str, Any] = next((each for each in resources if each["type"] == _ROOT), {})
    benchmark = next((each for each in resources if each["urn"].endswith("::benchmark")), None)
    session = (benchmark or {}).get("outputs", {}).get("session")
    told = root.get("outputs", {})
    return StackState(
        exists=any(each["type"] != _ROOT for each in resources),
        session=json.loads(session) if session else None,
        toggles=told.get("toggles"),
        overdue=overdue(stack, told.get("cluster"), datetime.now(UTC)),
    )
