"""Sessions around a session: one that sends HTTP requests elsewhere, one that remembers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from bench.session import CommandResult, Pod, Session

_Run = Callable[..., CommandResult]


class _Around:
    """All of a session but for :meth:`run`."""

    def __init__(self, inner: Session, run: _Run) -> None:
        self._inner = inner
        self.run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def at_path(session: Session, path: str, other: str) -> Session:
    """A session whose HTTP requests to ``path`` go to another path.

    :raises ValueError: from ``run``, where a command does not ask for ``path``.
    """

    def run(pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        changed = [word.replace(path, other) for word in argv]
        if changed == list(argv):
            raise ValueError(f"no request to {path} in `{' '.join(argv)}`")
        return session.run(pod, changed, timeout=timeout)

    return cast("Session", _Around(session, run))


class Recorder:
    """Remembers what the commands of a session gave."""

    def __init__(self, inner: Session) -> None:
        self._inner = inner
        self._last: dict[tuple[str, ...], CommandResult] = {}
        self.session = cast("Session", _Around(inner, self._run))

    def _run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        result = self._inner.run(pod, argv, timeout=timeout)
        self._last[tuple(argv)] = result
        return result

    def last(self, argv: Sequence[str]) -> CommandResult:
        """The latest result of a command; a probe may run others around its own.

        :raises ValueError: it was not run.
        """
        try:
            return self._last[tuple(argv)]
        except KeyError:
            raise ValueError(f"not run: {' '.join(argv)}") from None
