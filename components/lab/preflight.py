"""Whether this machine can run the lab: checked at preview, before anything is started."""

from __future__ import annotations

import pulumi

from cni.scenario import Scenario
from cni.settings import Values
from lab.toolchain import doctor
from lab.toolchain.build import Toolchain
from lab.toolchain.programs import ENGINE, needs_of_lab, packages_for


def check_machine() -> None:
    """:raises pulumi.RunError: with all that is missing, in one message."""
    problems = doctor.missing(doctor.gather())
    if problems:
        raise pulumi.RunError(doctor.message(problems))


def check_programs(scenario: Scenario) -> None:
    """Whether all that a scenario's lab starts is there, its CNI's own programs included.

    :raises pulumi.RunError: naming what is missing, and the command that makes it.
    """
    needs = needs_of_lab(
        scenario.cni, scenario.cni_version, kube_proxy=scenario.kube_proxy != "none"
    )
    needs -= {ENGINE}  # it runs already
    lacking = Toolchain.default().missing(needs)
    if doctor.is_debian():
        lacking += doctor.missing_packages(packages_for(needs))
    if lacking:
        raise pulumi.RunError(
            f"not set up for this stack yet: {', '.join(lacking)}. "
            f"Fix: make setup STACK={pulumi.get_stack()}"
        )


def check_values(scenario: Scenario, values: Values) -> None:
    """An installer may ignore what it does not know: a misspelt value must not pass.

    :raises pulumi.RunError: naming the values that the CNI's installer does not have.
    """
    unknown = scenario.dataplane.unknown_values(scenario.cni_version, values)
    if unknown:
        file = f"Pulumi.{pulumi.get_stack()}.yaml"
        raise pulumi.RunError("\n".join(f"{file}: scenario.values: {line}" for line in unknown))
