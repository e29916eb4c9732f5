"""``python -m bench explain``: where the CPU time of an operation goes, and why sides differ."""

import argparse
import math
import platform
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from bench.interleave import Side as Compared
from bench.journal import write_whole
from bench.plan import MAX_RUNS, plan_for
from bench.session import Clock
from bench.text import minutes
from cli.common import (
    MISSING_NUMBERS,
    OK,
    SESSION,
    USAGE,
    Commands,
    FatalError,
    add_answer,
    alone_in,
    interrupted_by_term,
    names,
    print_answer,
    progress,
)
from cli.display import display
from components.targets import open_session
from report.explain import markdown, rendered, to_json
from report.flame import flame_graph
from studies.explain.finding import RECORD, Explanation, Operation, Side
from studies.explain.profile import Profile, mean_stacks
from studies.explain.run import KINDS, Asked, ExplainError, bring_up, follow_all, profile
from studies.explain.way import Followed
from studies.matrix.run import Afterwards, Display
from studies.matrix.state import GRAPHS, MatrixFolder

if TYPE_CHECKING:
    from components.lab.upgrade import UpgradeLabs

Profiles = dict[str, list[dict[str, Profile]]]
"""By operation, bring-up, and side."""

_WIDTH, _SECONDS, _BESIDE_SECONDS = 120, 10.0, 2.0
_QUESTION = "Why does a stack take more or less CPU time than another?"
_EPILOG = f"""The stacks are brought up in the lab, beside whatever is up, and do operations in
turns, while perf samples what the CPUs run.

exit codes as of every command; {MISSING_NUMBERS} if the parts do not add up to the
whole, or too much of it is of no known part."""


