"""What all dynamic providers of this project share.

A dynamic provider's class is found again by its import path for as long as a stack lives, so these
classes keep their names; a change of what they do is told to the engine by :data:`VERSION`.
"""

import os
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import psutil
from google.protobuf import empty_pb2
from pulumi.dynamic import CreateResult, DiffResult, ResourceProvider, UpdateResult

from lab.machine import give_up

#: Input of every resource: raising it makes existing stacks take up a provider's new behaviour.
VERSION = 1


class UserError(Exception):
    """Shown to the user as it is, without a traceback."""


class Provider(ResourceProvider):
    """A dynamic provider whose inputs decide alone whether something has to be done again.

    ``replaced_by`` are the inputs whose change replaces the resource; another input's change
    updates it.
    """

    replaced_by: tuple[str, ...] = ()

    def configure(self, req: Any) -> None:
        _show_user_errors_plainly()
        _wait_no_more_when_cancelled()
        _end_with_the_engine()

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        changed = changed_inputs(_olds, _news)
        replaces = [name for name in changed if name in self.replaced_by]
        return DiffResult(
            changes=bool(changed), replaces=replaces, delete_before_replace=bool(replaces)
        )


class RepeatableProvider(Provider):
    """A provider whose update does the same again as its creation; ``name`` is the resource's id.

    It makes nothing that would have to be deleted.
    """

    name = ""

    def outputs(self, props: Mapping[str, Any]) -> dict[str, Any]:
        """Do the resource's work; its outputs.

        :raises UserError: it failed.
        """
        raise NotImplementedError

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(self.name, self.outputs(props))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(self.outputs(_news))


def changed_inputs(olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[str]:
    """Inputs whose new value differs from the recorded one; unknown ones (at preview) differ."""
    return [
        name
        for name, value in news.items()
        # None stands for an output, whose name an input must have for the engine to know it.
        if not name.startswith("__") and value is not None and olds.get(name) != value
    ]


def inputs(props: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The named inputs, to be recorded among a resource's outputs."""
    return {name: props[name] for name in names}


def say(line: str) -> None:
    """A line of progress; the engine shows it while the step runs."""
    print(line, flush=True)


class _PlainTraceback:
    """Stands in for the module `traceback` in the process that hosts dynamic providers."""

    def __getattr__(self, name: str) -> Any:
        return getattr(traceback, name)

    @staticmethod
    def format_exc(*args: Any, **kwargs: Any) -> str:
        error = sys.exc_info()[1]
        return str(error) if isinstance(error, UserError) else traceback.format_exc(*args, **kwargs)


def _show_user_errors_plainly() -> None:
    """The host of dynamic providers answers every error with a traceback, which hides the one line
    that the user needs (pulumi/dynamic/__main__.py, ``_abort_with_traceback``)."""
    host = sys.modules["__main__"]
    if hasattr(host, "DynamicResourceProviderServicer"):
        host.traceback = _PlainTraceback()  # type: ignore[attr-defined]


def _wait_no_more_when_cancelled() -> None:
    """Have Ctrl-C end a step that waits for the machine.

    The engine keeps signals from the host of dynamic providers. It calls ``Cancel`` there, which
    does nothing by itself; the server has bound that method already, so its code is replaced.
    """
    host = sys.modules["__main__"]
    servicer = getattr(host, "DynamicResourceProviderServicer", None)
    if servicer is not None:
        host.give_up = give_up  # type: ignore[attr-defined]
        servicer.Cancel.__code__ = _cancel.__code__


def _cancel(self: Any, request: Any, context: Any) -> Any:
    """Runs among the names of the providers' host."""
    give_up()
    return empty_pb2.Empty()


@cache
def _end_with_the_engine() -> None:
    """End this process when the engine ends.

    An engine that is killed leaves the host of its providers behind, which would go on with its
    step, beside the next `up`, and would never end.
    """
    engine = _engine()
    if engine is None:
        return

    def end() -> None:
        engine.wait()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _engine() -> psutil.Process | None:
    """The Pulumi command that has started this process, directly or by a script."""
    for parent in psutil.Process().parents():
        with suppress(psutil.NoSuchProcess):
            if parent.name() == "pulumi":
                return parent
    return None
