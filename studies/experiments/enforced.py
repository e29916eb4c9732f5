"""How long a policy takes from the API's write to the first request that it admits or refuses.

One client asks the target for a new connection all the while, a hundred times a second. The
policy that admits it is created, then deleted; the request log tells when its connections began to
be answered and when they ceased to be. So every sample also proves that what is denied is denied:
before the policy, and after it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.metrics import MICROSECONDS, Metric
from bench.parse import ParseError
from bench.probes.base import Bench, Invocation, Reading, SampleError
from bench.probes.fortio import request_log
from bench.session import CommandResult, SessionError
from bench.targets import Targets
from bench.text import latency
from studies.experiments import timeline
from studies.experiments.policies import TARGET_PORT

GROUP = "Policy enforcement"
ADMIT = Metric(
    "policy_admit", MICROSECONDS, "lower", GROUP,
    "from the creation of a policy, asked of the API server, to the answer to the first connection "
    "that it allows",
)  # fmt: skip
REFUSE = Metric(
    "policy_refuse", MICROSECONDS, "lower", GROUP,
    "from the deletion of that policy, asked of the API server, to the first connection that is "
    "denied again",
)  # fmt: skip

PATIENCE_MS = 20
"""So long without an answer is a denial."""
RATE, CONNECTIONS = 100, 4
"""Connections/s, by so many in turn that a denied one does not keep the next from being tried:
their distance of 10 ms is the resolution of both times."""
_LEAD_SECONDS = 1.0
_US_PER_SECOND = 1e6


@dataclass(frozen=True, slots=True)
class EnforcedProbe:
    """The probe; ``admit`` creates the policy and ``refuse`` deletes it.

    :param address: of the target.
    :param window: seconds that either change is waited for.
    """

    address: str
    admit: Callable[[], None]
    refuse: Callable[[], None]
    window: float = 2.0
    name: str = "enforced"
    metrics: tuple[Metric, ...] = (ADMIT, REFUSE)

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return _LEAD_SECONDS + 2 * self.window

    def invocation(self, targets: Targets) -> Invocation:
        """See :class:`bench.probes.base.Probe`."""
        return Invocation(
            "fortio-client",
            (
                "fortio", "load", "-quiet", "-json", "-", "-access-log-file", "/dev/stdout",
                "-keepalive=false", "-allow-initial-errors", "-nocatchup",
                "-timeout", f"{PATIENCE_MS}ms",
                "-c", str(CONNECTIONS), "-uniform", "-qps", str(RATE),
                "-t", f"{self.seconds:g}s", f"http://{self.address}:{TARGET_PORT}/",
            ),
        )  # fmt: skip

    def measure(self, bench: Bench) -> Reading:
        """See :class:`bench.probes.base.Probe`."""
        clock = bench.clock
        with ThreadPoolExecutor(1) as pool:
            load = pool.submit(bench.run, self.invocation(bench.targets), self.seconds)
            clock.sleep(_LEAD_SECONDS)
            created = _change(bench, self.admit)
            clock.sleep(max(0.0, self.window - (_now(bench) - created) / _US_PER_SECOND))
            deleted = _change(bench, self.refuse)
            result = load.result()
        return read(result, created, deleted, self.window * _US_PER_SECOND)

    def summary(self, reading: Reading) -> str:
        """See :class:`bench.probes.base.Probe`."""
        shown = {metric.name: reading.values.get(metric.name) for metric in self.metrics}
        return ", ".join(
            f"{name.removeprefix('policy_')} {'-' if value is None else latency(value)}"
            for name, value in shown.items()
        )


def read(result: CommandResult, created: float, deleted: float, window: float) -> Reading:
    """The reading of a run in which the policy came and went at these times, all in µs.

    :raises SampleError: what should be denied was answered before the policy was there, or the run
        does not tell.
    """
    try:
        requests = sorted(request_log(result.stdout), key=lambda each: each.sent)
    except ParseError as error:
        raise SampleError(str(error)) from error
    if not timeline.only(requests, 0.0, created, good=False):
        raise SampleError("before its policy was there the target was not denied, or not asked")
    found = {
        ADMIT.name: timeline.admitted(requests, created, deleted),
        REFUSE.name: timeline.refused(requests, deleted, deleted + window),
    }
    values = {name: value for name, value in found.items() if value is not None}
    late = f"nothing of it was seen within {window / _US_PER_SECOND:g} s"
    if not values:
        raise SampleError(late)
    return Reading(values=values, missing=dict.fromkeys(found.keys() - values.keys(), late))


def _change(bench: Bench, change: Callable[[], None]) -> float:
    """Make a change; when that was begun."""
    begun = _now(bench)
    try:
        change()
    except SessionError as error:
        raise SampleError(str(error)) from error
    return begun


def _now(bench: Bench) -> float:
    return bench.clock.now().timestamp() * _US_PER_SECOND
