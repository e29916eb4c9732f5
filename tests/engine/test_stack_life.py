"""Stacks under the real engine, by the commands of the documentation: from `up` to `destroy`.

The steps of a class follow each other on one stack.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cni.registry import TOGGLES
from lab.wait import until
from tests.cni.stackfiles import stack_scenario
from tests.engine import checkout as checkouts
from tests.engine.checkout import Checkout
from tests.lab import leftovers
from tests.lab.leftovers import Footprint, Host

pytestmark = [pytest.mark.engine, pytest.mark.lab]

#: The shortest measurement of all that there is to measure.
SHORT: dict[str, object] = {"benchmark": {"runs": 1, "durationSeconds": 1}}
UP = ("pulumi", "up", "--yes", "--skip-preview", "-s")
DESTROY = ("pulumi", "destroy", "--yes", "--skip-preview", "-s")
STEPS = {"slot", "cluster", "cni", "workloads", "benchmark"}

METRICS = {
    "tcp_throughput": ("Gbit/s", "higher"),
    "udp_goodput": ("Gbit/s", "higher"),
    "udp_loss": ("%", "lower"),
    "rtt_p50": ("µs", "lower"),
    "rtt_p99": ("µs", "lower"),
    "http_1000_qps": ("1/s", "higher"),
    "http_1000_p50": ("µs", "lower"),
    "http_1000_p99": ("µs", "lower"),
    "http_5000_qps": ("1/s", "higher"),
    "http_5000_p99": ("µs", "lower"),
    "http_max_qps": ("1/s", "higher"),
    "http_max_p99": ("µs", "lower"),
    "connect_p50": ("µs", "lower"),
    "connect_p99": ("µs", "lower"),
    "dns_p50": ("µs", "lower"),
    "dns_p99": ("µs", "lower"),
    "cni_cpu": ("millicores", "lower"),
    "cni_memory": ("MiB", "lower"),
}


@pytest.fixture(scope="module")
def host(lab_host: None) -> Host:
    return Host.now()


@pytest.fixture(scope="module")
def checkout(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A fresh checkout, set up for scenario E."""
    folder = tmp_path_factory.mktemp("engine")
    made = checkouts.copy(folder / "checkout", folder / "home", "scenario-e")
    with checkouts.ended_with_its_labs(made):
        yield made


@pytest.fixture(autouse=True)
def no_file_is_changed(checkout: Checkout) -> Iterator[None]:
    """Whatever a command did, Git finds nothing to commit."""
    yield
    assert checkout.changed_files() == ""


# The stack that is copied, what is wrong in the copy, and what is told.
REFUSED: list[tuple[str, dict[str, object], str]] = [
    (
        "scenario-e",
        {"benchmark": {"rnus": 3}},
        "cni-benchmark:benchmark.rnus: 3: unknown setting (did you mean runs?)",
    ),
    ("scenario-e", {"benchmark": {"runs": 0}}, "benchmark.runs: 0: must be at least 1"),
    (
        "scenario-a",
        {"benchmark": {"httpQps": [1000, -1]}},
        "benchmark.httpQps[1]: -1: must be at least 1",
    ),
    (
        "scenario-e",
        {"scenario.toggles.turbo": True},
        "scenario.toggles.turbo: true: unknown setting",
    ),
    (
        "scenario-c",
        {"scenario.kubeProxy": "iptables"},
        "scenario.kubeProxy: iptables: kubeProxyReplacement is true",
    ),
    ("scenario-e", {"scenario.strict": True}, "toggles.dsr: strict is set"),
    (
        "scenario-e",
        {"scenario.values": {"bpf": {"masqerade": True}}},
        "scenario.values: bpf.masqerade: not a value of this chart (did you mean bpf.masquerade?)",
    ),
]


def errors_of(told: str) -> list[str]:
    """The errors of a run, as its summary has them: ours before the engine's own."""
    diagnostics = told.partition("Diagnostics:")[2].partition("\nResources:")[0]
    found = re.split(r"^ +error: ", diagnostics, flags=re.MULTILINE)[1:]
    engines = ("update failed", "an unhandled error occurred")
    return sorted(found, key=lambda error: error.startswith(engines))


