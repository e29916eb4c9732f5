"""Which upstream programs there are, at which version, and what they are built from.

A family is one Go module in ``tools/``: its programs are compiled by one
``go build``, so that what they share is loaded and compiled once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

KUBERNETES_VERSION = "1.31.4"
CILIUM_VERSION = "1.16.5"
MODULES_LIST = "/run/cni-benchmark/modules"
"""The file that our cilium-agent reads in place of ``/proc/modules``.

Kernels without module support have no ``/proc/modules`` and the agent refuses to
start there; the lab writes this file in the agent's own mount namespace.
"""


class Need(StrEnum):
    """What a stack asks for beyond the Python environment."""

    ENGINE = "engine"
    LAB = "lab"
    KUBE_PROXY = "kube-proxy"
    VPC_CNI = "vpc-cni"
    CILIUM = "cilium"
    VALIDATE = "validate"
    """No stack: ``python -m bench validate``."""
    KUBECTL = "kubectl"
    """No stack: ``python -m bench bulk``."""


@dataclass(frozen=True, slots=True)
class Program:
    """One executable."""

    name: str
    package: str
    need: Need
    version: str = ""
    """Where it is not the version of the family."""


@dataclass(frozen=True, slots=True)
class Patch:
    """One literal in one source file, replaced at build time; it must be there exactly once."""

    module: str
    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Share:
    """Files of a family's module that are used at run time."""

    name: str
    need: Need
    paths: tuple[str, ...]
    """Folders and files, in the module's own layout."""
    grpc_proto: str = ""
    """A ``.proto`` whose Python stubs are generated into ``python/``."""


@dataclass(frozen=True, slots=True)
class Family:
    """The programs that come from one module of ``tools/``."""

    name: str
    version: str
    folder: str
    programs: tuple[Program, ...]
    module: str = ""
    tags: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    """String variables set by the linker: import path and name, value."""
    patches: tuple[Patch, ...] = ()
    share: Share | None = None

    def version_of(self, program: Program) -> str:
        return program.version or self.version

    @property
    def label(self) -> str:
        """What progress and errors call it: ``cilium 1.16.5``."""
        own = [f"{program.name} {program.version}" for program in self.programs if program.version]
        return ", ".join([f"{self.name} {self.version}", *own])

    @property
    def ldflags(self) -> str:
        """The linker's flags: no symbol table, and the version that the program reports."""
        settings = [f"-X '{name}={value}'" for name, value in self.variables]
        return " ".join(["-s", "-w", *settings])


_KUBERNETES_BASE = "k8s.io/component-base/version"
_PULUMI_SDK = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"

