"""Whether this machine can run the lab: checked at preview, before anything is started."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
import yaml

from cni.values import unknown_values
from lab.toolchain import Toolchain, doctor
from lab.toolchain.errors import ToolchainError


def check_machine() -> None:
    """:raises pulumi.RunError: with all that is missing, in one message."""
    problems = doctor.missing(doctor.gather())
    if problems:
        raise pulumi.RunError(doctor.message(problems))
    try:
        Toolchain.default().program("kube-apiserver")
    except ToolchainError as error:
        raise pulumi.RunError(str(error)) from None


def check_values(values: Mapping[str, object]) -> None:
    """The chart takes any key and ignores what it does not know: a misspelt one must not pass.

    :raises pulumi.RunError: naming the keys that the chart does not have.
    """
    try:
        chart = Toolchain.default().share("cilium") / "install/kubernetes/cilium"
    except ToolchainError as error:
        raise pulumi.RunError(str(error)) from None
    unknown = unknown_values(values, yaml.safe_load((chart / "values.yaml").read_text()))
    if unknown:
        file = f"Pulumi.{pulumi.get_stack()}.yaml"
        raise pulumi.RunError("\n".join(f"{file}: scenario.values: {line}" for line in unknown))
