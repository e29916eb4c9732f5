"""What a stack needs, read from its file before there is a YAML parser.

The check is small on purpose: it looks for words, and where it cannot tell it asks
for more than may be needed, never for less. The typed settings are read later.
"""

from __future__ import annotations

import re
from pathlib import Path

from lab.toolchain.errors import ToolchainError
from lab.toolchain.programs import Need

ALL: frozenset[Need] = frozenset(Need)
_ENGINE = frozenset({Need.ENGINE})
_LAB = _ENGINE | {Need.LAB}
CNIS: dict[str, frozenset[Need]] = {
    "vpc-cni": _LAB | {Need.VPC_CNI, Need.KUBE_PROXY},
    "cilium": _LAB | {Need.CILIUM, Need.KUBE_PROXY},
}


class UnknownStackError(ToolchainError):
    """There is no stack file of this name."""


def stacks(checkout: Path) -> list[str]:
    """The scenarios of a checkout: one per ``Pulumi.<stack>.yaml``."""
    files = checkout.glob("Pulumi.*.yaml")
    return sorted(file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in files)


def stack_file(checkout: Path, stack: str) -> Path:
    """The file of a stack; an unknown one is refused with the list of those there are."""
    known = stacks(checkout)
    if stack not in known:
        listed = ", ".join(known) or "(none)"
        told = f"unknown stack {stack!r}" if stack else "name a stack, as in STACK=scenario-e"
        raise UnknownStackError(f"{told}; the stacks are: {listed}")
    return checkout / f"Pulumi.{stack}.yaml"


def of_text(text: str) -> frozenset[Need]:
    """The needs of a stack file's text."""
    plain = re.sub(r"(^|\s)#.*", "", text)
    if re.search(r"\btarget:\s*[\"']?(eks|kubeconfig)\b", plain):
        return _ENGINE
    cni = re.search(r"\bcni:\s*[\"']?([\w-]+)", plain)
    kube_proxy = re.search(r"\bkubeProxy:\s*[\"']?none\b", plain) is None
    return needs(cni.group(1) if cni else "", kube_proxy=kube_proxy)


def needs(cni: str, *, kube_proxy: bool) -> frozenset[Need]:
    """What a lab with this CNI needs; everything where the CNI is not known."""
    found = CNIS.get(cni, ALL)
    return found if kube_proxy else found - {Need.KUBE_PROXY}


def of_stack(checkout: Path, stack: str) -> frozenset[Need]:
    return of_text(stack_file(checkout, stack).read_text())
