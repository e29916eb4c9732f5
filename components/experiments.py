"""Experiments as resources, one each: they run after the benchmark and keep what they found."""

import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, Resource

from bench.session import SessionError
from components.dynamic import VERSION, RepeatableProvider, UserError, inputs, say
from components.targets import open_session
from studies.experiments.definition import EXPERIMENTS, Extent

_INPUTS = ("session", "name", "extent", "allow", "stack", "version")


class ExperimentProvider(RepeatableProvider):
    """Runs on creation, and again when its extent or what is measured has changed."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(f"experiment-{props['name']}", self.outputs(props))

    def outputs(self, props: Mapping[str, Any]) -> dict[str, Any]:
        # Statistics, which the program itself does without.
        from bench.checks import PreconditionError
        from studies.experiments.run import run_experiment

        name = props["name"]
        extent = json.loads(props["extent"])
        try:
            session = open_session(json.loads(props["session"]))
            with closing(session):
                record = run_experiment(
                    EXPERIMENTS[name],
                    session,
                    Extent(tuple(extent["points"]), extent["rounds"], extent["seconds"]),
                    command=f"pulumi up -s {props['stack']} --replace '**::experiment-{name}'",
                    allow=json.loads(props["allow"]),
                    progress=lambda line: say(f"{name}: {line}"),
                )
        except (PreconditionError, SessionError) as error:
            raise UserError(f"the experiment {name} failed: {error}") from None
        # As text: the engine makes every number a float and drops what is None.
        return {**inputs(props, _INPUTS), "found": record.to_json()}


class RunExperiment(Resource):
    """Runs an experiment in a session.

    :param session: descriptor of the session as JSON; in another one it is run again.
    """

    found: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        session: pulumi.Input[str],
        extent: Extent,
        allow: tuple[str, ...],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "session": session,
            "name": name,
            "extent": json.dumps(extent.as_dict(), sort_keys=True),
            "allow": json.dumps(list(allow)),
            "stack": pulumi.get_stack(),
            "version": VERSION,
            "found": None,
        }
        super().__init__(ExperimentProvider(), f"experiment-{name}", props, opts)


def run_experiments(
    wanted: Mapping[str, Extent],
    session: pulumi.Output[str],
    allow: tuple[str, ...],
    after: pulumi.Resource,
    parent: pulumi.Resource,
) -> pulumi.Output[Mapping[str, Any]]:
    """One experiment after the other, so that none disturbs another; what they found, by name.

    :param after: what must be over before the first begins.
    """
    records: dict[str, pulumi.Output[Any]] = {}
    for name, extent in wanted.items():
        opts = pulumi.ResourceOptions(parent=parent, depends_on=[after])
        made = RunExperiment(name, session, extent, allow, opts)
        records[name] = made.found.apply(json.loads)
        after = made
    return pulumi.Output.all(**records)
