"""What a stand-in knows of its package: names, identities, outputs, and answers to look-ups."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Props = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource as the engine names it."""

    urn: str

    @property
    def type(self) -> str:
        return self.urn.split("::")[2].rpartition("$")[2]

    @property
    def name(self) -> str:
        return self.urn.rpartition("::")[2]

    def token(self, digits: int) -> str:
        """Hexadecimal digits that are always the same for this resource."""
        return hashlib.sha256(self.urn.encode()).hexdigest()[:digits]


class Package(Protocol):
    """One provider package."""

    version: str

    def configure(self, config: Mapping[str, Any]) -> None:
        """Take up the provider's own configuration."""

    def check(self, resource: Resource, inputs: Props, olds: Props) -> Props:
        """The inputs with the names that the provider chooses."""

    def replaces(self, resource: Resource) -> frozenset[str]:
        """Inputs whose change makes another resource."""

    def create(self, resource: Resource, inputs: Props) -> tuple[str, Props]:
        """The identity, and the outputs beside the inputs."""

    def update(self, resource: Resource, inputs: Props, olds: Props) -> Props:
        """The outputs beside the inputs, after a change."""

    def delete(self, resource: Resource, inputs: Props) -> None:
        """Forget a resource.

        :raises StepFailedError: it cannot be deleted.
        """

    def present(self, resource: Resource) -> bool:
        """Whether a resource is still there.

        :raises StepFailedError: that cannot be told.
        """

    def invoke(self, token: str, arguments: Props) -> Props:
        """The answer to a look-up.

        :raises KeyError: for a look-up that nobody has thought of.
        """
