"""Which scenario for which kind of workload: every rule that the report's advice follows.

1. Only scenarios that fulfil a workload's need (``use_cases.yaml``, ``needs``) are candidates, in
   the order in which the user named them: the first is the simplest, each later one a further
   change.
2. The first candidate is kept until a later one beats it: at least one deciding metric is better,
   none is worse, by the verdicts of :mod:`bench.compare` over the deciding metrics alone (so that
   few runs suffice) and by at least :data:`WORTH` %. Those metrics are fixed there, before any is
   looked at.
3. A metric that an HTTP server or a load generator limited decides nothing (but the CNI's own cost,
   which is not of the network).
4. With too few runs for a verdict, or where no difference below :data:`NOISY` % could have been
   seen, nothing beats the first candidate, and the advice says so; what was published is quoted,
   and never counted as a verdict, since it is of single runs.
5. Where an experiment measures the workload's own axis (``curve``), its deciding metrics at the
   furthest point that two subjects share decide in place of the others, by the same rules
   (:mod:`report.advise`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from report.traits import Traits

WORTH: Final = 5.0
"""Percent from which on a difference is worth a change of the network."""
NOISY: Final = 25.0
"""Percent: where no smaller difference could have been seen in any deciding metric, that none was
seen says nothing."""

Basis = Literal["measured", "published", "feature"]
"""What an advice rests on: verdicts of these results, the published study, documented features."""

_MET: Final[Mapping[str, Callable[[Traits], bool | None]]] = {
    "layer 7": lambda traits: traits.layer_7,
    "hubble": lambda traits: traits.layer_7 and traits.flows,
    "overlay": lambda traits: traits.overlay,
    "not iptables": lambda traits: (
        None if traits.services is None else traits.services != "kube-proxy iptables"
    ),
}
"""By a need's name, whether a scenario meets it; None where its results do not tell."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Curve(_Model):
    """The experiment along a workload's own axis, by the axis's unit, and what decides there."""

    unit: str
    deciding: tuple[str, ...]


class Need(_Model):
    """What a scenario must be for a workload: a stated setting, not a measurement."""

    name: str
    says: str
    source: str

    def met(self, traits: Traits) -> bool | None:
        """Whether a scenario is so; None where its results do not tell."""
        return _MET[self.name](traits)


class UseCase(_Model):
    """A kind of workload.

    ``when`` is how a reader knows that theirs is one, ``why`` the reason for the deciding metrics.
    ``only_curve``: without the experiment nothing measured speaks for or against anything.
    ``published`` is the corrected reading of what the study has on it; ``change`` what would change
    the advice. ``any_cni``: why the choice of CNI does not matter to it, as ``source`` has it.
    """

    title: str
    when: str
    deciding: tuple[str, ...] = ()
    why: str = ""
    change: str
    needs: Need | None = None
    curve: Curve | None = None
    only_curve: bool = False
    published: str = ""
    any_cni: str = ""
    source: str = ""


def _read(file: Path) -> tuple[UseCase, ...]:
    data: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    needs = {name: Need(name=name, **need) for name, need in data["needs"].items()}
    return tuple(
        UseCase(**{**each, "needs": needs[each["needs"]] if "needs" in each else None})
        for each in data["use_cases"]
    )


USE_CASES: Final = _read(Path(__file__).with_name("use_cases.yaml"))
