"""The EKS stacks under the real engine, with stand-ins for providers, AWS and the cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from bench.results import from_json
from cni.cilium.versions import DEFAULT
from cni.registry import TOGGLES
from tests.engine import checkout as checkouts
from tests.engine.eks.lives import NO_NODES, STORIES, Life, lives
from tests.engine.eks.world import SECRET_KEY, Step

pytestmark = pytest.mark.engine

STACKS = tuple(STORIES)
_ADDONS = {
    "scenario-a": {"vpc-cni", "kube-proxy", "coredns"},
    "scenario-b": {"kube-proxy", "coredns"},
}
_ENI = ("scenario-d", "scenario-e")
# Of a kubeconfig or a token; the state holds them encrypted, and nothing else may.
_SECRETS = ("k8s-aws-v1.", "get-token", "current-context", SECRET_KEY)


@pytest.fixture(scope="module")
def going(
    lab_host: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Life]]]:
    folder = tmp_path_factory.mktemp("eks")
    checkout = checkouts.copy(folder / "checkout", folder / "home", STACKS[0])
    with lives(checkout, folder) as futures:
        yield futures


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def life(going: dict[str, Future[Life]], stack: str) -> Life:
    return going[stack].result()


def _ok(step: Step) -> Step:
    assert step.code == 0, step.told
    assert "Traceback" not in step.told
    return step


def _cni(stack: str) -> tuple[tuple[str, ...], ...]:
    """What brings the pods' network, in its order."""
    if stack == "scenario-a":
        role = "RolePolicyAttachment vpc-cni-AmazonEKS_CNI_Policy"
        return (role,), ("Resource janitor",), ("Addon vpc-cni",)
    if stack in _ENI:
        return ("RolePolicy cilium-operator-policy",), ("Resource janitor",), ("Release cilium",)
    return (("Release cilium",),)


def _order(stack: str) -> tuple[tuple[str, ...], ...]:
    """From the network to the measurement."""
    return (
        ("Vpc vpc",),
        ("Cluster cluster-eksCluster",),
        *_cni(stack),
        ("NodeGroup nodes",),
        ("Resource gate",),
        ("Addon coredns", "Resource dataplane"),
        ("Deployment fortio-client", "Deployment iperf3-client"),
        ("Deployment httpbin", "Deployment iperf3-server"),
        ("Resource benchmark",),
    )


def test_a_preview_changes_nothing(life: Life) -> None:
    preview = _ok(life["preview"])
    assert preview.asked() == []
    assert {"aws:eks/cluster:Cluster", "aws:eks/nodeGroup:NodeGroup"} <= {
        each.type for each in preview.asked("create", preview=True)
    }
    assert "per hour while it exists" in preview.told
    assert "to create" in preview.told


def test_up_makes_everything_in_order(life: Life, stack: str) -> None:
    up = _ok(life["up"])
    made = up.events.did("create")
    groups = [tuple(what for what in group if what in made) for group in _order(stack)]
    up.events.assert_order(*(group for group in groups if group))
    if "failed" not in life.steps:
        assert made.issuperset(what for group in _order(stack) for what in group)
    if "kube-proxy" in _ADDONS.get(stack, ()):
        proxy, nodes = ("Addon kube-proxy",), ("NodeGroup nodes",)
        up.events.assert_order(proxy, nodes)
        life["destroy"].events.assert_order(nodes, proxy)
    group, nodes = ("PlacementGroup placement",), ("NodeGroup nodes",)
    if made.issuperset((*group, *nodes)):
        up.events.assert_order(group, nodes)
    # A stack that has grown past its placement group has none left.
    if "grown" not in life.steps:
        life["destroy"].events.assert_order(nodes, group)


def test_nothing_in_a_cluster_comes_before_its_provider(life: Life, stack: str) -> None:
    first = life.steps.get("failed", life["up"])
    first.events.assert_order(("Cluster cluster-eksCluster",), ("kubernetes kubernetes",))
    if stack != "scenario-a":
        first.events.assert_order(("kubernetes kubernetes",), ("Release cilium",))


def _made(life: Life, type_: str) -> list[dict[str, Any]]:
    """The inputs of all that was made of a type, whether the first `up` got to its end or not."""
    steps = [life.steps[name] for name in ("failed", "up") if name in life.steps]
    created = [each for step in steps for each in step.of(type_) if each.op == "create"]
    return list({each.name: each.inputs for each in created}.values())


