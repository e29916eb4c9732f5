"""Two real labs side by side, until they are gone: the VPC CNI with kube-proxy, and Cilium's
overlay without it.

The order of the tests matters at the end: there the labs are stopped, one after the other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from bench.checks import placement as pods_placement
from bench.metrics import Metric
from bench.probes.base import Bench, Invocation, Reading
from bench.sampling import Outcome, sample
from bench.session import Pod, SessionError, Targets, resolve_targets
from bench.workloads import DNS_SERVICE, HTTPBIN_SERVICE, WORKLOADS
from cni.cilium.evidence import AgentEvidence
from components.lab import ablation, rollout
from kube.objects import NODE, ApiError, Kind
from lab import cgroups, congestion, placement
from lab.cgroups import AGENTS
from lab.cluster import Lab
from lab.dataplane.cilium.agents import CILIUM_NODE, OPERATOR
from lab.wait import until
from tests.lab.leftovers import Footprint, Host
from tests.lab.running import RunningLab, bring_up

pytestmark = pytest.mark.lab

BASELINE, OVERLAY = "scenario-a", "scenario-c"
STACKS = [BASELINE, OVERLAY]
# Two nodes are the fewest, and half the agents to wait for. Labs with ENIs have tests of their own.
CHANGES: dict[str, dict[str, object]] = {
    BASELINE: {"lab.eni": "routed"},
    OVERLAY: {"lab.nodes": 2},
}


@pytest.fixture(scope="module")
def host(lab_host: None) -> Host:
    return Host.now()


@pytest.fixture(scope="module")
def labs(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RunningLab]]:
    """Both labs, running at once."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("a state's folder")))
        # Nothing of it may get into a lab: with this proxy no agent reaches anything.
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            patch.setenv(name, "http://127.0.0.1:9")
            patch.setenv(name.lower(), "http://127.0.0.1:9")
        patch.setenv("GOMAXPROCS", "1")
        patch.setenv("LC_ALL", "tr_TR.UTF-8")
        running = {}
        for name in STACKS:
            running[name] = bring_up(name, CHANGES[name])
            stack.callback(running[name].lab.remove)
            stack.callback(running[name].session.close)
        yield running


@pytest.fixture(scope="module")
def footprints(labs: dict[str, RunningLab]) -> dict[str, Footprint]:
    """All that the labs have, listed while they run."""
    return {name: Footprint.of(each.lab) for name, each in labs.items()}


@pytest.fixture(params=STACKS)
def running(request: pytest.FixtureRequest, labs: dict[str, RunningLab]) -> RunningLab:
    return labs[request.param]


@pytest.fixture
def overlay(labs: dict[str, RunningLab]) -> RunningLab:
    return labs[OVERLAY]


@pytest.fixture
def baseline(labs: dict[str, RunningLab]) -> RunningLab:
    return labs[BASELINE]


# -- control plane and nodes --------------------------------------------------------------------


def test_the_api_server_is_ready_and_refuses_whoever_has_no_token(running: RunningLab) -> None:
    assert running.lab.api.not_ready() is None
    with pytest.raises(ApiError, match='services "none" not found'):
        running.lab.service_address("default", "none")
    anonymous = running.run(
        "fortio-client", "fortio", "curl", "-k", "https://172.30.0.1:6443/api/v1/pods"
    )
    assert "401 Unauthorized" in anonymous.stderr + anonymous.stdout


def test_applying_makes_an_object_and_changes_the_fields_that_are_named(
    running: RunningLab,
) -> None:
    api = running.lab.api
    about = {"name": "applied", "namespace": "default"}
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {"a": "1"}}
    config_map = Kind.of(made)
    assert api.apply(made, "a-test")["data"] == {"a": "1"}
    api.merge(config_map, "applied", {"data": {"b": "2"}}, "default")
    assert api.apply({**made, "data": {"a": "3"}}, "a-test")["data"] == {"a": "3", "b": "2"}
    api.delete(config_map, "applied", "default")


def test_every_node_is_ready_and_labelled(running: RunningLab) -> None:
    found = {each["metadata"]["name"]: each for each in running.lab.api.items(NODE)}
    assert sorted(found) == [node.name for node in running.lab.nodes]
    for node in running.lab.nodes:
        status = found[node.name]["status"]
        ready = [each["status"] for each in status["conditions"] if each["type"] == "Ready"]
        assert ready == ["True"]
        assert {"type": "InternalIP", "address": node.address.ip} in status["addresses"]
        labels = found[node.name]["metadata"]["labels"]
        assert labels["node.kubernetes.io/instance-type"] == "m6i.xlarge"


