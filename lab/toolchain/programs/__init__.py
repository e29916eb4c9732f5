"""Which upstream programs there are, at which version, and what they are built from.

The one registry of programs: the CNIs' come from their tables of versions, all others have one
version each, which stands here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from lab.toolchain.programs.cilium import CILIUM
from lab.toolchain.programs.family import (
    ENGINE,
    HELM,
    KUBE_PROXY,
    LAB,
    VALIDATE,
    CniPrograms,
    Family,
    Need,
    Program,
    Share,
    cni_need,
)
from lab.toolchain.programs.vpc_cni import VPC_CNI

__all__ = [
    "ALL",
    "CNIS",
    "ENGINE",
    "FAMILIES",
    "HELM",
    "KUBE_PROXY",
    "LAB",
    "VALIDATE",
    "Family",
    "Need",
    "cni_need",
    "family_of",
    "needs_of_lab",
    "packages_for",
    "share_of",
]

_KUBERNETES = "1.31.4"
_KUBERNETES_BASE = "k8s.io/component-base/version"
_PULUMI_SDK = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"

CNIS: Mapping[str, CniPrograms] = {"cilium": CILIUM, "vpc-cni": VPC_CNI}
"""By the names that stacks give them."""

# The order is the order of building: longest first keeps both cores busy to the end.
FAMILIES: tuple[Family, ...] = (
    *CILIUM.families.values(),
    Family(
        name="pulumi",
        version="3.259.0",
        folder="pulumi",
        variables=((_PULUMI_SDK, "v3.259.0"),),
        programs=(Program("pulumi", "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", ENGINE),),
    ),
    Family(
        name="kubernetes",
        version=_KUBERNETES,
        folder="kubernetes",
        variables=(
            (f"{_KUBERNETES_BASE}.gitVersion", f"v{_KUBERNETES}"),
            (f"{_KUBERNETES_BASE}.gitMajor", _KUBERNETES.split(".")[0]),
            (f"{_KUBERNETES_BASE}.gitMinor", _KUBERNETES.split(".")[1]),
        ),
        programs=(
            Program("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", LAB),
            Program("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy", KUBE_PROXY),
        ),
    ),
    Family(
        name="helm",
        version="3.16.4",
        folder="addons",
        variables=(("helm.sh/helm/v3/internal/version.version", "v3.16.4"),),
        programs=(
            Program("helm", "helm.sh/helm/v3/cmd/helm", HELM),
            Program("coredns", "cni-benchmark/tools/addons/coredns", LAB, "1.11.3"),
        ),
    ),
    Family(
        name="etcd",
        version="3.5.17",
        folder="etcd",
        programs=(Program("etcd", "go.etcd.io/etcd/server/v3", LAB),),
    ),
    *VPC_CNI.families.values(),
    Family(
        name="fortio",
        version="1.65.0",
        folder="load",
        programs=(
            Program("fortio", "fortio.org/fortio", LAB),
            Program(
                "go-httpbin",
                "github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin",
                LAB,
                "2.23.1",
            ),
        ),
    ),
    Family(
        name="pulumi-language-python",
        version="3.75.0",
        folder="pulumi-language",
        module="github.com/pulumi/pulumi/sdk/v3",
        variables=((_PULUMI_SDK, "v3.75.0"),),
        programs=(
            Program(
                "pulumi-language-python",
                "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python",
                ENGINE,
            ),
        ),
        share=Share(
            name="pulumi-language-python",
            need=ENGINE,
            paths=("python/cmd", "python/dist"),
        ),
    ),
    Family(
        name="cnitool",
        version="1.3.1",
        folder="cni",
        programs=(Program("cnitool", "github.com/containernetworking/cni/cnitool", LAB),),
    ),
    Family(
        name="benchstat",
        version="0.0.0-20250813145418-2f7363a06fe1",
        folder="benchstat",
        programs=(Program("benchstat", "golang.org/x/perf/cmd/benchstat", VALIDATE),),
    ),
)

PACKAGES: Mapping[Need, tuple[str, ...]] = {
    LAB: (
        "bind9-dnsutils",
        "ca-certificates",
        "conntrack",
        "containernetworking-plugins",
        "dnsperf",
        "ethtool",
        "iperf3",
        "iproute2",
        "ipset",
        "iptables",
        "nftables",
        "procps",
        "util-linux",
    ),
    **{
        cni_need(cni, version): names
        for cni, programs in CNIS.items()
        for version, names in programs.packages.items()
    },
}
"""Debian packages by need."""
_TEST_PACKAGES = ("chromium",)
"""What only tests need, on machines that can be set up for all else."""

ALL: frozenset[Need] = frozenset(one.need for family in FAMILIES for one in family.programs)


def needs_of_lab(cni: str, version: str, *, kube_proxy: bool) -> frozenset[Need]:
    """What a lab with this CNI needs; the engine alone where the lab does not have it, since the
    preview says so before anything is built."""
    programs = CNIS.get(cni)
    if programs is None or version not in programs.families:
        return frozenset({ENGINE})
    proxy = {KUBE_PROXY} if kube_proxy else set()
    return frozenset({ENGINE, LAB, cni_need(cni, version), *programs.needs, *proxy})


def family_of(program: str, version: str | None = None) -> Family | None:
    """The family that a program is built with.

    :param version: of the family, where there are several; else the newest one is meant.
    """
    return _newest(
        family
        for family in FAMILIES
        if any(one.name == program for one in family.programs) and version in (None, family.version)
    )


def share_of(name: str, version: str | None = None) -> Family | None:
    """The family whose module holds the shared files of this name; parameters as above."""
    return _newest(
        family
        for family in FAMILIES
        if family.share is not None
        and family.share.name == name
        and version in (None, family.version)
    )


def _newest(families: Iterable[Family]) -> Family | None:
    """The last one: tables of versions have the oldest first."""
    return next(iter(reversed(list(families))), None)


def packages_for(needs: Collection[Need], *, tests: bool = False) -> list[str]:
    """The Debian packages for some needs, by name."""
    own = _TEST_PACKAGES if tests and LAB in needs else ()
    return sorted({*own, *(name for need in needs for name in PACKAGES.get(need, ()))})
