"""The one registry of upstream programs: ``tools/programs.toml`` as typed objects.

Programs of a CNI and of Kubernetes are there once for each version in their table
(``cni/<folder>/versions.py``, ``cni/kubernetes.py``); all others have one version each.
"""

import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import field
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from cni import kubernetes
from cni.cilium import versions as cilium
from cni.cilium.versions import VERSIONS as CILIUM
from cni.kubernetes import VERSIONS as KUBERNETES
from cni.vpc_cni import versions as vpc_cni
from cni.vpc_cni.versions import VERSIONS as VPC_CNI
from lab.errors import UnknownProgramError
from lab.toolchain.cache import CHECKOUT

Need = str
"""What a stack asks for beyond the Python environment; those of a version are :func:`need_of`."""

ENGINE: Final = "engine"
LAB: Final = "lab"
KUBE_PROXY: Final = "kube-proxy"
HELM: Final = "helm"
PODS: Final = "pods"
"""A stack outside the lab: what is copied into its pods."""
VALIDATE: Final = "validate"
"""No stack: ``python -m bench validate``."""
PROVIDER: Final = "provider"
"""No stack: tests with Kubernetes's controllers or real provider, which take minutes to build."""

SERVER: Final = "kubernetes"
"""The table of Kubernetes, and the need of its API server."""

VERSIONS: Mapping[str, Mapping[str, Any]] = {
    "cilium": CILIUM,
    "vpc-cni": VPC_CNI,
    SERVER: KUBERNETES,
}
"""The tables of versions, oldest first: a CNI's by the name that stacks give it. An entry names its
``version``, its folder of ``tools/`` (``module``) and, where it has some, the ``patches`` that its
build needs."""

_DEFAULTS = {
    "cilium": cilium.DEFAULT,
    "vpc-cni": vpc_cni.DEFAULT,
    SERVER: KUBERNETES[kubernetes.DEFAULT].version,
}

_STRICT = ConfigDict(extra="forbid")


def need_of(name: str, version: str) -> Need:
    """What a lab with this version of a CNI, of Kubernetes or of kube-proxy needs of its own."""
    return f"{name} {version}"


@dataclass(frozen=True, slots=True, config=_STRICT)
class Program:
    """One executable.

    :param version: where it is not the version of the family.
    """

    name: str
    package: str
    need: Need
    version: str = ""


@dataclass(frozen=True, slots=True, config=_STRICT)
class Patch:
    """One literal in one source file, replaced at build time; it must be there exactly once."""

    module: str
    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, config=_STRICT)
class Share:
    """Files of a family's module that are used at run time.

    :param paths: folders and files, in the module's own layout.
    :param grpc_proto: a ``.proto`` whose Python stubs are generated into ``python/``.
    """

    name: str
    need: Need
    paths: tuple[str, ...]
    grpc_proto: str = ""


@dataclass(frozen=True, slots=True, config=_STRICT)
class Family:
    """The programs that come from one Go module of ``tools/``.

    :param folder: of the module, below ``tools/``.
    :param variables: strings that the linker sets: value by import path and name.
    :param architecture: of the Linux machines that it is for (``GOARCH``), if not of this one.
    :param table: of :data:`VERSIONS`, whose entry this family is made from.
    :param packages: Debian packages that its programs need to run.
    :param needs: what a lab with this CNI needs besides.
    """

    name: str
    version: str
    folder: str
    programs: tuple[Program, ...]
    module: str = ""
    architecture: str = ""
    tags: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    patches: tuple[Patch, ...] = ()
    share: Share | None = None
    table: str = ""
    packages: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()

    def version_of(self, program: Program) -> str:
        return program.version or self.version

    @property
    def label(self) -> str:
        """What progress and errors call it: ``cilium 1.16.5``."""
        own = [f"{program.name} {program.version}" for program in self.programs if program.version]
        return ", ".join([f"{self.name} {self.version}", *own])

    @property
    def tag_flags(self) -> list[str]:
        return ["-tags", ",".join(self.tags)] if self.tags else []

    @property
    def ldflags(self) -> str:
        """The linker's flags: no symbol table, and the version that the program reports."""
        settings = [f"-X '{name}={value}'" for name, value in self.variables.items()]
        return " ".join(["-s", "-w", *settings])


_FAMILY = TypeAdapter(Family)
_REGISTRY = tomllib.loads((CHECKOUT / "tools" / "programs.toml").read_text(encoding="utf-8"))


def read_families(versions: Mapping[str, Mapping[str, Any]]) -> tuple[Family, ...]:
    """All families, those with a table once for each of its versions.

    :param versions: as :data:`VERSIONS`.
    :raises pydantic.ValidationError: ``tools/programs.toml`` has an unknown or a missing key.
    """
    families: list[Family] = []
    for template in _REGISTRY["families"]:
        if "table" in template:
            entries = versions[template["table"]].values()
            families += (_family_of_version(template, entry) for entry in entries)
        else:
            families.append(_family(template))
    return tuple(families)


