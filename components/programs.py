"""Programs of the toolchain that a stack cannot do without, and ours that goes into pods."""

import gzip
from collections.abc import Sequence

from bench.session import SessionError
from lab.errors import NotBuiltError, UnknownProgramError
from lab.toolchain.build import Toolchain
from lab.toolchain.programs import PODS, program_of

TURNS = "turns"
"""The generator of turns (``tools/turns``), by which commands of workloads name it."""


def refuse_without(lacking: Sequence[str]) -> None:
    """:raises pulumi.RunError: something is lacking: what, and the command that makes it."""
    import pulumi  # sessions need none

    if lacking:
        raise pulumi.RunError(
            f"not set up for this stack yet: {', '.join(lacking)}. "
            f"Fix: make setup STACK={pulumi.get_stack()}"
        )


def check_pods_programs() -> None:
    """Whether what goes into pods is built.

    :raises pulumi.RunError: it is not.
    """
    refuse_without(Toolchain.default().missing({PODS}))


def path_in_pods() -> str:
    """Where the generator is in a pod: named after its source, so that no other version is run."""
    family, _ = program_of(TURNS)
    return f"/tmp/{TURNS}-{Toolchain.default().builder.inputs(family)}"


def for_pods(architecture: str) -> bytes:
    """The generator for nodes of an architecture (Go's name of it), packed by gzip.

    :raises SessionError: it is not built, or not for that architecture.
    """
    try:
        program = Toolchain.default().program(f"{TURNS}-{architecture}")
    except UnknownProgramError:
        raise SessionError(f"{TURNS} is not made for nodes of {architecture}") from None
    except NotBuiltError as error:
        raise SessionError(str(error)) from None
    return gzip.compress(program.read_bytes())