def test_every_agent_runs_and_calls_itself_ready(running: RunningLab) -> None:
    lab = running.lab
    for node in lab.nodes:
        if running.cilium:
            assert lab.node_command(node, ("cilium-dbg", "status", "--brief")).strip() == "OK"
            assert lab.sandbox.pid_of(f"{node.name}-kube-proxy") is None
        else:
            assert lab.sandbox.pid_of(f"{node.name}-address-responder") is not None
            assert lab.sandbox.pid_of(f"{node.name}-kube-proxy") is not None


def test_it_is_found_again_by_its_id_alone(running: RunningLab) -> None:
    again = Lab(running.lab.paths.lab_id)
    assert again.boot_id() == running.boot
    assert again.spec == running.lab.spec
    assert [node.holder for node in again.nodes] == [node.holder for node in running.lab.nodes]


# -- pods ---------------------------------------------------------------------------------------


def test_pods_have_different_addresses_of_their_nodes_subnets(running: RunningLab) -> None:
    if running.cilium:
        shown = running.lab.api.items(CILIUM_NODE)
        subnets = {
            each["metadata"]["name"]: IPv4Network(each["spec"]["ipam"]["podCIDRs"][0])
            for each in shown
        }
        assert all(each.subnet_of(IPv4Network("10.244.0.0/16")) for each in subnets.values())
    else:
        subnets = {n.name: IPv4Network(n.address.pod_cidr) for n in running.lab.nodes}
    pods = [pod for workload in WORKLOADS for pod in running.session.pods(workload.role)]
    assert len(pods) == sum(workload.replicas for workload in WORKLOADS)
    for pod in pods:
        assert IPv4Address(pod.ip) in subnets[pod.node]
        assert running.addresses[pod.name] == pod.ip
    assert len(set(running.addresses.values())) == len(running.addresses)


def test_a_pods_device_has_the_address_that_the_api_tells(running: RunningLab) -> None:
    for role in ("fortio-client", "httpbin"):
        (shown,) = running.json_of(role, "ip", "-json", "-4", "address", "show", "dev", "eth0")
        assert [each["local"] for each in shown["addr_info"]] == [running.pod(role).ip]


def test_clients_and_servers_are_on_different_nodes(running: RunningLab) -> None:
    assert pods_placement(resolve_targets(running.session)).passed


def test_every_server_answers_across_nodes_by_its_own_address(running: RunningLab) -> None:
    servers = running.session.pods("httpbin")
    assert len(servers) == 2
    for server in servers:
        assert server.node != running.pod("fortio-client").node
        answer = running.get(f"http://{server.ip}:8080/get?from=test")
        assert answer.returncode == 0, answer.stderr
        assert json.loads(answer.stdout)["args"] == {"from": ["test"]}


def test_a_server_sees_its_clients_own_address(running: RunningLab) -> None:
    # No translation between pods: that is what native routing and the overlay are compared by.
    server = running.session.pods("httpbin")[0]
    answer = running.get(f"http://{server.ip}:8080/ip")
    assert json.loads(answer.stdout)["origin"].split(":")[0] == running.pod("fortio-client").ip


def test_clients_answer_servers(running: RunningLab) -> None:
    address = f"tcp://{running.pod('fortio-client').ip}:8078"
    load = ("fortio", "load", "-n", "3", "-c", "1", "-qps", "0", "-json", "-")
    assert running.json_of("httpbin", *load, address)["RetCodes"] == {"OK": 3}


# -- services -----------------------------------------------------------------------------------


def test_a_service_answers_at_its_own_address(running: RunningLab) -> None:
    service = running.session.service(HTTPBIN_SERVICE)
    assert IPv4Address(service.host) in IPv4Network("10.100.0.0/16")
    assert service.port == 80
    answer = running.get(f"http://{service.host}:{service.port}/status/200")
    assert answer.returncode == 0, answer.stderr


