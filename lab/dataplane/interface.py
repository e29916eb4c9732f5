"""What the lab asks of a CNI."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lab.cloud.cloud import Cloud
from lab.network import Node
from lab.sandbox import Sandbox
from lab.toolchain.build import Toolchain
from lab.workloads import Plugins

if TYPE_CHECKING:
    from kube.client import Kube


Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LabParts:
    """What a CNI of one lab is made from.

    :param kubernetes: the version of Kubernetes.
    :param version: the CNI's version, one of the toolchain's.
    :param values: what the CNI's installer takes, as an EKS cluster would get it but for the lab's
        adaptations: a chart's values, an add-on's configuration.
    :param cloud: the part of AWS that the nodes are in; None where pods have routed subnets.
    :param apart: what the name of its configuration's folder ends with, where another version
        has one beside it.
    """

    sandbox: Sandbox
    toolchain: Toolchain
    kubernetes: str
    version: str
    values: Mapping[str, Any]
    cloud: Cloud | None
    apart: str = ""


class LabDataplane(ABC):
    """The CNI of one lab: its agents, as processes of the sandbox, and its real plugin."""

    #: The programs whose versions a result names.
    programs: ClassVar[tuple[str, ...]]

    def __init__(self, parts: LabParts) -> None:
        self._parts = parts
        self._sandbox = parts.sandbox
        self._toolchain = parts.toolchain
        self._cloud = parts.cloud

    @classmethod
    @abstractmethod
    def configuration(
        cls, toolchain: Toolchain, kubernetes: str, version: str, values: Mapping[str, Any]
    ) -> dict[str, str]:
        """The agents' settings that the installer of a version makes of values.

        :raises LabError: it refuses the values.
        """

    @property
    @abstractmethod
    def adaptations(self) -> tuple[str, ...]:
        """How the CNI differs from a real cluster's, as sentences for a result's reader."""

    @abstractmethod
    def prepare(self, api: Kube) -> None:
        """Create what takes the API server a while, before the agents are there."""

    @abstractmethod
    def configure(self, progress: Progress) -> None:
        """Write the agents' configuration.

        :raises LabError: the installer refuses the values.
        """

    @abstractmethod
    def start(self, api: Kube, nodes: Sequence[Node]) -> None:
        """Start all agents; :meth:`wait_ready` follows."""

    @property
    @abstractmethod
    def agent(self) -> str:
        """What its component on every node is called."""

    @abstractmethod
    def start_agent(self, node: Node) -> None:
        """Start a node's agent; also again, after its end."""

    @property
    def operator(self) -> str | None:
        """What its component is called that runs once for the cluster, and is kept running."""
        return None

    def operator_not_ready(self, node: Node) -> str | None:
        """Why that does not do its work yet; None when it does.

        :param node: where it runs.
        """
        return None

    @abstractmethod
    def wait_ready(self, nodes: Sequence[Node]) -> None:
        """Wait until the agent of every node is ready to wire pods.

        :raises LabError: an agent ended, or is not ready in time.
        """

    @abstractmethod
    def plugins(self, nodes: Sequence[Node]) -> Plugins:
        """The CNI configuration, and where the plugins are that it names."""

    @abstractmethod
    def eni_report(self, api: Kube, node: Node) -> dict[str, Any]:
        """What the CNI says of a node's ENIs, in its own words.

        :raises LabError: it answers with an error.
        :raises OSError: it does not answer.
        """
