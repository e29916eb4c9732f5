"""The measurement as a resource: it runs once, after the workloads, and keeps its results.

It may be put off, and results of this very session may be handed to it (:mod:`.handover`). What a
stack shows as its results has been measured in the cluster that it has; until then it shows none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from bench.checks import PreconditionError
from bench.plan import Plan
from bench.runner import BenchmarkError, run_benchmark
from bench.session import SessionError
from components.dynamic import VERSION, Provider, UserError, changed_inputs, inputs
from components.handover import LATER, Asked, Handover, HandoverError
from components.state import failed_results, history
from components.targets import open_session
from report.history.store import keep_result

_INPUTS = ("session", "plan", "stack", "version")


class BenchmarkProvider(Provider):
    """Measures on creation, and again when the plan or what is measured has changed."""

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        changed = set(changed_inputs(_olds, _news)).intersection(_INPUTS)
        lacking = _olds.get("results") is None and _news.get("measure") is None
        handed = _news.get("adopt") not in (None, _olds.get("adopt"))
        return DiffResult(changes=bool(changed) or lacking or handed)

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("benchmark", self._made(props))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(self._made(_news))

    def _made(self, props: Mapping[str, Any]) -> dict[str, Any]:
        if props.get("adopt") is not None:
            return self._adopt(props)
        if props.get("measure") == LATER:
            return {**inputs(props, _INPUTS), "results": None}
        return self._measure(props)

    def _adopt(self, props: Mapping[str, Any]) -> dict[str, Any]:
        try:
            results = Handover.from_json(props["adopt"]).results(props["session"])
        except HandoverError as error:
            raise UserError(f"the results were not taken: {error}") from None
        return {**inputs(props, (*_INPUTS, "adopt")), "results": results.to_dict()}

    def _measure(self, props: Mapping[str, Any]) -> dict[str, Any]:
        plan = Plan.from_dict(json.loads(props["plan"]))
        try:
            session = open_session(json.loads(props["session"]))
            with closing(session):
                results = run_benchmark(session, plan, progress=_say)
        except BenchmarkError as error:
            kept = failed_results(props["stack"])
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(error.results.to_json())
            raise UserError(
                f"the benchmark failed: {error}\nWhat was measured is in {kept}; see it by: "
                f"python -m bench show --file {kept}"
            ) from None
        except (PreconditionError, SessionError) as error:
            raise UserError(f"nothing was measured: {error}") from None
        failed_results(props["stack"]).unlink(missing_ok=True)
        keep_result(history(), "up", props["stack"], results, _say)
        return {**inputs(props, _INPUTS), "results": results.to_dict()}


class Benchmark(Resource):
    """Runs a plan in a session.

    :param session: descriptor of the session as JSON; another one is measured again.
    :param asked: whether to measure later, or to take results that are there.
    :ivar results: None as long as the measurement is put off.
    """

    results: pulumi.Output[dict[str, Any] | None]

    def __init__(
        self,
        name: str,
        session: pulumi.Input[str],
        plan: Plan,
        asked: Asked,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "session": session,
            "plan": json.dumps(plan.as_dict(), sort_keys=True),
            "stack": pulumi.get_stack(),
            "version": VERSION,
            "measure": asked.measure,
            "adopt": asked.adopt,
            "results": None,
        }
        super().__init__(BenchmarkProvider(), name, props, opts)


def _say(line: str) -> None:
    print(line, flush=True)
