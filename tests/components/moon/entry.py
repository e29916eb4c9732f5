"""The moon as a target: a whole one, as docs/extending.md describes it."""

from __future__ import annotations

from typing import Any

import pulumi

from bench.plan import Plan
from bench.session import Session, SessionError
from cni.platform import known_facts
from cni.toggles import Decision
from components.settings import Settings
from components.target import Deployment, Prepared, Target, descriptor
from tests.bench.fakes import FakeSession
from tests.components.moon.settings import SETTINGS, MoonSettings


class MoonTarget(Target):
    """Facts, a deployment and a session."""

    settings = SETTINGS

    def prepare(self, settings: Settings, plan: Plan) -> Prepared:
        station = settings.section(MoonSettings)
        facts = known_facts("m6i.xlarge")
        assert facts is not None

        def deploy(decisions: tuple[Decision, ...], parent: pulumi.Resource) -> Deployment:
            pulumi.ComponentResource(
                "moon:index:Station", "station", {"nodes": station.nodes},
                pulumi.ResourceOptions(parent=parent),
            )  # fmt: skip
            applied = {each.toggle: {"applied": each.applied} for each in decisions}
            return Deployment(
                session=pulumi.Output.from_input(
                    descriptor(SETTINGS.name, {"crater": station.crater}, "landing 1")
                ),
                toggles=pulumi.Output.from_input(applied),
            )

        existing = {"nodes": station.nodes, "clean_up": "pulumi destroy"}
        return Prepared(facts, deploy, existing, warnings=("it is cold there",))

    def open_session(self, **args: Any) -> Session:
        if args["crater"] != "Tycho":
            raise SessionError(f"there is nobody in {args['crater']}")
        return FakeSession()
