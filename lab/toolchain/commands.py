"""The second stage, in the Python environment: what ``python3 -m lab.toolchain`` is asked for."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from lab.toolchain import pulumi
from lab.toolchain.bootstrap import CHECKOUT, current_env, guarded, parser, say
from lab.toolchain.build import Builder
from lab.toolchain.cache import Cache
from lab.toolchain.errors import NotBuiltError, ToolchainError
from lab.toolchain.launcher import PROJECT_FILE
from lab.toolchain.programs import ALL, CNIS, FAMILIES, Need, needs_of_lab
from lab.toolchain.setup import Setup, check_machine
from lab.toolchain.stackfiles import needs_of_stack, project_name, stacks


def wanted(arguments: argparse.Namespace) -> tuple[frozenset[Need], bool]:
    """What is needed, and whether a machine without the lab's abilities may go on without it."""
    if arguments.stack is not None:
        return needs_of_stack(CHECKOUT, arguments.stack), False
    if arguments.cni is not None:
        return _needs_of_cni(arguments.cni), False
    return ALL, True


def ensure(arguments: argparse.Namespace, *, dev: bool, python_only: bool = False) -> None:
    needs, tolerant = wanted(arguments) if not python_only else (frozenset[Need](), True)
    needs = check_machine(needs, tolerant=tolerant)
    Setup(CHECKOUT, needs, dev, os.environ, Cache()).ensure()


def print_env(arguments: argparse.Namespace) -> None:
    ensure(arguments, dev=False)
    names = [arguments.stack] if arguments.stack else []
    variables = ready_environment(CHECKOUT, Cache(), os.environ, names)
    sys.stdout.write(pulumi.as_exports(variables))


def run(arguments: argparse.Namespace) -> None:
    argv: list[str] = arguments.argv
    argv = argv[1:] if argv[:1] == ["--"] else argv
    if not argv:
        raise ToolchainError("run: no command given")
    names = [arguments.stack] if arguments.stack else []
    variables = ready_environment(CHECKOUT, Cache(), os.environ, names)
    environment = {**os.environ, **variables}
    command = shutil.which(argv[0], path=variables["PATH"])
    if command is None:
        raise ToolchainError(f"run: no command {argv[0]!r}; `make setup` may be what is missing")
    os.execve(command, argv, environment)


def _needs_of_cni(cni: str) -> frozenset[Need]:
    """All versions of a CNI, with and without kube-proxy."""
    if cni not in CNIS:
        raise ToolchainError(f"no CNI {cni!r}; the lab has: {', '.join(sorted(CNIS))}")
    versions = CNIS[cni].families
    return frozenset().union(*(needs_of_lab(cni, version, kube_proxy=True) for version in versions))


def ready_environment(
    checkout: Path,
    cache: Cache,
    environment: Mapping[str, str],
    names: Collection[str] | None,
) -> dict[str, str]:
    """The variables to set, with the stacks in place.

    In our own backend every scenario's stack is made; in a user's own only those named.
    """
    builder = Builder(checkout / "tools", cache)
    python = current_env(checkout, cache)
    try:
        chosen = pulumi.find_engine(builder, environment)
    except NotBuiltError:
        chosen = None  # the checks need no engine; whoever calls a missing `pulumi` says so
    login = pulumi.find_login(environment, checkout / PROJECT_FILE)
    pulumi.prepare(login, environment)
    project = project_name(checkout)
    variables = pulumi.changes(builder, python, chosen, login, project, environment)
    if chosen is None:
        return variables
    wanted = stacks(checkout) if login.ours else list(names or [])
    created = pulumi.create_stacks(
        chosen.command, login, checkout, wanted, {**environment, **variables}
    )
    if created:
        say(f"Pulumi stacks created: {', '.join(created)}")
    return variables


def print_versions() -> None:
    programs = {
        (one.name, family.version_of(one)) for family in FAMILIES for one in family.programs
    }
    for name, version in sorted(programs):
        print(f"{name:<24}{version}")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    return guarded(lambda: _dispatch(arguments))


def _dispatch(arguments: argparse.Namespace) -> None:
    match arguments.command:
        case "ensure":
            ensure(arguments, dev=arguments.dev, python_only=arguments.python)
        case "env":
            print_env(arguments)
        case "run":
            run(arguments)
        case "versions":
            print_versions()


if __name__ == "__main__":
    sys.exit(main())
