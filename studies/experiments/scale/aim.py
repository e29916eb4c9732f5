"""Which Service is measured: the one that is found first, and the one that is found last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.parse import ParseError
from bench.probes.base import SampleError
from bench.session import Service, SessionError
from studies.experiments.scale.dataplane import Dataplane, Run
from studies.experiments.scale.fillers import Fillers


@dataclass(slots=True)
class _Seen:
    """The order of the rules, and how many syncs the component had made then."""

    syncs: float
    order: list[str]


class Aim:
    """The Services to measure.

    Where rules are compared one after the other, these are those of the first and of the last
    rule, as the node lists them now: every sync writes them in another order, and the first that
    was created may be anywhere. Where they are looked up, they are the first and the last created.

    :param run: a command beside the component on the client's node.
    :param syncs: how many syncs that component has made so far.
    """

    def __init__(
        self,
        dataplane: Dataplane,
        run: Run,
        syncs: Callable[[], float],
        fillers: Fillers,
        oldest: Service,
        changing: Service,
    ) -> None:
        self._dataplane = dataplane
        self._run = run
        self._syncs = syncs
        self._fillers = fillers
        self._oldest = oldest
        self._changing = changing
        self._seen: _Seen | None = None

    def first(self) -> Service:
        """:raises SampleError: the rules cannot be read."""
        order = self._order()
        return self._oldest if order is None else self._at(order[0])

    def last(self) -> Service:
        """:raises SampleError: the rules cannot be read."""
        order = self._order()
        if order is not None:
            return self._at(order[-1])
        try:
            return self._fillers.last() or self._oldest
        except SessionError as error:
            raise SampleError(f"the last Service is not told: {error}") from error

    def same(self, _service: Service) -> bool:
        """Whether the rules are still those by which a Service was chosen."""
        return self._seen is None or self._syncs() == self._seen.syncs

    def _at(self, address: str) -> Service:
        return Service(address, address, self._oldest.port)

    def _order(self) -> list[str] | None:
        read = self._dataplane.order
        if read is None:
            return None
        try:
            syncs = self._syncs()
            if self._seen is None or self._seen.syncs != syncs:
                listed = read(self._run, self._oldest.port)
                order = [address for address in listed if address != self._changing.host]
                self._seen = _Seen(syncs, order)
        except (SessionError, ParseError) as error:
            raise SampleError(f"the order of the rules is not told: {error}") from error
        if not self._seen.order:
            raise SampleError("no rule leads to any of the Services")
        return self._seen.order
