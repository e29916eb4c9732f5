"""Small BPF programs of the lab's own, compiled where they are loaded from."""

import shutil
import subprocess
from pathlib import Path

from lab.errors import CommandError, LabError
from lab.toolchain.programs import llvm_path


def compile_bpf(source: str, made: Path) -> None:
    """Make an object file of a program in C.

    :raises LabError: no Cilium version's compiler is installed, or it refuses the program.
    """
    clang = shutil.which("clang", path=llvm_path())
    if clang is None:
        raise LabError("clang is not installed. Fix: make setup")
    words = [clang, "-O2", "-target", "bpf", "-x", "c", "-c", "-", "-o", str(made)]
    done = subprocess.run(words, input=source, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CommandError(words, done.returncode, done.stderr)
