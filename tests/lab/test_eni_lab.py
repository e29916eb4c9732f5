"""Cilium's ENI mode in a running lab, with single addresses: interfaces come, fill and go.

The order of the tests matters: the pool grows, is filled, and shrinks again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from bench.session import Pod
from bench.workloads import HTTPBIN_SERVICE, WORKLOADS
from cni.capacity import capacity
from cni.platform import known_facts
from cni.registry import DATAPLANES
from components.eks.iam import document
from components.eks.janitor import remove_left_behind
from lab import network
from lab.cloud.cloud import EC2, METADATA, RECONCILER, Cloud
from lab.cloud.vpc import OWNER
from lab.cloud.vpc import RECONCILER as RECONCILER_KEY
from lab.dataplane.cilium.agents import AGENT, OPERATOR
from lab.sandbox import network_namespace
from lab.wait import until
from tests.aws.account import NUMBER
from tests.aws.authorisation import REGION, missing, needless
from tests.aws.issuer import AUDIENCE, listening
from tests.aws.server import AwsServer
from tests.lab.eni import EniLab, marks
from tests.lab.recorded import keep
from tests.lab.running import bring_up
from tests.lab.traffic import traffic

pytestmark = pytest.mark.lab

CLIENTS, SERVERS = "node-1", "node-2"
_STS_PORT = 8100
CHANGES: dict[str, object] = {
    "lab.nodes": 2,
    "scenario.prefixDelegation": False,
    # What takes minutes by default, in seconds.
    "scenario.values": {
        "eni": {"awsReleaseExcessIPs": True, "gcInterval": "3s"},
        "extraConfig": {
            "excess-ip-release-delay": "2",
            "ipam-cilium-node-update-rate": "1s",
        },
    },
}


@pytest.fixture(scope="module")
def lab(lab_host: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EniLab]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        running = bring_up("scenario-d", CHANGES)
        try:
            made = EniLab(running)
            yield made
            keep(made.calls(), "scenario-d")
        finally:
            running.session.close()
            running.lab.remove()


@pytest.fixture(scope="module")
def late_server(lab: EniLab) -> Pod:
    """A server that has come when its node's first interface was full."""
    lab.add_outside()
    for number in range(3):
        lab.add_pod(f"filler-{number}", SERVERS)
    httpbin = ("go-httpbin", "-host", "0.0.0.0", "-port", "8080", "-log-level", "WARN")
    for attempt in range(12):
        pod = lab.add_pod(f"late-server-{attempt}", SERVERS, *httpbin)
        if lab.index_of(SERVERS, pod.ip) > 0:
            return pod
    raise AssertionError("no pod got an address of a second interface")


# -- addresses ----------------------------------------------------------------------------------


def test_every_pod_has_an_address_of_an_interface_of_its_node(lab: EniLab) -> None:
    pods = [pod for workload in WORKLOADS for pod in lab.running.session.pods(workload.role)]
    assert pods
    for pod in pods:
        index = lab.index_of(pod.node, pod.ip)
        assert pod.ip in lab.interfaces(pod.node)[index]["addresses"]


def test_nodes_are_in_one_subnet(lab: EniLab) -> None:
    subnets = {each["SubnetId"] for node in (CLIENTS, SERVERS) for each in lab.described(node)}
    assert len(subnets) == 1
    assert all(IPv4Address(node.address.ip) in network.SUBNET for node in lab.running.lab.nodes)


def test_the_agents_run_the_mode_that_eks_gets(lab: EniLab) -> None:
    for node in lab.running.lab.nodes:
        config = json.loads(
            lab.running.lab.node_command(node, ("cilium-dbg", "config", "--all", "--output=json"))
        )
        assert config["IPAM"] == "eni"


