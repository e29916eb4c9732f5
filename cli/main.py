"""``python -m bench``: the commands, a module here for each group of them."""

import argparse
import sys
from collections.abc import Callable, Sequence

from cli import (
    ablate,
    census,
    doctor,
    experiments,
    explain,
    matrix,
    measure,
    merge,
    report,
    sweep,
    upgrade,
    validate,
)
from cli.common import EXIT_CODES, EXPECTED, INTERRUPTED, FatalError, Parser

#: Each adds its commands; a command's function takes the arguments and returns the exit code.
_GROUPS = (
    measure, validate, matrix, merge, report, experiments, sweep, ablate, upgrade, census, explain,
    doctor,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    execute: Callable[[argparse.Namespace], int] = options.execute
    try:
        return execute(options)
    except FatalError as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return failure.code
    except tuple(EXPECTED) as error:
        print(f"bench: {error}", file=sys.stderr)
        return next(code for kind, code in EXPECTED.items() if isinstance(error, kind))
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m bench",
        description="Measure a cluster's network through a session, or show results.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=Parser
    )
    for group in _GROUPS:
        group.add_parsers(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
