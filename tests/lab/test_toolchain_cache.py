"""The cache: digests, publishing whole things, one set-up at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.toolchain.cache import Cache, default_cache, digest, digest_files


def test_digest_sees_the_borders_between_parts() -> None:
    assert digest(["ab", "c"]) != digest(["a", "bc"])
    assert digest(["a"]) == digest([b"a"])


def test_digest_of_files_sees_names_and_contents(tmp_path: Path) -> None:
    one, two = tmp_path / "go.mod", tmp_path / "go.sum"
    one.write_text("x")
    two.write_text("y")
    first = digest_files([one, two])
    assert first == digest_files([two, one])
    two.write_text("z")
    assert first != digest_files([one, two])


def test_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CNI_BENCHMARK_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "cni-benchmark"
    monkeypatch.setenv("CNI_BENCHMARK_CACHE", str(tmp_path / "mine"))
    assert default_cache() == tmp_path / "mine"


def test_interrupted_work_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def work() -> None:
        with cache.scratch("x") as scratch:
            (scratch / "half").write_text("...")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert list(cache.path("tmp").iterdir()) == []


def test_only_leftovers_of_the_dead_are_removed(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    dead = cache.path("tmp", "999999999-x")
    dead.mkdir(parents=True)
    with cache.scratch("x") as alive:
        cache.clear_leftovers()
        assert alive.is_dir()
    assert not dead.exists()


def test_published_folder_is_never_replaced(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    target = cache.path("programs", "x-1")
    for text in ("first", "second"):
        with cache.scratch("x") as scratch:
            folder = scratch / "x"
            folder.mkdir()
            (folder / "x").write_text(text)
            assert cache.publish(folder, target) == target
    assert (target / "x").read_text() == "first"


def test_second_set_up_waits_and_says_for_whom(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from lab.toolchain.cache import Cache\n"
        "with Cache(pathlib.Path(sys.argv[1])).lock(print):\n"
        "    print('locked', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    told: list[str] = []

    def say(text: str) -> None:
        told.append(text)
        holder.communicate("")

    with Cache(tmp_path).lock(say):
        pass
    assert told == [f"another set-up is running (process {holder.pid}); waiting"]
