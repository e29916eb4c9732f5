"""``python3 -m lab.toolchain``: set up, check the machine, enter the environment."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from lab.toolchain import doctor, scenarios, shell
from lab.toolchain.cache import Cache
from lab.toolchain.errors import ToolchainError
from lab.toolchain.programs import Need
from lab.toolchain.setup import Setup, check_machine, ready_environment, say
from lab.toolchain.toolchain import CHECKOUT, Toolchain

USAGE_ERROR = 2


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python3 -m lab.toolchain", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    ensure = commands.add_parser("ensure", help="build or find all that a stack needs")
    _add_choice(ensure)
    ensure.add_argument("--python", action="store_true", help="the Python environment only")
    ensure.add_argument("--dev", action="store_true", help="with the tools of tests and checks")

    env = commands.add_parser("env", help='print shell exports: eval "$(make -s env)"')
    _add_choice(env)

    run = commands.add_parser("run", help="run a command in the project's environment")
    run.add_argument("--stack", help="the stack that must exist in the Pulumi backend")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND ...")

    commands.add_parser("doctor", help="say whether this machine can run the lab")
    commands.add_parser("versions", help="print the version of every program")
    clean = commands.add_parser("clean-cache", help="remove everything that was built")
    clean.add_argument("--yes", action="store_true", help="do not ask")
    return top


def _add_choice(command: argparse.ArgumentParser) -> None:
    choice = command.add_mutually_exclusive_group()
    choice.add_argument("--stack", help="for this stack (Pulumi.<stack>.yaml)")
    choice.add_argument("--for", dest="cni", choices=sorted(scenarios.CNIS), help="for this CNI")
    choice.add_argument("--all", action="store_true", help="for every stack (the default)")


def wanted(arguments: argparse.Namespace) -> tuple[frozenset[Need], bool]:
    """What is needed, and whether a machine without the lab's abilities may go on without it."""
    if arguments.stack is not None:
        return scenarios.of_stack(CHECKOUT, arguments.stack), False
    if arguments.cni is not None:
        return scenarios.CNIS[arguments.cni], False
    return scenarios.ALL, True


def ensure(arguments: argparse.Namespace, *, dev: bool, python_only: bool = False) -> None:
    needs, tolerant = wanted(arguments) if not python_only else (frozenset[Need](), True)
    needs = check_machine(needs, tolerant=tolerant)
    Setup(CHECKOUT, needs, dev, os.environ, Cache()).ensure()


def print_env(arguments: argparse.Namespace) -> None:
    ensure(arguments, dev=False)
    names = [arguments.stack] if arguments.stack else []
    variables = ready_environment(CHECKOUT, Cache(), os.environ, names)
    sys.stdout.write(shell.as_exports(variables))


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


def run_doctor() -> None:
    problems = doctor.missing(doctor.gather())
    if problems:
        raise ToolchainError(doctor.message(problems))
    print("this machine can run the lab")


def print_versions() -> None:
    for name, version in sorted(Toolchain.default().versions().items()):
        print(f"{name:<24}{version}")


def clean_cache(*, yes: bool) -> None:
    root: Path = Cache().root
    if not yes and sys.stdin.isatty():
        answer = input(f"remove {root}? It takes many minutes to build again [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            return
    shutil.rmtree(root, ignore_errors=True)
    link = CHECKOUT / ".venv"
    if link.is_symlink() and not link.exists():
        link.unlink()
    say(f"removed {root}")


def dispatch(arguments: argparse.Namespace) -> None:
    match arguments.command:
        case "ensure":
            ensure(arguments, dev=arguments.dev, python_only=arguments.python)
        case "env":
            print_env(arguments)
        case "run":
            run(arguments)
        case "doctor":
            run_doctor()
        case "versions":
            print_versions()
        case "clean-cache":
            clean_cache(yes=arguments.yes)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        dispatch(arguments)
    except scenarios.UnknownStackError as error:
        say(f"error: {error}")
        return USAGE_ERROR
    except ToolchainError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; what is finished is kept, the same command goes on from here")
        return 130
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