def _family_of_version(template: Mapping[str, Any], entry: Any) -> Family:
    need = {"need": need_of(template["table"], entry.version)}
    patches = [template["patches"][name] for name in getattr(entry, "patches", ())]
    family = {
        **template,
        "version": entry.version,
        "folder": entry.module,
        "programs": [need | program for program in template["programs"]],
        "patches": patches,
    }
    if "share" in template:
        family["share"] = need | template["share"]
    return _family(family, entry=entry)


def _family(template: Mapping[str, Any], **names: Any) -> Family:
    version = template["version"]
    major, minor, *_ = version.split(".")
    names |= {"version": version, "major": major, "minor": minor}
    return _FAMILY.validate_python(_filled(template, names))


def _filled(value: Any, names: Mapping[str, Any]) -> Any:
    """A value of the registry with the names in its texts replaced by what they stand for."""
    if isinstance(value, str):
        return value.format_map(names)
    if isinstance(value, dict):
        return {key: _filled(each, names) for key, each in value.items()}
    return [_filled(each, names) for each in value]


FAMILIES = read_families(VERSIONS)
"""In the order of building."""

ALL: frozenset[Need] = frozenset(one.need for family in FAMILIES for one in family.programs)
USUAL: frozenset[Need] = frozenset(
    one.need
    for family in FAMILIES
    if family.version == _DEFAULTS.get(family.table, family.version)
    for one in family.programs
) - {PROVIDER}
"""All but the versions that are no default, and what only `make test-all` wants."""
OF_VERSIONS: frozenset[Need] = frozenset(
    one.need for family in FAMILIES if family.table for one in family.programs
)
"""Those of all versions in tables."""


def families_of(table: str) -> dict[str, Family]:
    """The families of a table by version; empty where there is no such table."""
    return {family.version: family for family in FAMILIES if table and family.table == table}


def needs_of_lab(cni: str, version: str, kubernetes: str, *, kube_proxy: bool) -> frozenset[Need]:
    """What a lab with this CNI needs; the engine alone where the lab does not have it, since the
    preview says so before anything is built.

    :param kubernetes: its minor version.
    """
    family, server = families_of(cni).get(version), KUBERNETES.get(kubernetes)
    if family is None or server is None:
        return frozenset({ENGINE})
    own = {need_of(cni, version), need_of(SERVER, server.version)}
    proxy = {need_of(KUBE_PROXY, server.version)} if kube_proxy else set()
    return frozenset({ENGINE, LAB, *own, *family.needs, *proxy})


def program_of(name: str, version: str | None = None) -> tuple[Family, Program]:
    """A program and its family.

    :param version: of the family, where there are several; else the newest one is meant.
    :raises UnknownProgramError: there is no such program.
    """
    # Tables of versions have the oldest first.
    for family in reversed(FAMILIES):
        for program in family.programs:
            if program.name == name and version in (None, family.version):
                return family, program
    known = ", ".join(sorted({p.name for f in FAMILIES for p in f.programs}))
    wanted = name if version is None else f"{name} {version}"
    raise UnknownProgramError(f"no program {wanted!r} in the toolchain; it has: {known}")


def share_of(name: str, version: str | None = None) -> tuple[Family, Share]:
    """Shared files and the family whose module holds them; parameters and errors as above."""
    for family in reversed(FAMILIES):
        share = family.share
        if share is not None and share.name == name and version in (None, family.version):
            return family, share
    known = ", ".join(sorted({f.share.name for f in FAMILIES if f.share}))
    raise UnknownProgramError(f"no shared files {name!r}; there are: {known}")


def packages_for(needs: Collection[Need], *, tests: bool = False) -> list[str]:
    """The Debian packages for some needs, by name.

    :param tests: with what only tests need, on machines that can be set up for all else.
    """
    names = {name for need in needs for name in _REGISTRY["packages"].get(need, ())}
    names.update(
        name
        for family in FAMILIES
        if any(program.need in needs for program in family.programs)
        for name in family.packages
    )
    return sorted(names.union(_REGISTRY["packages"]["tests"] if tests and LAB in needs else ()))


def llvm_bin(cilium: str) -> str:
    """The folder of the clang that compiles a Cilium version's datapath (Debian's ``llvm-NN``)."""
    return f"/usr/lib/llvm-{CILIUM[cilium].llvm}/bin"


def llvm_path() -> str:
    """Where a clang for BPF may be, of whichever Cilium version."""
    return os.pathsep.join(map(llvm_bin, CILIUM))
