"""Kubernetes objects of an experiment's own, many at once, over any client of the API server.

The API server answers one creation in one to a few milliseconds, most of which it waits for etcd,
so one connection leaves it idle: requests go out on :data:`CONNECTIONS` at a time.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol
from urllib.parse import quote

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt
from tenacity.wait import wait_exponential_jitter

from bench.experiments.capabilities import Manifest, Progress
from bench.session import SessionError
from bench.text import tail

CONNECTIONS = 16
_AHEAD = 4 * CONNECTIONS
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


class Send(Protocol):
    """One request to the API server: its status (0 where it does not answer) and its text."""

    def __call__(
        self, method: str, path: str, body: bytes | None, content_type: str
    ) -> tuple[int, bytes]: ...


class Objects:
    """:class:`bench.experiments.capabilities.ObjectStore`.

    :param send: may be called from :data:`CONNECTIONS` threads at once.
    :param namespace: where objects are made, changed and deleted.
    """

    def __init__(self, send: Send, namespace: str) -> None:
        self._send = send
        self._namespace = namespace

    def create(self, manifests: Sequence[Manifest], say: Progress) -> None:
        def one(manifest: Manifest) -> None:
            self._ask("POST", self._folder(manifest) + _UNCHECKED, manifest, fine=_CONFLICT)

        _each(one, manifests, "created", say)

    def delete(self, manifests: Sequence[Manifest], say: Progress) -> None:
        def one(manifest: Manifest) -> None:
            self._ask("DELETE", self._path(manifest), fine=_NOT_FOUND)

        _each(one, manifests, "deleted", say)

    def merge(self, manifest: Manifest) -> None:
        self._ask("PATCH", self._path(manifest), manifest, content_type=_MERGE)

    def list(self, api_version: str, kind: str, selector: str) -> list[Manifest]:
        path = f"{_group(api_version)}/{_plural(kind)}"
        query = f"?labelSelector={quote(selector)}" if selector else ""
        return list(json.loads(self._ask("GET", path + query))["items"])

    def _folder(self, manifest: Manifest) -> str:
        group = _group(manifest["apiVersion"])
        return f"{group}/namespaces/{self._namespace}/{_plural(manifest['kind'])}"

    def _path(self, manifest: Manifest) -> str:
        return f"{self._folder(manifest)}/{manifest['metadata']['name']}"

    def _ask(
        self,
        method: str,
        path: str,
        body: Manifest | None = None,
        *,
        content_type: str = _JSON,
        fine: int | None = None,
    ) -> bytes:
        """The answer's text, asked again where the server says "not now".

        :param fine: a status besides success that is as good.
        """

        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        status, answer = self._send(method, path, data, content_type)
        if status in _PASSING:
            status, answer = self._again(method, path, data, content_type)
        if status != fine and not 200 <= status < 300:
            raise SessionError(f"{method} {path}: {status or 'no answer'}: {_words(answer)}")
        return answer

    def _again(
        self, method: str, path: str, data: bytes | None, content_type: str
    ) -> tuple[int, bytes]:
        """The first answer that is not "not now", or the last one of several."""

        def last(state: RetryCallState) -> tuple[int, bytes]:
            assert state.outcome is not None
            answer: tuple[int, bytes] = state.outcome.result()
            return answer

        retrying = Retrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential_jitter(multiplier=_WAIT_SECONDS, max=5, jitter=_WAIT_SECONDS),
            retry=retry_if_result(lambda answer: answer[0] in _PASSING),
            retry_error_callback=last,
        )
        return retrying(self._send, method, path, data, content_type)


def _each(
    action: Callable[[Manifest], None],
    manifests: Sequence[Manifest],
    verb: str,
    say: Progress,
) -> None:
    """Do it with all, :data:`CONNECTIONS` at a time; the first failure, or an interruption, ends
    it once what is under way is done."""
    start = said = time.monotonic()
    done = 0
    waiting: deque[Future[None]] = deque()

    def finish() -> None:
        nonlocal said, done
        waiting.popleft().result()
        done += 1
        if time.monotonic() - said > _SAY_SECONDS:
            said = time.monotonic()
            say(f"{done:,} of {len(manifests):,} objects {verb}, {said - start:.0f} s")

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        try:
            for one in manifests:
                waiting.append(pool.submit(action, one))
                if len(waiting) == _AHEAD:
                    finish()
            while waiting:
                finish()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


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
