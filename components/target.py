"""What a target is: a folder here with one :class:`Target`, and a line in :mod:`.targets`.

A target gives facts to decide by, deploys a stack up to its workloads, and reaches it again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.environment import About, CniRecord, Environment, ScenarioRecord, toggle_records
from bench.plan import Plan
from bench.session import Session
from cni.decisions import ToggleState
from cni.platform import PlatformFacts
from cni.scenario import Scenario
from cni.toggles import Decision
from components.settings import Settings, TargetSettings

if TYPE_CHECKING:
    import pulumi  # half a second, which the command line does without


@dataclass(frozen=True, slots=True)
class Deployment:
    """A cluster with its CNI and the workloads, ready to be measured.

    :param session: descriptor of the session (:func:`descriptor`), known once the workloads run.
    :param toggles: the state of every toggle by name: requested, applied, verified, reason.
    """

    session: pulumi.Output[Mapping[str, Any]]
    toggles: pulumi.Output[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A target that was found able to take a stack.

    :param facts: by which guards decide.
    :param deploy: declares the stack's resources below a parent.
    :param existing: what the user pays for while the stack exists, and how it ends; None where it
        costs nothing.
    :param warnings: what the reader of the results should know, also shown at every preview.
    :param digests: what the tags of the workloads' images stand for, by image.
    """

    facts: PlatformFacts
    deploy: Callable[[tuple[Decision, ...], pulumi.Resource], Deployment]
    existing: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)


class StandingError(Exception):
    """What a stack has elsewhere could not be found out; one line for each reason."""


class Target(ABC):
    """One target. Importing its class is cheap: it imports the rest of its folder when used."""

    settings: TargetSettings

    @abstractmethod
    def prepare(self, settings: Settings, plan: Plan) -> Prepared:
        """Look whether the target can take the stack; nothing is started or declared.

        :raises pulumi.RunError: it cannot, with one line for each reason.
        """

    def standing(self, settings: Settings, stack: str) -> Iterable[str]:
        """What of a stack exists and costs money, whatever its state knows, as lines for people.

        :raises StandingError: it cannot be found out.
        """
        return [f"{stack} has nothing that costs money: its target is {self.settings.name}"]

    @abstractmethod
    def open_session(self, **args: Any) -> Session:
        """The session of a stack that is up.

        :param args: those of its descriptor.
        :raises SessionError: it cannot be reached.
        """


def descriptor(target: str, args: Mapping[str, Any], boot: str) -> dict[str, Any]:
    """How a stack's cluster is reached again, as JSON-able data.

    :param target: the target's name.
    :param args: of its :meth:`Target.open_session`.
    :param boot: what is measured; another one is measured again.
    """
    return {"target": target, "args": dict(args), "boot": boot}


def about(
    scenario: Scenario,
    environment: Environment,
    *,
    stack: str = "",
    toggles: Mapping[str, Any] | None = None,
    bring_up: str = "",
) -> dict[str, Any]:
    """What a stack tells its session for the results: the ``about`` of a descriptor's arguments.

    The session itself knows the values that the CNI's installer took.

    :param environment: the facts that only the target knows.
    :param stack: the stack's name; nothing where a lab is no stack's.
    :param toggles: every toggle's state by name, as the stack's output has them.
    :param bring_up: names the cluster's life.
    """
    known = About(
        scenario=ScenarioRecord(
            name=stack,
            title=scenario.title,
            settings=scenario.model_dump(mode="json", by_alias=True, exclude_unset=True),
        ),
        cni=CniRecord(name=scenario.cni, version=scenario.cni_version),
        decisions=toggle_records(toggles),
        bring_up=bring_up,
        environment=environment,
    )
    return known.model_dump(mode="json", exclude_defaults=True)


def toggle_outputs(states: Iterable[ToggleState]) -> dict[str, dict[str, Any]]:
    """Every toggle's state by its name, as a stack output.

    ``verified`` is true only where every running agent proves the toggle; the engine drops what is
    None, so what nobody proves is false here, and ``reason`` says why.
    """
    return {
        state.toggle: {
            "title": state.title,
            "requested": state.requested,
            "applied": state.applied,
            "verified": state.verified is True,
            "reason": state.reason or "",
            "notes": list(state.notes),
            "evidence": list(state.evidence),
        }
        for state in states
    }
