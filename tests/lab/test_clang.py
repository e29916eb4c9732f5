"""The agents' compiler: clang behind ccache, unnoticed by the agent that calls it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.dataplane.cilium import agents
from lab.toolchain.programs import llvm_path


@dataclass(frozen=True)
class Compiler:
    """A clang and a ccache that note their words and what they see of the environment."""

    folder: Path

    clang: str

    def __call__(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        env = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "CLANG": self.clang,
            "HEADERS": str(self.folder / "state"),
            "TMPDIR": str(self.folder / "tmp"),
            "CCACHE_DIR": str(self.folder / "cache"),
        }
        return subprocess.run([agents.CLANG, *words], env=env, capture_output=True, check=False)

    def headers(self, name: str, text: str) -> str:
        """A folder with a header as the agent writes them, as the compiler's option."""
        folder = self.folder / "state" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "node_config.h").write_text(text)
        return f"-I{folder}"

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
    made = Compiler(tmp_path, str(tmp_path / "clang"))
    made.write("clang", "echo 'clang version 16.0.6'")
    made.write("ccache", _COMPILES)
    return made


def test_an_object_for_standard_output_goes_through_ccache(compiler: Compiler) -> None:
    done = compiler("-O2", "-c", "bpf_lxc.c", "-o", "-")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"ELF\x00\xffobject"
    assert compiler.words("ccache") == [compiler.clang, "-O2", "-c", "bpf_lxc.c", "-o", "object"]
    assert compiler.leftovers() == []


def test_words_arrive_as_they_are(compiler: Compiler) -> None:
    awkward = ["-DNAME=a b", "", '-DQUOTED="x"', "$HOME", "*", "it's", "-"]
    compiler(*awkward, "-o", "-")
    assert compiler.words("ccache")[1:-2] == awkward
    compiler(*awkward, "-v")
    assert compiler.words("clang") == [*awkward, "-v"]


# Notes the folder that it runs in and all headers there, then compiles.
_LOOKS = f'pwd > "$TMPDIR/../where"; cat */*.h > "$TMPDIR/../seen"{_COMPILES}'


def test_two_objects_never_share_a_folder(compiler: Compiler) -> None:
    compiler.write("ccache", _LOOKS)
    folders = set()
    for _ in range(2):
        compiler(compiler.headers("globals", ""), "-c", "a.c", "-o", "-")
        folders.add((compiler.folder / "where").read_text())
    assert len(folders) == 2


def test_headers_are_found_by_the_same_words_in_every_lab(compiler: Compiler) -> None:
    compiler.write("ccache", _LOOKS)
    seen = []
    for name, cookie in (("templates/1f", 7), ("templates/2e", 8)):
        header = f"#define A 1\n#define HOST_NETNS_COOKIE {cookie}\n// JSON_OUTPUT: {cookie}\n"
        compiler(compiler.headers(name, header), "-I/elsewhere", "-c", "a.c", "-o", "-")
        seen.append((compiler.words("ccache")[1:], (compiler.folder / "seen").read_text()))
    assert seen[0] == seen[1]
    assert seen[0][0] == ["-I1", "-I/elsewhere", "-c", "a.c", "-o", "object"]
    assert seen[0][1].startswith("#define A 1\n#define HOST_NETNS_COOKIE ")


@pytest.mark.parametrize("cookie", [1, 10, 0x5C26, 38, 0x7FFFFFFF])
def test_an_object_from_the_cache_is_what_clang_makes(compiler: Compiler, cookie: int) -> None:
    clang, ccache = shutil.which("clang", path=llvm_path()), shutil.which("ccache")
    if clang is None or ccache is None:
        pytest.skip("needs clang and ccache")
    (compiler.folder / "ccache").unlink()
    real = Compiler(compiler.folder, clang)
    source = compiler.folder / "a.c"
    source.write_text(
        '#include "node_config.h"\n'
        "unsigned long long other(void);\n"
        "int host(unsigned long long own) {\n"
        "  return own == HOST_NETNS_COOKIE || other() == HOST_NETNS_COOKIE;\n}\n"
    )
    words = ("-O2", "--target=bpf", "-mcpu=v3", "-c", str(source), "-o")
    real(compiler.headers("first", "#define HOST_NETNS_COOKIE 4711\n"), *words, "-")  # fills it
    folder = compiler.headers("second", f"#define HOST_NETNS_COOKIE {cookie}\n")
    direct = subprocess.run([clang, folder, *words, "-"], capture_output=True, check=True)
    assert real(folder, *words, "-").stdout == direct.stdout
    counted = subprocess.run(
        [ccache, "--print-stats"],
        env={**os.environ, "CCACHE_DIR": str(compiler.folder / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "direct_cache_hit\t1\n" in counted.stdout


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
