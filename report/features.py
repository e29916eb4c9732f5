"""What each CNI's documentation says of network policy. Nothing here is measured.

``features.yaml`` has the table, when it was read, and the versions that it was read for.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, model_validator

_FILE = Path(__file__).with_name("features.yaml")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Support(_Model):
    """Whether a CNI has a feature, with what limits it, and where its documentation says so."""

    answer: Literal["yes", "partly", "no"]
    how: str
    source: str


class Feature(_Model):
    """One kind of policy; ``support`` is by CNI as settings name it."""

    name: str
    meaning: str
    support: dict[str, Support]


class Documented(_Model):
    """A CNI, and the version that its documentation was read for."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Features(_Model):
    """The table: every CNI says something of every feature."""

    read_on: str
    cnis: dict[str, Documented]
    features: tuple[Feature, ...]

    @model_validator(mode="after")
    def _complete(self) -> Features:
        for feature in self.features:
            if feature.support.keys() != self.cnis.keys():
                raise ValueError(f"{feature.name}: not of {', '.join(self.cnis)}")
        return self


@cache
def features() -> Features:
    """The table, read once."""
    return Features.model_validate(yaml.safe_load(_FILE.read_text(encoding="utf-8")))
