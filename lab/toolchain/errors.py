"""Errors of the set-up. Each message says what to do."""

from __future__ import annotations


class ToolchainError(Exception):
    """A program, package or environment is not there or could not be made."""

    exit_status = 1


class UnknownProgramError(ToolchainError):
    """Somebody asked for a program that the toolchain does not know."""


class NotBuiltError(ToolchainError):
    """The program is known but not in the cache yet."""


class UnknownStackError(ToolchainError):
    """There is no stack file of this name."""

    exit_status = 2
