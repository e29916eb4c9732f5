"""``python -m bench sweep``: latency percentiles as the load grows, of one stack or several."""

from __future__ import annotations

import argparse
import secrets
from contextlib import ExitStack, closing
from pathlib import Path

from cli.common import (
    MISSING_NUMBERS,
    OK,
    SESSION_FILE,
    USAGE,
    Commands,
    FatalError,
    add_allow,
    again,
    interrupted_by_term,
    names,
    progress,
    writing,
)
from cli.experiments import session_of, show_experiment, write_experiment
from studies.experiments.sweep import BOUND_MS, REQUESTS, SWEEP, SweepPlan, run_sweep

_EPILOG = """Each side's capacity is measured first: HTTP requests over kept connections, as fast as
answers come. Then requests leave on a fixed schedule at shares of it. Latency counts from when a
request was due. A sample for which the generator itself was late is void, with the reason.
Several sides take turns at every point, in an order by chance."""


def add_parsers(commands: Commands) -> None:
    """Add the command."""
    usual = SWEEP.usual
    parser = commands.add_parser(
        SWEEP.name, help=SWEEP.question, description=SWEEP.question, epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(execute=_run)
    parser.add_argument(
        "--stack", action="append", default=[], metavar="NAME",
        help="a Pulumi stack that is up; once for each side",
    )  # fmt: skip
    parser.add_argument("--session", action="append", default=[], metavar="FILE", help=SESSION_FILE)
    parser.add_argument(
        "--points", metavar="P,P", type=names, default=[],
        help=f"in %% of the capacity: {','.join(map(str, usual.points))}",
    )  # fmt: skip
    parser.add_argument(
        "--requests", type=int, default=REQUESTS, metavar="N",
        help=f"at each point, in all rounds: {REQUESTS:,}",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", type=int, metavar="N", help=f"samples at each point: {usual.rounds}"
    )
    parser.add_argument(
        "--bound-ms", type=float, default=BOUND_MS, metavar="MS",
        help=f"tell up to which rate p99 stays within it: {BOUND_MS:g}",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, metavar="N", help="of the order; by chance by default")
    parser.add_argument(
        "--out", metavar="PATH",
        help="write the JSON: a file, with several sides a folder; - prints only that, of one side",
    )  # fmt: skip
    add_allow(parser)


def _run(options: argparse.Namespace) -> int:
    from report.experiments import merge

    sources = [*((stack, stack, None) for stack in options.stack),
               *((Path(file).stem, None, file) for file in options.session)]  # fmt: skip
    sides = [name for name, _, _ in sources]
    _refuse(options, sides)
    plan = SweepPlan.of(
        options.points, rounds=options.rounds, requests=options.requests, bound_ms=options.bound_ms
    )
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    with ExitStack() as opened:
        sessions = {
            name: opened.enter_context(closing(session_of(stack, file)))
            for name, stack, file in sources
        }
        opened.enter_context(interrupted_by_term())
        experiments = run_sweep(
            sessions,
            plan,
            command=_command(options, plan, seed),
            seed=seed,
            allow=options.allow,
            progress=progress,
        )
    one_file = options.out if len(sides) == 1 else None
    if options.out and not one_file:
        with writing("the experiments"):
            folder = Path(options.out)
            folder.mkdir(parents=True, exist_ok=True)
            for name, experiment in experiments.items():
                write_experiment(experiment, folder / f"{SWEEP.name}-{name}.json")
    show_experiment(merge(list(experiments.values())), one_file)
    whole = all(
        series.points and not any(point.missing for point in series.points)
        for experiment in experiments.values()
        for series in experiment.series
    )
    return OK if whole else MISSING_NUMBERS


def _refuse(options: argparse.Namespace, sides: list[str]) -> None:
    """:raises FatalError: there is no side, two have one name, or the output cannot be."""
    if not sides:
        raise FatalError(USAGE, "sweep: nothing to sweep: name a --stack that is up")
    if len(set(sides)) < len(sides):
        raise FatalError(USAGE, f"sweep: a side twice: {', '.join(sides)}")
    if len(sides) > 1 and options.out == "-":
        raise FatalError(USAGE, "--out: - is for one side; name a folder for several")


def _command(options: argparse.Namespace, plan: SweepPlan, seed: int) -> str:
    """The command with everything that it left open, without what differs from user to user."""
    sides = [word for stack in options.stack for word in ("--stack", stack)]
    sides += ["--session", "FILE"] * len(options.session)
    points = ",".join(map(str, plan.points))
    numbers = (
        "--points", points, "--rounds", str(plan.rounds), "--requests", str(plan.requests),
        "--bound-ms", f"{plan.bound / 1e3:g}", "--seed", str(seed),
    )  # fmt: skip
    return again(options, SWEEP.name, *sides, *numbers)