class TestBadInput:
    """Whatever is wrong is told at preview, before anything is started."""

    @pytest.mark.parametrize(
        ("source", "changes", "told"), REFUSED, ids=lambda value: str(value)[:40]
    )
    def test_a_bad_setting(
        self,
        checkout: Checkout,
        nothing_left_behind: str,
        source: str,
        changes: dict[str, object],
        told: str,
    ) -> None:
        checkout.add_stack("bad", source, changes)
        done = checkout.run("pulumi", "preview", "-s", "bad")
        assert done.returncode != 0
        assert "Traceback" not in done.stdout
        message, ended = errors_of(done.stdout)
        assert message.startswith("Pulumi.bad.yaml: ")
        assert told in message
        # The engine adds a line of its own.
        assert "program exited with non-zero exit code: 1" in ended
        self.assert_nothing_was_started(checkout, nothing_left_behind)

    def test_an_unknown_stack(self, checkout: Checkout, nothing_left_behind: str) -> None:
        done = checkout.run("pulumi", "up", "--yes", "-s", "scenario-z")
        assert done.returncode != 0
        assert done.stdout.strip() == "error: no stack named 'scenario-z' found"
        made = checkout.run("make", "up", "STACK=scenario-z")
        assert made.returncode != 0
        assert "unknown stack 'scenario-z'; the stacks are:" in made.stdout
        assert "Traceback" not in made.stdout
        self.assert_nothing_was_started(checkout, nothing_left_behind)

    def assert_nothing_was_started(self, checkout: Checkout, mark: str) -> None:
        assert checkout.lab_folders() == []
        assert not [each for each in leftovers.of_this_run(mark).values() if "init.py" in each]


