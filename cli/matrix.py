"""``python -m bench matrix``: scenarios side by side.

Nothing is drawn while a sample is taken: the machine that draws is the one that is measured.
"""

import argparse
import secrets
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench.compare import ALPHA, largest_family, primary_tests, runs_needed
from bench.interleave import shuffled
from bench.plan import MAX_RUNS, Plan, PlanError, over_bring_ups, plan_for
from bench.probes import build_probes
from bench.results import Results
from bench.text import minutes
from cli.common import (
    INTERRUPTED,
    MISSING_NUMBERS,
    OK,
    SESSION,
    USAGE,
    Commands,
    FatalError,
    add_allow,
    add_profile,
    alone_in,
    interrupted_by_term,
    progress,
)
from cli.display import display
from cli.explain import explaining
from cli.report import write_report
from components.state import history
from components.targets import named_in, open_session
from lab import kernel, machine
from report.history import keep_result
from report.sources import load
from studies.census.around import Around
from studies.census.model import read_census
from studies.census.twin import Room, Twin, twin_of
from studies.matrix.run import (
    AT_ONCE,
    Matrix,
    StackFailedError,
    Stacks,
    StandingError,
    refuse_standing,
)
from studies.matrix.state import RESERVED, MatrixFolder, MatrixState

PROJECT = Path(__file__).parents[1]
_SEEDS = 2**31
_MOST_TIMES = 100
_READY_SECONDS = 5
"""What preconditions and warm-up of a stack take, roughly, for forecasts."""
_ROUNDS = 5
"""Of a single bring-up, where nobody says: more, where verdicts on so many stacks take more."""
_EPILOG = """A stopped matrix (Ctrl-C, a kill, a reboot) goes on with the same command; of several
bring-ups, the one that was interrupted begins anew. With a single one, stacks that were up before
are measured as they are, get the results and stay up; with several, none may be up.

exit codes:
  0    done
  1    done, but some scenario or metric has no number, or some stack did not take
       its results or could not be taken down
  2    wrong arguments, or an impossible plan
  4    no scenario could be measured, or there is no Pulumi
  130  stopped"""


