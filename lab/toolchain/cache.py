"""Where built things are kept, and how they get there whole or not at all."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

APP = "cni-benchmark"
CHECKOUT = Path(__file__).resolve().parents[2]
"""The folder of this project."""


def default_cache() -> Path:
    """``$CNI_BENCHMARK_CACHE``, or the user's cache folder."""
    own = os.environ.get("CNI_BENCHMARK_CACHE")
    if own:
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base).absolute() / APP


def state_root(environment: Mapping[str, str]) -> Path:
    """``${XDG_STATE_HOME:-~/.local/state}/cni-benchmark``."""
    base = environment.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base).absolute() / APP


def digest(parts: Iterable[str | bytes]) -> str:
    """Eight hexadecimal digits over parts; the borders between parts count."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "big"))
        sha.update(data)
    return sha.hexdigest()[:8]


def digest_files(files: Iterable[Path], *more: str) -> str:
    """The digest over the names and contents of files, and more text."""
    parts: list[str | bytes] = []
    for file in sorted(files):
        parts += [file.name, file.read_bytes()]
    return digest([*parts, *more])


def _digests(folder: Path) -> dict[str, str]:
    """The digest of every file of a folder, by its path in it; a link counts as where it points."""
    found = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if file.is_symlink():
            found[name] = f"-> {file.readlink()}"
        elif file.is_file() and name not in (_CONTENTS, _VERIFIED):
            with file.open("rb") as opened:
                found[name] = hashlib.file_digest(opened, "sha256").hexdigest()
    return found


def _to_disk(folder: Path) -> None:
    for place in (*folder.rglob("*"), folder):
        if place.is_dir() or (place.is_file() and not place.is_symlink()):
            fd = os.open(place, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


_CONTENTS = ".contents.json"
_VERIFIED = ".verified"
"""Holds the boot id at which a folder's files were last read and found to be as published."""


_READ: set[Path] = set()
"""Folders that this process has found to be whole."""


class Cache:
    """A folder of finished things.

    What is being made lives under ``tmp/``, is written to the disk and renamed into its place when
    it is complete, so an interrupted set-up or a power cut never leaves something half-built to be
    used.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root if root is not None else default_cache()

    def path(self, *names: str) -> Path:
        return self.root.joinpath(*names)

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A temporary folder on the cache's file system, removed afterwards."""
        parent = self.path("tmp")
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-{name}-", dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, folder: Path, target: Path) -> Path:
        """Move a finished folder to its place; what is there already wins, if it is whole."""
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        (folder / _CONTENTS).write_text(json.dumps(_digests(folder), indent=1) + "\n")
        _to_disk(folder)
        if target.exists() and not self.whole(target):
            with self.scratch("damaged") as scratch:
                target.rename(scratch / target.name)
        with contextlib.suppress(FileExistsError, OSError):
            folder.rename(target)
        if not target.is_dir():
            raise OSError(f"could not move {folder} to {target}")
        return target

    def whole(self, target: Path) -> bool:
        """Whether a published folder is there, with the contents that it was published with.

        Its files are read at the first use after a start of the machine: a disk or file system that
        lost some has mostly lost them by then. A folder of an earlier version of this program has
        no list of its contents, and counts as whole.
        """
        if target in _READ:
            return target.is_dir()
        try:
            wanted = json.loads((target / _CONTENTS).read_text())
        except FileNotFoundError:
            return target.is_dir()
        except (OSError, ValueError):
            return False
        boot, verified = Path("/proc/sys/kernel/random/boot_id").read_text(), target / _VERIFIED
        if not (verified.is_file() and verified.read_text() == boot):
            if _digests(target) != wanted:
                return False
            with contextlib.suppress(OSError):  # a folder that may only be read is read again
                verified.write_text(boot)
        _READ.add(target)
        return True

    def clear_leftovers(self) -> None:
        """Remove the scratch folders of processes that are gone."""
        for folder in self.path("tmp").glob("*"):
            owner = folder.name.split("-", 1)[0]
            if not (owner.isdigit() and Path("/proc", owner).exists()):
                shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def lock(self, say: Callable[[str], None]) -> Iterator[None]:
        """One set-up at a time: a second one waits, and says for whom."""
        while True:
            self.root.mkdir(parents=True, exist_ok=True)
            with self.path("lock").open("a+") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    file.seek(0)
                    by = file.read().strip() or "?"
                    say(f"another set-up is running (process {by}); waiting")
                    fcntl.flock(file, fcntl.LOCK_EX)
                if not self._is_lock(file):
                    continue
                file.seek(0)
                file.truncate()
                file.write(f"{os.getpid()}\n")
                file.flush()
                yield
                return

    def _is_lock(self, file: IO[str]) -> bool:
        """Not so where whoever had it has removed the whole cache."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path("lock").stat())
        except FileNotFoundError:
            return False
