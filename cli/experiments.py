"""``python -m bench <experiment>``: one command per experiment, with the same options."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bench.journal import write_whole
from cli.common import (
    NO_RESULTS,
    OK,
    SESSION,
    SESSION_FILE,
    Commands,
    FatalError,
    add_allow,
    again,
    descriptor,
    interrupted_by_term,
    names,
    progress,
    writing,
)
from components.targets import open_session
from report.sources import SourceError, read_session
from studies.experiments.definition import EXPERIMENTS, Definition, Extent

if TYPE_CHECKING:
    from bench.session import Session
    from studies.experiments.model import Experiment


def add_parsers(commands: Commands) -> None:
    """Add every experiment's command."""
    for each in EXPERIMENTS.values():
        usual = each.usual
        parser = commands.add_parser(each.name, help=each.question, description=each.question)
        parser.set_defaults(execute=_run)
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--stack", metavar="NAME", help="a Pulumi stack that is up")
        source.add_argument("--session", metavar="FILE", help=SESSION_FILE)
        (points, of_points), (rounds, of_rounds), (seconds, of_seconds) = each.words
        parser.add_argument(
            f"--{points}", dest="points", metavar="P,P", type=names, default=[],
            help=f"{of_points} ({each.axis}): {','.join(map(str, usual.points))}",
        )  # fmt: skip
        parser.add_argument(
            f"--{rounds}", dest="rounds", type=int, metavar="N", help=f"{of_rounds}: {usual.rounds}"
        )
        parser.add_argument(
            f"--{seconds}", dest="seconds", type=int, metavar="S",
            help=f"{of_seconds}: {usual.seconds}",
        )  # fmt: skip
        parser.add_argument(
            "--within", type=float, metavar="S", help="skip points that would end later than this"
        )
        parser.add_argument("--subject", metavar="TEXT", help="name of the scenario in the results")
        parser.add_argument("--out", metavar="FILE", help="write the JSON; - prints only that")
        add_allow(parser)
    _add_files(commands)


def _add_files(commands: Commands) -> None:
    """Add what is done with experiments that were made."""
    parser = commands.add_parser("experiments", help="show or plot stored experiments")
    actions = parser.add_subparsers(dest="action", required=True, metavar="show|plot|fill")
    show_ = actions.add_parser("show", help="print what was measured")
    show_.set_defaults(execute=_of_files(_show))
    show_.add_argument(
        "--markdown", choices=("points", "effects"),
        help="as Markdown: metrics by points, or each comparison's effects",
    )  # fmt: skip
    plot = actions.add_parser("plot", help="plot: a panel per metric, a line per scenario")
    plot.set_defaults(execute=_of_files(_plot))
    plot.add_argument("--out", required=True, metavar="FILE", help="the SVG to write")
    for each in (show_, plot):
        each.add_argument(
            "--metrics", metavar="M,M", type=names, default=[],
            help="only these metrics or facts, in this order",
        )  # fmt: skip
        each.add_argument(
            "files", nargs="+", metavar="FILE", help="JSON by --out; several runs become one"
        )
    fill = actions.add_parser(
        "fill", help="update a document's tables, marked <!-- table: points FILE METRICS -->"
    )
    fill.set_defaults(execute=_of_files(_fill))
    fill.add_argument("document", metavar="FILE", help="Markdown, changed in place")


def _of_files(action: Callable[[argparse.Namespace], None]) -> Callable[[argparse.Namespace], int]:
    """A command on files of experiments, which ends in one line where they cannot be read."""

    def execute(options: argparse.Namespace) -> int:
        try:
            action(options)
        except (OSError, ValueError) as error:  # an ExperimentError, too
            raise FatalError(NO_RESULTS, str(error)) from None
        return OK

    return execute


def _show(options: argparse.Namespace) -> None:
    from report.experiments import effects_table, load, points_table

    experiment = load([Path(file) for file in options.files])
    if options.markdown:
        table = points_table if options.markdown == "points" else effects_table
        print(table(experiment, options.metrics), end="")
    else:
        show_experiment(experiment, None, options.metrics)


def _plot(options: argparse.Namespace) -> None:
    from report.experiments import load
    from report.figures import draw_points

    experiment = load([Path(file) for file in options.files])
    Path(options.out).write_text(draw_points(experiment, options.metrics), encoding="utf-8")


def _fill(options: argparse.Namespace) -> None:
    from report.experiments import filled

    document = Path(options.document)
    text = filled(document.read_text(encoding="utf-8"), document.parent)
    document.write_text(text, encoding="utf-8")


def _run(options: argparse.Namespace) -> int:
    from studies.experiments.run import run_experiment  # with what no other command needs

    definition = EXPERIMENTS[options.command]
    extent = definition.extent(options.points, options.rounds, options.seconds)
    with closing(session_of(options.stack, options.session)) as session, interrupted_by_term():
        experiment = run_experiment(
            definition,
            session,
            extent,
            command=_command(definition, extent, options),
            subject=options.subject,
            allow=options.allow,
            within=options.within,
            progress=progress,
        )
    show_experiment(experiment, options.out)
    return OK


def session_of(stack: str | None, file: str | None) -> Session:
    """The session of a stack that is up, else that of a descriptor's file.

    :raises FatalError: the stack has none.
    :raises SessionError: the file has none, or the cluster cannot be reached.
    """
    try:
        return open_session(read_session(stack) if stack else descriptor(str(file)))
    except SourceError as error:
        raise FatalError(SESSION, str(error)) from None


def show_experiment(experiment: Experiment, out: str | None, wanted: Sequence[str] = ()) -> None:
    """Print an experiment, and write it where that is asked for.

    :param wanted: the metrics or facts to print; by default all.
    :raises FatalError: it cannot be written.
    """
    from report.experiments import tables

    if out == "-":
        print(experiment.to_json(indent=1))
        return
    if out:
        with writing("the experiment"):
            write_experiment(experiment, Path(out))
    console = Console()
    for table in tables(experiment, wanted, width=console.width):
        console.print(table)


def write_experiment(experiment: Experiment, file: Path) -> None:
    """Write its JSON.

    :raises OSError: it cannot be written.
    """
    text = json.dumps(_rounded(experiment.to_dict()), indent=1, ensure_ascii=False)
    write_whole(file, text + "\n")


def _rounded(data: Any) -> Any:
    """Every number with six significant digits: more than any tool has."""
    if isinstance(data, dict):
        return {key: _rounded(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_rounded(value) for value in data]
    return float(f"{data:.6g}") if isinstance(data, float) else data


def _command(definition: Definition, extent: Extent, options: argparse.Namespace) -> str:
    """The command with everything that it left open, without what differs from user to user."""
    where = ["--stack", options.stack] if options.stack else ["--session", "FILE"]
    points, rounds, seconds = (f"--{word}" for word, _ in definition.words)
    chosen = [] if definition.fixed else [points, ",".join(map(str, extent.points))]
    extents = (rounds, str(extent.rounds), seconds, str(extent.seconds))
    return again(options, definition.name, *where, *chosen, *extents)
