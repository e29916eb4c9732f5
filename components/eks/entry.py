"""A cluster of its own on EKS as a target."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from bench.plan import Plan
from bench.session import Session
from cni.platform import al2023_kernel
from components.eks.settings import SETTINGS, EksSettings
from components.settings import Settings
from components.target import Prepared, Target
from report.lifetime import overdue


class EksTarget(Target):
    """EKS. The packages of AWS are imported where they are used only: they take seconds."""

    settings = SETTINGS

    def prepare(self, settings: Settings, plan: Plan) -> Prepared:
        import pulumi

        from components.eks import preflight

        # Seconds of CPU, while the preflight waits for AWS.
        with ThreadPoolExecutor(max_workers=1) as pool:
            loading = pool.submit(_load)
            checked = preflight.check(settings, plan)
        loading.result()
        from components.eks import target

        existing, stack = target.existing(settings, checked), pulumi.get_stack()
        pulumi.log.info(
            f"EKS: {checked.cost.summary()}. {target.bandwidth(settings, checked)} "
            "If an up stops midway, what it has made stays and "
            f"costs up to that per hour: pulumi up -s {stack} goes on, {existing['clean_up']} "
            "removes it all."
        )
        # Nothing to the reader of results, so no warning of theirs.
        if warning := overdue(stack, existing, datetime.now(UTC)):
            pulumi.log.warn(warning)
        # EC2 does not know what will boot; the version decides, and EKS's image for it.
        kernel = al2023_kernel(settings.section(EksSettings).version)
        return Prepared(
            replace(checked.facts, kernel=kernel),
            lambda decisions, parent: target.deploy(settings, checked, decisions, parent),
            existing,
            checked.warnings,
            checked.digests,
        )

    def standing(self, settings: Settings, stack: str) -> Iterable[str]:
        from components.eks import inventory

        return inventory.report(settings.section(EksSettings), stack, datetime.now(UTC))

    def open_session(self, **args: Any) -> Session:
        from components.kubernetes.session import connect

        return connect(**args)


def _load() -> None:
    """Import what a deployment needs: parts of pulumi_aws wait for the first use of a name."""
    import pulumi_aws as aws

    from components.eks import target

    parts: tuple[ModuleType, ...] = (target, aws.ec2, aws.eks, aws.iam)
    for module in parts:
        getattr(module, "__all__", None)
