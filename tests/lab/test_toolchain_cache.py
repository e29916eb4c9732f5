"""The cache: digests, publishing whole things, one set-up at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.toolchain.cache import _READ as READ
from lab.toolchain.cache import _VERIFIED as VERIFIED
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


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A program in a cache that was set up before the machine was started."""
    cache, target = Cache(tmp_path), tmp_path / "programs" / "x-1"
    with cache.scratch("x") as scratch:
        (scratch / "x").mkdir()
        (scratch / "x" / "program").write_text("all of it")
        cache.publish(scratch / "x", target)
    assert cache.whole(target)
    _restart(target)
    return target


def _restart(target: Path) -> None:
    READ.clear()
    (target / VERIFIED).write_text("another boot")


@pytest.mark.parametrize("left", ["", "all of", None])
def test_what_a_power_cut_has_damaged_is_found_and_replaced(
    published: Path, left: str | None
) -> None:
    cache, program = Cache(published.parents[1]), published / "program"
    assert cache.whole(published)
    _restart(published)
    if left is None:
        program.unlink()
    else:
        program.write_text(left)
    assert not cache.whole(published)
    with cache.scratch("x") as scratch:
        (scratch / "x").mkdir()
        (scratch / "x" / "program").write_text("all of it")
        cache.publish(scratch / "x", published)
    assert cache.whole(published)
    assert program.read_text() == "all of it"
    assert list(cache.path("tmp").iterdir()) == []


def test_contents_are_read_once_after_a_start_of_the_machine(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(published.parents[1])
    assert cache.whole(published)
    READ.clear()  # another process
    monkeypatch.setattr("lab.toolchain.cache._digests", None)
    assert cache.whole(published)


def test_a_list_of_contents_that_is_damaged_itself_is_no_proof(published: Path) -> None:
    (published / ".contents.json").write_text("{")
    assert not Cache(published.parents[1]).whole(published)


def test_folders_without_a_list_are_of_an_earlier_version(published: Path) -> None:
    (published / ".contents.json").unlink()
    assert Cache(published.parents[1]).whole(published)
    assert not Cache(published.parents[1]).whole(published.with_name("none"))


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
