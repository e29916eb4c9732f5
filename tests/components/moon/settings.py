"""The settings of a stack on the moon."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, Field

from cni.settings import Problem
from components.settings import Settings, TargetSettings, small_pool


class MoonSettings(BaseModel):
    """The station; its crater has no usual one, so a stack must name it."""

    crater: str = Field(examples=["Tycho"])
    nodes: int = Field(default=2, ge=2, examples=[2])


def _problems(settings: Settings) -> Iterator[Problem]:
    station = settings.section(MoonSettings)
    yield from small_pool(settings.scenario, station.nodes)
    if station.crater == "Mare Crisium":
        yield Problem("moon.crater", station.crater, "a sea, not a crater", "moon.crater", "Tycho")


SETTINGS = TargetSettings(
    name="moon", sections={"moon": MoonSettings}, problems=_problems, profile="published"
)
