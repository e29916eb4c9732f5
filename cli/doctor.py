"""``python -m bench doctor``: what a stack still has outside this machine, and what that costs."""

import argparse

from cli.common import OK, SESSION, USAGE, Commands, FatalError
from components.settings import SettingsError, as_pulumi_config
from components.target import StandingError
from components.targets import TARGETS, settings_of
from lab.errors import ToolchainError
from lab.toolchain.cache import CHECKOUT
from lab.toolchain.pulumi import settings_of_stack


def add_parsers(commands: Commands) -> None:
    """Add the command."""
    command = commands.add_parser(
        "doctor", help="list what of a stack exists and costs money, and how to end it",
        description="List what of a stack exists outside this machine and costs money, whatever "
        "the stack's state knows of it, and the commands that end it. Nothing is changed.",
    )  # fmt: skip
    command.set_defaults(execute=_doctor)
    command.add_argument("--stack", required=True, metavar="NAME", help="by its Pulumi.<NAME>.yaml")
    command.add_argument(
        "--target", choices=tuple(TARGETS), help="look there; by default at the stack's own target"
    )


def _doctor(options: argparse.Namespace) -> int:
    file = CHECKOUT / f"Pulumi.{options.stack}.yaml"
    if not file.is_file():
        raise FatalError(USAGE, f"there is no {file.name}: name a stack by its settings' file")
    try:
        tree = settings_of_stack(CHECKOUT, options.stack)
        if options.target:
            tree["target"] = options.target
        settings = settings_of(as_pulumi_config(tree), options.stack)
        for line in TARGETS[settings.target].standing(settings, options.stack):
            print(line)
    except (SettingsError, ToolchainError) as error:
        raise FatalError(USAGE, str(error)) from None
    except StandingError as error:
        raise FatalError(SESSION, str(error)) from None
    return OK
