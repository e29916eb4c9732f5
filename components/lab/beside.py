"""Labs that are no stack's own: from a stack's settings, changed or not, beside whatever is up."""

from collections.abc import Mapping
from typing import Any

from cni.toggles import Decision
from components.lab import rollout, target
from components.lab.settings import SETTINGS
from components.settings import Settings, as_pulumi_config, from_pulumi_config
from components.target import toggle_outputs
from lab import outside
from lab.cluster import Lab
from lab.dataplane.interface import Progress
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
    from_outside: bool = False,
) -> dict[str, Any]:
    """Bring a lab up to its workloads; what a killed run has left of it is ended first.

    :param from_outside: with a client outside the nodes.
    :returns: what the lab does not know of itself (:func:`components.lab.target.about`).
    """
    spec, adaptations = target.spec(settings, decisions)
    boot = lab.start(spec, say)
    if from_outside:
        outside.start(lab.sandbox, lab.nodes)
        adaptations += outside.ADAPTATIONS
    lab.install(say)
    rollout.deploy_workloads(lab, say)
    toggles = toggle_outputs(rollout.toggle_states(lab, decisions))
    return target.about(settings, spec, adaptations, toggles, bring_up=boot)
