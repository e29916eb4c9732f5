"""The Pulumi command: the user's own where there is one, else the one we built."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.toolchain.build import Builder
from lab.toolchain.cache import Cache, digest, digest_files
from lab.toolchain.errors import NotBuiltError
from lab.toolchain.programs import family_of

SCRIPTS = (
    "python/cmd/pulumi-language-python-exec",
    "python/dist/pulumi-resource-pulumi-python",
    "python/dist/pulumi-analyzer-policy-python",
)
_LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True, slots=True)
class Engine:
    """A Pulumi command; ``ours`` when it was built here."""

    command: Path
    ours: bool


def path_without(cache: Cache, path: str) -> str:
    """PATH without the folders of our cache, so that ours is never taken for the user's."""
    own = f"{cache.root}{os.sep}"
    return os.pathsep.join(part for part in path.split(os.pathsep) if not part.startswith(own))


def own_pulumi(cache: Cache, environment: Mapping[str, str]) -> Path | None:
    """A Pulumi of the user's on PATH."""
    path = path_without(cache, environment.get("PATH", ""))
    found = shutil.which("pulumi", path=path)
    return Path(found) if found else None


def built_folder(builder: Builder) -> Path:
    """Where our Pulumi, its language host and the host's scripts stand side by side."""
    parts: list[str] = []
    for name in ("pulumi", "pulumi-language-python"):
        family = family_of(name)
        assert family is not None
        parts += [family.version, builder.inputs(family)]
    return builder.cache.path(f"pulumi-bin-{digest([*parts, *SCRIPTS])}")


def assemble(builder: Builder) -> Path:
    """Put our Pulumi's parts into one folder, from the programs and files in the cache."""
    target = built_folder(builder)
    if target.is_dir():
        return target
    with builder.cache.scratch("pulumi-bin") as scratch:
        folder = scratch / "bin"
        folder.mkdir()
        for name in ("pulumi", "pulumi-language-python"):
            family = family_of(name)
            assert family is not None
            program = next(one for one in family.programs if one.name == name)
            (folder / name).hardlink_to(builder.program_path(family, program))
            if family.share is not None:
                source = builder.share_path(family, family.share)
                for script in SCRIPTS:
                    place = folder / Path(script).name
                    shutil.copyfile(source / script, place)
                    place.chmod(0o755)
        return builder.cache.publish(folder, target)


def find_engine(builder: Builder, environment: Mapping[str, str]) -> Engine:
    """The Pulumi to run."""
    own = own_pulumi(builder.cache, environment)
    if own is not None:
        return Engine(own, ours=False)
    command = built_folder(builder) / "pulumi"
    if not command.exists():
        raise NotBuiltError("pulumi is not built yet; run `make setup` in the checkout")
    return Engine(command, ours=True)


def needs_building(builder: Builder, environment: Mapping[str, str]) -> bool:
    return own_pulumi(builder.cache, environment) is None


def launcher_folder(cache: Cache) -> Path:
    """A folder that holds :mod:`lab.toolchain.launcher` under the name ``pulumi``."""
    target = cache.path(f"launcher-{digest_files([_LAUNCHER])}")
    if not target.is_dir():
        with cache.scratch("launcher") as scratch:
            folder = scratch / "bin"
            folder.mkdir()
            command = folder / "pulumi"
            command.write_text(f"#!/usr/bin/env python3\n{_LAUNCHER.read_text()}")
            command.chmod(0o755)
            cache.publish(folder, target)
    return target