def test_what_plays_aws_is_in_the_sandboxs_network_and_not_in_the_hosts(lab: EniLab) -> None:
    sandbox = lab.running.lab.sandbox
    inside = sandbox.netns_path(None).readlink()
    assert inside != Path("/proc/self/ns/net").readlink()
    for process in (EC2, METADATA, RECONCILER):
        pid = sandbox.pid_of(process)
        assert pid is not None
        assert (sandbox.proc(pid) / "ns/net").readlink() == inside


# -- growth -------------------------------------------------------------------------------------


def test_a_node_that_runs_out_of_addresses_gets_another_interface(
    lab: EniLab, late_server: Pod
) -> None:
    first, second = lab.described(SERVERS)[:2]
    assert len(first["PrivateIpAddresses"]) == 15
    assert lab.devices(SERVERS)["ens6"] == second["MacAddress"]
    assert second["Attachment"]["DeleteOnTermination"]
    tags = {tag["Key"]: tag["Value"] for tag in second["TagSet"]}
    assert tags == marks("lab")


def test_pods_of_both_interfaces_reach_each_other_across_nodes(
    lab: EniLab, late_server: Pod
) -> None:
    client = lab.running.pod("fortio-client")
    assert lab.connects(client, late_server.ip, 8080).returncode == 0
    assert lab.connects(late_server, client.ip, 8078).returncode == 0
    answer = lab.running.get(f"http://{late_server.ip}:8080/ip")
    assert json.loads(answer.stdout)["origin"] == client.ip


def test_a_pod_of_a_second_interface_reaches_services(lab: EniLab, late_server: Pod) -> None:
    service = lab.running.session.service(HTTPBIN_SERVICE)
    assert lab.connects(late_server, service.host, service.port).returncode == 0


def test_what_leaves_the_vpc_is_masqueraded_where_the_values_say_so(
    lab: EniLab, late_server: Pod
) -> None:
    masqueraded = lab.running.lab.spec.values["enableIPv4Masquerade"]
    for pod in (late_server, lab.running.pod("fortio-client")):
        own = lab.node(pod.node).address.ip if masqueraded else pod.ip
        assert lab.address_outside(pod) == own


@pytest.mark.parametrize("node", [CLIENTS, SERVERS])
def test_a_node_port_answers_outside_the_vpc(lab: EniLab, late_server: Pod, node: str) -> None:
    lab.await_node_port(HTTPBIN_SERVICE, node)


# -- restarts -----------------------------------------------------------------------------------


def test_restarts_lose_no_traffic(lab: EniLab, late_server: Pod) -> None:
    with traffic(lab, late_server, 20) as codes:
        time.sleep(1)
        lab.end(RECONCILER)
        lab.cloud.start_reconciler()
        lab.end(OPERATOR)
        until(
            "the operator to be started again",
            lambda: None if lab.running.lab.sandbox.pid_of(OPERATOR) else "not yet",
            timeout=10,
        )
        lab.end(f"{SERVERS}-{AGENT}")
        lab.cilium.start_agent(lab.node(SERVERS))
        assert codes() == {"200": 20 * 50}
    lab.cilium.wait_ready(lab.running.lab.nodes)


def test_a_restarted_agent_keeps_its_pods_addresses(lab: EniLab, late_server: Pod) -> None:
    def forgotten() -> str:
        text = lab.running.lab.node_command(
            lab.node(SERVERS), ("cilium-dbg", "status", "--output=json")
        )
        used = json.loads(text)["ipam"]["ipv4"]
        pods = [*lab.running.session.pods("httpbin"), late_server]
        return ", ".join(pod.ip for pod in pods if pod.node == SERVERS and pod.ip not in used)

    until("the pods' addresses to be in use", lambda: forgotten() or None, timeout=20)


