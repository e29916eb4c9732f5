"""A session without a cluster: it replays recorded outputs, and misbehaves when told to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.checks import BPF_STATISTICS
from bench.environment import About, Environment, NetworkLimits
from bench.plan import Plan
from bench.session import (
    Clock,
    CommandResult,
    ComponentUsage,
    Health,
    MachineUsage,
    Pod,
    Service,
    ServicePath,
    SessionError,
    TimeOfDay,
    TurnClient,
    Worked,
    WorkloadUsage,
)
from bench.workloads import NULL_HTTP_PORT, WORKLOADS
from cni.dataplane import Setting
from studies.experiments.sweep import SweepPlan
from tests.bench.scripts import connections_of
from tests.bench.turns_output import turns_output

FOLDER = Path(__file__).parents[1] / "fixtures" / "bench"
PLAN = Plan(
    "recorded", runs=3, bulk_seconds=1, http_seconds=1, latency_seconds=1, idle_seconds=1,
    turn_seconds=1.0,
    http_rates=(100,), http_connections=4, http_max_connections=4, connect_count=20,
    connect_max_count=100, connect_max_connections=4, dns_queries=10, udp_search_seconds=0.1,
    tool_latencies=True,
)  # fmt: skip
"""The plan that the outputs were recorded with (see ``record.py``); small, so that they are."""

SWEPT = SweepPlan(points=(30, 50), rounds=2, requests=200, bound=5_000, connections=4)
SWEPT_RATE = 400
"""The sweep that its outputs were recorded with."""

Answer = Callable[[CommandResult], CommandResult]


def recorded(name: str) -> CommandResult:
    """A recorded command: ``tests/fixtures/bench/<name>.json``."""
    data = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return CommandResult(
        tuple(data["argv"]), data["returncode"], data["stdout"], data["stderr"], 1.0
    )


class FakeClock:
    """Time that passes only when somebody sleeps or a command runs."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.seconds += seconds

    def clock(self) -> Clock:
        """As the runner takes it."""
        start = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        return Clock(
            monotonic=lambda: self.seconds,
            sleep=self.sleep,
            now=lambda: start + timedelta(seconds=self.seconds),
        )


