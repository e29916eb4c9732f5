"""The lab for upgrades, and for whatever else compares sides: a lab for each beside the others."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pulumi

from bench.results import Results
from cni.decisions import GuardError, decide
from cni.settings import leaves, show
from cni.toggles import Decision, Evidence
from components.eks.settings import EksSettings
from components.lab import rollout, target
from components.lab.beside import bring_up, read_settings
from components.lab.settings import SETTINGS
from components.settings import Settings, SettingsError
from components.target import descriptor
from lab import machine
from lab.cluster import Lab, LabSpec
from lab.dataplane import DATAPLANES
from lab.errors import LabError, ToolchainError
from lab.sandbox import LabPaths, only_one
from lab.toolchain.build import Toolchain
from lab.toolchain.cache import CHECKOUT
from lab.toolchain.launcher import target_of
from lab.toolchain.programs import SERVER, families_of, need_of
from lab.toolchain.pulumi import settings_of_stack
from studies.matrix.run import Progress, StackFailedError, StackState
from studies.upgrade import UpgradeRefusedError, UpgradeSide


@dataclass(frozen=True, slots=True)
class Planned:
    """One side, decided."""

    settings: Settings
    decisions: tuple[Decision, ...]
    spec: LabSpec

    @classmethod
    def of(
        cls,
        stack: str,
        *,
        cni: str | None = None,
        kubernetes: str | None = None,
        kube_proxy: str | None = None,
    ) -> "Planned":
        """A stack with other versions than its own, and another mode of kube-proxy.

        :raises UpgradeRefusedError: it cannot be brought up.
        """
        with _refusing():
            if (named := target_of(settings_of_stack(CHECKOUT, stack))) != SETTINGS.name:
                raise UpgradeRefusedError(
                    f"{stack} has target {named}, and this is measured in the lab. "
                    f"Fix: a copy of its file with target: {SETTINGS.name}"
                )
            dataplane = read_settings(stack).scenario.dataplane
            if cni not in (None, *dataplane.versions):
                has = ", ".join(dataplane.versions)
                raise UpgradeRefusedError(f"{cni}: the lab has {dataplane.title} {has} only")
            scenario = {"cniVersion": cni, "kubeProxy": kube_proxy}
            settings = read_settings(stack, {"scenario": scenario, "eks": {"version": kubernetes}})
            _refuse_unbuilt(settings)
            decisions = decide(settings.scenario, target.facts(settings))
            return cls(settings, decisions, target.spec(settings, decisions)[0])

    def described(self) -> UpgradeSide:
        """What a study knows of it.

        :raises UpgradeRefusedError: the installer refuses the values.
        """
        scenario, spec = self.settings.scenario, self.spec
        with _refusing():
            made = partial(
                DATAPLANES[spec.cni].configuration,
                Toolchain.default(),
                spec.kubernetes,
                spec.cni_version,
            )
            configuration, bare = made(spec.values), made({})
        return UpgradeSide(
            facts={
                scenario.cni: scenario.cni_version,
                "Kubernetes": spec.kubernetes,
                "kube-proxy": scenario.kube_proxy,
            },
            settings=scenario.model_dump(mode="json", by_alias=True, exclude_unset=True),
            values={path: show(value) for path, value in leaves(spec.values)},
            configuration=configuration,
            ours=sorted(k for k, value in configuration.items() if bare.get(k) != value),
        )


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except (SettingsError, ToolchainError, LabError, GuardError, pulumi.RunError) as error:
        raise UpgradeRefusedError("; ".join(str(error).splitlines())) from error


def _refuse_unbuilt(settings: Settings) -> None:
    scenario, kubernetes = settings.scenario, settings.section(EksSettings).version
    if lacking := target.lacking_programs(settings):
        raise UpgradeRefusedError(
            f"{scenario.cni} {scenario.cni_version} on Kubernetes {kubernetes} is not "
            f"built here ({', '.join(lacking)}). Built are: {_built(scenario.cni)}; "
            f"{_built(SERVER)}. Fix: python3 -m lab.toolchain ensure --every"
        )


def _built(table: str) -> str:
    missing = Toolchain.default().missing
    there = [each for each in families_of(table) if not missing({need_of(table, each)})]
    return f"{table} {', '.join(there) or '(none)'}"


def refused(before: Planned, after: Planned) -> Iterator[str]:
    """What the new side does not take of the old one's, and cautions that are new, in advance."""
    scenario = after.settings.scenario
    unknown = scenario.dataplane.unknown_values(scenario.cni_version, dict(before.spec.values))
    yield from (f"a value of the old version: {line}" for line in unknown)
    applied = {each.toggle for each in before.decisions if each.applied}
    for each in after.decisions:
        if each.toggle in applied and not each.applied:
            yield f"the toggle {each.toggle}, which is applied now: {each.reason}"
    known, now = (target.cautions(each.settings) for each in (before, after))
    yield from (line for line in now if line not in known)


# -- labs -----------------------------------------------------------------------------------------


@dataclass
class UpgradeLabs:
    """A matrix's stacks (:class:`studies.matrix.run.Stacks`): a lab for each side.

    Ids are fixed and only one such work (``what``) runs, so what is there was left by one that was
    killed, and does not count. ``told`` is what agents have said of their own settings, by side.
    """

    sides: Mapping[str, Planned]
    told: dict[str, dict[str, str]] = field(default_factory=dict)
    what: str = "upgrade"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other such work, and no measurement, on this machine.

        :raises UpgradeRefusedError: there is another one.
        """
        with (
            _refusing(),
            only_one(f"cni-benchmark-{self.what}", self.what),
            machine.measuring(f"an {self.what}"),
        ):
            yield

    def lab(self, stack: str) -> Lab:
        """A side's, whether it is up or not."""
        return Lab(f"cni-benchmark-{self.what}-{stack}")

    def state(self, stack: str) -> StackState:
        return StackState(exists=False)

    def up(self, stack: str, say: Progress) -> StackState:
        side, lab = self.sides[stack], self.lab(stack)
        with _failing():
            about = bring_up(lab, side.settings, side.decisions, say)
            if stack not in self.told:
                self.told[stack] = reported(rollout.agents_evidence(lab), lab.paths.lab_id)
        args = {"lab_id": lab.paths.lab_id, "about": about}
        found = descriptor(SETTINGS.name, args, about["bring_up"])
        return StackState(True, found, about.get("decisions"))

    def renew(self, stack: str, session: Mapping[str, Any] | None, say: Progress) -> StackState:
        # A lab that comes up ends the one before it.
        return self.up(stack, say)

    def hand_over(
        self, stack: str, session: Mapping[str, Any], results: Results, say: Progress
    ) -> None:
        """Nobody keeps them."""

    def destroy(self, stack: str, say: Progress) -> None:
        with _failing():
            self.lab(stack).remove()

    def interrupt(self) -> None:
        """What is under way takes less than a minute."""

    def close(self) -> None:
        """Nothing was changed but labs."""


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except rollout.FAILURES as error:
        raise StackFailedError(str(error)) from error


def reported(agents: Sequence[Evidence], lab_id: str) -> dict[str, str]:
    """What all agents say alike, by the last part of its name, without a lab's name and place.

    Versions keep the same settings in other parts of an agent, some of them under other names.
    """
    first, *others = [
        {path.rpartition(".")[2]: show(value) for path, value in leaves(each.config or {})}
        for each in agents
    ] or [{}]
    folder = str(LabPaths.of(lab_id).root)
    return {
        key: value.replace(folder, "LAB").replace(lab_id, "LAB")
        for key, value in first.items()
        if all(each.get(key) == value for each in others)
    }
