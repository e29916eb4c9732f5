"""The targets by name. A new one is a folder here and a line in this list."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from bench.session import Session, SessionError
from bench.text import problem, tail
from components.eks.entry import EksTarget
from components.kubeconfig.entry import KubeconfigTarget
from components.lab.entry import LabTarget
from components.settings import PROJECT, Settings, from_pulumi_config
from components.target import Target

#: The first is taken where a stack names none.
TARGETS: dict[str, Target] = {
    target.settings.name: target for target in (LabTarget(), EksTarget(), KubeconfigTarget())
}


def settings_of(raw: Mapping[str, str], stack: str) -> Settings:
    """A stack's settings, for any of the targets.

    :param raw: the configuration as the engine passes it, by `namespace:name`.
    :raises SettingsError: with one line for every problem.
    """
    return from_pulumi_config(raw, stack, [each.settings for each in TARGETS.values()])


def named_in(file: Path) -> Target:
    """The target that a stack's file names; the first where it names none, or none that there is.

    What else the file says is not looked at: a preview does that.

    :raises OSError: it cannot be read.
    """
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError:
        tree = None
    config = tree.get("config") if isinstance(tree, dict) else None
    name = config.get(f"{PROJECT}:target") if isinstance(config, dict) else None
    return TARGETS.get(str(name), next(iter(TARGETS.values())))


def open_session(descriptor: Mapping[str, Any]) -> Session:
    """Reach the cluster that a descriptor names.

    :param descriptor: as :func:`components.target.descriptor` makes it.
    :raises SessionError: the descriptor is malformed or of an earlier version, its target is
        unknown, or the cluster cannot be reached.
    """
    if not isinstance(descriptor, Mapping):
        raise SessionError(f"a session descriptor is a map, not {descriptor!r}")
    if "factory" in descriptor:
        raise SessionError(
            "the session was recorded by an earlier version of this project. Fix: pulumi up"
        )
    name, args = descriptor.get("target"), descriptor.get("args", {})
    if not isinstance(name, str) or not isinstance(args, Mapping):
        raise SessionError(
            'a session descriptor is {"target": "lab", "args": {...}}, '
            f"got target={name!r}, args={args!r}"
        )
    if name not in TARGETS:
        raise SessionError(f"no target {name!r}: there are {', '.join(TARGETS)}")
    try:
        return TARGETS[name].open_session(**args)
    except (TypeError, ValueError) as error:
        why = problem(error, "about") if isinstance(error, ValidationError) else tail(str(error))
        raise SessionError(f"the session's args do not fit the target {name}: {why}") from error
