"""An existing cluster as a target."""

from typing import Any

from bench.plan import Plan
from bench.session import Session
from components.kubeconfig.settings import SETTINGS
from components.settings import Settings
from components.target import Prepared, Target


class KubeconfigTarget(Target):
    """A cluster that a kubeconfig reaches. Its clients are imported where they are used only."""

    settings = SETTINGS

    def prepare(self, settings: Settings, plan: Plan) -> Prepared:
        from components.kubeconfig import target

        cluster = target.check(settings)
        return Prepared(
            target.facts(settings, cluster),
            lambda decisions, parent: target.deploy(settings, cluster, decisions, parent),
            warnings=cluster.warnings,
        )

    def open_session(self, **args: Any) -> Session:
        from components.kubernetes.session import connect

        return connect(**args)