def test_the_cluster_has_the_scenarios_addons_and_no_others(life: Life, stack: str) -> None:
    addons = {each["addonName"] for each in _made(life, "aws:eks/addon:Addon")}
    assert addons == _ADDONS.get(stack, {"coredns"})
    releases = _made(life, "kubernetes:helm.sh/v3:Release")
    assert [each["version"] for each in releases] == ([DEFAULT] if stack != "scenario-a" else [])


def test_the_cluster_is_as_the_stack_says(life: Life, stack: str) -> None:
    (made,) = _made(life, "aws:eks/cluster:Cluster")
    assert made["version"] == "1.35"
    assert made["bootstrapSelfManagedAddons"] is False
    assert made["accessConfig"]["authenticationMode"] == "API"
    assert made["vpcConfig"]["publicAccessCidrs"] == ["203.0.113.7/32"]
    assert len(made["vpcConfig"]["subnetIds"]) == 2
    assert made["kubernetesNetworkConfig"]["serviceIpv4Cidr"] == "10.100.0.0/16"
    (nodes,) = _made(life, "aws:eks/nodeGroup:NodeGroup")
    assert nodes["scalingConfig"] == {"desiredSize": 3, "minSize": 3, "maxSize": 3}
    assert len(nodes["subnetIds"]) == 1
    keys = [taint["key"] for taint in nodes.get("taints", [])]
    assert keys == ([] if stack == "scenario-a" else ["node.cilium.io/agent-not-ready"])
    (template,) = _made(life, "aws:ec2/launchTemplate:LaunchTemplate")
    assert template["metadataOptions"]["httpTokens"] == "required"


def test_everything_that_can_have_tags_has_them(life: Life, stack: str) -> None:
    resources = json.loads(life.state)["deployment"]["resources"]
    name = f"eks-{stack[-1]}"
    tagged = {
        each["urn"]: each["outputs"]["tagsAll"].get("cni-benchmark:stack")
        for each in resources
        if "tagsAll" in each.get("outputs", {})
    }
    assert len(tagged) > 10
    assert set(tagged.values()) == {name}


def test_the_outputs(life: Life, stack: str) -> None:
    outputs = life.outputs
    results = outputs["results"]
    assert results["schema"].startswith("cni-benchmark/results/")
    for name in ("tcp_throughput", "rtt_p50", "http_1000_p99", "dns_p50", "cni_cpu"):
        assert set(results["metrics"][name].get("rounds", [1])) == {1}, name
    assert outputs["environment"]["target"].startswith("eks: a cluster of its own")
    assert outputs["cluster"]["clean_up"] == f"pulumi destroy -s eks-{stack[-1]}"
    assert outputs["cluster"]["usd_per_hour"] > 0.5
    toggles = outputs["toggles"]
    assert toggles.keys() == TOGGLES.keys()
    if stack == "scenario-e":
        assert toggles["nativeRouting"]["verified"]
        assert not toggles["xdp"]["applied"]
        assert "ENA" in toggles["xdp"]["reason"]


def test_a_second_up_changes_nothing(life: Life) -> None:
    again = _ok(life["again"])
    assert again.asked() == []
    assert again.events.did() == set()


def test_no_login_is_seen_anywhere(life: Life) -> None:
    seen = {name: step.told + step.log.read_text() for name, step in life.steps.items()}
    seen |= {"outputs": life.shown + json.dumps(life.outputs), "state": life.state}
    for place, text in seen.items():
        found = [secret for secret in _SECRETS if secret in text]
        assert not found, f"{place}: {found}"
    # It has been there to be seen.
    assert '"kubeconfig"' in life.state


def test_destroy_runs_backwards_and_leaves_nothing(life: Life, stack: str) -> None:
    destroyed = _ok(life["destroy"])
    destroyed.events.assert_order(*reversed(_order(stack)))
    assert life.left == {}
    assert life.clusters == []
    made = {(each.type, each.id) for each in destroyed.of("aws:eks/nodeGroup:NodeGroup")}
    assert len(made) == 1


def test_the_janitor_takes_the_clusters_own_interfaces_only(life: Life, stack: str) -> None:
    assert sorted(life.interfaces.values()) == ["another cluster's", "ours", "somebody's"]
    others = ["another cluster's", "somebody's"]
    assert life.interfaces_left == (others if stack in _ENI else ["ours", *others])


