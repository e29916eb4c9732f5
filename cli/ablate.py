"""``python -m bench ablate``: each tuning toggle by itself."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.compare import runs_needed
from bench.plan import plan_for
from bench.session import Clock
from cli.common import (
    OK,
    USAGE,
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
from cli.experiments import show_experiment
from components.targets import open_session
from studies.experiments.ablate import (
    BASES,
    INSIDE,
    OUTSIDE,
    QUESTION,
    ROUNDS,
    SECONDS,
    Described,
    Work,
    family_of,
    measure_trials,
    merged,
    of_ablation,
)
from studies.experiments.capabilities import Stage, Trial

ALL, FIGURE = "ablation.json", "effects.svg"

_EPILOG = f"""Base and variant are up at once and measured in turn, probe by probe:
{", ".join(INSIDE)}; from outside {", ".join(OUTSIDE)}.
A finished toggle has a file in the folder and is not measured again.
One that the nodes cannot have (netkit or WireGuard on a kernel without, say)
is not tried, and the reason is told before anything is brought up.

On another cluster than the lab, give the session of the base and of every
variant: --session d.json --variant hostRouting=host.json (with no- before
the name where the base has the toggle and the variant has not)."""


def add_parsers(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "ablate", help=QUESTION, description=QUESTION, epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(execute=_ablate)
    parser.add_argument(
        "--base", choices=tuple(BASES), default="d",
        help="; ".join(f"{name}: {what}" for name, what in BASES.items()),
    )  # fmt: skip
    parser.add_argument("--toggles", type=names, metavar="T,T", help="only these")
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
    add_allow(parser)


def _ablate(options: argparse.Namespace) -> int:
    # Draws with matplotlib, which most commands do without.
    from report.figures import draw_effects

    plan = of_ablation(
        plan_for("quick", runs=options.rounds, seconds=options.seconds, allow=options.allow)
    )
    stage = _stage(options)
    trials = _trials(stage, options.toggles)
    work = Work(stage.base_name, plan, _command(options), Clock(), progress)
    family = family_of(plan, INSIDE)
    if plan.runs < (needed := runs_needed(family)):
        progress(
            f"{plan.runs} rounds allow no verdict on {family} metrics: --rounds {needed} or more do"
        )
    folder = Path(options.out or f"ablation-{options.base}")
    with writing(f"into {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    with interrupted_by_term():
        possible = [each for each in trials if each.reason is None]
        parts = measure_trials(stage, work, possible, folder)
    skipped = [each for each in trials if each.reason is not None]
    for trial in skipped:
        progress(f"{trial.label(work.base_name)}: not tried: {trial.reason}")
    if not parts:
        raise FatalError(USAGE, "none of these toggles can be tried here")
    whole = merged(work, parts, skipped)
    show_experiment(whole, str(folder / ALL))
    (folder / FIGURE).write_text(draw_effects(whole), encoding="utf-8")
    progress(f"the effects: {folder / FIGURE}")
    return OK


def _stage(options: argparse.Namespace) -> Stage:
    if bool(options.session) != bool(options.variant):
        raise FatalError(USAGE, "--session and --variant go together: a base and its variants")
    if not options.session:
        return lab_stage(options.base)
    variants = {}
    for each in options.variant:
        name, equals, path = each.partition("=")
        if not equals:
            raise FatalError(USAGE, f"--variant wants TOGGLE=FILE, not {each!r}")
        variants[name] = descriptor(path)
    return Described(
        options.base.upper(), descriptor(options.session), variants, open_session=open_session
    )


def lab_stage(base: str) -> Stage:
    """The lab's stage of a base.

    :raises StageError: a stack's file is refused.
    """
    # The lab, which no other cluster's ablation needs.
    from components.lab.ablation import stage

    return stage(base)


def _trials(stage: Stage, wanted: Sequence[str] | None) -> list[Trial]:
    known = stage.trials()
    if wanted is None:
        return list(known)
    unknown = sorted(set(wanted) - {each.toggle for each in known})
    if unknown:
        choices = ", ".join(dict.fromkeys(each.toggle for each in known))
        raise FatalError(USAGE, f"no toggle {', '.join(unknown)}: choose of {choices}")
    return [each for each in known if each.toggle in wanted]


def _command(options: argparse.Namespace) -> str:
    words = ["ablate", "--base", options.base]
    if options.toggles:
        words += ["--toggles", ",".join(options.toggles)]
    words += ["--rounds", str(options.rounds), "--seconds", str(options.seconds)]
    for each in options.variant:
        words += ["--variant", f"{each.partition('=')[0]}=FILE"]
    return again(options, *words)
