"""Where a base and its variants run: the seam between the ablation and the targets.

A stage knows which variants there are, why others cannot be, and has a session for each that can.
The lab's (:mod:`components.lab.ablation`) brings a cluster up for each; anywhere else a variant is
a stack that is up already, named by its session's descriptor (:class:`Described`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from bench.session import Opener, Pod, Service, Session

Progress = Callable[[str], None]

_NO = "no-"


@dataclass(frozen=True, slots=True)
class Trial:
    """One toggle tried by itself.

    ``sign`` says whether the variant has the toggle (``+``) or the base does (``-``). ``along`` are
    toggles that change with it. ``reason`` is why it cannot be tried, None where it can. ``notes``
    are what else a reader should know. ``outside``: measured from outside the nodes, through a
    NodePort.
    """

    toggle: str
    sign: Literal["+", "-"]
    along: tuple[str, ...] = ()
    reason: str | None = None
    notes: tuple[str, ...] = ()
    outside: bool = False

    def label(self, base: str) -> str:
        """What it is called: ``D + hostRouting (with bpfMasquerade)``."""
        along = f" (with {', '.join(self.along)})" if self.along else ""
        return f"{base} {self.sign} {self.toggle}{along}"


class StageError(Exception):
    """A base or a variant could not be brought up, or is not what it should be."""


class Stage(Protocol):
    """A base and its variants. Both run at the same time; trials come one after the other."""

    @property
    def base_name(self) -> str:
        """What the base is called: D."""
        ...

    def trials(self) -> Sequence[Trial]:
        """All toggles, in order."""
        ...

    def base(self, say: Progress) -> AbstractContextManager[Session]:
        """The base, for the length of the block.

        :raises StageError: it does not come up.
        """
        ...

    def variant(self, trial: Trial, say: Progress) -> AbstractContextManager[Session]:
        """The variant of a trial without a ``reason``, for the length of the block.

        :raises StageError: it does not come up, or its toggle is not verified.
        """
        ...


@runtime_checkable
class Outside(Protocol):
    """A session that has a client outside the cluster, on the nodes' own network."""

    def outside(self) -> tuple[Pod, Service]:
        """The client, and httpbin as it reaches it: a node without a pod of it, and the NodePort.

        :raises SessionError: either cannot be had.
        """
        ...


@dataclass(frozen=True, slots=True)
class Described:
    """A base and variants that are up already, each with the descriptor of its session.

    :param variants: by toggle; ``no-`` before it says that the base has it and the variant has not.
    :param open_session: what opens a session by its descriptor.
    """

    name: str
    descriptor: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]]
    open_session: Opener

    @property
    def base_name(self) -> str:
        return self.name

    def trials(self) -> Sequence[Trial]:
        return [
            Trial(each.removeprefix(_NO), "-" if each.startswith(_NO) else "+")
            for each in self.variants
        ]

    @contextmanager
    def base(self, say: Progress) -> Iterator[Session]:
        with closing(self.open_session(self.descriptor)) as session:
            yield session

    @contextmanager
    def variant(self, trial: Trial, say: Progress) -> Iterator[Session]:
        key = f"{_NO}{trial.toggle}" if trial.sign == "-" else trial.toggle
        with closing(self.open_session(self.variants[key])) as session:
            yield session