def add_parsers(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "explain", help=_QUESTION, description=_QUESTION, epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(execute=_explain)
    parser.add_argument(
        "--stack", required=True, action="append", metavar="NAME",
        help="a stack for the lab; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--against", required=True, metavar="NAME", help="the stack to compare with"
    )
    parser.add_argument(
        "--operations", type=names, metavar="O,O", default=[kind.name for kind in KINDS],
        help="only these: " + ", ".join(kind.name for kind in KINDS),
    )  # fmt: skip
    parser.add_argument(
        "--bring-ups", type=int, default=1, metavar="N", help="of all stacks: 1 by default"
    )
    parser.add_argument(
        "--seconds", type=float, default=_SECONDS, metavar="S",
        help=f"of turns, for each operation and stack: {_SECONDS:g}",
    )  # fmt: skip
    add_answer(parser, f"{RECORD} and the flame graphs", "explain-<stack>")


def _explain(options: argparse.Namespace) -> int:
    # The lab, which most commands do without.
    from components.lab.upgrade import Planned, UpgradeLabs

    _check(options)
    sides = (options.against, *options.stack)
    planned = {side: Planned.of(side) for side in sides}
    asked = Asked(
        sides=sides,
        kinds=tuple(kind for kind in KINDS if kind.name in options.operations),
        seconds=options.seconds,
        plan=plan_for("quick", runs=1, allow=options.allow),
    )
    labs = UpgradeLabs(planned, what="explanation")
    folder = MatrixFolder(Path(options.out or f"explain-{options.stack[0]}"))
    described = [
        Side(
            name=name,
            title=each.settings.scenario.title,
            facts={each.settings.scenario.cni: each.settings.scenario.cni_version},
        )
        for name, each in planned.items()
    ]
    with alone_in(folder):
        found, figures = _measured(folder, asked, described, labs, options.bring_ups)
    print_answer(
        options.format,
        text=lambda: rendered(found),
        as_json=lambda: to_json(found),
        markdown=lambda: markdown(found, figures),
        width=_WIDTH,
    )
    progress(f"measured in {minutes(found.seconds)}; all of it: {folder.path}")
    return MISSING_NUMBERS if found.doubts() else OK


def _check(options: argparse.Namespace) -> None:
    sides = [options.against, *options.stack]
    if len(set(sides)) < len(sides):
        raise FatalError(USAGE, "a stack is named twice: what is explained are differences")
    known = [kind.name for kind in KINDS]
    if unknown := [name for name in options.operations if name not in known]:
        raise FatalError(USAGE, f"--operations {unknown[0]}: must be of {', '.join(known)}")
    if not 1 <= options.bring_ups <= MAX_RUNS:
        raise FatalError(USAGE, f"--bring-ups must be from 1 to {MAX_RUNS:,}")
    if not 1 <= options.seconds <= 60:
        raise FatalError(USAGE, "--seconds must be from 1 to 60")


def _measured(
    folder: MatrixFolder,
    asked: Asked,
    described: Sequence[Side],
    labs: "UpgradeLabs",
    bring_ups: int,
) -> tuple[Explanation, dict[str, list[str]]]:
    clock = Clock()
    started, begun = clock.now(), clock.monotonic()
    profiles: Profiles = {kind.name: [] for kind in asked.kinds}
    warnings: dict[str, None] = {}
    ways: list[Followed] = []
    shown = display(asked.sides, Console(stderr=True))
    try:
        with labs.alone(), shown as screen, interrupted_by_term():
            for number in range(1, bring_ups + 1):
                screen.phase(f"bring-up {number} of {bring_ups}")
                found, ways, marks = bring_up(asked, labs, screen, open_session, clock)
                warnings.update(dict.fromkeys(marks))
                for name, by_side in found.items():
                    profiles[name].append(by_side)
    except ExplainError as error:
        raise FatalError(SESSION, str(error)) from None
    spent = clock.monotonic() - begun
    explanation = _explanation(described, started, spent, profiles, ways, list(warnings))
    folder.write(folder.path / RECORD, to_json(explanation))
    return explanation, _flames(folder.path, asked.sides, profiles)


def explaining(folder: MatrixFolder, screen: Display) -> Afterwards:
    """What a matrix does with the clusters of its last bring-up: the record goes to its folder,
    flame graphs into one of their own.

    Where nothing can be sampled, the screen tells why, and the matrix is none the worse.
    """

    def explain(sides: Sequence[Compared]) -> None:
        if len(sides) < 2:
            return
        clock, labels = sides[0].bench.clock, [side.label for side in sides]
        started, begun = clock.now(), clock.monotonic()
        benches = [replace(side.bench, deadline=math.inf) for side in sides]
        profiles: Profiles = {}
        try:
            for kind in KINDS:
                screen.phase(f"sampling where CPU time goes: {kind.what}")
                found = profile(kind, benches, _BESIDE_SECONDS)
                profiles[kind.name] = [dict(zip(labels, found, strict=True))]
            screen.phase("following packets")
            ways, missing = follow_all(KINDS, dict(zip(labels, benches, strict=True)))
        except ExplainError as error:
            screen.phase(f"no CPU time is explained: {error}")
            return
        described = []
        for side in sides:
            about = side.bench.session.about()
            facts = {about.cni.name: about.cni.version} if about.cni else {}
            described.append(Side(name=side.label, title=about.scenario.title, facts=facts))
        spent = clock.monotonic() - begun
        explanation = _explanation(described, started, spent, profiles, ways, missing)
        folder.write(folder.path / RECORD, to_json(explanation))
        graphs = folder.path / GRAPHS
        graphs.mkdir(exist_ok=True)
        _flames(graphs, labels, profiles)

    return explain


def _explanation(
    described: Sequence[Side],
    started: datetime,
    seconds: float,
    profiles: Profiles,
    ways: list[Followed],
    warnings: list[str],
) -> Explanation:
    baseline = described[0].name
    return Explanation(
        sides=list(described),
        baseline=baseline,
        started=started.isoformat(timespec="seconds"),
        seconds=round(seconds),
        bring_ups=max(map(len, profiles.values())),
        kernel=platform.release(),
        operations=[
            Operation.of(kind.name, kind.what, baseline, profiles[kind.name])
            for kind in KINDS
            if kind.name in profiles
        ],
        warnings=warnings,
        ways=ways,
    )


def _flames(folder: Path, sides: Sequence[str], profiles: Profiles) -> dict[str, list[str]]:
    """A flame graph of every operation and pair, and the stacks that it is made of."""
    baseline, *others = sides
    files: dict[str, list[str]] = {}
    for name, found in profiles.items():
        what = next(kind.what for kind in KINDS if kind.name == name)
        stacks = {side: mean_stacks([each[side] for each in found]) for side in sides}
        for side, each in stacks.items():
            lines = (f"{';'.join(stack)} {amount:.4f}" for stack, amount in sorted(each.items()))
            write_whole(folder / f"{name}-{side}.folded", "\n".join(lines) + "\n")
        files[name] = [f"{name}-{side}.svg" for side in others]
        for side, file in zip(others, files[name], strict=True):
            drawn = flame_graph(stacks[side], stacks[baseline], names=(side, baseline), what=what)
            write_whole(folder / file, drawn + "\n")
    return files
