"""The one thing that the rest of the project imports: where each program is."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from lab.toolchain.bootstrap import CHECKOUT
from lab.toolchain.build import Builder
from lab.toolchain.cache import Cache
from lab.toolchain.errors import NotBuiltError, UnknownProgramError
from lab.toolchain.programs import FAMILIES, Need, family_of, share_of

__all__ = ["CHECKOUT", "Toolchain"]


@dataclass(frozen=True, slots=True)
class Toolchain:
    """The finished programs and files of one checkout's pinned versions."""

    builder: Builder

    @classmethod
    def default(cls) -> Toolchain:
        """The toolchain of this checkout, in the user's cache."""
        return cls(Builder(CHECKOUT / "tools", Cache()))

    def program(self, name: str, version: str | None = None) -> Path:
        """The executable of this name.

        :param version: of its family, where there are several; else the newest one is meant.
        :raises UnknownProgramError: there is no such program.
        :raises NotBuiltError: it is not built yet.
        """
        family = family_of(name, version)
        if family is None:
            known = ", ".join(sorted({p.name for f in FAMILIES for p in f.programs}))
            wanted = name if version is None else f"{name} {version}"
            raise UnknownProgramError(f"no program {wanted!r} in the toolchain; it has: {known}")
        program = next(one for one in family.programs if one.name == name)
        path = self.builder.program_path(family, program)
        if not path.exists():
            raise NotBuiltError(
                f"{name} {family.version_of(program)} is not built yet; "
                "run `make setup` in the checkout"
            )
        return path

    def share(self, name: str, version: str | None = None) -> Path:
        """The folder of a module's run-time files, in upstream's own layout.

        ``cilium``: chart, BPF sources and CRDs. ``aws-cni``: ``rpc/rpc.proto`` and its
        Python stubs in ``python/``. Parameters and errors as of
        :meth:`program`.
        """
        family = share_of(name, version)
        if family is None or family.share is None:
            known = ", ".join(sorted({f.share.name for f in FAMILIES if f.share}))
            raise UnknownProgramError(f"no shared files {name!r}; there are: {known}")
        path = self.builder.share_path(family, family.share)
        if not path.is_dir():
            raise NotBuiltError(
                f"the files of {name} {family.version} are not there yet; "
                "run `make setup` in the checkout"
            )
        return path

    def command(self, name: str, cni_version: str | None = None) -> str:
        """The path of a program of the toolchain, else of the host's packages.

        :param cni_version: the lab's, where its CNI may have the program.
        :raises ToolchainError: it is in neither.
        """
        if family_of(name, cni_version) is not None:
            return str(self.program(name, cni_version))
        if family_of(name) is not None:
            return str(self.program(name))
        path = shutil.which(name)
        if path is None:
            raise NotBuiltError(f"the program {name} is not installed. Fix: make setup")
        return path

    def versions(self) -> dict[str, str]:
        """Every program's exact upstream version; the newest, where there are several."""
        return {p.name: f.version_of(p) for f in FAMILIES for p in f.programs}

    def missing(self, needs: Collection[Need]) -> list[str]:
        """The programs that ``needs`` ask for and that are not built yet."""
        return [
            program.name
            for family in FAMILIES
            for program in family.programs
            if program.need in needs and not self.builder.program_path(family, program).exists()
        ]
