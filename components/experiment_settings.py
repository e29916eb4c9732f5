"""Which experiments a stack runs, and how much of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from bench.plan import MAX_RUNS, MAX_SECONDS
from cni.settings import SETTINGS, did_you_mean
from studies.experiments.definition import Extent
from studies.experiments.registry import EXPERIMENTS


def _known(name: str) -> str:
    if name not in EXPERIMENTS:
        listed = ", ".join(EXPERIMENTS)
        raise ValueError(f"no such experiment{did_you_mean(name, EXPERIMENTS)}; there are {listed}")
    return name


class ExperimentSettings(BaseModel):
    """An experiment by its name, alone or with its extent; None is its usual one."""

    model_config = SETTINGS

    name: Annotated[str, Field(examples=["scale"]), AfterValidator(_known)]
    points: Annotated[tuple[int | str, ...], Field(strict=False)] = ()
    rounds: int | None = Field(default=None, ge=1, le=MAX_RUNS, examples=[7])
    seconds: int | None = Field(default=None, ge=1, le=MAX_SECONDS, examples=[2])

    @property
    def extent(self) -> Extent:
        """How much of it is done."""
        return EXPERIMENTS[self.name].extent(self.points, self.rounds, self.seconds)

    @model_validator(mode="after")
    def _possible(self) -> ExperimentSettings:
        _ = self.extent  # ExtentError is a ValueError: told as this setting's
        return self


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _each_once(wanted: tuple[ExperimentSettings, ...]) -> tuple[ExperimentSettings, ...]:
    names = [each.name for each in wanted]
    if len(set(names)) < len(names):
        raise ValueError("must not have an experiment twice")
    return wanted


Experiments = Annotated[
    tuple[Annotated[ExperimentSettings, BeforeValidator(_named)], ...],
    Field(strict=False, examples=[["scale"]]),
    AfterValidator(_each_once),
]


def extents(wanted: tuple[ExperimentSettings, ...]) -> Mapping[str, Any]:
    """The extents by name, in the order of the file."""
    return {each.name: each.extent for each in wanted}
