"""The lab as a stage for ablations: a base that stays, and a lab for each variant beside it.

DSR and XDP are refused by the guards, which decide by the card of the instance type that the stack
names. They concern traffic from outside the nodes, and that the lab can have: a stage of its own
(``outside``) tries both on the lab's veth devices all the same, from a client outside, through a
NodePort. Its nodes have an MTU at which the kernel lets native XDP attach, the base too.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

from bench.session import Pod, Service, Session, SessionError
from bench.text import tail
from bench.workloads import HTTPBIN_SERVICE
from cni.decisions import Variant, decide, with_toggle, without_toggle
from cni.platform import PlatformFacts
from cni.registry import TOGGLES
from cni.scenario import Scenario
from cni.settings import Toggles
from cni.toggles import Decision
from components.lab import rollout, target
from components.lab.beside import bring_up, read_settings
from components.lab.session import LabSession
from components.settings import Settings, SettingsError
from lab import machine, outside, workloads
from lab.cluster import Lab
from lab.errors import ToolchainError, WaitTimeoutError
from lab.sandbox import only_one
from lab.wait import until
from lab.workloads import ServicePort, ServiceSpec
from studies.experiments.capabilities import Progress, Stage, StageError, Trial

BASE_ID, VARIANT_ID = "cni-benchmark-ablation-base", "cni-benchmark-ablation-variant"
_BASES: Mapping[str, tuple[str, str]] = {
    "d": ("D", "scenario-d"),
    "e": ("E", "scenario-e"),
    "outside": ("D from outside", "scenario-d"),
}
_TUNED = "scenario-e"
_OUTSIDE = tuple(name for name, toggle in TOGGLES.items() if toggle.north_south)
_NODE_PORT = 30_080
_ANSWER_SECONDS = 20.0


class StackSession(LabSession):
    """The session of a stack's lab, which can have variants of its scenario beside it.

    :param stack: the stack's name; None where the lab is no stack's.
    """

    def __init__(self, lab: Lab, about: Mapping[str, Any], stack: str | None) -> None:
        super().__init__(lab, about)
        self._stack = stack

    def toggle_stage(self) -> Stage:
        """See :class:`studies.experiments.capabilities.Variants`."""
        if self._stack is None:
            raise StageError("this lab is no stack's, so it has no variants")
        return stage_of(self._stack)


def connect(
    lab_id: str, about: Mapping[str, Any] | None = None, stack: str | None = None
) -> StackSession:
    """The session of a running lab.

    :param about: what the lab itself does not know (:class:`LabSession`).
    :param stack: the name of the stack whose lab it is.
    """
    return StackSession(Lab(lab_id), about or {}, stack)


class NorthSouthSession(LabSession):
    """A lab's session with a client outside the nodes."""

    @property
    def lab(self) -> Lab:
        return self._lab

    def outside(self) -> tuple[Pod, Service]:
        """See :class:`studies.experiments.capabilities.Outside`."""
        return self._entrance

    @cached_property
    def _entrance(self) -> tuple[Pod, Service]:
        """Made once: the NodePort is taken then."""
        lab = self._lab
        try:
            pods = lab.pods_of(HTTPBIN_SERVICE)
            self._publish(lab, [(pod.ip, pod.node) for pod in pods])
            behind = {pod.node for pod in pods}
            away = next(node for node in lab.nodes if node.name not in behind)
        except StopIteration:
            raise SessionError("every node has a pod of httpbin") from None
        except rollout.FAILURES as error:
            raise SessionError(str(error)) from error
        client = Pod(outside.NAME, "fortio-client", outside.NAME, outside.ADDRESS)
        service = Service("httpbin-outside", away.address.ip, _NODE_PORT)
        argv = ("fortio", "curl", "-quiet", f"http://{service.host}:{service.port}/get")

        def missing() -> str | None:
            done = self.run(client, argv, timeout=_ANSWER_SECONDS)
            return tail(done.stderr) or "no answer" if done.returncode else None

        try:
            # Agents take Services up some time after the API server has them.
            until("the NodePort to answer", missing, timeout=_ANSWER_SECONDS)
        except WaitTimeoutError as error:
            raise SessionError(str(error)) from error
        return client, service

    @staticmethod
    def _publish(lab: Lab, endpoints: Sequence[tuple[str, str]]) -> None:
        spec = ServiceSpec("httpbin-outside", HTTPBIN_SERVICE, (ServicePort("http", 80, 8080),))
        manifest = workloads.service_object(spec)
        manifest["spec"] |= {"type": "NodePort"}
        manifest["spec"]["ports"][0]["nodePort"] = _NODE_PORT
        lab.api.ensure(manifest)
        workloads.create_service(lab.api, spec, endpoints)


