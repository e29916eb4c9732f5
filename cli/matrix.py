"""``python -m bench matrix``: scenarios side by side."""

from __future__ import annotations

import argparse
import contextlib
import secrets
import shlex
import signal
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from bench.compare import ALPHA, runs_needed
from bench.interleave import shuffled
from bench.journal import JournalError
from bench.plan import MAX_RUNS, PROFILES, Plan, PlanError, plan_for
from bench.probes import build_probes
from bench.results import Results
from cli.common import (
    INTERRUPTED,
    MISSING_NUMBERS,
    OK,
    SESSION,
    USAGE,
    FatalError,
    add_allow,
    progress,
)
from cli.matrix_display import display, minutes
from components.state import history
from components.targets import open_session
from report.history.store import keep_result
from studies.matrix.run import Matrix, StackFailedError, Stacks
from studies.matrix.state import FolderError, MatrixFolder, MatrixState

PROJECT = Path(__file__).parents[1]
_SEEDS = 2**31
_EPILOG = """A stopped matrix (Ctrl-C, a kill, a reboot) goes on with the same command.
Stacks that were up before are measured as they are, get the results and stay up.

exit codes:
  0    done
  1    done, but some scenario or metric has no number, or some stack did not take
       its results or could not be taken down
  2    wrong arguments, or an impossible plan
  4    no scenario could be measured, or there is no Pulumi
  130  stopped"""


