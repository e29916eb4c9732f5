"""Errors of the lab. Each message names what went wrong, with its evidence."""

from pathlib import Path


class LabError(Exception):
    """A part of the lab could not be brought up, reached or removed."""


class WaitTimeoutError(LabError):
    """A bounded wait ran out: says what was waited for and shows the component's last log lines."""

    def __init__(self, what: str, seconds: float, last: str = "", log: Path | None = None) -> None:
        text = f"waited {seconds:.0f} s for {what}"
        if last:
            text += f"; last answer: {last}"
        if log is not None:
            text += f"\nlast lines of {log}:\n{tail(log)}"
        super().__init__(text)


class CommandError(LabError):
    """A command inside the lab ended with an error."""

    def __init__(self, argv: list[str], returncode: int, output: str) -> None:
        shown = output.strip()[-2000:]
        super().__init__(f"`{' '.join(argv)}` ended with {returncode}: {shown}")
        self.returncode = returncode
        self.output = output


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"({error})"


class ToolchainError(Exception):
    """A program, package or environment is not there or could not be made."""

    exit_status = 1


class MachineBusyError(LabError, ToolchainError):
    """Somebody else measures or builds on this machine, or its lock cannot be used."""


class UnknownProgramError(ToolchainError):
    """Somebody asked for a program that the toolchain does not know."""


class NotBuiltError(ToolchainError):
    """The program is known but not in the cache yet."""


class UnknownStackError(ToolchainError):
    """There is no stack file of this name."""

    exit_status = 2
