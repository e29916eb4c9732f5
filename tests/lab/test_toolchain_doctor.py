"""What is told about a machine that cannot run the lab, and what a stack needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.toolchain import doctor, packages, scenarios
from lab.toolchain.__main__ import main
from lab.toolchain.doctor import Facts
from lab.toolchain.errors import ToolchainError
from lab.toolchain.programs import Need
from lab.toolchain.toolchain import CHECKOUT


def test_good_machine_lacks_nothing() -> None:
    options = dict.fromkeys(doctor.KERNEL_OPTIONS, "y")
    assert doctor.missing(Facts(kernel_options=options)) == []
    assert doctor.missing(Facts(kernel_options=None)) == []


def test_not_linux_is_all_that_is_told() -> None:
    assert doctor.missing(Facts(system="Darwin", root=False)) == ["Linux is needed, this is Darwin"]


def test_everything_missing_is_told_at_once() -> None:
    facts = Facts(
        machine="riscv64",
        kernel="4.19.0-27-amd64",
        root=False,
        filesystems=frozenset({"tmpfs"}),
        kernel_options={name: "y" for name in doctor.KERNEL_OPTIONS if name != "VXLAN"},
        probes={"iptables": "Table does not exist"},
    )
    told = doctor.message(doctor.missing(facts))
    for part in ("riscv64", "4.19", "root is needed", "cgroup2", "bpf", "CONFIG_VXLAN", "iptables"):
        assert part in told
    assert "`eks`" in told
    assert "`kubeconfig`" in told


def test_needs_are_read_from_words() -> None:
    vpc = scenarios.of_text("config:\n  x:target: lab\n  x:scenario:\n    cni: vpc-cni\n")
    assert Need.CILIUM not in vpc
    assert {Need.LAB, Need.VPC_CNI, Need.KUBE_PROXY} <= vpc
    cilium = scenarios.of_text("cni: cilium\nkubeProxy: none # not: vpc-cni\n")
    assert Need.CILIUM in cilium
    assert not {Need.VPC_CNI, Need.KUBE_PROXY} & cilium
    assert scenarios.of_text("x:target: eks\ncni: cilium\n") == {Need.ENGINE}
    assert scenarios.of_text("something: else\n") == scenarios.ALL
    assert scenarios.of_text("cni: 'something'\n") == scenarios.ALL


def test_unknown_stack_is_one_line_with_the_stacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ensure", "--stack", "scenario-q"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: unknown stack 'scenario-q'; the stacks are: scenario-a, ")
    assert told.count("\n") == 1
    assert "scenario-e" in scenarios.stacks(CHECKOUT)


def test_missing_packages_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    query = tmp_path / "dpkg-query"
    query.write_text("#!/bin/sh\nprintf 'installed iptables\\nconfig-files ipset\\n'; exit 1\n")
    query.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert packages.missing(["iptables", "ipset", "iperf3"]) == ["ipset", "iperf3"]
    assert packages.missing([]) == []


def test_without_root_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ToolchainError, match=r"apt-get update && apt-get .* install .* iperf3$"):
        packages.install(["iperf3"])
    packages.install([])


def test_a_browser_is_installed_for_tests_only_where_the_lab_is() -> None:
    everything = frozenset(Need)
    assert "chromium" not in packages.needed(everything)
    assert "chromium" in packages.needed(everything, tests=True)
    assert packages.needed(frozenset({Need.ENGINE}), tests=True) == []
