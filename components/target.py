"""What every target gives to the benchmark, however it comes to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from cni.evidence import ToggleState


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
