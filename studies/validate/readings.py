"""Single readings: taken by a probe, told by round, and from sessions that change or remember
requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from bench.interleave import Step, Watch
from bench.plan import Plan
from bench.probes import build_probes
from bench.probes.base import Bench, Probe, Reading
from bench.results import MetricResult, Results
from bench.sampling import sample
from bench.session import CommandResult, Pod, Session
from bench.stats import summarise


class MissingSampleError(Exception):
    """A probe gave no number, so nothing can be said of it."""


def probe_named(name: str, plan: Plan) -> Probe:
    """The probe of a plan by its name (``tcp``, ``udp``, ``http_1000`` …).

    :raises KeyError: the plan has none of that name.
    """
    return {probe.name: probe for probe in build_probes(plan)}[name]


def take(probe: Probe, bench: Bench, plan: Plan) -> Reading:
    """One reading.

    :raises MissingSampleError: none, after as many attempts as the plan allows.
    """
    outcome = sample(probe, bench, attempts=plan.attempts)
    if outcome.reading is None:
        raise MissingSampleError(f"{probe.name}: {outcome.failures[-1]}")
    return outcome.reading


def by_round(say: Callable[[str], None]) -> Watch:
    """A line for every round that begins."""
    told = 0

    def watch(step: Step) -> None:
        nonlocal told
        if step.round > told:
            told = step.round
            say(f"round {step.round} of at most {step.rounds}")

    return watch


def with_samples(results: Results, samples: dict[str, list[float]]) -> Results:
    """The same results with other samples, renumbered as runs 1 …; metrics without any are gone."""
    metrics = {
        name: _with(results.metrics[name], values) for name, values in samples.items() if values
    }
    return results.model_copy(update={"metrics": metrics})


def _with(metric: MetricResult, samples: list[float]) -> MetricResult:
    summary = summarise(samples)
    return metric.model_copy(
        update={
            "samples": samples,
            "median": summary.median,
            "ci": (summary.low, summary.high),
            "ci_level": summary.level,
            "n": summary.n,
            "missing": [],
            "rounds": [],
            "bring_ups": [],
            "slices": [],
            "notes": [],
        }
    )


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