def test_a_service_spreads_over_its_pods(running: RunningLab) -> None:
    service = running.session.service(HTTPBIN_SERVICE)
    servers = running.session.pods("httpbin")
    before = [_connections(running, server) for server in servers]
    url = f"http://{service.host}:{service.port}/status/200"
    load = ("fortio", "load", "-quiet", "-n", "60", "-c", "2", "-qps", "0", "-keepalive=false")
    done = running.run("fortio-client", *load, url)
    assert done.returncode == 0, done.stderr
    after = [_connections(running, server) for server in servers]
    taken = [more - fewer for fewer, more in zip(before, after, strict=True)]
    assert sum(taken) >= 60
    assert all(taken), f"connections per pod: {taken}"


def _connections(running: RunningLab, server: Pod) -> int:
    """Connections that a pod has accepted so far (RFC 4022, tcpPassiveOpens)."""
    shown = running.session.run(server, ["cat", "/proc/thread-self/net/snmp"], timeout=10).stdout
    names, values = (line.split() for line in shown.splitlines() if line.startswith("Tcp:"))
    return int(values[names.index("PassiveOpens")])


def test_an_unknown_service_is_told(running: RunningLab) -> None:
    with pytest.raises(SessionError, match="not found"):
        running.session.service("nonesuch")


def test_the_clusters_dns_knows_the_service(running: RunningLab) -> None:
    dns = running.session.service(DNS_SERVICE)
    assert (dns.host, dns.port) == ("10.100.0.10", 53)
    ask = ("dig", f"@{dns.host}", "+short", "+tries=3", "+time=3")
    name = f"{HTTPBIN_SERVICE}.default.svc.cluster.local."
    for transport in ("+notcp", "+tcp"):
        done = running.run("dns-client", *ask, transport, name)
        assert done.stdout.split() == [running.session.service(HTTPBIN_SERVICE).host]
    unknown = running.run(
        "dns-client", "dig", f"@{dns.host}", "nonesuch.default.svc.cluster.local."
    )
    assert "status: NXDOMAIN" in unknown.stdout


def test_kube_proxy_has_written_rules_exactly_where_it_runs(labs: dict[str, RunningLab]) -> None:
    for running in labs.values():
        for node in running.lab.nodes:
            rules = running.lab.node_command(node, ["iptables-save", "-t", "nat"])
            assert ("default/httpbin" in rules) is not running.cilium
    assert labs[BASELINE].lab.kube_proxy_mode() == "iptables"
    assert labs[OVERLAY].lab.kube_proxy_mode() == "none"


# -- the session --------------------------------------------------------------------------------


