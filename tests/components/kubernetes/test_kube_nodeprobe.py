"""What is run on nodes and in pods, by real shells, and what is read from it."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from components.kubernetes import facts
from components.kubernetes.facts import ContainerUsage, NetworkDevice
from components.kubernetes.pods import kill_command
from kube.objects import KubernetesError

AGENT, PROXY = "4f" * 32, "a0" * 32


def _run(argv: Sequence[str], path: Path | None = None) -> str:
    """Run a command here; programs in ``path`` stand in for those of the same name."""
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"} if path else None
    done = subprocess.run(
        argv, env=environment, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout


def _program(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


# -- usage: cgroups of both versions, in the layouts of kubelets ---------------------------------


def _write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def _v2(usage_usec: int, anon: int, mapped: int) -> dict[str, str]:
    # Linux 6.1, shortened.
    return {
        "cpu.stat": f"usage_usec {usage_usec}\nuser_usec 1\nsystem_usec 2\nnr_periods 0\n",
        "memory.stat": f"anon {anon}\nfile 999\nkernel 7\nshmem 0\nfile_mapped {mapped}\n",
    }


@pytest.mark.parametrize(
    "layout",
    [
        "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-{}.scope",
        "kubepods/burstable/pod1/{}",
        "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1.slice/crio-{}.scope",
    ],
)
def test_usage_is_that_of_each_containers_cgroup(tmp_path: Path, layout: str) -> None:
    _write(tmp_path / layout.format(AGENT), _v2(1_234_567, 100 << 20, 20 << 20))
    _write(tmp_path / layout.format(PROXY), _v2(5, 1 << 20, 0))
    _write(tmp_path / layout.format("b1" * 32), _v2(10**9, 1, 1))
    text = _run(facts.usage_command([AGENT, PROXY], str(tmp_path)))
    assert facts.parse_usage(text) == {
        AGENT: ContainerUsage(1.234567, 120 << 20),
        PROXY: ContainerUsage(0.000005, 1 << 20),
    }


def test_usage_of_cgroups_version_1(tmp_path: Path) -> None:
    below = f"kubepods/besteffort/pod1/{AGENT}"
    _write(
        tmp_path / "cpu,cpuacct" / below,
        {"cpuacct.usage": "7597230639994\n", "cpu.stat": "nr_periods 0\nnr_throttled 0\n"},
    )
    memory = "cache 9\nrss 3\nmapped_file 4\ntotal_rss 571662336\ntotal_mapped_file 1000\n"
    _write(tmp_path / "memory" / below, {"memory.stat": memory})
    text = _run(facts.usage_command([AGENT], str(tmp_path)))
    assert facts.parse_usage(text) == {AGENT: ContainerUsage(7597.230639994, 571663336)}


def test_what_runs_inside_a_container_is_counted_once(tmp_path: Path) -> None:
    # A container that has cgroups of its own, below its own.
    outer = tmp_path / f"pod1/{AGENT}"
    _write(outer, _v2(1_000_000, 10, 10))
    _write(outer / f"init-{AGENT}", _v2(600_000, 6, 6))
    text = _run(facts.usage_command([AGENT], str(tmp_path)))
    assert facts.parse_usage(text) == {AGENT: ContainerUsage(1.0, 20)}


def test_a_container_that_has_gone_is_left_out(tmp_path: Path) -> None:
    _write(tmp_path / AGENT, _v2(1, 1, 1))
    text = _run(facts.usage_command([PROXY, AGENT], str(tmp_path)))
    assert facts.parse_usage(text).keys() == {AGENT}
    assert facts.parse_usage(_run(facts.usage_command([], str(tmp_path)))) == {}


def test_half_of_the_figures_are_no_usage() -> None:
    assert facts.parse_usage(f"{AGENT} cpu.stat usage_usec 5\n") == {}


# -- the uplink, and what it held back ------------------------------------------------------------

# `ethtool -i` of ethtool 6.1, on virtio.
DRIVER = """echo 'driver: virtio_net
version: 1.0.0
firmware-version: 
expansion-rom-version: 
bus-info: 0000:00:03.0
supports-statistics: yes'"""


def test_the_uplink_is_that_of_the_default_route(tmp_path: Path) -> None:
    route = "default via 10.0.0.1 dev lo proto dhcp src 10.0.0.10 metric 512"
    _program(tmp_path, "ip", f"echo '{route}'; echo '{route.replace('512', '513')}'")
    _program(tmp_path, "ethtool", f"[ \"$*\" = '-i lo' ] && {DRIVER}")
    text = _run(facts.NETWORK_COMMAND, tmp_path)
    mtu = int(Path("/sys/class/net/lo/mtu").read_text())
    assert facts.parse_network("node-1", text) == NetworkDevice("lo", mtu, "virtio_net", "1.0.0")


@pytest.mark.parametrize("text", ["", "interface: \nmtu: \n", "interface: eth0\nmtu: 1500\n"])
def test_an_uplink_that_is_not_told_is_an_error(text: str) -> None:
    with pytest.raises(KubernetesError, match="node-1: its network device is not told"):
        facts.parse_network("node-1", text)


