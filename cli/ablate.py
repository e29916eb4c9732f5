"""``python -m bench ablate``: its arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from bench.plan import ALLOWABLE
from studies.experiments.ablate.extent import BASES, INSIDE, OUTSIDE, QUESTION, ROUNDS, SECONDS

_EPILOG = f"""Base and variant are up at once and measured in turn, probe by probe:
{", ".join(INSIDE)}; from outside {", ".join(OUTSIDE)}.
A finished toggle has a file in the folder and is not measured again.

On another cluster than the lab, give the session of the base and of every
variant: --session d.json --variant hostRouting=host.json (with no- before
the name where the base has the toggle and the variant has not)."""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "ablate", help=QUESTION, description=QUESTION, epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--base", choices=tuple(BASES), default="d",
        help="; ".join(f"{name}: {what}" for name, what in BASES.items()),
    )  # fmt: skip
    parser.add_argument(
        "--toggles", type=lambda text: text.split(","), metavar="T,T", help="only these"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=str(ROUNDS))
    parser.add_argument(
        "--seconds", type=int, default=SECONDS, metavar="S",
        help=f"length of each probe's run: {SECONDS}",
    )  # fmt: skip
    parser.add_argument(
        "--out", metavar="FOLDER", help="for a file per toggle and all in one: ablation-<base>"
    )
    parser.add_argument("--session", metavar="FILE", help="of a base that is up, as JSON")
    parser.add_argument(
        "--variant", action="append", default=[], metavar="TOGGLE=FILE",
        help="the session of a variant that is up",
    )  # fmt: skip
    parser.add_argument(
        "--allow", action="append", default=[], metavar="NAME",
        help="measure although this precondition fails: " + ", ".join(ALLOWABLE),
    )  # fmt: skip


def _ablate(options: argparse.Namespace) -> int:
    from studies.experiments.ablate.trials import run  # with what no other command needs

    return run(options)


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {"ablate": _ablate}