class TestOneStack:
    """`up`, once more, measured again, after a dead lab, and `destroy`."""

    stack = "tiny"

    def boot(self, checkout: Checkout) -> str:
        """The boot of the lab as recorded; it is the one that runs."""
        recorded = str(checkout.resources(self.stack)["cluster"]["outputs"]["boot"])
        assert checkout.lab(self.stack).boot_id() == recorded
        return recorded

    def started(self, checkout: Checkout) -> str:
        """When the results were measured."""
        return str(checkout.output(self.stack, "results")["started"])

    def test_up_builds_deploys_and_measures(self, checkout: Checkout) -> None:
        checkout.add_stack(self.stack, "scenario-e", SHORT)
        told = checkout.ok("pulumi", "up", "--yes", "-s", self.stack)
        assert "the API server is ready" in told
        assert "the CNI is ready on every node" in told
        assert re.search(r"\[1/\d+\] run 1 of 1: ", told)
        assert "Traceback" not in told
        assert checkout.resources(self.stack).keys() >= STEPS
        assert self.boot(checkout)

    def test_results_are_an_output(self, checkout: Checkout) -> None:
        results = json.loads(checkout.ok("pulumi", "stack", "output", "results", "-s", self.stack))
        assert results["schema"].startswith("cni-benchmark/results/")
        assert results["metrics"].keys() >= METRICS.keys()
        for name, (unit, better) in METRICS.items():
            self.check_metric(name, results["metrics"][name], unit, better)

    def check_metric(self, name: str, metric: dict[str, Any], unit: str, better: str) -> None:
        """A number with all that it takes to read it."""
        assert (metric["unit"], metric["better"]) == (unit, better), name
        low, high = metric["ci"]
        assert low <= metric["median"] <= high, name
        assert metric["n"] == 1
        assert metric["samples"] == [metric["median"]]
        # No sample is 0 where nothing could have been measured as that.
        assert metric["median"] > 0 or name == "udp_loss", name

    def test_every_toggle_is_an_output(self, checkout: Checkout) -> None:
        toggles = checkout.output(self.stack, "toggles")
        assert toggles.keys() == TOGGLES.keys()
        asked = stack_scenario("scenario-e")["toggles"]
        for name, each in toggles.items():
            assert all(type(each[key]) is bool for key in ("requested", "applied", "verified"))
            assert each["requested"] == (name in asked), name
            assert each["applied"] or each["reason"], f"{name}: not applied, and nobody knows why"
            assert len(each["evidence"]) == 3, name
        proved = {name for name, each in toggles.items() if each["applied"] and each["verified"]}
        assert {"hostRouting", "bpfMasquerade", "nativeRouting", "ctTables", "hubbleOff"} <= proved
        assert not {"dsr", "xdp", "bandwidthManager"} & proved

    def test_environment_and_warnings_are_outputs(self, checkout: Checkout) -> None:
        environment = checkout.output(self.stack, "environment")
        assert environment["target"].startswith("lab")
        assert environment["nodes"] == ["node-1", "node-2", "node-3"]
        assert environment["agents"]["network_routing"] == "Native"
        assert environment["emulated_instance_type"] == "m6i.xlarge"
        assert any("EC2 API is moto" in each for each in environment["adaptations"])
        assert environment["enis"].keys() == set(environment["nodes"])
        assert {each["node"] for each in environment["pod_addresses"]} == set(environment["nodes"])
        assert environment["pods_per_node"]["pods"] == 895
        assert isinstance(checkout.output(self.stack, "warnings"), list)

    def test_a_second_up_changes_nothing(self, checkout: Checkout) -> None:
        before = self.boot(checkout), self.started(checkout)
        told = checkout.ok(*UP, self.stack)
        assert "7 unchanged" in told
        assert (self.boot(checkout), self.started(checkout)) == before
        checkout.ok("pulumi", "preview", "--expect-no-changes", "-s", self.stack)

    def test_the_one_liner_measures_again_on_the_same_lab(self, checkout: Checkout) -> None:
        boot, started = self.boot(checkout), self.started(checkout)
        told = checkout.ok(*UP, self.stack, "--replace", "**::benchmark")
        assert "6 unchanged" in told
        assert self.boot(checkout) == boot
        assert self.started(checkout) > started

    def test_a_refresh_notices_a_dead_lab_and_up_rebuilds_it(self, checkout: Checkout) -> None:
        boot, started = self.boot(checkout), self.started(checkout)
        checkout.kill_lab(self.stack)
        checkout.ok("pulumi", "refresh", "--yes", "-s", self.stack)
        left = checkout.resources(self.stack).keys()
        assert "slot" in left
        assert not {"cluster", "cni", "workloads"} & left
        checkout.ok(*UP, self.stack)
        assert self.boot(checkout) != boot
        assert self.started(checkout) > started

    def test_up_rebuilds_a_dead_lab_also_without_a_refresh(self, checkout: Checkout) -> None:
        boot, started = self.boot(checkout), self.started(checkout)
        checkout.kill_lab(self.stack)
        checkout.ok(*UP, self.stack)
        assert self.boot(checkout) != boot
        assert self.started(checkout) > started

    def test_destroy_leaves_the_machine_as_it_was(self, checkout: Checkout, host: Host) -> None:
        footprint = Footprint.of(checkout.lab(self.stack))
        assert footprint.bpf
        checkout.ok("pulumi", "destroy", "--yes", "-s", self.stack)
        footprint.wait_until_gone()
        assert Host.now() == host
        assert checkout.resources(self.stack) == {}
        assert checkout.lab_folders() == []


class TestFailedUp:
    """A dataplane that does not come up: one error, and nothing is left."""

    stack = "broken"

    def test_the_error_is_told_once_with_the_agents_own_words(
        self, checkout: Checkout, nothing_left_behind: str
    ) -> None:
        wrong = {"extraConfig": {"ipam": "nonsense"}}
        lab = {"nodes": 2, "eni": "routed"}
        changes = SHORT | {"lab": lab, "scenario.values": wrong}
        checkout.add_stack(self.stack, "scenario-e", changes)
        done = checkout.run(*UP, self.stack)
        assert done.returncode != 0
        assert "Traceback" not in done.stdout
        message, ended = errors_of(done.stdout)
        assert re.match(r"could not install the CNI: node-\d-cilium-agent ended; last", message)
        assert "Unknown IPAM backend nonsense" in message
        assert ended.startswith("update failed")
        # It has been stopped; what can be looked at stays.
        (log,) = re.findall(r"its logs are in (\S+) until pulumi destroy", message)
        assert (Path(log) / "node-1-cilium-agent.log").stat().st_size > 0
        assert leftovers.of_this_run(nothing_left_behind) == {}

    def test_destroy_removes_the_rest(self, checkout: Checkout, host: Host) -> None:
        checkout.ok(*DESTROY, self.stack)
        assert checkout.resources(self.stack) == {}
        assert checkout.lab_folders() == []
        assert Host.now() == host