def test_what_changed_while_the_reconciler_was_away_is_caught_up_with(lab: EniLab) -> None:
    lab.end(RECONCILER)
    with lab.ec2() as ec2:
        interface = lab.described(CLIENTS)[0]["NetworkInterfaceId"]
        made = ec2.create_network_interface(SubnetId=lab.cloud.instances[0].subnet)
        extra = made["NetworkInterface"]["NetworkInterfaceId"]
        attachment = ec2.attach_network_interface(
            NetworkInterfaceId=extra, InstanceId=lab.cloud.instances[0].id, DeviceIndex=3
        )["AttachmentId"]
    assert interface != extra
    assert "ens8" not in lab.devices(CLIENTS)
    lab.cloud.start_reconciler()
    until(
        "the interface to appear",
        lambda: None if "ens8" in lab.devices(CLIENTS) else "not there",
        timeout=15,
    )
    with lab.ec2() as ec2:
        ec2.detach_network_interface(AttachmentId=attachment)
        ec2.delete_network_interface(NetworkInterfaceId=extra)
    until(
        "the interface to be gone",
        lambda: "still there" if "ens8" in lab.devices(CLIENTS) else None,
        timeout=15,
    )


# -- to the limit, and back ---------------------------------------------------------------------


def test_as_many_pods_fit_as_the_instance_type_allows(lab: EniLab) -> None:
    facts = known_facts("m6i.xlarge")
    assert facts is not None
    limit = capacity(
        facts, DATAPLANES["cilium"], prefix_delegation=False, health_endpoint=False
    ).pods
    assert limit == 55
    given = lab.fill(CLIENTS, limit)
    interfaces = lab.described(CLIENTS)
    assert [len(each["PrivateIpAddresses"]) for each in interfaces] == [15, 15, 15, 15]
    assert list(lab.devices(CLIENTS)) == ["ens5", "ens6", "ens7", "ens8"]
    time.sleep(2)  # The operator has been told by now, and has nothing left to give.
    assert lab.allocate(CLIENTS, "one-too-many") is None
    for address in given:
        lab.give_back(CLIENTS, address)


def test_addresses_that_nobody_uses_are_given_back(lab: EniLab) -> None:
    taken: list[str] = []

    def kept() -> str | None:
        # The operator looks for such addresses once a minute, and after every change that it has
        # made anywhere (pkg/ipam, NodeManager.Resync): on another node, one more is wanted.
        if address := lab.allocate(SERVERS, f"another-{len(taken)}"):
            taken.append(address)
        left = sum(len(each["PrivateIpAddresses"]) - 1 for each in lab.described(CLIENTS))
        # What runs there, and the eight that an agent keeps in store.
        return f"{left} addresses" if left > 20 else None

    until("addresses to be given back", kept, timeout=90, interval=1)
    for address in taken:
        lab.give_back(SERVERS, address)
    until("the router to know", lambda: _misled(lab), timeout=10)


def _misled(lab: EniLab) -> str | None:
    """Addresses that have a route without being an interface's, or the other way round."""
    routes = lab.running.lab.sandbox.run(["ip", "route", "show"]).stdout
    held = {
        address["PrivateIpAddress"]
        for node in (CLIENTS, SERVERS)
        for each in lab.described(node)
        for address in each["PrivateIpAddresses"]
    }
    routed = {line.split()[0] for line in routes.splitlines() if "ens" in line}
    return ", ".join(sorted(routed ^ held)) or None


def test_a_detached_interface_of_ciliums_is_collected_and_nobody_elses(lab: EniLab) -> None:
    subnet = lab.cloud.instances[0].subnet

    def make(cluster: str) -> str:
        tags = [{"Key": key, "Value": value} for key, value in marks(cluster).items()]
        with lab.ec2() as ec2:
            return ec2.create_network_interface(
                SubnetId=subnet,
                TagSpecifications=[{"ResourceType": "network-interface", "Tags": tags}],  # type: ignore[list-item, misc]
            )["NetworkInterface"]["NetworkInterfaceId"]

    def there() -> set[str]:
        with lab.ec2() as ec2:
            found = ec2.describe_network_interfaces()["NetworkInterfaces"]
        return {each["NetworkInterfaceId"] for each in found}

    mine, foreign = make("lab"), make("another")
    until(
        "the operator to collect it",
        lambda: "still there" if mine in there() else None,
        timeout=30,
        interval=0.5,
    )
    assert foreign in there()
    # The EKS target's janitor against the same API.
    with lab.ec2() as ec2:
        vpc = lab.cloud.instances[0].vpc
        remove_left_behind(ec2, vpc, marks("another"), print, patience=10, pause=1)
    assert foreign not in there()