class TestNodesThatDoNotJoin:
    """Scenario D: the node group's first creation fails; in the end the API server is away."""

    @pytest.fixture
    def life(self, going: dict[str, Future[Life]]) -> Life:
        return going["scenario-d"].result()

    def test_it_is_told_and_nothing_that_needs_nodes_is_made(self, life: Life) -> None:
        failed = life["failed"]
        assert failed.code != 0
        assert NO_NODES in failed.told
        made = failed.events.did("create")
        assert "Release cilium" in made
        assert not {"Resource gate", "Addon coredns", "Resource benchmark"} & made

    def test_what_is_there_costs_and_the_way_out_is_told(self, life: Life) -> None:
        _assert_the_way_out_is_told(life["failed"], "eks-d")

    def test_a_refresh_out_of_the_api_servers_reach_forgets_nothing(self, life: Life) -> None:
        refreshed = life["refresh"]
        assert refreshed.code != 0
        assert "unreachable" in refreshed.told
        kept = {name.rpartition("::")[2] for name in life.after_refresh}
        assert {"cilium", "httpbin", "nodes"} <= kept

    def test_a_destroy_out_of_its_reach_asks_it_for_nothing(self, life: Life) -> None:
        destroyed = _ok(life["destroy"])
        assert [each for each in destroyed.asked() if each.type.startswith("kubernetes:")] == []
        assert {"Release cilium", "Deployment httpbin"} <= destroyed.events.did("delete")

    def test_the_next_up_goes_on_from_there(self, life: Life) -> None:
        up = life["up"]
        assert not {"Cluster cluster-eksCluster", "Vpc vpc", "Release cilium"} & up.events.did()
        assert {"NodeGroup nodes", "Resource gate", "Resource benchmark"} <= up.events.did("create")


class TestAnApiServerOutOfReach:
    """Scenario C: the connection to the cluster is lost while it measures."""

    @pytest.fixture
    def life(self, going: dict[str, Future[Life]]) -> Life:
        return going["scenario-c"].result()

    def test_it_is_told_in_a_line_without_a_traceback(self, life: Life) -> None:
        failed = life["failed"]
        assert failed.code != 0
        assert "Traceback" not in failed.told
        assert "Resource benchmark" not in failed.events.did("create")

    def test_what_is_there_costs_and_the_way_out_is_told(self, life: Life) -> None:
        _assert_the_way_out_is_told(life["failed"], "eks-c")

    def test_samples_that_were_finished_are_kept(self, life: Life) -> None:
        assert "python -m bench show --file" in life["failed"].told
        kept = from_json(life.kept)
        finished = {name for name, metric in kept.metrics.items() if metric.samples}
        assert {"dns_p50", "rtt_p50", "connect_p50", "http_1000_p99", "http_5000_p99"} <= finished
        assert not {"tcp_streams_throughput", "udp_goodput"} & finished
        assert any("tcp" in error.metric for error in kept.errors)

    def test_the_next_up_only_measures(self, life: Life) -> None:
        assert life["up"].events.did("create") == {"Resource benchmark"}
        assert life["up"].asked() == []


def _assert_the_way_out_is_told(step: Step, stack: str) -> None:
    assert "per hour while it exists" in step.told
    assert f"pulumi up -s {stack} goes on" in step.told
    assert f"pulumi destroy -s {stack} removes it all" in step.told


class TestAChangedSetting:
    """Scenario E: just what the setting is about is changed, and measured again."""

    @pytest.fixture
    def life(self, going: dict[str, Future[Life]]) -> Life:
        return going["scenario-e"].result()

    def test_a_toggle_changes_the_release_and_nothing_of_aws(self, life: Life) -> None:
        toggled = _ok(life["toggled"])
        assert [each.op for each in toggled.of("kubernetes:helm.sh/v3:Release")] == ["update"]
        assert [each for each in toggled.asked() if each.type.startswith("aws:")] == []
        assert {"Resource gate", "Resource dataplane", "Resource benchmark"} <= (
            toggled.events.did("update")
        )
        (release,) = toggled.of("kubernetes:helm.sh/v3:Release")
        assert release.inputs["values"]["hubble"] == {"enabled": True}

    def test_a_fourth_node_changes_the_node_group_and_takes_it_out_of_its_placement_group(
        self, life: Life
    ) -> None:
        grown = _ok(life["grown"])
        assert [(each.op, each.type) for each in grown.asked() if each.type.startswith("aws:")] == [
            ("update", "aws:ec2/launchTemplate:LaunchTemplate"),
            ("update", "aws:eks/nodeGroup:NodeGroup"),
            ("delete", "aws:ec2/placementGroup:PlacementGroup"),
        ]
        (changed,) = grown.of("aws:eks/nodeGroup:NodeGroup")
        assert changed.inputs["scalingConfig"] == {"desiredSize": 4, "minSize": 4, "maxSize": 4}
        assert grown.of("kubernetes:helm.sh/v3:Release") == []
        assert {"Resource gate", "Resource benchmark"} <= grown.events.did("update")