def test_a_commands_outcome_is_the_commands_own(running: RunningLab) -> None:
    done = running.run("dns-client", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert done.argv[0] == "sh"
    assert done.seconds > 0


def test_a_command_runs_in_its_pods_network_and_cgroup(running: RunningLab) -> None:
    pod = running.pod("dns-client")
    shown = running.json_of("dns-client", "ip", "-json", "link", "show")
    assert {"lo", "eth0"} <= {link["ifname"] for link in shown}
    assert len(shown) == 2
    joined = running.run("dns-client", "cat", "/proc/self/cgroup").stdout
    assert joined.split("0::")[1].startswith(
        f"/{cgroups.BRANCH}/{running.lab.paths.lab_id}/{pod.node}"
    )


def test_a_pods_own_process_is_in_its_nodes_cgroup(running: RunningLab) -> None:
    # Socket load-balancing is attached there.
    sandbox = running.lab.sandbox
    for workload in WORKLOADS:
        for pod in running.session.pods(workload.role):
            pid = sandbox.pid_of(pod.name)
            assert pid is not None, f"{pod.name} does not run"
            branch = f"/{cgroups.BRANCH}/{running.lab.paths.lab_id}/{pod.node}\n"
            assert (sandbox.proc(pid) / "cgroup").read_text().endswith(branch)


def test_standard_output_is_a_pipe_and_standard_input_is_empty(running: RunningLab) -> None:
    # fortio opens /dev/stdout a second time for its request log.
    done = running.run("dns-client", "sh", "-c", "cat; echo again > /dev/stdout")
    assert (done.returncode, done.stdout) == (0, "again\n")


def test_a_command_without_an_end_is_ended_with_all_that_it_started(running: RunningLab) -> None:
    mark = "31.4159"
    script = f"sleep {mark} & sleep {mark}; echo never"
    with pytest.raises(SessionError, match=r"dns-client: .*sleep"):
        running.run("dns-client", "sh", "-c", script, timeout=1)
    until("the processes to end", lambda: _sleeping(running, mark), timeout=10)


def _sleeping(running: RunningLab, mark: str) -> str | None:
    """The processes inside the lab that sleep for so many seconds."""
    found = running.lab.sandbox.run(["pgrep", "-af", f"sleep {mark}"], check=False).stdout
    alive = [line for line in found.splitlines() if "pgrep" not in line]
    return "; ".join(alive) or None


def test_what_cannot_be_run_at_all_is_the_sessions_error(running: RunningLab) -> None:
    with pytest.raises(SessionError, match="no-such-program"):
        running.run("dns-client", "no-such-program")
    with pytest.raises(SessionError, match="nobody"):
        running.session.run(Pod("nobody", "dns-client", "node-1", "10.0.0.1"), ["true"], timeout=9)


def test_usage_is_by_node_and_component_and_grows(running: RunningLab) -> None:
    before = {(each.node, each.component): each for each in running.session.cni_usage()}
    nodes = [node.name for node in running.lab.nodes]
    expected = {(node, "cilium-agent" if running.cilium else "kube-proxy") for node in nodes}
    if running.cilium:
        expected.add(("control-plane", "cilium-operator"))
    assert before.keys() == expected
    assert all(each.memory_bytes > 10 << 20 for each in before.values())

    def has_grown() -> str | None:
        after = {(each.node, each.component): each for each in running.session.cni_usage()}
        still = [key for key in before if after[key].cpu_seconds <= before[key].cpu_seconds]
        return f"no more CPU time: {still}" if still else None

    until("every component to work a little", has_grown, timeout=60)


def test_a_components_cgroup_holds_its_process_alone(running: RunningLab) -> None:
    top = cgroups.lab_cgroup(running.lab.paths.lab_id)
    components = sorted(top.glob(f"*/{AGENTS}/*/"))
    assert len(components) == len(running.session.cni_usage())
    for component in components:
        (pid,) = (component / "cgroup.procs").read_text().split()
        assert Path(f"/proc/{pid}/comm").read_text().strip() == component.name[:15]


def test_the_environment_says_what_was_measured(running: RunningLab) -> None:
    found = running.session.environment().model_dump(mode="json", exclude_none=True)
    assert json.loads(json.dumps(found)) == found
    assert found["target"].startswith("lab")
    assert found["nodes"] == [node.name for node in running.lab.nodes]
    assert found["dns_nodes"] == found["nodes"][-1:]
    assert running.session.pods("dns-client")[0].node not in found["dns_nodes"]
    assert found["cluster_domain"] == "cluster.local"
    assert found["versions"]["kube-apiserver"] == running.lab.spec.kubernetes == "1.35.8"
    assert found["kube_proxy"] == ("none" if running.cilium else "iptables")
    assert found["node_mtu"] == 9001


def test_tcp_is_amazon_linuxs_everywhere_and_the_host_stays_as_it_was(
    running: RunningLab,
) -> None:
    lab = running.lab
    pods = [pod.name for workload in WORKLOADS for pod in running.session.pods(workload.role)]
    for netns in (*pods, *(node.name for node in lab.nodes)):
        assert congestion.of(lab.sandbox.netns_path(netns)) == "cubic", netns
    assert running.session.environment().congestion_control == "cubic"
    assert not congestion.ALLOWED.kept.exists()


def test_each_nodes_threads_run_on_its_cpus(running: RunningLab) -> None:
    lab, machine = running.lab, placement.machine_cpus()
    if len(machine) < 2:
        pytest.skip("one CPU")
    for node in lab.nodes:
        assert list(placement.cpus_used(node.cgroup)) == [lab.cpus_of(node.name)], node.name
    client, server = (running.pod(role).node for role in ("iperf3-client", "iperf3-server"))
    assert not set(lab.cpus_of(client)) & set(lab.cpus_of(server))
    command = running.run("iperf3-server", "bash", "-c", "taskset -cp $$").stdout
    assert command.rpartition(": ")[2].strip() == placement.as_list(lab.cpus_of(server))


def test_adaptations_are_told_whole_and_once(running: RunningLab) -> None:
    adaptations = running.session.environment().adaptations
    assert len(adaptations) > 3
    assert len(set(adaptations)) == len(adaptations)
    assert all(each.endswith(".") for each in adaptations)
    responder = any("address responder" in each for each in adaptations)
    assert responder is not running.cilium


def test_a_tunnel_leaves_pods_less_room(labs: dict[str, RunningLab]) -> None:
    mtus = {name: each.session.environment().pod_mtu for name, each in labs.items()}
    assert mtus == {BASELINE: 9001, OVERLAY: 9001 - 50}


# -- evidence -----------------------------------------------------------------------------------


def test_the_agents_evidence_is_the_scenarios(overlay: RunningLab) -> None:
    agents = [
        each for each in rollout.agents_evidence(overlay.lab) if isinstance(each, AgentEvidence)
    ]
    assert agents
    assert [agent.node for agent in agents] == ["node-1", "node-2"]
    for agent in agents:
        assert (agent.network_routing, agent.tunnel_protocol) == ("Tunnel", "vxlan")
        assert agent.kube_proxy_replacement is True
        assert agent.config
        assert "ens5" in (agent.qdiscs or {})
    assert overlay.session.environment().agents["network_routing"] == "Tunnel"


def test_the_toggles_are_judged_on_the_running_agents(overlay: RunningLab) -> None:
    lab = overlay.lab
    states = rollout.toggle_states(lab, overlay.decisions)
    by_name = {state.toggle: state for state in states}
    assert len(by_name) == 13
    # With kube-proxy replaced the agent load-balances sockets, requested or not.
    assert by_name["socketLB"].applied
    assert by_name["socketLB"].verified
    assert not by_name["nativeRouting"].applied
    assert all(len(state.evidence) == 2 for state in states)


def test_the_baseline_has_no_agents_to_ask(baseline: RunningLab) -> None:
    assert rollout.agents_evidence(baseline.lab) == []
    states = rollout.toggle_states(baseline.lab, baseline.decisions)
    assert not any(state.verified for state in states)
    assert {state.evidence for state in states} == {()}
    assert all((state.reason or "").startswith("not applicable") for state in states)
    assert baseline.session.environment().agents == {}


# -- faults ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class During:
    """A probe that does something to the lab instead of measuring."""

    what: Callable[[], object]
    name: str = "during"
    seconds: float = 1.0
    metrics: tuple[Metric, ...] = ()

    def invocation(self, targets: Targets) -> Invocation | None:
        return None

    def measure(self, bench: Bench) -> Reading:
        self.what()
        return Reading({"a": 1.0})

    def summary(self, reading: Reading) -> str:
        return ""


def _sampled(running: RunningLab, what: Callable[[], object]) -> Outcome:
    # Whatever else runs on this machine.
    bench = Bench(running.session, resolve_targets(running.session), most_others=math.inf)
    return sample(During(what), bench, attempts=1)


def _signal(running: RunningLab, name: str, signal: str) -> None:
    sandbox = running.lab.sandbox
    sandbox.run(["kill", f"-{signal}", str(sandbox.pid_of(name))])
    state = "T" if signal == "STOP" else "S"
    if signal != "KILL":
        until(
            f"{name} to take {signal}",
            lambda: None if sandbox.processes()[name].state in state + "R" else "not yet",
            timeout=5,
        )


@pytest.mark.parametrize("name", ["etcd", "kube-apiserver", "node-2-cilium-agent", "httpbin-1"])
def test_a_sample_beside_a_stopped_process_is_none(overlay: RunningLab, name: str) -> None:
    assert name in overlay.lab.sandbox.processes()
    assert _sampled(overlay, lambda: None).reading
    try:
        outcome = _sampled(overlay, lambda: _signal(overlay, name, "STOP"))
    finally:
        _signal(overlay, name, "CONT")
    assert (outcome.reading, outcome.failures) == (None, (f"{name} is stopped",))
    assert _sampled(overlay, lambda: None).reading


def test_a_sample_beside_a_frozen_cgroup_is_none(overlay: RunningLab) -> None:
    freeze = cgroups.lab_cgroup(overlay.lab.paths.lab_id) / "node-2" / AGENTS / "cgroup.freeze"
    try:
        outcome = _sampled(overlay, lambda: freeze.write_text("1"))
    finally:
        freeze.write_text("0")
    assert (outcome.reading, outcome.failures) == (None, ("node-2-cilium-agent is frozen",))
    assert _sampled(overlay, lambda: None).reading


def test_a_sample_beside_an_operators_end_is_none_and_it_is_started_again(
    overlay: RunningLab,
) -> None:
    outcome = _sampled(overlay, lambda: _signal(overlay, OPERATOR, "KILL"))
    assert outcome.reading is None
    assert outcome.failures[0].removeprefix(OPERATOR) in FAULTS
    running = lambda: None if overlay.lab.sandbox.pid_of(OPERATOR) else "not yet"  # noqa: E731
    until("the operator to be started again", running, timeout=10)
    assert _sampled(overlay, lambda: None).reading


FAULTS = (" has ended", " was started anew meanwhile")


def test_what_the_session_itself_restarts_is_no_fault(baseline: RunningLab) -> None:
    session, proxy = baseline.session, "kube-proxy"
    assert _sampled(baseline, lambda: session.restart_component(proxy, "node-1")).reading

    def behind_its_back() -> None:
        baseline.lab.end(proxy, "node-1")
        baseline.lab.start_again(proxy, "node-1")

    again = _sampled(baseline, behind_its_back)
    assert again.failures == ("node-1-kube-proxy was started anew meanwhile",)


# -- side by side, and gone ---------------------------------------------------------------------


def test_the_host_shows_nothing_of_them(
    host: Host, labs: dict[str, RunningLab], footprints: dict[str, Footprint]
) -> None:
    assert Host.now() == host
    # What will be looked for afterwards is there now, or looking for it would prove nothing.
    for name, each in footprints.items():
        assert len(each.processes) > 10
        assert len(each.namespaces) > 10
        kinds = {"prog", "map", "link"} if labs[name].cilium else set()
        assert {kind for kind, _ in each.bpf} == kinds
        assert each.remaining()


def test_both_have_the_same_addresses_inside(labs: dict[str, RunningLab]) -> None:
    for running in labs.values():
        node = running.lab.nodes[0]
        (first,) = json.loads(
            running.lab.node_command(node, ["ip", "-json", "-4", "address", "show", "dev", "ens5"])
        )
        assert first["addr_info"][0]["local"] == "172.30.0.11"
    inits = [running.lab.sandbox.init_pid for running in labs.values()]
    assert len({Path(f"/proc/{pid}/ns/net").readlink() for pid in inits}) == 2


def test_neither_sees_the_others_pods(labs: dict[str, RunningLab]) -> None:
    for running, other in (STACKS, STACKS[::-1]):
        mine = {pod.ip for pod in labs[running].session.pods("httpbin")}
        theirs = {pod.ip for pod in labs[other].session.pods("httpbin")}
        assert not mine & theirs
        address = theirs.pop()
        argv = ("fortio", "curl", "-timeout", "2s", f"http://{address}:8080/status/200")
        assert labs[running].run("fortio-client", *argv).returncode != 0


def test_the_end_of_one_leaves_nothing_of_it_and_the_other_as_it_was(
    host: Host, labs: dict[str, RunningLab], footprints: dict[str, Footprint]
) -> None:
    labs[BASELINE].lab.stop()
    footprints[BASELINE].wait_until_gone()
    assert Host.now() == host
    assert labs[BASELINE].lab.boot_id() is None
    other = labs[OVERLAY]
    assert other.lab.boot_id() == other.boot
    assert other.lab.api.not_ready() is None
    service = other.session.service(HTTPBIN_SERVICE)
    assert other.get(f"http://{service.host}:{service.port}/status/200").returncode == 0


def test_logs_stay_until_it_is_removed(labs: dict[str, RunningLab]) -> None:
    lab = labs[BASELINE].lab
    assert lab.paths.log("kube-apiserver").stat().st_size > 0
    lab.remove()
    assert not lab.paths.root.exists()
    lab.remove()  # There is nothing to do, and nothing is wrong.


def test_a_lab_that_has_ended_is_told_to_whoever_asks(labs: dict[str, RunningLab]) -> None:
    with closing(ablation.connect(labs[BASELINE].lab.paths.lab_id)) as ended:
        pod = Pod("dns-client", "dns-client", "node-1", "172.30.11.4")
        with pytest.raises(SessionError, match=r"is not running\. Fix:"):
            ended.run(pod, ["true"], timeout=5)
        asks: list[Callable[[], object]] = [
            ended.environment,
            ended.cni_usage,
            lambda: ended.pods("httpbin"),
            lambda: ended.service(HTTPBIN_SERVICE),
        ]
        for ask in asks:
            with pytest.raises(SessionError):
                ask()


def test_the_end_of_the_last_leaves_the_machine_as_it_was(
    host: Host, labs: dict[str, RunningLab], footprints: dict[str, Footprint]
) -> None:
    labs[OVERLAY].lab.remove()
    footprints[OVERLAY].wait_until_gone()
    assert Host.now() == host
    assert not labs[OVERLAY].lab.paths.root.exists()
