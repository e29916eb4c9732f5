"""Small BPF programs of the lab's own, compiled where they are loaded from."""

import shutil
import subprocess
from pathlib import Path

from lab.errors import CommandError, LabError
from lab.toolchain.programs import llvm_bin


def compile_bpf(source: str, made: Path, cilium: str) -> None:
    """Make an object file of a program in C.

    :param cilium: the Cilium version whose compiler is taken.
    :raises LabError: it is not installed, or refuses the program.
    """
    clang = shutil.which("clang", path=llvm_bin(cilium))
    if clang is None:
        raise LabError("clang is not installed. Fix: make setup")
    words = [clang, "-O2", "-target", "bpf", "-x", "c", "-c", "-", "-o", str(made)]
    done = subprocess.run(words, input=source, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CommandError(words, done.returncode, done.stderr)
