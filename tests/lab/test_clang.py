"""The agents' compiler: clang behind ccache, unnoticed by the agent that calls it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.dataplane.cilium import agents

CLANG_SH = agents.CLANG / "clang.sh"
PREPROCESS_SH = agents.CLANG / "preprocess.sh"


@dataclass(frozen=True)
class Compiler:
    """A clang and a ccache that note their words and what they see of the environment."""

    folder: Path

    def __call__(self, *words: str, script: Path = CLANG_SH) -> subprocess.CompletedProcess[bytes]:
        env = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "CLANG": str(self.folder / "clang"),
            "TMPDIR": str(self.folder / "tmp"),
        }
        return subprocess.run([script, *words], env=env, capture_output=True, check=False)

    def write(self, name: str, script: str) -> None:
        """A program that notes its arguments, one a line, and then does what a script says."""
        program = self.folder / name
        noted = self.folder / f"{name}.words"
        program.write_text(
            f'#!/bin/sh\nfor word; do printf "[%s]\\n" "$word"; done > {noted}\n'
            f"env > {self.folder}/{name}.env\n{script}\n"
        )
        program.chmod(0o755)

    def words(self, name: str) -> list[str]:
        """The arguments of a program's last call."""
        noted = (self.folder / f"{name}.words").read_text()
        return [line.removeprefix("[").removesuffix("]") for line in noted.splitlines()]

    def called(self, name: str) -> bool:
        return (self.folder / f"{name}.words").exists()

    def leftovers(self) -> list[str]:
        """Temporary files that the script has left."""
        return sorted(file.name for file in (self.folder / "tmp").iterdir())


# Writes to its last argument, as `clang -c … -o FILE` does.
_COMPILES = """
for file; do :; done
printf 'ELF\\000\\377object' > "$file"
"""


@pytest.fixture
def compiler(tmp_path: Path) -> Compiler:
    (tmp_path / "tmp").mkdir()
    made = Compiler(tmp_path)
    made.write("clang", "echo 'clang version 16.0.6'")
    made.write("ccache", _COMPILES)
    return made


def test_an_object_for_standard_output_goes_through_ccache(compiler: Compiler) -> None:
    done = compiler("-O2", "-c", "bpf_lxc.c", "-o", "-")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"ELF\x00\xffobject"
    clang, *words, file = compiler.words("ccache")
    assert clang == str(compiler.folder / "clang")
    assert words == ["-O2", "-c", "bpf_lxc.c", "-o"]
    assert file.startswith(str(compiler.folder / "tmp"))
    assert compiler.leftovers() == []


def test_words_arrive_as_they_are(compiler: Compiler) -> None:
    awkward = ["-DNAME=a b", "", '-DQUOTED="x"', "$HOME", "*", "it's", "-"]
    compiler(*awkward, "-o", "-")
    assert compiler.words("ccache")[1:-2] == awkward
    compiler(*awkward, "-v")
    assert compiler.words("clang") == [*awkward, "-v"]


def test_two_objects_never_share_a_file(compiler: Compiler) -> None:
    files = set()
    for _ in range(2):
        compiler("-c", "a.c", "-o", "-")
        files.add(compiler.words("ccache")[-1])
    assert len(files) == 2


def test_ccache_compares_what_the_preprocessor_says(compiler: Compiler) -> None:
    # With the direct mode or the folder in the comparison no lab would ever hit another's object.
    compiler("-c", "a.c", "-o", "-")
    seen = (compiler.folder / "ccache.env").read_text().splitlines()
    assert {"CCACHE_NODIRECT=1", "CCACHE_NOHASHDIR=1"} <= set(seen)


@pytest.mark.parametrize(
    "words", [["--version"], ["-E", "a.c", "-o", "a.i"], ["-", "-o", "a.o"], []]
)
def test_everything_else_is_clangs_own(compiler: Compiler, words: list[str]) -> None:
    done = compiler(*words)
    assert done.stdout == b"clang version 16.0.6\n"
    assert compiler.words("clang") == words
    assert not compiler.called("ccache")


@pytest.mark.parametrize("code", [1, 3, 254])
def test_an_error_keeps_its_code_and_prints_no_object(compiler: Compiler, code: int) -> None:
    compiler.write("ccache", f"{_COMPILES}\necho 'a.c:1: error' >&2; exit {code}")
    done = compiler("-c", "a.c", "-o", "-")
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"a.c:1: error\n")
    assert compiler.leftovers() == []
    compiler.write("clang", f"exit {code}")
    assert compiler("--version").returncode == code


def test_an_object_that_is_not_there_is_an_error(compiler: Compiler) -> None:
    compiler.write("ccache", 'for file; do :; done; rm "$file"')
    done = compiler("-c", "a.c", "-o", "-")
    assert done.returncode != 0
    assert done.stdout == b""


def test_without_a_place_for_the_object_nothing_is_compiled(compiler: Compiler) -> None:
    (compiler.folder / "tmp").rmdir()
    done = compiler("-c", "a.c", "-o", "-")
    assert done.returncode == 1
    assert done.stdout == b""
    assert not compiler.called("ccache")


def test_the_preprocessor_leaves_line_markers_out(compiler: Compiler) -> None:
    compiler.write("clang", "exit 5")
    done = compiler(str(compiler.folder / "clang"), "-E", "a b.c", script=PREPROCESS_SH)
    assert compiler.words("clang") == ["-E", "a b.c", "-P"]
    assert done.returncode == 5
