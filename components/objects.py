"""Kubernetes objects of an experiment's own, many at once.

The API server answers one creation in one to a few milliseconds, most of which it waits for etcd,
so one connection leaves it idle: requests go out on many at a time (:mod:`components.wire`).
"""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_result, stop_after_attempt
from tenacity.wait import wait_exponential_jitter

from bench.session import SessionError
from bench.text import tail
from components.wire import CONNECTIONS, Send
from studies.experiments.capabilities import Manifest, Progress

_SAY_SECONDS = 2.0
_ATTEMPTS = 6
_WAIT_SECONDS = 0.2
_CONFLICT, _NOT_FOUND = 409, 404
# The manifests are our own: looking for unknown fields makes the server decode each once more.
_UNCHECKED = "?fieldValidation=Ignore"
# Answers that say "not now"; 0 is none at all, 401 that of a token that has just run out. A
# repeated creation is told by its name's conflict.
_PASSING = frozenset({0, 401, 429, 500, 502, 503, 504})
_MERGE = "application/merge-patch+json"
_JSON = "application/json"


Answer = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class _Request:
    """One request; ``fine`` is a status besides success that is as good."""

    method: str
    path: str
    body: bytes | None = None
    content_type: str = _JSON
    fine: int | None = None


class Objects:
    """:class:`studies.experiments.capabilities.ObjectStore`.

    :param send: makes one request over a connection that is kept.
    :param connect: opens connections for many (:meth:`components.wire.Wire.open`).
    :param namespace: where objects are made, changed and deleted.
    """

    def __init__(
        self,
        send: Callable[[str, str, bytes | None, str], Answer],
        connect: Callable[[], AbstractAsyncContextManager[Send]],
        namespace: str,
    ) -> None:
        self._send = send
        self._connect = connect
        self._namespace = namespace

    def create(self, manifests: Sequence[Manifest], say: Progress) -> None:
        def request(manifest: Manifest) -> _Request:
            path = self._folder(manifest) + _UNCHECKED
            return _Request("POST", path, _encoded(manifest), fine=_CONFLICT)

        self._each(request, manifests, "created", say)

    def delete(self, manifests: Sequence[Manifest], say: Progress) -> None:
        def request(manifest: Manifest) -> _Request:
            return _Request("DELETE", self._path(manifest), fine=_NOT_FOUND)

        self._each(request, manifests, "deleted", say)

    def _each(
        self,
        request: Callable[[Manifest], _Request],
        manifests: Sequence[Manifest],
        verb: str,
        say: Progress,
    ) -> None:
        """Do it with all, many at a time; the first failure, or an interruption, ends it."""
        if manifests:
            try:
                asyncio.run(self._all(request, manifests, verb, say))
            except BaseExceptionGroup as failures:
                raise failures.exceptions[0] from None

    async def _all(
        self,
        request: Callable[[Manifest], _Request],
        manifests: Sequence[Manifest],
        verb: str,
        say: Progress,
    ) -> None:
        left = iter(manifests)
        start = said = time.monotonic()
        done = 0

        async def work(send: Send) -> None:
            nonlocal done, said
            for manifest in left:
                await _asked(send, request(manifest))
                done += 1
                if time.monotonic() - said > _SAY_SECONDS:
                    said = time.monotonic()
                    say(f"{done:,} of {len(manifests):,} objects {verb}, {said - start:.0f} s")

        async with self._connect() as send, asyncio.TaskGroup() as group:
            for _ in range(min(CONNECTIONS, len(manifests))):
                group.create_task(work(send))

    def merge(self, manifest: Manifest) -> None:
        self._ask(_Request("PATCH", self._path(manifest), _encoded(manifest), _MERGE))

    def list(self, api_version: str, kind: str, selector: str) -> list[Manifest]:
        path = f"{_group(api_version)}/{_plural(kind)}"
        query = f"?labelSelector={quote(selector)}" if selector else ""
        return list(json.loads(self._ask(_Request("GET", path + query)))["items"])

    def _folder(self, manifest: Manifest) -> str:
        group = _group(manifest["apiVersion"])
        return f"{group}/namespaces/{self._namespace}/{_plural(manifest['kind'])}"

    def _path(self, manifest: Manifest) -> str:
        return f"{self._folder(manifest)}/{manifest['metadata']['name']}"

    def _ask(self, request: _Request) -> bytes:
        words = (request.method, request.path, request.body, request.content_type)
        answer: Answer = Retrying(**_PATIENCE)(self._send, *words)
        return _checked(request, answer)


class KeepsObjects(ABC):
    """A session's :class:`studies.experiments.capabilities.ObjectStore`, by its target's API."""

    @property
    @abstractmethod
    def _objects(self) -> Objects:
        """Made once, when it is first wanted."""

    def create_objects(self, wanted: Sequence[Manifest], say: Progress, /) -> None:
        self._objects.create(wanted, say)

    def delete_objects(self, unwanted: Sequence[Manifest], say: Progress, /) -> None:
        self._objects.delete(unwanted, say)

    def merge_object(self, manifest: Manifest) -> None:
        self._objects.merge(manifest)

    def list_objects(self, api_version: str, kind: str, selector: str = "") -> list[Manifest]:
        return self._objects.list(api_version, kind, selector)


async def _asked(send: Send, request: _Request) -> bytes:
    words = (request.method, request.path, request.body, request.content_type)
    answer = await send(*words)
    if answer[0] in _PASSING:
        answer = await AsyncRetrying(**_PATIENCE)(send, *words)
    return _checked(request, answer)


def _checked(request: _Request, answer: Answer) -> bytes:
    status, text = answer
    if status != request.fine and not 200 <= status < 300:
        said = f"{status or 'no answer'}: {_words(text)}"
        raise SessionError(f"{request.method} {request.path}: {said}")
    return text


def _last(state: RetryCallState) -> Answer:
    assert state.outcome is not None
    answer: Answer = state.outcome.result()
    return answer


# Asked again where the server says "not now"; what it says at last is the answer.
_PATIENCE: dict[str, Any] = {
    "stop": stop_after_attempt(_ATTEMPTS),
    "wait": wait_exponential_jitter(multiplier=_WAIT_SECONDS, max=5, jitter=_WAIT_SECONDS),
    "retry": retry_if_result(lambda answer: answer[0] in _PASSING),
    "retry_error_callback": _last,
}


def _encoded(manifest: Manifest) -> bytes:
    return json.dumps(manifest, separators=(",", ":")).encode()


def _group(api_version: str) -> str:
    return f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"


def _words(answer: bytes) -> str:
    """What a Status object says, or the answer as it is."""
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(answer)["message"])
    return tail(answer.decode(errors="replace"))


def _plural(kind: str) -> str:
    """As the API server names the kinds that are used here (Service, NetworkPolicy …)."""
    word = kind.lower()
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
