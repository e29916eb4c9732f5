"""Cilium's programs, by version (:mod:`cni.cilium.versions`)."""

from __future__ import annotations

from collections.abc import Collection

from cni.cilium.versions import VERSIONS, CiliumVersion
from lab.toolchain.programs.family import (
    HELM,
    CniPrograms,
    Family,
    Patch,
    Program,
    Share,
    cni_need,
)

MODULES_LIST = "/run/cni-benchmark/modules"
"""The file that our cilium-agent reads in place of ``/proc/modules``.

Kernels without module support have no ``/proc/modules`` and the agent refuses to
start there; the lab writes this file in the agent's own mount namespace.
"""
_MODULE = "github.com/cilium/cilium"
_PATCHES = {
    "modules-list": Patch(
        module=_MODULE,
        file="pkg/datapath/linux/modules/modules_linux.go",
        old='"/proc/modules"',
        new=f'"{MODULES_LIST}"',
    ),
    # The graph of an agent's parts is checked for cycles once it is whole, as in go.uber.org/fx,
    # and not after every part: 4 s of CPU less at each start.
    "deferred-cycle-check": Patch(
        module="github.com/cilium/hive",
        file="hive.go",
        old="dig.New()",
        new="dig.New(dig.DeferAcyclicVerification())",
    ),
}
"""By the names that the table of versions has for them."""


def _family(entry: CiliumVersion) -> Family:
    need = cni_need("cilium", entry.version)
    return Family(
        name="cilium",
        version=entry.version,
        folder=entry.module,
        module=_MODULE,
        tags=("osusergo", "ipam_provider_aws", "ipam_provider_operator"),
        variables=((f"{_MODULE}/pkg/version.ciliumVersion", entry.build),),
        patches=tuple(_PATCHES[name] for name in entry.patches),
        programs=(
            Program("cilium-agent", f"{_MODULE}/daemon", need),
            Program("cilium-cni", f"{_MODULE}/plugins/cilium-cni", need),
            Program("cilium-dbg", f"{_MODULE}/cilium-dbg", need),
            Program("cilium-operator", f"{_MODULE}/operator", need),
        ),
        share=Share(
            name="cilium",
            need=need,
            paths=(
                "install/kubernetes/cilium",
                "bpf",
                "pkg/k8s/apis/cilium.io/client/crds",
            ),
        ),
    )


def llvm_bin(version: str) -> str:
    """The folder of the clang that compiles a version's datapath (Debian's ``llvm-NN``)."""
    return f"/usr/lib/llvm-{VERSIONS[version].llvm}/bin"


def programs_of(versions: Collection[CiliumVersion]) -> CniPrograms:
    """What some versions are built from and compile their datapath with."""
    return CniPrograms(
        families={each.version: _family(each) for each in versions},
        packages={
            each.version: ("bpftool", "ccache", f"clang-{each.llvm}", f"llvm-{each.llvm}")
            for each in versions
        },
        needs=frozenset({HELM}),
    )


CILIUM = programs_of(VERSIONS.values())
