"""What a toggle is: an entry that holds everything the project knows of one tuning setting.

A CNI's toggles are in its folder. Settings, decisions, values, verification, the precondition
`configuration`, outputs and ablations are made from the entries; none of them knows a toggle by
name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from pydantic import BaseModel
from pydantic.alias_generators import to_snake

from cni.platform import ClusterEndpoint, Feature, Kernel, PlatformFacts
from cni.settings import Asked, ScenarioSettings, Values

Flat = Mapping[str, object]
"""Values by their dotted paths (:func:`cni.settings.leaves`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one agent, on one node, reports of itself; each CNI has its own fields."""

    node: str
    config: Mapping[str, object] | None = None
    """The agent's own effective configuration, by its own names; None where it does not say."""


class EvidenceError(ValueError):
    """An evidence command's output is not what that command prints."""


E = TypeVar("E", bound=Evidence)


class Proof(NamedTuple):
    """Whether the toggle is at work (None: this agent did not say), and what the agent said."""

    holds: bool | None
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What must be so before a toggle may be applied."""

    kube_proxy_replacement: bool = False
    toggles: tuple[str, ...] = ()
    kernel: Kernel | None = None
    features: tuple[Feature, ...] = ()
    obstacle: Callable[[ScenarioSettings, PlatformFacts], str | None] = lambda scenario, facts: None
    """Any other reason against it that lies in the platform."""


@dataclass(frozen=True, slots=True)
class Aspect(Generic[E]):
    """One setting of the dataplane: what values ask for (None: nothing), what an agent reports."""

    name: str
    requested: Callable[[Flat], str | None]
    effective: Callable[[E], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of one toggle: requested, applied, or why not."""

    toggle: str
    requested: bool
    applied: bool
    reason: str | None = None
    """Why it is not applied; None where it is."""
    notes: tuple[str, ...] = ()
    """What else a reader of its effect should know."""
    applicable: bool = True
    """The scenario's CNI has it; without it agents are not asked for a proof."""
    refused: bool = False
    """The scenario says explicitly that it must be off."""
    values: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toggle(Generic[E]):
    """One tuning toggle of a dataplane."""

    name: str
    """In settings and outputs, in camelCase."""
    title: str
    on: Callable[[Asked, PlatformFacts], Values]
    """The values that apply it."""
    off: Values
    """The values that keep it off: for an explicit false, and for a fall-back."""
    prove: Callable[[E, Values], Proof]
    """How an agent proves it, given the values that were decided for it."""
    aspects: tuple[Aspect[E], ...]
    """What the precondition `configuration` compares."""
    summary: tuple[str, ...] = ()
    """The fields of an agent's evidence that results tell of it."""
    needs: Needs = Needs()
    sizes: type[BaseModel] | None = None
    """The model of its sizes, for a toggle that is on with sizes instead of true."""
    note: Callable[[ScenarioSettings, PlatformFacts], str | None] = lambda scenario, facts: None
    """What a reader of its effect should know, where it is applied."""
    brings: tuple[str, ...] = ()
    """Toggles that the agent turns on with it where the scenario leaves them open."""
    beside: Callable[[ScenarioSettings, Decision, ClusterEndpoint], Values] = (
        lambda scenario, decision, cluster: {}
    )
    """Further values, by whether it is applied and by other settings of the scenario."""
    options: tuple[str, ...] = ()
    """Options of the agent itself that it decides, which a scenario's values must not set."""
    owned: Mapping[str, str] = field(default_factory=dict)
    """Paths of values that it decides beside those of `off`, with the setting below the toggle's
    name that decides them (empty for the toggle itself)."""
    north_south: bool = False
    """It concerns traffic from outside the nodes only."""

    @property
    def attribute(self) -> str:
        """The name in Python."""
        return to_snake(self.name)
