"""``python -m bench upgrade``: what becomes of a stack with another version."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from bench.plan import MAX_RUNS, over_bring_ups, plan_for
from bench.text import minutes
from cli.common import (
    MISSING_NUMBERS,
    OK,
    REGRESSION,
    SESSION,
    USAGE,
    Commands,
    FatalError,
    add_answer,
    alone_in,
    interrupted_by_term,
    print_answer,
    progress,
)
from cli.display import display
from components.targets import open_session
from report.upgrade import Finding, markdown, rendered
from studies.experiments.definition import EXPERIMENTS
from studies.matrix.state import MatrixFolder, MatrixState
from studies.upgrade import (
    BRING_UPS,
    FEW,
    FROM,
    RECORD,
    SERVICES,
    SIDES,
    TO,
    TOLERATE,
    Upgrade,
    begun,
    measure,
)

if TYPE_CHECKING:
    from components.lab.upgrade import UpgradeLabs

_WIDTH = 100
"""Of text that goes to no terminal."""
_QUESTION = "What becomes of a stack if its CNI or Kubernetes is upgraded?"
_EPILOG = f"""Both versions are brought up in the lab, beside whatever is up, and measured in turns.
The same command goes on with an upgrade that was stopped.

exit codes as of every command; {REGRESSION} if a primary metric, or agents' memory with many
Services, is worse by more than --tolerate; {MISSING_NUMBERS} if nothing can be said of one."""


def add_parsers(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "upgrade", help=_QUESTION, description=_QUESTION, epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(execute=_upgrade)
    parser.add_argument("--stack", required=True, metavar="NAME", help="a stack for the lab")
    for name, side in (("--to", "new"), ("--from", "old")):
        parser.add_argument(
            name, dest=f"{side}_cni", metavar="VERSION",
            help=f"the {side} side's, of the CNI; the stack's own by default",
        )  # fmt: skip
    parser.add_argument("--kubernetes", metavar="VERSION", help="the new side's")
    parser.add_argument(
        "--kube-proxy", choices=("iptables", "nftables"), help="the new side's mode"
    )
    parser.add_argument(
        "--bring-ups", type=int, default=BRING_UPS, metavar="N", help=f"{BRING_UPS}"
    )
    parser.add_argument(
        "--services", type=int, default=SERVICES, metavar="N",
        help=f"memory and CPU with {FEW} and with so many Services: {SERVICES:,}",
    )  # fmt: skip
    parser.add_argument(
        "--tolerate", type=float, default=TOLERATE, metavar="PERCENT",
        help=f"what may be worse by so much is no regression: {TOLERATE:g}",
    )  # fmt: skip
    add_answer(parser, f"{RECORD} and the results", "upgrade-<stack>")


def _upgrade(options: argparse.Namespace) -> int:
    _check(options)
    # The lab, which most commands do without.
    from components.lab.upgrade import Planned, UpgradeLabs, refused

    around = options.kubernetes or options.kube_proxy
    before = Planned.of(options.stack, cni=options.old_cni)
    after = Planned.of(
        options.stack,
        cni=options.new_cni or (options.old_cni if around else None),
        kubernetes=options.kubernetes,
        kube_proxy=options.kube_proxy,
    )
    plan = over_bring_ups(plan_for("quick", runs=1, allow=options.allow))
    upgrade = Upgrade(
        stack=options.stack,
        before=before.described(),
        after=after.described(),
        refused=list(refused(before, after)),
        bring_ups=options.bring_ups,
        services=options.services,
        plan=plan.as_dict(),
    )
    folder = MatrixFolder(Path(options.out or f"upgrade-{options.stack}"))
    labs = UpgradeLabs({FROM: before, TO: after})
    with alone_in(folder):
        finding = _in_folder(folder, upgrade, labs, options.tolerate)
    print_answer(
        options.format,
        text=lambda: rendered(finding),
        as_json=finding.to_json,
        markdown=lambda: markdown(finding),
        width=_WIDTH,
    )
    if options.format == "text":
        print(finding.outcome.verdict)
    if finding.outcome.worse:
        return REGRESSION
    return MISSING_NUMBERS if finding.outcome.undecided else OK


def _check(options: argparse.Namespace) -> None:
    most = EXPERIMENTS["scale"].highest
    if not (options.new_cni or options.old_cni or options.kubernetes or options.kube_proxy):
        raise FatalError(USAGE, "nothing changes: name --to, --kubernetes or --kube-proxy")
    if not 2 <= options.bring_ups <= MAX_RUNS:
        raise FatalError(
            USAGE, f"--bring-ups must be from 2 to {MAX_RUNS:,}: one says nothing of the next"
        )
    if not FEW < options.services <= most:
        raise FatalError(USAGE, f"--services must be more than {FEW}, {most:,} at most")
    if not 0 <= options.tolerate < 1_000:
        raise FatalError(USAGE, "--tolerate must be a share in %, 0 or more")


def _in_folder(
    folder: MatrixFolder, upgrade: Upgrade, labs: "UpgradeLabs", tolerate: float
) -> Finding:
    state, reported = begun(folder, upgrade)
    progress(f"{upgrade.title}: {upgrade.bring_ups} bring-ups of both, {state.over} are over")
    if state.status != "finished":
        state = _measured(folder, upgrade, state, labs)
    failed = [f"{side}: {why}" for side, why in state.failed.items()]
    if not all(folder.results_file(side).exists() for side in SIDES):
        raise FatalError(SESSION, "; ".join(failed))
    for line in (*failed, *state.gaps(), *state.warnings):
        progress(f"warning: {line}")
    results = {side: folder.results(side) for side in SIDES}
    finding = Finding.of(upgrade, results, labs.told or reported, tolerate)
    folder.write(folder.path / RECORD, finding.to_json())
    progress(f"measured in {minutes(sum(state.seconds.values()))}; all of it: {folder.path}")
    return finding


def _measured(
    folder: MatrixFolder, upgrade: Upgrade, state: MatrixState, labs: "UpgradeLabs"
) -> MatrixState:
    for line in upgrade.refused:
        progress(f"caution: {line}")
    with labs.alone(), display(SIDES, Console(stderr=True)) as shown, interrupted_by_term():
        try:
            return measure(upgrade, folder, state, labs, shown, open_session)
        except KeyboardInterrupt:
            shown.phase("stopped, and the labs are down; the same command goes on")
            raise