class FakeSession:
    """Three nodes; every probe's command is answered with its recorded output.

    ``spoil`` replaces answers: the name of a recording (as in :meth:`_which`) to a list of
    answers, used up one after the other, then the recording again. An answer may raise.

    ``busy`` is the share of a machine's CPUs in use, by node; ``pod_cpu`` the CPUs that a role's
    pods use; both grow with the time. ``held_back`` grows by the next number of ``throttle`` with
    every command, by recording; in the same way ``others`` are the shares of the machines' CPUs
    that somebody else uses (at all times ``at_rest``, by node), and ``set_clock`` the seconds by
    which the time of day is set.
    ``told`` is what the stack told the session; ``path`` is what leads connections to the Service;
    ``skew`` is in seconds, by role; ``received_per_read`` are the receive softirqs of each CPU.
    ``agent`` is how its agent is; ``bpf_statistics`` is the kernel's setting, or why it cannot be
    read.
    ``latency`` is what every command takes beside its own time.
    ``longer`` is how many times as long its operations in turns take, also in another's run.
    ``turns`` answers a plan of turns otherwise; ``at_work`` is what it tells of the commands' time.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[str, ...], float]] = []
        self.spoil: dict[str, list[Answer]] = {}
        self.machine = "a fake's machine"
        self.longer = 1.0
        self.nodes = {"client": "node-1", "server": "node-2"}
        self.dns_nodes = ["node-3"]
        self.lacking: set[str] = set()
        self.cpu_per_read = 0.01
        self.time = FakeClock()
        self.seconds_per_command = 1.0
        self.latency = 0.0
        self.busy = {"node-1": 0.05, "node-2": 0.05}
        self.steal = 0.0
        self.others: dict[str, list[float]] = {}
        self.at_rest: dict[str, float] = {}
        self._others_used = 0.0
        self.set_clock: dict[str, list[float]] = {}
        self.set_by = 0.0
        self.agent = Health("node-1-cilium-agent", "1")
        self.pod_cpu = {"fortio-client": 0.4, "httpbin": 0.3}
        self.pod_limit: float | None = None
        self.held_back: dict[str, dict[str, int]] = {}
        self.throttle: dict[str, list[int]] = {}
        self.told = About()
        self.shared_machine = False
        self.settings = [Setting("routing", "native", "native")]
        self.path = "Cilium at the socket"
        self.skew: dict[str, float] = {}
        self.clock_source = "tsc"
        self.network: NetworkLimits | None = None
        self.congestion_control: str | None = "cubic"
        self.agents_say: dict[str, str | list[str]] = {}
        self.cpus = {"node-1": [0], "node-2": [1]}
        self.received_per_read = [300, 300]
        self.bpf_statistics = "0"
        self.overflowed = 0
        self.overflow_per_read = 0
        self.turns: Callable[[str], bytes] | None = None
        self.at_work: list[Worked] = []
        self._connections = 7
        self._reads = 0
        self._received = [0, 0]

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        """See ``bench.session.Session``."""
        self.time.seconds += self.latency
        if argv[0] == "true":
            return CommandResult(tuple(argv), 0, "", "", 0.0)
        name = self._which(tuple(argv))
        if name == "bash" and "/dev/tcp/" in argv[-1]:
            self._connections += connections_of(argv)
            refused = "connection" in self.lacking
            return CommandResult(tuple(argv), int(refused), "", "refused" * refused, 0.0)
        if name == "bash":
            return self._tell_time(pod, tuple(argv))
        if argv[-1] == "/proc/softirqs":
            return self._tell_softirqs(tuple(argv))
        if argv[-1] == BPF_STATISTICS:
            if self.bpf_statistics not in ("0", "1"):
                why = f"cat: {BPF_STATISTICS}: {self.bpf_statistics}\n"
                return CommandResult(tuple(argv), 1, "", why, 0.0)
            return CommandResult(tuple(argv), 0, f"{self.bpf_statistics}\n", "", 0.0)
        if name == "cat":
            return self._count(tuple(argv))
        if "-keepalive=false" in argv:
            self._connections += int(argv[list(argv).index("-n") + 1])
        if growth := self.throttle.get(name):
            self.held_back["node-1"]["bw_in_allowance_exceeded"] += growth.pop(0)
        self.calls.append((name, tuple(argv), timeout))
        self.time.seconds += self.seconds_per_command
        if shares := self.others.get(name):
            self._others_used += shares.pop(0) * 4 * self.seconds_per_command
        if steps := self.set_clock.get(name):
            self.set_by += steps.pop(0)
        answer = replace(recorded(name), argv=tuple(argv))
        spoilers = self.spoil.get(name)
        return spoilers.pop(0)(answer) if spoilers else answer

    def turn_client(self, pod: Pod) -> TurnClient:
        """See ``bench.session.Session``."""
        enter = ("enter", pod.name, f"{self.longer:g}")
        return TurnClient(self.machine, enter, usage=("cpu.stat",))

    def take_turns(self, pod: Pod, plan: str, *, timeout: float) -> bytes:
        """See ``bench.session.Session``: made up."""
        subjects = json.loads(plan)["subjects"]
        operation = subjects[0]["task"]["operation"]
        self.calls.append((f"turns-{operation}", ("turns", "run"), timeout))
        self.time.seconds += self.seconds_per_command
        if shares := self.others.get(f"turns-{operation}"):
            self._others_used += shares.pop(0) * 4 * self.seconds_per_command
        spoilers = self.spoil.get(f"turns-{operation}")
        if spoilers:
            answer = spoilers.pop(0)(CommandResult(("turns", "run"), 0, plan, "", 1.0))
            return answer.stdout.encode()
        if self.turns:
            return self.turns(plan)
        # A cluster's clients are entered by no words.
        factors = [float(each["enter"][-1]) if each["enter"] else 1.0 for each in subjects]
        return turns_output(plan, factors=factors)

    def pods(self, role: str) -> Sequence[Pod]:
        """See ``bench.session.Session``."""
        workload = next(item for item in WORKLOADS if item.role == role)
        count = 0 if role in self.lacking else workload.replicas
        node = self.nodes[workload.side]
        return [Pod(f"{role}-{i}", role, node, f"10.0.0.{i + 1}") for i in range(count)]

    def service(self, name: str) -> Service:
        """See ``bench.session.Session``."""
        if name in self.lacking:
            raise SessionError(f"no Service {name}")
        return Service(name, "10.100.0.10", 53 if name == "kube-dns" else 80)

    def cni_usage(self) -> Sequence[ComponentUsage]:
        """See ``bench.session.Session``: every read finds ``cpu_per_read`` s more per agent."""
        if "usage" in self.lacking:
            raise SessionError("no usage today")
        self._reads += 1
        cpu = self._reads * self.cpu_per_read
        return [
            *(ComponentUsage(f"node-{i}", "cilium-agent", cpu, 100 << 20) for i in (1, 2, 3)),
            ComponentUsage("node-1", "cilium-operator", 1e6, 1 << 40),
        ]

    def workload_usage(self) -> Sequence[WorkloadUsage]:
        """See ``bench.session.Session``."""
        return [
            WorkloadUsage(pod.name, role, pod.node, used * self.time.seconds, self.pod_limit)
            for role, used in self.pod_cpu.items()
            for pod in self.pods(role)
        ]

    def machines(self) -> Sequence[MachineUsage]:
        """See ``bench.session.Session``: four CPUs each."""
        if "machines" in self.lacking:
            raise SessionError("no CPU time today")
        passed = 4 * self.time.seconds
        return [
            MachineUsage(
                node,
                (node,),
                4,
                share * passed,
                self.steal * passed,
                others_seconds=self._others_used + self.at_rest.get(node, 0.0) * passed,
                time_of_day=TimeOfDay(self.set_by, 0.001),
            )
            for node, share in self.busy.items()
        ]

    def worked(self) -> Worked | None:
        """See ``bench.session.Session``."""
        return self.at_work.pop(0) if self.at_work else None

    def health(self) -> Sequence[Health]:
        """See ``bench.session.Session``."""
        if "health" in self.lacking:
            raise SessionError("no answer today")
        return [self.agent, Health("etcd", "1")]

    def configuration(self) -> Sequence[Setting]:
        """See ``bench.session.Session``."""
        return self.settings

    def service_path(self, client: Pod, service: Service) -> ServicePath:
        """See ``bench.session.Session``."""
        counted = dict.fromkeys(("Cilium at the socket", "Cilium per packet"), 3)
        counted[self.path] = self._connections
        return ServicePath("Cilium at the socket", counted)

    def allowances(self) -> Mapping[str, Mapping[str, int]]:
        """See ``bench.session.Session``."""
        return {node: dict(counters) for node, counters in self.held_back.items()}

    def close(self) -> None:
        """Nothing is held."""

    def environment(self) -> Environment:
        """See ``bench.session.Session``."""
        return Environment(
            target="a fake",
            kernel="6.1.0",
            shared_machine=self.shared_machine,
            congestion_control=self.congestion_control,
            placement_of_cpus=self.cpus,
            network=self.network,
            dns_nodes=self.dns_nodes,
            agents=self.agents_say,
            adaptations=["nothing is real"],
        )

    def about(self) -> About:
        """See ``bench.session.Session``."""
        return self.told

    def _count(self, argv: tuple[str, ...]) -> CommandResult:
        text = f"Udp: InDatagrams RcvbufErrors\nUdp: 9 {self.overflowed}\n"
        self.overflowed += self.overflow_per_read
        return CommandResult(argv, 0, text, "", 0.0)

    def _tell_softirqs(self, argv: tuple[str, ...]) -> CommandResult:
        grown = zip(self._received, self.received_per_read, strict=True)
        self._received = [so_far + more for so_far, more in grown]
        counts = " ".join(map(str, self._received))
        text = re.sub("NET_RX:.*", f"NET_RX: {counts}", recorded("softirqs").stdout)
        return CommandResult(argv, 0, text, "", 0.0)

    def _tell_time(self, pod: Pod, argv: tuple[str, ...]) -> CommandResult:
        now = self.time.clock().now().timestamp() + self.skew.get(pod.role, 0.0)
        return CommandResult(argv, 0, f"{now:.6f} {self.clock_source}\n", "", 0.0)

    def _which(self, argv: tuple[str, ...]) -> str:
        program = argv[0]
        if program == "sh":
            return "dnsperf-one-by-one" if argv[-1].endswith("-v") else "dnsperf-answers"
        if argv[1:] and argv[1] in ("--version", "-v", "version", "-h"):
            return f"{program}-version"
        if program == "iperf3":
            return _which_iperf(argv)
        if program == "ip":
            return f"ip-{argv[2]}"
        if program == "dig":
            return "dig-answers" if argv.count(argv[-1]) > 1 else "dig-one"
        if program == "fortio":
            return _which_fortio(argv)
        return program


def _which_iperf(argv: tuple[str, ...]) -> str:
    if "--dont-fragment" in argv:
        return "iperf3-unfragmented"
    if "-u" in argv:
        # A search's trial at any rate below the highest.
        slow = "-n" in argv and argv[argv.index("-b") + 1] != "10000000000"
        return "iperf3-udp-slow" if slow else "iperf3-udp"
    return "iperf3-stream" if " -P 1 " in " ".join(argv) else "iperf3-tcp"


def _which_fortio(argv: tuple[str, ...]) -> str:
    if argv[-1].startswith("tcp://"):
        return "fortio-echo" if "200" in argv else "fortio-tcp"
    if f":{NULL_HTTP_PORT}/" in argv[-1]:
        return "fortio-null"
    if "-keepalive=false" in argv:
        one = argv[argv.index("-c") + 1] == "1"
        return "fortio-connect" if one else "fortio-connect-max"
    if "-access-log-file" in argv and "-n" in argv:
        return "fortio-sweep-max" if "0" in argv else "fortio-sweep"
    return "fortio-http-100" if "-access-log-file" in argv else "fortio-http-max"


def failing(message: str) -> Answer:
    """An answer that raises ``SessionError``."""

    def answer(result: CommandResult) -> CommandResult:
        raise SessionError(message)

    return answer


def instead(name: str) -> Answer:
    """Another recording as the answer."""
    return lambda result: replace(recorded(name), argv=result.argv)


def truncated(result: CommandResult) -> CommandResult:
    """The first half of the output only."""
    return replace(result, stdout=result.stdout[: len(result.stdout) // 2])
