"""What is told about a machine that cannot run the lab, and what a stack needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.errors import ToolchainError, UnknownStackError
from lab.toolchain import bootstrap, doctor, launcher, pulumi
from lab.toolchain.cache import CHECKOUT
from lab.toolchain.commands import main
from lab.toolchain.doctor import Facts
from lab.toolchain.programs import ALL, ENGINE, LAB, PODS, need_of, packages_for


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


def _needs(folder: Path, config: str, project: str = "") -> frozenset[str]:
    """What a stack needs that has these lines in its file, and the project those for all stacks."""
    shared = f'config:\n  eks.version: {{default: "1.35"}}\n{project}'
    (folder / "Pulumi.yaml").write_text(f"name: x\nruntime: python\n{shared}")
    (folder / "Pulumi.s.yaml").write_text(config)
    return pulumi.needs_of_stack(folder, "s")


_OLDER = '  x:eks: {version: "1.31"}\n'


def test_a_stack_needs_the_programs_of_its_versions_and_no_others(tmp_path: Path) -> None:
    start = "config:\n  x:target: lab\n"
    scenario = start + "  x:scenario:\n    cni: {}\n    cniVersion: {}\n    kubeProxy: {}\n"
    vpc_cni, cilium = need_of("vpc-cni", "1.19.2"), need_of("cilium", "1.16.5")
    server, kube_proxy = (need_of(each, "1.35.8") for each in ("kubernetes", "kube-proxy"))
    vpc = _needs(tmp_path, scenario.format("vpc-cni", "1.19.2", "iptables"))
    assert {LAB, vpc_cni, server, kube_proxy} <= vpc
    assert cilium not in vpc
    without_proxy = _needs(tmp_path, scenario.format("cilium", "1.16.5", "none # not: vpc-cni"))
    assert {cilium, server} <= without_proxy
    assert not {vpc_cni, kube_proxy} & without_proxy
    assert {"clang-16", "bpftool"} <= set(packages_for(without_proxy))
    older = _needs(tmp_path, scenario.format("vpc-cni", "1.19.2", "iptables") + _OLDER)
    assert older - vpc == {need_of(each, "1.31.4") for each in ("kubernetes", "kube-proxy")}
    assert not {server, kube_proxy} & older
    # The preview refuses it before anything is built.
    assert _needs(tmp_path, scenario.format("cilium", "0.1", "none")) == {ENGINE}
    future = _OLDER.replace("1.31", "1.99")
    assert _needs(tmp_path, scenario.format("cilium", "1.16.5", "none") + future) == {ENGINE}
    assert _needs(tmp_path, "something: else\n") == {ENGINE}


def test_targets_outside_the_lab_need_pulumi_and_what_goes_into_pods(tmp_path: Path) -> None:
    scenario = "  x:scenario: {cni: cilium, cniVersion: 1.16.5, kubeProxy: none}\n"
    assert LAB in _needs(tmp_path, f"config:\n{scenario}")
    assert _needs(tmp_path, f"config:\n  x:target: eks\n{scenario}") == {ENGINE, PODS}
    default = "  target: {default: kubeconfig}\n"
    assert _needs(tmp_path, f"config:\n{scenario}", default) == {ENGINE, PODS}
    assert LAB in _needs(tmp_path, f"config:\n  x:target: lab\n{scenario}", default)


def test_a_stack_file_that_is_no_yaml_is_told_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match=r"Pulumi\.s\.yaml"):
        _needs(tmp_path, "config: [\n")


def test_a_stack_that_the_engine_knows_can_go_without_its_file(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: x\nruntime: python\n")
    (tmp_path / "Pulumi.there.yaml").write_text("config: {x:target: eks}\n")
    at = {"PULUMI_BACKEND_URL": f"file://{tmp_path}"}
    needs = partial(pulumi.needs_to_take_down, tmp_path, environment=at)
    assert needs("there") == {ENGINE, PODS}
    with pytest.raises(UnknownStackError):
        needs("gone")
    kept = launcher.state_file(at["PULUMI_BACKEND_URL"], "x", "gone")
    assert kept is not None
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert needs("gone") == {ENGINE}
    with pytest.raises(UnknownStackError, match="name a stack"):
        needs("")


def test_unknown_stack_is_one_line_with_the_stacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ensure", "--stack", "scenario-q"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: unknown stack 'scenario-q'; the stacks are: scenario-a, ")
    assert told.count("\n") == 1
    assert "scenario-e" in pulumi.stacks(CHECKOUT)


def test_a_cache_that_cannot_be_used_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("CNI_BENCHMARK_CACHE", str(tmp_path / "cache"))
    assert bootstrap.main(["ensure", "--python"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: [Errno 17] File exists: ")
    assert (tmp_path / "cache").read_text() == "a file"


@pytest.mark.parametrize(("free", "lines"), [(3e6, 2), (3e9, 1)])
def test_an_error_says_where_there_is_little_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    free: float, lines: int,
) -> None:  # fmt: skip
    monkeypatch.setenv("CNI_BENCHMARK_CACHE", str(tmp_path / "not/yet"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))

    def fail() -> None:
        raise ToolchainError("pip failed")

    assert bootstrap.guarded(fail) == 1
    told = capsys.readouterr().err.splitlines()
    assert told == ["error: pip failed", f"3 MB are left for {tmp_path}/not/yet"][:lines]


def test_missing_packages_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    query = tmp_path / "dpkg-query"
    query.write_text("#!/bin/sh\nprintf 'installed iptables\\nconfig-files ipset\\n'; exit 1\n")
    query.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert doctor.missing_packages(["iptables", "ipset", "iperf3"]) == ["ipset", "iperf3"]
    assert doctor.missing_packages([]) == []


def test_without_root_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ToolchainError, match=r"apt-get update && apt-get .* install .* iperf3$"):
        doctor.install_packages(["iperf3"])
    doctor.install_packages([])


def test_a_browser_is_installed_for_tests_only_where_the_lab_is() -> None:
    assert "chromium" not in packages_for(ALL)
    assert "chromium" in packages_for(ALL, tests=True)
    assert packages_for(frozenset({ENGINE}), tests=True) == []


def test_the_first_stage_needs_the_standard_library_alone() -> None:
    code = "import sys; sys.path.insert(0, '.'); import lab.toolchain.bootstrap"
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", code],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
