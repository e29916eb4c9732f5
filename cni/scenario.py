"""A scenario: one CNI in one configuration, as data that a stack file holds."""

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BeforeValidator, Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from cni.cilium.versions import DEFAULT
from cni.dataplane import Dataplane
from cni.registry import DATAPLANES, TOGGLES
from cni.settings import CombinationError, ScenarioSettings, Toggles, TunnelProtocol


def _known(name: object) -> object:
    if not isinstance(name, str) or name not in DATAPLANES:
        *names, last = (f"'{each}'" for each in DATAPLANES)
        expected = f"{', '.join(names)} or {last}"
        # As pydantic refuses a word that is none of a Literal's.
        raise PydanticCustomError(
            "literal_error", "Input should be {expected}", {"expected": expected}
        )
    return name


if TYPE_CHECKING:
    # Fields that are made from the registry have no types that could be checked.
    EveryToggle = Toggles
else:
    EveryToggle = create_model(
        "EveryToggle",
        __base__=Toggles,
        **{
            toggle.attribute: (
                (toggle.sizes or bool) | None,
                Field(default=None, alias=toggle.name),
            )
            for toggle in TOGGLES.values()
        },
    )


class Scenario(ScenarioSettings):
    """Settings whose CNI is known and that do not contradict each other.

    Constructing one raises pydantic's ValidationError; contradictions between settings are in it as
    a `CombinationError` with all of them.
    """

    cni: Annotated[str, BeforeValidator(_known), Field(examples=[next(iter(DATAPLANES))])]
    cni_version: str = Field(examples=[DEFAULT])
    toggles: EveryToggle = EveryToggle()

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        problems = list(self.dataplane.problems(self))
        if problems:
            raise CombinationError(problems)
        return self

    @property
    def dataplane(self) -> Dataplane:
        """The scenario's CNI."""
        return DATAPLANES[self.cni]

    @property
    def overlay(self) -> TunnelProtocol | None:
        """The tunnel between nodes, or None where packets are routed natively."""
        return self.dataplane.overlay(self)