# -- permissions --------------------------------------------------------------------------------


def test_the_operator_is_granted_what_it_calls_and_nothing_else(lab: EniLab) -> None:
    asked, policy = lab.asked(OPERATOR), lab.operator_policy()
    assert missing(policy, asked) == []
    assert needless(policy, asked) == []


def test_no_call_of_the_operator_was_refused_by_its_own_fault(lab: EniLab) -> None:
    failed = [call for call in lab.calls() if call.caller == OPERATOR and call.status >= 400]
    # A detached interface may be gone or attached by the time that it is collected.
    assert {call.error for call in failed} <= {
        "InvalidNetworkInterface.InUse",
        "InvalidNetworkInterfaceID.NotFound",
    }


def test_every_interface_that_the_operator_made_is_marked_as_the_policy_demands(
    lab: EniLab,
) -> None:
    made = [
        call.request
        for call in lab.calls()
        if call.caller == "cilium-operator" and call.action == "ec2:CreateNetworkInterface"
    ]
    assert made
    for request in made:
        numbers = [key.split(".")[3] for key in request if key.endswith(".Key")]
        tags = {
            request[f"TagSpecification.1.Tag.{number}.Key"]: request[
                f"TagSpecification.1.Tag.{number}.Value"
            ]
            for number in numbers
        }
        assert tags == marks("lab")


def test_the_operator_takes_its_role_by_its_token_and_calls_as_that(
    lab: EniLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As EKS's webhook has it: no keys, but a role and a file with a token; STS is asked by the
    operator itself."""
    sandbox, sts = lab.running.lab.sandbox, f"http://{network.GATEWAY}:{_STS_PORT}"
    with listening() as issuer:
        trust = document(
            "service-account-trust",
            provider=f"arn:aws:iam::{NUMBER}:oidc-provider/{issuer.host}",
            issuer=issuer.host,
            service_account=OPERATOR,
        )
        iam = iam_backends[NUMBER]["aws"]
        iam.create_open_id_connect_provider(issuer.url, [], [AUDIENCE], [])
        role = iam.create_role(OPERATOR, json.dumps(trust), "/", None, "", [], "3600").arn
        # Who listens is in the sandbox's network; who answers is not, and so finds the issuer.
        with network_namespace(sandbox.netns_path(None)):
            server = AwsServer(_STS_PORT, str(network.GATEWAY))
        server.account.issuer_authority = issuer.authority
        token = tmp_path / "token"
        token.write_text(issuer.token(OPERATOR))
        given = {"AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
        given |= {"AWS_ENDPOINT_URL_STS": sts, "AWS_REGION": REGION}
        monkeypatch.setattr(Cloud, "credentials", lambda self, caller: given)
        before = len(lab.calls())
        with server:
            lab.end_for_good(OPERATOR)
            lab.cilium.start_operator(lab.running.lab.nodes[-1])

            def roles() -> set[str]:
                sessions = sts_backends[NUMBER]["aws"]
                known = (
                    sessions.get_assumed_role_from_access_key(call.caller)
                    for call in lab.calls()[before:]
                    if call.caller not in (OWNER, RECONCILER_KEY) and call.status == 200
                )
                return {each.role_arn if each else "" for each in known}

            until("the operator to call", lambda: None if roles() else "no call", timeout=60)
            assert roles() == {role}
            assert {*server.calls} == {"sts:AssumeRoleWithWebIdentity"}