# The order is the order of building: longest first keeps both cores busy to the end.
FAMILIES: tuple[Family, ...] = (
    Family(
        name="cilium",
        version=CILIUM_VERSION,
        folder="cilium",
        module="github.com/cilium/cilium",
        tags=("osusergo", "ipam_provider_aws", "ipam_provider_operator"),
        variables=(
            (
                "github.com/cilium/cilium/pkg/version.ciliumVersion",
                f"{CILIUM_VERSION} ad688277 2024-12-12T22:05:14+00:00",
            ),
        ),
        patches=(
            Patch(
                module="github.com/cilium/cilium",
                file="pkg/datapath/linux/modules/modules_linux.go",
                old='"/proc/modules"',
                new=f'"{MODULES_LIST}"',
            ),
            # The graph of an agent's parts is checked for cycles once it is whole, as in
            # go.uber.org/fx, and not after every part: 4 s of CPU less at each start.
            Patch(
                module="github.com/cilium/hive",
                file="hive.go",
                old="dig.New()",
                new="dig.New(dig.DeferAcyclicVerification())",
            ),
        ),
        programs=(
            Program("cilium-agent", "github.com/cilium/cilium/daemon", Need.CILIUM),
            Program("cilium-cni", "github.com/cilium/cilium/plugins/cilium-cni", Need.CILIUM),
            Program("cilium-dbg", "github.com/cilium/cilium/cilium-dbg", Need.CILIUM),
            Program("cilium-operator", "github.com/cilium/cilium/operator", Need.CILIUM),
        ),
        share=Share(
            name="cilium",
            need=Need.CILIUM,
            paths=(
                "install/kubernetes/cilium",
                "bpf",
                "pkg/k8s/apis/cilium.io/client/crds",
            ),
        ),
    ),
    Family(
        name="pulumi",
        version="3.259.0",
        folder="pulumi",
        variables=((_PULUMI_SDK, "v3.259.0"),),
        programs=(Program("pulumi", "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", Need.ENGINE),),
    ),
    Family(
        name="kubernetes",
        version=KUBERNETES_VERSION,
        folder="kubernetes",
        variables=(
            (f"{_KUBERNETES_BASE}.gitVersion", f"v{KUBERNETES_VERSION}"),
            (f"{_KUBERNETES_BASE}.gitMajor", "1"),
            (f"{_KUBERNETES_BASE}.gitMinor", "31"),
        ),
        programs=(
            Program("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", Need.LAB),
            Program("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy", Need.KUBE_PROXY),
        ),
    ),
    Family(
        name="kubectl",
        version=KUBERNETES_VERSION,
        folder="kubectl",
        variables=((f"{_KUBERNETES_BASE}.gitVersion", f"v{KUBERNETES_VERSION}"),),
        programs=(Program("kubectl", "k8s.io/kubernetes/cmd/kubectl", Need.KUBECTL),),
    ),
    Family(
        name="helm",
        version="3.16.4",
        folder="addons",
        variables=(("helm.sh/helm/v3/internal/version.version", "v3.16.4"),),
        programs=(
            Program("helm", "helm.sh/helm/v3/cmd/helm", Need.CILIUM),
            Program("coredns", "cni-benchmark/tools/addons/coredns", Need.LAB, "1.11.3"),
        ),
    ),
    Family(
        name="etcd",
        version="3.5.17",
        folder="etcd",
        programs=(Program("etcd", "go.etcd.io/etcd/server/v3", Need.LAB),),
    ),
    Family(
        name="aws-cni",
        version="1.19.2",
        folder="aws-cni",
        module="github.com/aws/amazon-vpc-cni-k8s",
        # The daemon's, and the plugin's: the daemon answers no plugin of another version.
        variables=(
            ("github.com/aws/amazon-vpc-cni-k8s/pkg/version.Version", "v1.19.2"),
            ("main.version", "v1.19.2"),
        ),
        programs=(
            Program(
                "aws-k8s-agent",
                "github.com/aws/amazon-vpc-cni-k8s/cmd/aws-k8s-agent",
                Need.VPC_CNI,
            ),
            Program(
                "aws-cni",
                "github.com/aws/amazon-vpc-cni-k8s/cmd/routed-eni-cni-plugin",
                Need.VPC_CNI,
            ),
        ),
        share=Share(
            name="aws-cni",
            need=Need.VPC_CNI,
            paths=(
                "charts/aws-vpc-cni/crds",
                "config/master/aws-k8s-cni.yaml",
                "rpc/rpc.proto",
            ),
            grpc_proto="rpc/rpc.proto",
        ),
    ),
    Family(
        name="fortio",
        version="1.65.0",
        folder="load",
        programs=(
            Program("fortio", "fortio.org/fortio", Need.LAB),
            Program(
                "go-httpbin",
                "github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin",
                Need.LAB,
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
                Need.ENGINE,
            ),
        ),
        share=Share(
            name="pulumi-language-python",
            need=Need.ENGINE,
            paths=("python/cmd", "python/dist"),
        ),
    ),
    Family(
        name="cnitool",
        version="1.3.1",
        folder="cni",
        programs=(Program("cnitool", "github.com/containernetworking/cni/cnitool", Need.LAB),),
    ),
    Family(
        name="benchstat",
        version="0.0.0-20250813145418-2f7363a06fe1",
        folder="benchstat",
        programs=(Program("benchstat", "golang.org/x/perf/cmd/benchstat", Need.VALIDATE),),
    ),
)


def family_of(program: str) -> Family | None:
    """The family that a program is built with."""
    for family in FAMILIES:
        if any(one.name == program for one in family.programs):
            return family
    return None


def share_of(name: str) -> Family | None:
    """The family whose module holds the shared files of this name."""
    for family in FAMILIES:
        if family.share is not None and family.share.name == name:
            return family
    return None
