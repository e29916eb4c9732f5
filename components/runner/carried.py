"""What a pod that measures is given: this project's modules, the generator of turns, a task."""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from lab.toolchain.build import Toolchain
from lab.toolchain.cache import CHECKOUT
from lab.toolchain.programs import FAMILIES, PODS

REQUIREMENTS = "requirements.txt"
TASK, JOURNAL = "task.json", "journal.jsonl"
CACHE = "cache"
"""Of programs, as a folder of what is carried."""
_ROOMS = ("bench", "cni", "components", "kube", "lab", "report", "studies")
_OTHERS = (REQUIREMENTS, "tools/programs.toml", "tools/turns")


def packed(toolchain: Toolchain, task: Mapping[str, object], journal: bytes) -> bytes:
    """A tar archive, compressed by gzip.

    :param task: for :mod:`components.runner.inside`.
    :param journal: samples of an earlier part.
    :raises lab.errors.NotBuiltError: the generator is not built.
    """
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", compresslevel=6) as archive:
        for file in _files(CHECKOUT, (*_ROOMS, *_OTHERS)):
            _add(archive, str(file.relative_to(CHECKOUT)), file.read_bytes())
        cache = toolchain.builder.cache.root
        for file in _files(cache, _programs(toolchain)):
            _add(archive, f"{CACHE}/{file.relative_to(cache)}", file.read_bytes(), mode=0o755)
        _add(archive, TASK, json.dumps(task).encode())
        _add(archive, JOURNAL, journal)
    return made.getvalue()


def _programs(toolchain: Toolchain) -> list[str]:
    """The folders of what goes into pods of workloads, within the cache."""
    root = toolchain.builder.cache.root
    return [
        str(toolchain.program(program.name).parent.relative_to(root))
        for family in FAMILIES
        for program in family.programs
        if program.need == PODS
    ]


def _files(root: Path, names: Iterable[str]) -> Iterator[Path]:
    for name in names:
        place = root / name
        found = sorted(place.rglob("*")) if place.is_dir() else [place]
        yield from (each for each in found if each.is_file() and "__pycache__" not in each.parts)


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))