def add_parsers(commands: Commands) -> None:
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
    matrix.add_argument(
        "--bring-ups",
        type=int,
        metavar="N",
        help="how often all stacks are brought up anew: 5 by default if all are in the lab, else 1",
    )
    matrix.add_argument(
        "--rounds",
        type=int,
        metavar="N",
        help="of each bring-up: 1 by default; 5 if there is one bring-up",
    )
    add_profile(matrix)
    matrix.add_argument(
        "--seed", type=int, metavar="N", help="of the order within the rounds; by chance by default"
    )
    add_allow(matrix)
    matrix.add_argument(
        "--census", metavar="FILE",
        help="put what a cluster of this shape has around what is measured (see census)",
    )  # fmt: skip
    matrix.add_argument(
        "--times", type=float, metavar="N",
        help="with so many times the Services, policies and changes of the census: 1 by default",
    )  # fmt: skip
    matrix.add_argument(
        "--explain", action=argparse.BooleanOptionalAction, default=True,
        help="sample in the last bring-up where CPU time goes, for the report's Why",
    )  # fmt: skip
    matrix.add_argument(
        "--out", default="matrix", metavar="FOLDER",
        help="for <stack>.json and matrix.json; matrix by default",
    )  # fmt: skip
    then = matrix.add_mutually_exclusive_group()
    then.add_argument(
        "--keep",
        action="store_true",
        help="leave up what was brought up last, with the results of that bring-up",
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
    with alone_in(folder):
        return _in_folder(folder, asked, options)


def _asked(options: argparse.Namespace) -> MatrixState:
    """A new matrix as the arguments say."""
    stacks = _stacks(options.stacks)
    bring_ups = _bring_ups(options.bring_ups, stacks)
    usual = 1 if bring_ups > 1 else max(_ROUNDS, runs_needed(primary_tests(len(stacks))))
    rounds = options.rounds if options.rounds is not None else usual
    try:
        plan = plan_for(options.profile, runs=rounds, seconds=options.seconds, allow=options.allow)
    except PlanError as error:
        message = str(error).replace("runs must", "--rounds must", 1)
        raise FatalError(USAGE, message) from None
    if bring_ups > 1:
        plan = over_bring_ups(plan)
    twin = _twin(options, stacks)
    seed = options.seed if options.seed is not None else secrets.randbelow(_SEEDS)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return MatrixState(
        id=f"{now}/{secrets.token_hex(4)}",
        stacks=stacks,
        seed=seed,
        bring_ups=bring_ups,
        rounds=plan.runs,
        order=[list(each) for each in shuffled(stacks, bring_ups * plan.runs, seed)],
        plan=plan.as_dict(),
        twin=twin,
        started=now,
    )


def _twin(options: argparse.Namespace, stacks: Sequence[str]) -> Twin | None:
    """The twin of a census that all these stacks have room for at a time, where one is asked for.

    :raises CensusError: there is no census in the file, or no room.
    """
    if options.times is not None and not (options.census and 0 < options.times <= _MOST_TIMES):
        raise FatalError(
            USAGE, f"--times goes with --census, and is more than 0, {_MOST_TIMES} at most"
        )
    if not options.census:
        return None
    census = read_census(Path(options.census))
    targets = [named_in(PROJECT / f"Pulumi.{stack}.yaml").settings for stack in stacks]
    # The same at each call, so that a stopped matrix goes on; the other half is for all else.
    half = kernel.memory_mib() // 2 if any(each.on_this_machine for each in targets) else None
    return twin_of(census, Room(len(stacks), half), options.times or 1)


def _bring_ups(asked: int | None, stacks: Sequence[str]) -> int:
    if asked is None:
        targets = [named_in(PROJECT / f"Pulumi.{stack}.yaml") for stack in stacks]
        return min(target.settings.bring_ups for target in targets)
    if not 1 <= asked <= MAX_RUNS:
        raise FatalError(USAGE, f"--bring-ups must be from 1 to {MAX_RUNS:,}, got {asked}")
    return asked


def _stacks(named: Sequence[str]) -> list[str]:
    files = sorted(PROJECT.glob("Pulumi.*.yaml"))
    known = [file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in files]
    stacks = list(named) or [name for name in known if name.startswith("scenario-")]
    for name in stacks:
        if name not in known:
            raise FatalError(USAGE, f"no stack {name!r}: choose of {', '.join(known)}")
        if name in RESERVED:
            raise FatalError(
                USAGE, f"{name}.json is a matrix's own file: give that stack's file another name"
            )
        if stacks.count(name) > 1:
            raise FatalError(USAGE, f"{name} is named twice: name every stack once")
    return stacks


def _in_folder(folder: MatrixFolder, asked: MatrixState | None, options: argparse.Namespace) -> int:
    before = folder.load()
    if asked is None:
        if before is None:
            raise FatalError(USAGE, f"--down: there is no matrix in {folder.path}: name its --out")
        with _pulumi() as stacks:
            return _work(folder, before, stacks, options)
    if before is None or before.status in ("finished", "ended"):
        with _pulumi() as stacks:
            _refuse_standing(asked, stacks)
            if before is not None:
                folder.clear(before)
            progress(_outlook(asked, folder.path))
            return _work(folder, asked, stacks, options)
    same_seed = options.seed is None or options.seed == before.seed
    same = ("stacks", "bring_ups", "plan", "twin")
    if not same_seed or any(getattr(before, name) != getattr(asked, name) for name in same):
        raise FatalError(
            USAGE, f"{folder.path} has another matrix that is not finished "
            f"({', '.join(before.stacks)}; --bring-ups {before.bring_ups} --rounds {before.rounds} "
            f"of {before.plan['profile']}): finish it by its own command, end it by "
            f"{_down_command(folder)}, or choose another --out",
        )  # fmt: skip
    with _pulumi() as stacks:
        if before.status == "measuring":
            _refuse_standing(before, stacks)
        progress(
            f"going on with the matrix of {before.started}, seed {before.seed}"
            + f", {before.over} of {before.bring_ups} bring-ups are over" * before.anew
        )
        return _work(folder, before, stacks, options)


def _refuse_standing(state: MatrixState, stacks: Stacks) -> None:
    try:
        refuse_standing(state, stacks)
    except StandingError as error:
        raise FatalError(USAGE, str(error)) from None
    except StackFailedError as error:
        raise FatalError(SESSION, str(error)) from None


@contextmanager
def _pulumi() -> Iterator[Stacks]:
    """This project's stacks, left as they were but for what is done to them."""
    # Pulumi is needed by this command alone.
    from components.automation import NoPulumiError, PulumiStacks

    try:
        stacks = PulumiStacks()
    except NoPulumiError as error:
        raise FatalError(SESSION, str(error)) from None
    try:
        yield stacks
    finally:
        try:
            stacks.close()
        except StackFailedError as error:
            progress(f"warning: {error}")


def _work(
    folder: MatrixFolder, state: MatrixState, stacks: Stacks, options: argparse.Namespace
) -> int:
    def remember(stack: str, results: Results) -> None:
        keep_result(history(), "matrix", stack, results, progress)

    # Ctrl-C reaches Pulumi's commands by the terminal; SIGTERM has to be handed on. Labs that are
    # made anew are this process's own work, which may wait for somebody else's measurement.
    interrupted = interrupted_by_term(stacks.interrupt, either=machine.give_up)
    shown_as = display(state.stacks, Console(stderr=True))
    with machine.given_up_within(), shown_as as shown, interrupted:
        matrix = Matrix(
            folder, state, stacks, shown, open_session,
            keep_up=options.keep, remember=remember,
            afterwards=explaining(folder, shown) if options.explain else None,
            around=Around(state.twin) if state.twin else None,
        )  # fmt: skip
        stopped = False
        try:
            if options.down:
                matrix.end()
            else:
                matrix.run()
        except KeyboardInterrupt:
            stopped = True
    if not stopped:
        return _report_end(folder, matrix.state, down=options.down)
    progress("bench: stopped; the same command goes on")
    if up := _still_up(matrix.state):
        progress(f"still up: {up}; {_down_command(folder)} takes them down")
    return INTERRUPTED


def _outlook(state: MatrixState, folder: Path) -> str:
    """What is going to happen, and what it can tell."""
    plan = Plan.from_dict(state.plan)
    probes = build_probes(plan)
    count = len(state.stacks)
    each_bring_up = [
        count * plan.runs * sum(probe.seconds + 0.5 for probe in build_probes(one))
        for one in map(state.plan_of, range(1, state.bring_ups + 1))
    ]
    targets = [named_in(PROJECT / f"Pulumi.{stack}.yaml").settings for stack in state.stacks]
    up = sum(target.up_seconds for target in targets) / min(AT_ONCE, count)
    ready = count * (_READY_SECONDS + (state.twin.seconds if state.twin else 0))
    rounds = sum(each_bring_up)
    measure = rounds / state.bring_ups + ready
    each = f"{minutes(up)} to bring up and take down, {minutes(measure)} to measure"
    several = f"{_some(state.bring_ups, 'bring-up')} of {_some(plan.runs, 'round')}"
    text = (
        f"{_some(count, 'scenario')}, {several} of {plan.profile}, seed {state.seed}: some "
        f"{minutes(state.bring_ups * (up + ready) + rounds)} in all ({each}, each time); "
        f"results go to {folder}"
    )
    if state.twin:
        text = "\n".join((text, state.twin.headline, *state.twin.scaled))
    if state.anew:
        return text
    tests = largest_family((metric for probe in probes for metric in probe.metrics), count)
    needed = runs_needed(tests)
    if plan.runs >= needed:
        return text
    most = max((n for n in range(1, tests) if runs_needed(n) <= plan.runs), default=0)
    return (
        f"{text}\n{plan.runs} rounds allow verdicts by at most {most} tests at once (at "
        f"{100 * ALPHA:g} % for all); for all {tests}: --rounds {min(needed, MAX_RUNS)}"
    )


def _some(count: int, what: str) -> str:
    return f"{count} {what}" + "s" * (count != 1)


def _down_command(folder: MatrixFolder) -> str:
    return shlex.join(["python", "-m", "bench", "matrix", "--out", str(folder.path), "--down"])


def _still_up(state: MatrixState) -> str:
    return ", ".join(stack for stack in state.stacks if stack in state.brought_up)


def _report_end(folder: MatrixFolder, state: MatrixState, *, down: bool) -> int:
    for warning in state.warnings:
        progress(f"warning: {warning}")
    if state.brought_up and state.status != "finished":
        progress(f"still up: {_still_up(state)}; the same command tries again")
    if down:
        return MISSING_NUMBERS if state.brought_up else OK
    for stack, why in state.failed.items():
        progress(f"failed: {stack}: {why}")
    lost = state.gaps()
    for line in lost:
        progress(line)
    spent = ", ".join(f"{phase} {minutes(seconds)}" for phase, seconds in state.seconds.items())
    progress(f"done in {minutes(sum(state.seconds.values()))}: {spent}")
    measured = [stack for stack in state.stacks if folder.results_file(stack).exists()]
    if not measured:
        raise FatalError(SESSION, "no scenario could be measured")
    progress(f"results: {folder.path}")
    command = shlex.join(["python", "-m", "bench", "report", str(folder.path)])
    write_report(load([str(folder.path)]), folder.path / "report", command)
    unfinished = state.status != "finished"
    return MISSING_NUMBERS if state.failed or lost or state.warnings or unfinished else OK
