"""The measurement as a resource: it runs once, after the workloads, and keeps its results.

It may be put off, and results of this very session, measured elsewhere (by a matrix), may be handed
to it. What a stack shows as its results has been measured in the cluster that it has; until then it
shows none. Two variables of the environment of a Pulumi command ask for that; a plain command has
neither:

- ``CNI_BENCHMARK_MEASURE=later``: bring up without measuring. The stack has no results then, until
  they are handed over or a plain ``pulumi up`` measures.
- ``CNI_BENCHMARK_RESULTS=<file>``: take the results of this file, if they were measured in the
  stack's own session.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import DiffResult, Resource
from pydantic import BaseModel

from bench.plan import Plan
from bench.results import Results, ResultsError, from_dict
from components.dynamic import VERSION, RepeatableProvider, UserError, changed_inputs, inputs

MEASURE, LATER = "CNI_BENCHMARK_MEASURE", "later"
RESULTS = "CNI_BENCHMARK_RESULTS"


class HandoverError(Exception):
    """Results that cannot be taken; the message says why."""


class Handover(BaseModel):
    """A file of results and the digest of what is in it; an input of the benchmark as JSON."""

    path: Path
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Handover":
        """The file as it is now.

        :raises HandoverError: it cannot be read.
        """
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            return cls(path=path.absolute(), sha256=digest)
        except OSError as error:
            raise HandoverError(f"{RESULTS}: {error}") from None

    def results(self, session: str) -> Results:
        """The results in the file.

        :param session: the descriptor of the stack's session, as JSON.
        :raises HandoverError: the file has changed, holds no whole results, or they are of
            another session.
        """
        if Handover.of(self.path) != self:
            raise HandoverError(f"{self.path} has changed since")
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            measured_in, results = data["session"], from_dict(data["results"])
        except (ValueError, KeyError, TypeError, ResultsError) as error:
            raise HandoverError(f"{self.path}: no results to hand over: {error}") from None
        if measured_in != json.loads(session):
            raise HandoverError(
                f"{self.path}: measured in another session than the stack has now: the cluster "
                "has been rebuilt since"
            )
        if results.errors:
            raise HandoverError(
                f"{self.path}: no number for {'; '.join(each.text() for each in results.errors)}"
            )
        return results


def write_handover(path: Path, session: Mapping[str, Any], results: Results) -> None:
    """Write what is handed over.

    :param session: the descriptor of the session in which it was measured.
    :raises OSError: the file cannot be written.
    """
    data = {"session": dict(session), "results": results.to_dict()}
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Asked:
    """The benchmark's inputs of that name: both None for a plain command."""

    measure: str | None = None
    adopt: str | None = None

    @classmethod
    def by(cls, environment: Mapping[str, str]) -> "Asked":
        """What the environment of a Pulumi command asks of the benchmark.

        :raises HandoverError: nothing that can be done.
        """
        measure, file = environment.get(MEASURE) or None, environment.get(RESULTS) or None
        if measure not in (None, LATER):
            raise HandoverError(f"{MEASURE}={measure}: must be {LATER}, or not set")
        return cls(measure, Handover.of(Path(file)).model_dump_json() if file else None)


_INPUTS = ("session", "plan", "stack", "version")


class BenchmarkProvider(RepeatableProvider):
    """Measures on creation, and again when the plan or what is measured has changed."""

    name = "benchmark"

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        changed = set(changed_inputs(_olds, _news)).intersection(_INPUTS)
        lacking = _olds.get("results") is None and _news.get("measure") is None
        handed = _news.get("adopt") not in (None, _olds.get("adopt"))
        return DiffResult(changes=bool(changed) or lacking or handed)

    def outputs(self, props: Mapping[str, Any]) -> dict[str, Any]:
        if props.get("adopt") is not None:
            return self._adopt(props)
        if props.get("measure") == LATER:
            return {**inputs(props, _INPUTS), "results": None}
        # Probes and statistics, which a preview and a bring-up do without.
        from components.measurement import measure

        return {**inputs(props, _INPUTS), "results": _told(props, measure(props))}

    def _adopt(self, props: Mapping[str, Any]) -> dict[str, Any]:
        try:
            results = Handover.model_validate_json(props["adopt"]).results(props["session"])
        except HandoverError as error:
            raise UserError(f"the results were not taken: {error}") from None
        return {**inputs(props, (*_INPUTS, "adopt")), "results": _told(props, results)}


def _told(props: Mapping[str, Any], results: Results) -> dict[str, Any]:
    """The results, with what only the preview knows. It is no reason to measure again: the pods run
    on with what they have."""
    digests = json.loads(props.get("digests") or "{}")
    if not digests:
        return results.to_dict()
    environment = results.environment.with_facts(image_digests=digests)
    return results.model_copy(update={"environment": environment}).to_dict()


class Benchmark(Resource):
    """Runs a plan in a session.

    :param session: descriptor of the session as JSON; another one is measured again.
    :param asked: whether to measure later, or to take results that are there.
    :param digests: what the tags of the workloads' images stood for, for the results.
    :param index: where a pod that measures gets its Python packages; None for this machine, which
        has them. Another one is no reason to measure again.
    :ivar results: None as long as the measurement is put off.
    """

    results: pulumi.Output[dict[str, Any] | None]

    def __init__(
        self,
        name: str,
        session: pulumi.Input[str],
        plan: Plan,
        asked: Asked,
        digests: Mapping[str, str],
        opts: pulumi.ResourceOptions | None = None,
        *,
        index: str | None = None,
    ) -> None:
        props = {
            "session": session,
            "plan": json.dumps(plan.as_dict(), sort_keys=True),
            "stack": pulumi.get_stack(),
            "version": VERSION,
            "measure": asked.measure,
            "adopt": asked.adopt,
            "digests": json.dumps(dict(digests), sort_keys=True),
            "index": index,
            "results": None,
        }
        super().__init__(BenchmarkProvider(), name, props, opts)