# `ethtool -S` of the ENA driver, shortened (amzn-drivers, ENA_Linux_Best_Practices.rst).
STATISTICS = """NIC statistics:
     total_resets: 0
     bw_in_allowance_exceeded: 1250
     bw_out_allowance_exceeded: 7
     pps_allowance_exceeded: 0
     conntrack_allowance_exceeded: 0
     linklocal_allowance_exceeded: 0
     conntrack_allowance_available: 136812
     queue_0_tx_cnt: 3153
"""


def test_allowances_of_all_devices_are_added_up() -> None:
    counters = facts.parse_allowances(
        "     bw_in_allowance_exceeded: 3\n     pps_allowance_exceeded: 1\n"
        "     bw_in_allowance_exceeded: 4\n"
    )
    assert counters == {"bw_in_allowance_exceeded": 7, "pps_allowance_exceeded": 1}


def test_allowances_are_what_the_driver_calls_exceeded(tmp_path: Path) -> None:
    _program(tmp_path, "ethtool", f"cat <<'END'\n{STATISTICS}END")
    text = _run(facts.ALLOWANCES_COMMAND, tmp_path)
    counters = facts.parse_allowances(text)
    devices = [each for each in Path("/sys/class/net").iterdir() if (each / "device").exists()]
    if not devices:
        assert counters == {}
        return
    # What is left of an allowance is no counter.
    assert set(counters) == {
        f"{name}_allowance_exceeded"
        for name in ("bw_in", "bw_out", "pps", "conntrack", "linklocal")
    }
    assert counters["bw_in_allowance_exceeded"] == 1250 * len(devices)


def test_a_node_without_ena_has_no_allowances(tmp_path: Path) -> None:
    _program(tmp_path, "ethtool", "echo 'no stats available' >&2; exit 94")
    assert facts.parse_allowances(_run(facts.ALLOWANCES_COMMAND, tmp_path)) == {}


# -- pods -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "mtu"),
    [
        ("default via 10.244.1.53 dev lo mtu 1450", 1450),
        ("default via 10.244.1.53 dev lo mtu lock 1450", 1450),
        ("default via 169.254.1.1 dev lo", int(Path("/sys/class/net/lo/mtu").read_text())),
    ],
)
def test_a_pods_packets(tmp_path: Path, route: str, mtu: int) -> None:
    _program(tmp_path, "ip", f"echo '{route}'")
    found = facts.pod_facts(_run(facts.POD_COMMAND, tmp_path))
    assert found["pod_mtu"] == mtu
    control = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    assert found["congestion_control"] == control


def _pod_text(search: str) -> str:
    return f"device_mtu: 9001\nroute_mtu: \ncongestion_control: cubic\nsearch: {search}\n"


@pytest.mark.parametrize(
    ("search", "domain"),
    [
        ("cni-benchmark.svc.cluster.local svc.cluster.local cluster.local x.org", "cluster.local"),
        ("cni-benchmark.svc.k8s.example svc.k8s.example k8s.example", "k8s.example"),
        ("", "cluster.local"),
    ],
)
def test_the_clusters_domain_is_what_the_kubelet_gives_to_pods(search: str, domain: str) -> None:
    assert facts.pod_facts(_pod_text(search))["cluster_domain"] == domain


def test_a_pod_that_does_not_tell_is_an_error() -> None:
    with pytest.raises(KubernetesError, match="a pod does not tell its network"):
        facts.pod_facts("sh: ip: not found\n")


# -- ending what outlived its connection --------------------------------------------------------


def _start(*argv: str) -> subprocess.Popen[bytes]:
    """As a container runtime does, at the head of a session."""
    return subprocess.Popen(argv, start_new_session=True)


def test_exactly_that_command_is_ended() -> None:
    # A length that no other process on this machine has.
    length = f"9{secrets.randbelow(10**6)}.5"
    meant = [_start("sleep", length), _start("sleep", length)]
    others = [_start("sleep", length, "1"), _start("sleep", f"{length}1")]
    try:
        _run(kill_command(["sleep", length]))
        assert [process.wait(5) for process in meant] == [-9, -9]
        assert [process.poll() for process in others] == [None, None]
    finally:
        for process in (*meant, *others):
            process.kill()
            process.wait()


def test_a_command_that_has_ended_already_is_no_error() -> None:
    _run(kill_command(["sleep", f"8{secrets.randbelow(10**6)}.5"]))


def test_what_the_command_has_started_ends_with_it() -> None:
    mark, length = secrets.token_hex(4), f"7{secrets.randbelow(10**6)}.5"
    # The command's argument has a space: another one with the same words is not meant.
    process = _start("sh", "-c", f"sleep {length} | cat; true", f"{mark} a")
    try:
        _run(kill_command(["sh", "-c", f"sleep {length} | cat; true", mark, "a"]))
        assert process.poll() is None
        _run(kill_command(["sh", "-c", f"sleep {length} | cat; true", f"{mark} a"]))
        assert process.wait(5) == -9
        deadline = time.monotonic() + 5
        while subprocess.run(["pgrep", "-f", f"^sleep {length}$"], check=False).returncode == 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
