"""Labs without Pulumi, from a stack's settings: those that are no stack's own, settings changed or
not, beside whatever is up; and a stack's own, made anew."""

from collections.abc import Mapping
from typing import Any

import pulumi

from cni.decisions import GuardError, decide
from cni.toggles import Decision
from components.lab import rollout, target
from components.lab.settings import SETTINGS
from components.settings import Settings, SettingsError, as_pulumi_config, from_pulumi_config
from components.target import descriptor, toggle_outputs
from lab import outside
from lab.cluster import Lab
from lab.dataplane.interface import Progress
from lab.errors import LabError
from lab.toolchain.cache import CHECKOUT
from lab.toolchain.pulumi import settings_of_stack


def read_settings(
    stack: str, changes: Mapping[str, Mapping[str, object]] | None = None
) -> Settings:
    """A stack's settings for the lab, whatever target its file names.

    :param changes: settings in place of the stack's, by section and name; None leaves the stack's.
    :raises SettingsError: they are refused.
    :raises ToolchainError: there is no such stack.
    """
    tree = settings_of_stack(CHECKOUT, stack)
    for section, changed in (changes or {}).items():
        named = {name: value for name, value in changed.items() if value is not None}
        tree[section] = {**tree.get(section, {}), **named}
    sections = ("benchmark", "scenario", *SETTINGS.sections)
    named = {name: tree[name] for name in sections if name in tree}
    raw = as_pulumi_config({**named, "target": SETTINGS.name})
    return from_pulumi_config(raw, stack, [SETTINGS])


def bring_up(
    lab: Lab,
    settings: Settings,
    decisions: tuple[Decision, ...],
    say: Progress,
    *,
    specified: target.Specified | None = None,
    stack: str = "",
    from_outside: bool = False,
) -> dict[str, Any]:
    """Bring a lab up to its workloads; what a killed run has left of it is ended first.

    :param specified: what :func:`components.lab.target.spec` makes of the settings, where it is
        made already.
    :param stack: whose lab it is; nothing where it is no stack's.
    :param from_outside: with a client outside the nodes.
    :returns: what the lab does not know of itself (:func:`components.lab.target.about`).
    """
    spec, adaptations = specified or target.spec(settings, decisions)
    boot = lab.start(spec, say)
    if from_outside:
        outside.start(lab.sandbox, lab.nodes)
        adaptations += outside.ADAPTATIONS
    lab.install(say)
    rollout.deploy_workloads(lab, say)
    toggles = toggle_outputs(rollout.toggle_states(lab, decisions))
    return target.about(settings, spec, adaptations, toggles, stack=stack, bring_up=boot)


def is_up(session: Mapping[str, Any]) -> bool:
    """Whether the very lab of a session's descriptor still runs."""
    if session["target"] != SETTINGS.name:
        return False
    boot: str = session["boot"]
    return Lab(session["args"]["lab_id"]).boot_id() == boot


def renew(stack: str, session: Mapping[str, Any], say: Progress) -> dict[str, Any]:
    """End a stack's lab, and make another one under its id, with the steps of the stack's `up`.

    The stack's state goes on to name the lab's id, so that `destroy` removes it, and the boot that
    is over: its next `up` builds the cluster anew, as after a reboot.

    :param session: the descriptor of the lab, which :func:`is_up`.
    :returns: the descriptor of the new one.
    :raises LabError: a part of it does not come up, or the stack's file would make another lab now.
    """
    lab = Lab(session["args"]["lab_id"])
    try:
        settings = read_settings(stack)
        decisions = decide(settings.scenario, target.facts(settings))
        specified = target.spec(settings, decisions)
    except (SettingsError, GuardError) as error:
        raise LabError(
            _CHANGED.format(stack=stack, how="; ".join(str(error).splitlines()))
        ) from error
    except pulumi.RunError as error:  # programs that are gone, say, which it names with the fix
        raise LabError("; ".join(str(error).splitlines())) from error
    if specified[0] != lab.spec:
        raise LabError(_CHANGED.format(stack=stack, how="it would make another lab"))
    about = bring_up(lab, settings, decisions, say, specified=specified, stack=stack)
    args = {**session["args"], "about": about}
    return descriptor(SETTINGS.name, args, about["bring_up"])


_CHANGED = (
    "Pulumi.{stack}.yaml has changed since the first bring-up: {how}. "
    "Fix: change it back, or begin another matrix"
)
