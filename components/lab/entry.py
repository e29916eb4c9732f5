"""The embedded lab as a target."""

from typing import Any

from bench.plan import Plan
from bench.session import Session
from components.lab.settings import SETTINGS
from components.settings import Settings
from components.target import Prepared, Target


class LabTarget(Target):
    """Network namespaces of this machine. The lab is imported where it is used only."""

    settings = SETTINGS

    def prepare(self, settings: Settings, plan: Plan) -> Prepared:
        from components.lab import target

        target.check_machine()
        return Prepared(
            target.facts(settings),
            lambda decisions, parent: target.deploy(settings, decisions, parent),
            warnings=target.cautions(settings),
        )

    def open_session(self, **args: Any) -> Session:
        from components.lab.ablation import connect

        return connect(**args)