class LabStage:
    """See :class:`studies.experiments.capabilities.Stage`.

    What the base has is taken away from it, what it has not is added.

    :param name: what the base is called.
    :param tuned: what "on" means, for toggles that have sizes.
    """

    def __init__(
        self, name: str, settings: Settings, tuned: Toggles, *, from_outside: bool = False
    ) -> None:
        self._name = name
        self._settings = settings
        self._tuned = tuned
        self._outside = from_outside

    @property
    def base_name(self) -> str:
        return self._name

    def trials(self) -> Sequence[Trial]:
        return [self._trial(name) for name in (_OUTSIDE if self._outside else TOGGLES)]

    def _trial(self, toggle: str) -> Trial:
        variant = self._variants[toggle]
        if not self._outside:
            decided = {each.toggle: each.notes for each in variant.decisions}
            notes = decided.get(toggle, ())
            return Trial(toggle, variant.sign, variant.along, variant.reason, notes)
        refused = variant.reason or "applied on this instance type too"
        note = f"on {self._facts.instance_type}: {refused}; here on the lab's veth devices"
        return Trial(toggle, "+", notes=(note,), outside=True)

    @cached_property
    def _facts(self) -> PlatformFacts:
        return target.facts(self._settings)

    @cached_property
    def _variants(self) -> Mapping[str, Variant]:
        scenario, facts = self._settings.scenario, self._facts
        applied = {each.toggle for each in decide(scenario, facts) if each.applied}
        return {
            name: without_toggle(scenario, name, facts)
            if name in applied
            else with_toggle(scenario, self._tuned, name, facts)
            for name in TOGGLES
        }

    @contextmanager
    def base(self, say: Progress) -> Iterator[Session]:
        decisions = decide(self._settings.scenario, self._facts)
        with (
            _stage_errors("the base"),
            only_one(BASE_ID, "ablation"),
            machine.measuring("an ablation"),
            _running(BASE_ID, self._settings, decisions, self._outside, say) as session,
        ):
            yield session

    @contextmanager
    def variant(self, trial: Trial, say: Progress) -> Iterator[Session]:
        scenario, decisions = self._made(trial)
        settings = replace(self._settings, scenario=scenario)
        with (
            _stage_errors(trial.label(self.base_name)),
            _running(VARIANT_ID, settings, decisions, self._outside, say) as session,
        ):
            _require(trial, decisions, session)
            yield session

    def _made(self, trial: Trial) -> tuple[Scenario, tuple[Decision, ...]]:
        if self._outside:
            return forced(self._settings.scenario, trial.toggle, self._facts)
        variant = self._variants[trial.toggle]
        if variant.scenario is None:
            raise StageError(f"{trial.label(self.base_name)}: {variant.reason}")
        return variant.scenario, variant.decisions


def forced(
    base: Scenario, toggle: str, facts: PlatformFacts
) -> tuple[Scenario, tuple[Decision, ...]]:
    """A base with a toggle that the guards refuse, on devices that can do it."""
    # As on a card whose driver has native XDP, which veth has had since Linux 4.19.
    able = replace(facts, driver="mlx5_core", bare_metal=True)
    toggles = base.toggles.replaced({toggle: True})
    scenario = base.model_copy(update={"toggles": toggles})
    return scenario, decide(scenario, able)


@contextmanager
def _running(
    lab_id: str,
    settings: Settings,
    decisions: tuple[Decision, ...],
    from_outside: bool,
    say: Progress,
) -> Iterator[NorthSouthSession]:
    lab = Lab(lab_id)
    try:
        about = bring_up(lab, settings, decisions, say, from_outside=from_outside)
        with closing(NorthSouthSession(Lab(lab_id), about)) as session:
            yield session
    finally:
        lab.remove()


def _require(trial: Trial, decisions: Sequence[Decision], session: NorthSouthSession) -> None:
    """The running agents prove that the variant has the toggle, or has it no more.

    :raises StageError: they do not.
    """
    states = rollout.toggle_states(session.lab, decisions)
    state = next(each for each in states if each.toggle == trial.toggle)
    as_asked = state.verified is True if trial.sign == "+" else not state.applied
    if not as_asked:
        raise StageError(f"{trial.toggle}: {state.reason} ({'; '.join(state.evidence)})")


@contextmanager
def _stage_errors(what: str) -> Iterator[None]:
    try:
        yield
    except rollout.FAILURES as error:
        raise StageError(f"{what}: {error}") from error


def stage(base: str) -> LabStage:
    """The lab's stage for a base of :data:`studies.experiments.ablate.BASES`.

    :raises StageError: a stack's file is refused.
    """
    name, stack = _BASES[base]
    return _of(name, stack, from_outside=base == "outside")


def stage_of(stack: str) -> LabStage:
    """The stage beside a stack that is up, which is its base.

    :raises StageError: the stack's file is refused, or Cilium is not its CNI.
    """
    return _of(stack, stack)


def _of(name: str, stack: str, *, from_outside: bool = False) -> LabStage:
    try:
        tuned = read_settings(_TUNED).scenario.toggles
        settings = read_settings(stack)
    except (SettingsError, ToolchainError) as error:
        raise StageError(str(error)) from error
    if not settings.scenario.dataplane.toggles:
        raise StageError(f"{stack} has no toggles: Cilium is not its CNI")
    return LabStage(name, settings, tuned, from_outside=from_outside)
