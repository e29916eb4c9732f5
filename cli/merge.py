"""``python -m bench merge``: results of several deployments of a stack as one result."""

import argparse
from pathlib import Path

from bench.journal import write_whole
from bench.merge import MergeError, merge
from bench.results import Results, ResultsError, from_json
from cli.common import NO_RESULTS, OK, USAGE, Commands, FatalError, progress, writing


def add_parsers(commands: Commands) -> None:
    """Add the command."""
    command = commands.add_parser(
        "merge", help="make one result of several deployments of a stack, each a bring-up",
        description="Make one result of several deployments of a stack: each file is a bring-up, "
        "in the order given. Merged results are compared by their bring-ups.",
    )  # fmt: skip
    command.set_defaults(execute=_merge)
    command.add_argument("files", nargs="+", metavar="FILE", help="results of one deployment")
    command.add_argument("--out", required=True, metavar="FILE", help="for the whole")


def _merge(options: argparse.Namespace) -> int:
    twice = [file for file in options.files if options.files.count(file) > 1]
    if twice:
        raise FatalError(USAGE, f"{twice[0]} is named twice: name every file once")
    parts = {file: _read(file) for file in options.files}
    try:
        whole = merge(parts)
    except MergeError as error:
        raise FatalError(USAGE, str(error)) from None
    with writing("the results"):
        write_whole(Path(options.out), whole.to_json(indent=2) + "\n")
    progress(f"{len(parts)} bring-ups in {options.out}")
    return OK


def _read(file: str) -> Results:
    try:
        return from_json(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ResultsError) as error:
        raise FatalError(NO_RESULTS, f"{file}: {error}") from None