class TestInterruptedUp:
    """An engine that is killed or told to stop in the middle of an `up`."""

    @pytest.fixture(autouse=True)
    def no_engine_stays(self, checkout: Checkout, nothing_left_behind: str) -> Iterator[None]:
        """Ends what a killed engine has left of itself, also after a test that failed."""
        yield
        for pid in leftovers.of_this_run(nothing_left_behind):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def interrupt(
        self, checkout: Checkout, stack: str, line: str, by: signal.Signals = signal.SIGKILL
    ) -> str:
        """Begin an `up` of a new stack and signal it once it has told a line."""
        checkout.add_stack(stack, "scenario-e", SHORT | {"lab": {"nodes": 2}})
        return checkout.interrupt(checkout.start(*UP, stack), line, by)

    @pytest.mark.parametrize(
        "line", ["starting etcd and kube-apiserver", "starting cilium-operator"]
    )
    def test_a_killed_up_can_be_destroyed_once_its_lock_is_freed(
        self, checkout: Checkout, host: Host, nothing_left_behind: str, line: str
    ) -> None:
        self.interrupt(checkout, "killed", line)
        refused = checkout.run(*DESTROY, "killed")
        assert refused.returncode != 0
        assert "currently locked" in refused.stdout
        assert "`pulumi cancel`" in refused.stdout
        checkout.ok("pulumi", "cancel", "--yes", "-s", "killed")
        checkout.ok(*DESTROY, "killed")
        self.assert_nothing_is_left(checkout, "killed", host, nothing_left_behind)

    def test_what_a_kill_left_pending_is_cleared_by_a_refresh(self, checkout: Checkout) -> None:
        clear = ("pulumi", "refresh", "--yes", "--clear-pending-creates", "-s", "killed")
        checkout.ok(*clear)
        assert "pending operations" not in checkout.ok("pulumi", "preview", "-s", "killed")

    def test_after_a_kill_the_next_up_builds_anew_instead_of_going_on(
        self, checkout: Checkout
    ) -> None:
        self.interrupt(checkout, "torn", "the CNI is ready on every node")
        boot = checkout.lab("torn").boot_id()
        checkout.ok("pulumi", "cancel", "--yes", "-s", "torn")
        checkout.ok(*UP, "torn")
        lab = checkout.lab("torn")
        # A second agent beside the first would be measured with it, and nobody would know.
        assert lab.boot_id() not in (None, boot)
        assert int(lab.sandbox.run(["pgrep", "-cx", "cilium-agent"]).stdout) == 2
        checkout.ok(*DESTROY, "torn")

    def test_an_up_that_is_told_to_stop_can_be_destroyed(
        self, checkout: Checkout, host: Host, nothing_left_behind: str
    ) -> None:
        line = "starting etcd and kube-apiserver"
        told = self.interrupt(checkout, "stopped", line, signal.SIGINT)
        assert "update canceled" in told
        assert "Traceback" not in told
        checkout.ok(*DESTROY, "stopped")
        self.assert_nothing_is_left(checkout, "stopped", host, nothing_left_behind)

    def assert_nothing_is_left(self, checkout: Checkout, stack: str, host: Host, mark: str) -> None:
        def left() -> str | None:
            return "; ".join(leftovers.of_this_run(mark, hosts=False).values()) or None

        until("every process to end", left, timeout=30)
        assert checkout.resources(stack) == {}
        assert checkout.lab_folders() == []
        assert Host.now() == host
