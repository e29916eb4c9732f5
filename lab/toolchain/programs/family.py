"""What a family of programs is: one Go module in ``tools/``, compiled by one ``go build``.

What its programs share is then loaded and compiled once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Need = str
"""What a stack asks for beyond the Python environment; a CNI's own are :func:`cni_need`."""

ENGINE: Final = "engine"
LAB: Final = "lab"
KUBE_PROXY: Final = "kube-proxy"
HELM: Final = "helm"
VALIDATE: Final = "validate"
"""No stack: ``python -m bench validate``."""


def cni_need(cni: str, version: str) -> Need:
    """What a lab with this version of a CNI needs of its own."""
    return f"{cni} {version}"


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


@dataclass(frozen=True, slots=True)
class CniPrograms:
    """What the lab builds and installs for a CNI.

    :param families: the CNI's own programs, by its version.
    :param packages: Debian packages, by its version.
    :param needs: what its versions need besides.
    """

    families: Mapping[str, Family]
    packages: Mapping[str, tuple[str, ...]]
    needs: frozenset[Need] = frozenset()
