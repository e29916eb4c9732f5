"""What every target gives to the benchmark, however it comes to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi


@dataclass(frozen=True, slots=True)
class Deployment:
    """A cluster with its CNI and the workloads, ready to be measured.

    :param session: descriptor of the session (``bench.session.open_session``), known once the
        workloads run.
    :param toggles: the state of every toggle by name: requested, applied, verified, reason.
    :param warnings: what the reader of the results should know, decided before the deployment.
    """

    session: pulumi.Output[Mapping[str, Any]]
    toggles: pulumi.Output[Mapping[str, Any]]
    warnings: tuple[str, ...] = ()