def add_parsers(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    matrix = commands.add_parser(
        "matrix", help="bring scenarios up, measure them in interleaved rounds, take them down",
        description="Measure scenarios side by side.", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    matrix.set_defaults(execute=_matrix)
    matrix.add_argument(
        "stacks", nargs="*", metavar="STACK", help="every Pulumi.scenario-*.yaml by default"
    )
    matrix.add_argument("--rounds", type=int, default=5, metavar="N", help="5 by default")
    matrix.add_argument("--profile", default="quick", metavar="NAME", help=" | ".join(PROFILES))
    matrix.add_argument("--seconds", type=int, metavar="S", help="length of each probe's run")
    matrix.add_argument(
        "--seed", type=int, metavar="N", help="of the order within the rounds; by chance by default"
    )
    add_allow(matrix)
    matrix.add_argument(
        "--out", default="matrix", metavar="FOLDER",
        help="for <stack>.json and matrix.json; matrix by default",
    )  # fmt: skip
    then = matrix.add_mutually_exclusive_group()
    then.add_argument(
        "--keep", action="store_true", help="leave up what was brought up, with its results"
    )
    then.add_argument(
        "--down", action="store_true",
        help="only take down what the matrix in the folder has brought up, and end it",
    )  # fmt: skip


def _matrix(options: argparse.Namespace) -> int:
    folder = MatrixFolder(Path(options.out))
    if options.down and not folder.path.is_dir():
        raise FatalError(USAGE, f"--down: there is no matrix in {folder.path}: name its --out")
    asked = None if options.down else _asked(options)
    try:
        with folder.only_one():
            return _in_folder(folder, asked, options)
    except (FolderError, JournalError) as error:
        raise FatalError(USAGE, str(error)) from None
    except OSError as error:
        raise FatalError(USAGE, f"--out: {error}") from None


def _asked(options: argparse.Namespace) -> MatrixState:
    """A new matrix as the arguments say."""
    try:
        plan = plan_for(
            options.profile, runs=options.rounds, seconds=options.seconds, allow=options.allow
        )
    except PlanError as error:
        told = str(error).replace("runs must", "--rounds must", 1)
        raise FatalError(USAGE, told) from None
    stacks = _stacks(options.stacks)
    seed = options.seed if options.seed is not None else secrets.randbelow(_SEEDS)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return MatrixState(
        id=f"{now}/{secrets.token_hex(4)}",
        stacks=stacks,
        seed=seed,
        rounds=plan.runs,
        order=[list(each) for each in shuffled(stacks, plan.runs, seed)],
        plan=plan.as_dict(),
        started=now,
    )


def _stacks(named: Sequence[str]) -> list[str]:
    files = sorted(PROJECT.glob("Pulumi.*.yaml"))
    known = [file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in files]
    stacks = list(named) or [name for name in known if name.startswith("scenario-")]
    for name in stacks:
        if name not in known:
            raise FatalError(USAGE, f"no stack {name!r}: choose of {', '.join(known)}")
        if stacks.count(name) > 1:
            raise FatalError(USAGE, f"{name} is named twice: name every stack once")
    return stacks


def _in_folder(folder: MatrixFolder, asked: MatrixState | None, options: argparse.Namespace) -> int:
    before = folder.load()
    if asked is None:
        if before is None:
            raise FatalError(USAGE, f"--down: there is no matrix in {folder.path}: name its --out")
        return _work(folder, before, options, down=True)
    if before is None or before.status in ("finished", "ended"):
        folder.clear(before.stacks if before else [])
        progress(_outlook(asked, folder.path))
        return _work(folder, asked, options, down=False)
    same_seed = options.seed is None or options.seed == before.seed
    if (before.stacks, before.plan, same_seed) != (asked.stacks, asked.plan, True):
        raise FatalError(
            USAGE, f"{folder.path} has another matrix that is not finished "
            f"({', '.join(before.stacks)}; {before.rounds} rounds of {before.plan['profile']}): "
            f"finish it by its own command, end it by {_again(folder.path, down=True)}, or choose "
            "another --out",
        )  # fmt: skip
    progress(f"going on with the matrix of {before.started}, seed {before.seed}")
    return _work(folder, before, options, down=False)


def _work(
    folder: MatrixFolder, state: MatrixState, options: argparse.Namespace, *, down: bool
) -> int:
    stacks = _pulumi()
    try:
        return _with(stacks, folder, state, options, down=down)
    finally:
        try:
            stacks.close()
        except StackFailedError as error:
            progress(f"warning: {error}")


def _with(
    stacks: Stacks,
    folder: MatrixFolder,
    state: MatrixState,
    options: argparse.Namespace,
    *,
    down: bool,
) -> int:
    with display(state.stacks, Console(stderr=True)) as shown, _stopped_by_signal(stacks):
        matrix = Matrix(
            folder, state, stacks, shown, open_session, keep_up=options.keep, remember=_remember
        )
        stopped = False
        try:
            if down:
                matrix.end()
            else:
                matrix.run()
        except KeyboardInterrupt:
            stopped = True
    if stopped:
        _tell_stopped(folder, matrix.state)
        return INTERRUPTED
    return _tell_end(folder, matrix.state, down=down)


def _pulumi() -> Stacks:
    # Pulumi is needed by this command alone.
    from components.automation import NoPulumiError, PulumiStacks

    try:
        return PulumiStacks()
    except NoPulumiError as error:
        raise FatalError(SESSION, str(error)) from None


@contextlib.contextmanager
def _stopped_by_signal(stacks: Stacks) -> Iterator[None]:
    """SIGTERM stops like Ctrl-C, which a terminal sends to Pulumi's commands as well."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        stacks.interrupt()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _remember(stack: str, results: Results) -> None:
    keep_result(history(), "matrix", stack, results, progress)


def _outlook(state: MatrixState, folder: Path) -> str:
    """What is going to happen, and what it can tell."""
    plan = Plan.from_dict(state.plan)
    probes = build_probes(plan)
    seconds = len(state.stacks) * plan.runs * sum(probe.seconds + 0.5 for probe in probes)
    text = (
        f"{len(state.stacks)} scenarios, {plan.runs} rounds of {plan.profile}, seed {state.seed}: "
        f"the rounds take some {minutes(seconds)}; results go to {folder}"
    )
    metrics = len([metric for probe in probes for metric in probe.metrics])
    needed = runs_needed(metrics)
    if plan.runs >= needed:
        return text
    most = max((n for n in range(1, metrics) if runs_needed(n) <= plan.runs), default=0)
    return (
        f"{text}\n{plan.runs} rounds allow verdicts on at most {most} metrics at once (at "
        f"{100 * ALPHA:g} % for all); for all {metrics}: --rounds {min(needed, MAX_RUNS)}"
    )


def _again(folder: Path, *, down: bool) -> str:
    words = ["python", "-m", "bench", "matrix", "--out", str(folder)]
    return shlex.join([*words, "--down"] if down else words)


def _tell_stopped(folder: MatrixFolder, state: MatrixState) -> None:
    progress("bench: stopped; the same command goes on")
    if state.brought_up:
        progress(f"still up: {_still_up(state)}; {_again(folder.path, down=True)} takes them down")


def _still_up(state: MatrixState) -> str:
    return ", ".join(stack for stack in state.stacks if stack in state.brought_up)


def _tell_end(folder: MatrixFolder, state: MatrixState, *, down: bool) -> int:
    for warning in state.warnings:
        progress(f"warning: {warning}")
    if state.brought_up and state.status != "finished":
        progress(f"still up: {_still_up(state)}; the same command tries again")
    if down:
        return MISSING_NUMBERS if state.brought_up else OK
    for stack, why in state.failed.items():
        progress(f"failed: {stack}: {why}")
    spent = ", ".join(f"{phase} {minutes(seconds)}" for phase, seconds in state.seconds.items())
    progress(f"done in {minutes(sum(state.seconds.values()))}: {spent}")
    measured = [stack for stack in state.stacks if folder.results_file(stack).exists()]
    if not measured:
        raise FatalError(SESSION, "no scenario could be measured")
    progress(f"results: {folder.path}; next: python -m bench report {folder.path}")
    unfinished = state.status != "finished"
    return MISSING_NUMBERS if state.failed or state.warnings or unfinished else OK
